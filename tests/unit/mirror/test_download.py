"""Files of an upstream: asked for again with patience, redirected within https, given up at every byte."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from email.utils import formatdate

import pytest
from tests.support.registries.sparse import Script, SparseRegistry, cut, reset, says, slowly, sparse_registry

from carnet.errors import TransportError
from carnet_mirror.upstream import download
from carnet_mirror.upstream.download import Downloads, redirected
from carnet_verifier.net.http1 import Limits
from carnet_verifier.net.patience import Patience

PAGE = b"<!DOCTYPE html><html><body><form>Please log in</form></body></html>"
QUICK = Limits(deadline=5, connect=2, grace=0.4, least_rate=1000)
PATIENT = Patience(tries=4, pause=0.01)
WANTED = b"what was asked for"


@pytest.fixture
def registry() -> Iterator[SparseRegistry]:
    with sparse_registry() as running:
        yield running


def get(registry: SparseRegistry, *scripts: Script, most: int = 1000) -> bytes:
    registry.scripts["/file"] = list(scripts)
    with Downloads(QUICK, PATIENT) as downloads:
        return downloads.get(f"{registry.url}/file", most)


BUSY: dict[str, Script] = {
    "408": says("408 Request Timeout"),
    "429": says("429 Too Many Requests", PAGE),
    "429, come again at once": says("429 Too Many Requests", b"", "retry-after: 0"),
    "500": says("500 Internal Server Error", PAGE),
    "502": says("502 Bad Gateway"),
    "503, come again at a time that is past": says("503 Busy", b"", f"retry-after: {formatdate(0, usegmt=True)}"),
    "504": says("504 Gateway Timeout"),
    "a reset": reset,
    "no answer": lambda connection: None,
    "half of the head": lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-"),
    "half of the body": cut(WANTED, after=len(WANTED) // 2),
    "one byte too few": cut(WANTED, after=len(WANTED) - 1),
    "a chunk too few": lambda connection: connection.sendall(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwhat\r\n"
    ),
}


@pytest.mark.parametrize("case", BUSY)
def test_who_is_busy_or_breaks_off_is_asked_again(case: str, registry: SparseRegistry) -> None:
    assert get(registry, BUSY[case], BUSY[case], says("200 OK", WANTED)) == WANTED
    assert len(registry.requests) == 3


NOTHING: dict[str, tuple[Callable[[str], Script], int, str]] = {
    "busy for ever": (lambda _: says("503 Busy"), 4, r"answered 503 \(asked 4 times\)"),
    "not for a day": (lambda _: says("429 Slow", b"", "retry-after: 86400"), 1, "answered 429"),
    "cut for ever": (lambda _: cut(WANTED, after=3), 4, r"half-way \(asked 4 times\)"),
    "a byte at a time": (lambda _: slowly(b"x" * 100, 0.05), 1, "gave up after"),
    "silence": (lambda _: lambda connection: time.sleep(1), 1, "gave up after"),
    "to nowhere": (lambda _: says("302 Found", b"", "location: http://localhost:9/login"), 1, "localhost:9/login: "),
    "to no address": (lambda _: says("302 Found"), 1, "answered 302"),
    "to what is no URL": (lambda _: says("302 Found", b"", "location: https://["), 1, "which is no URL"),
    "to a file": (lambda _: says("302 Found", b"", "location: file:///etc/passwd"), 1, "which is no URL"),
    "in a circle": (lambda url: says("302 Found", b"", f"location: {url}/file"), 6, "redirects more than 5 times"),
    "too much": (lambda _: says("200 OK", b"x" * 2000), 1, "at most 1000 were asked for"),
    "a demand for a password": (lambda _: says("401 Unauthorized", PAGE), 1, "answered 401"),
    "no HTTP": (lambda _: lambda connection: connection.sendall(b"\x1f\x8b garbage\r\n\r\n"), 1, "not proper HTTP"),
    "gzip, unasked and broken": (lambda _: says("200 OK", b"\x1f\x8bno", "content-encoding: gzip"), 1, "not the gzip"),
    "404": (lambda _: says("404 Not Found"), 1, "answered 404"),
}


@pytest.mark.parametrize("case", NOTHING)
def test_what_is_no_answer_is_an_error_that_says_so(case: str, registry: SparseRegistry) -> None:
    make, asked, told = NOTHING[case]
    started = time.monotonic()
    with pytest.raises(TransportError, match=told):
        get(registry, make(registry.url))
    assert len(registry.requests) == asked
    assert time.monotonic() - started < 60, "a byte at a time would take minutes"


def test_redirects_are_followed_and_connections_used_again(registry: SparseRegistry) -> None:
    registry.scripts["/else?signed=x%2Fy&z=1"] = [says("200 OK", WANTED)]
    assert get(registry, says("307 Temporary Redirect", PAGE, "location: ../else?signed=x%2Fy&z=1")) == WANTED


@pytest.mark.parametrize("location", ["http://index.example/x", "http://elsewhere.example/", "ftp://index.example/x"])
def test_no_redirect_leads_out_of_https(location: str) -> None:
    with pytest.raises(TransportError):
        redirected("https://index.example/x", location)
    assert redirected("https://index.example/x", "/y") == "https://index.example/y"
    assert redirected("http://index.example/x", "https://index.example/x") == "https://index.example/x"


@pytest.mark.parametrize(
    "url", ["http://h/a b", "http://h/\r\nx: y", "http://h\u00e4/", "http://[/", "file:///etc/passwd"]
)
def test_what_is_no_url_is_not_asked_for(url: str) -> None:
    with Downloads() as downloads, pytest.raises(TransportError):
        downloads.get(url, 10)


def test_all_wait_for_whom_a_server_asks_to_wait(registry: SparseRegistry) -> None:
    slept: list[float] = []
    registry.scripts["/file"] = [says("503 Busy", b"", "retry-after: 30"), says("200 OK", WANTED)]
    registry.scripts["/other"] = [says("200 OK", WANTED)]
    with Downloads(QUICK, Patience(tries=2, pause=0.01), sleep=slept.append) as downloads:
        downloads.get(f"{registry.url}/file", 100)
        downloads.get(f"{registry.url}/other", 100)
    assert [int(seconds) >= 29 for seconds in slept] == [True] * 3


def test_a_server_that_only_fails_is_left_alone_in_the_end(
    registry: SparseRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand crates, each asked for with patience, would take hours."""
    registry.scripts["/file"] = [says("503 Busy")]
    monkeypatch.setattr(download, "_ALTOGETHER", 0.0)
    with Downloads(QUICK, PATIENT) as downloads:
        for _ in range(5):
            with pytest.raises(TransportError):
                downloads.get(f"{registry.url}/file", 100)
    assert len(registry.requests) == 1
