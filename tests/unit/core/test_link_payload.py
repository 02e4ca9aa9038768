"""Links, layouts and statements are signed under one payload type: only `_type` tells them apart."""

from __future__ import annotations

import pytest

from carnet.errors import FormatError
from carnet.intoto.values import Link

PAYLOAD = Link("test", {"demo-1.0.0/tree": "0" * 64}, {}, {"return-value": 0}).to_payload()


@pytest.mark.parametrize("kind", [b'"statement"', b'"https://in-toto.io/Statement/v1"', b'"step"', b'"Link"', b"1"])
def test_only_a_link_is_read_as_one(kind: bytes) -> None:
    assert Link.from_payload(PAYLOAD).name == "test"
    with pytest.raises(FormatError, match="a link needs"):
        Link.from_payload(PAYLOAD.replace(b'"_type":"link"', b'"_type":' + kind))
