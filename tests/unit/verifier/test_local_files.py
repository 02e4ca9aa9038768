"""Files that are read where they lie, through the interface of a fetcher: the same bounds and the same refusals."""

from __future__ import annotations

import pytest

from carnet.errors import TransportError
from carnet_verifier.net.local import ReadFetcher

FILES = {"metadata/1.root.json": b"12345", "targets/a+b": b"1"}


def test_a_file_has_at_most_the_bytes_that_were_asked_for() -> None:
    fetcher = ReadFetcher(FILES.get)
    assert fetcher.get("metadata/1.root.json", max_bytes=5) == b"12345"
    with pytest.raises(TransportError, match=r"1\.root\.json has 5 bytes, and at most 4 were asked for"):
        fetcher.get("metadata/1.root.json", max_bytes=4)


def test_one_of_many_that_is_too_long_spoils_no_other() -> None:
    first, second, third = ReadFetcher(FILES.get).get_many(
        [("metadata/1.root.json", 5), ("metadata/1.root.json", 0), ("targets/a%2bb", 1)]
    )
    assert (first, third) == (b"12345", b"1")
    assert isinstance(second, TransportError)
    assert not second.absent


@pytest.mark.parametrize("path", ["metadata/2.root.json", "../x", "/etc/passwd", "%2e%2e/x", "a%00b", ""])
def test_what_is_not_there_or_elsewhere_is_absent(path: str) -> None:
    with pytest.raises(TransportError, match="there is no such file") as refused:
        ReadFetcher(lambda _: None).get(path, max_bytes=5)
    assert refused.value.absent


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "%2e%2e/x", "a%00b", ""])
def test_nothing_is_read_outside(path: str) -> None:
    asked: list[str] = []
    with pytest.raises(TransportError):
        ReadFetcher(lambda name: asked.append(name) or b"1").get(path, max_bytes=5)  # type: ignore[func-returns-value]
    assert asked == []
