"""Links, layouts and statements are signed under one payload type: only `_type` tells them apart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from carnet.errors import FormatError
from carnet.intoto.values import MAX_ARTIFACTS, Link

PAYLOAD = Link("test", {"demo-1.0.0/tree": "0" * 64}, {}, {"return-value": 0}).to_payload()


@pytest.mark.parametrize("kind", [b'"statement"', b'"https://in-toto.io/Statement/v1"', b'"step"', b'"Link"', b"1"])
def test_only_a_link_is_read_as_one(kind: bytes) -> None:
    assert Link.from_payload(PAYLOAD).name == "test"
    with pytest.raises(FormatError, match="a link needs"):
        Link.from_payload(PAYLOAD.replace(b'"_type":"link"', b'"_type":' + kind))


def link(**fields: Any) -> bytes:
    return json.dumps(json.loads(PAYLOAD) | fields).encode()


DIGEST = {"sha256": "0" * 64}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a sublayout": ({"_type": "layout"}, "sublayouts are not accepted"),
    "a name that leads elsewhere": ({"name": "../test"}, "is not a step name"),
    "a name in capitals": ({"name": "Test"}, "is not a step name"),
    "no name": ({"name": ""}, "is not a step name"),
    "a name and a line": ({"name": "test\n"}, "is not a step name"),
    "a command of numbers": ({"command": ["cargo", 1]}, "must be a list of strings"),
    "a command that is a text": ({"command": "cargo test"}, "a link needs"),
    "materials that are a list": ({"materials": []}, "a link needs"),
    "two digests": ({"materials": {"a": DIGEST | {"sha512": "0" * 128}}}, "exactly one digest"),
    "another digest": ({"products": {"a": {"sha512": "0" * 128}}}, "exactly one digest"),
    "no digest": ({"products": {"a": {}}}, "exactly one digest"),
    "an empty digest": ({"products": {"a": {"sha256": ""}}}, "exactly one digest"),
    "a digest in capitals": ({"products": {"a": {"sha256": "A" * 64}}}, "exactly one digest"),
    "a digest that is a text": ({"products": {"a": "0" * 64}}, "exactly one digest"),
    "an artifact without name": ({"products": {"": DIGEST}}, "must have 1 to 1024 characters"),
    "a long artifact": ({"products": {"a" * 1025: DIGEST}}, "must have 1 to 1024 characters"),
    "an artifact that traverses": ({"products": {"x/../evil.rs": DIGEST}}, "not a normalised relative path"),
    "an absolute artifact": ({"products": {"/evil.rs": DIGEST}}, "not a normalised relative path"),
    "an artifact here": ({"products": {"./evil.rs": DIGEST}}, "not a normalised relative path"),
    "a folder": ({"products": {"evil/": DIGEST}}, "not a normalised relative path"),
    "an artifact with a backslash": ({"materials": {"a\\b": DIGEST}}, "not a normalised relative path"),
    "an artifact with a line": ({"materials": {"a\nb": DIGEST}}, "not a normalised relative path"),
    "artifacts without end": ({"materials": {str(n): DIGEST for n in range(MAX_ARTIFACTS + 1)}}, "more than 50000"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_link_is_refused(name: str) -> None:
    fields, why = WRONG[name]
    with pytest.raises(FormatError, match=why):
        Link.from_payload(link(**fields))


def test_a_link_is_read_with_all_that_it_says() -> None:
    found = Link.from_payload(link(materials={"a" * 1024: DIGEST}, command=["cargo", "test"]))
    assert (found.materials, found.command, found.return_value) == ({"a" * 1024: "0" * 64}, ("cargo", "test"), 0)


@pytest.mark.parametrize("value", [True, "0", None, [0]])
def test_a_return_value_is_a_whole_number(value: object) -> None:
    assert Link.from_payload(link(byproducts={"return-value": value})).return_value is None
