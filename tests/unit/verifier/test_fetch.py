"""Fetching over real sockets, from servers that mean no good (trap 5)."""

from __future__ import annotations

import gzip
import socket
import time
import tracemalloc

import pytest
from tests.support.servers.evil import Answer, once, response, serving

from carnet.errors import ConfigError, TransportError
from carnet_verifier.net.fetch import HttpFetcher, Limits

QUICK = Limits(deadline=0.6, connect=0.5, least_rate=10_000, grace=0.3)


def fetch(answer: Answer, *, max_bytes: int = 1000, limits: Limits = QUICK, close_after: bool = False) -> bytes:
    with serving(answer, close_after=close_after) as server, HttpFetcher(server.url, limits=limits) as fetcher:
        return fetcher.get("metadata/timestamp.json", max_bytes=max_bytes)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", headers: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n{headers}\r\n".encode()
    return head + b"".join(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks) + end


HONEST: dict[str, bytes] = {
    "length": response(b"hello"),
    "chunks": chunked(b"hel", b"lo"),
    "chunks with extensions and trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\ntrailer: x\r\n\r\n"
    ),
    "gzip": response(gzip.compress(b"hello"), headers=("Content-Encoding: gzip",)),
    "gzip in chunks": chunked(gzip.compress(b"hello"), headers="content-encoding: gzip\r\n"),
    "an interim answer first": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + response(b"hello"),
    "no reason": b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_answers_are_read(name: str) -> None:
    assert fetch(once(HONEST[name])) == b"hello"


def test_an_answer_that_ends_with_the_connection_is_read() -> None:
    assert fetch(once(b"HTTP/1.0 200 OK\r\n\r\nhello"), close_after=True) == b"hello"


BOMB = gzip.compress(bytes(5_000_000))
EVIL: dict[str, tuple[bytes, str]] = {
    "a redirect": (response(status="302 Found", headers=("location: http://127.0.0.1:1/",)), "redirects"),
    "a redirect for good": (response(status="308 Permanent Redirect", headers=("location: /x",)), "redirects"),
    "more than promised": (response(bytes(1001)), "1001 bytes"),
    "more in chunks": (chunked(bytes(600), bytes(600)), "longer than"),
    "a huge chunk": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\n", "gave up"),
    "a huge length": (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", "99999999999 bytes"),
    "a gzip bomb": (response(BOMB, headers=("content-encoding: gzip",)), "bytes"),
    "a small gzip bomb": (response(gzip.compress(bytes(1001)), headers=("content-encoding: gzip",)), "unpacks to more"),
    "gzip, cut off": (response(gzip.compress(b"hello")[:-4], headers=("content-encoding: gzip",)), "cut off"),
    "gzip, and more": (response(gzip.compress(b"hello") + b"x", headers=("content-encoding: gzip",)), "after it"),
    "gzip twice": (
        response(gzip.compress(b"hello") + gzip.compress(b"!"), headers=("content-encoding: gzip",)),
        "after it",
    ),
    "no gzip": (response(b"hello", headers=("content-encoding: gzip",)), "not the gzip"),
    "another encoding": (response(b"hello", headers=("content-encoding: br",)), "unasked"),
    "two lengths": (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 4\r\n\r\nhello", "Content-Length"),
    "two encodings": (response(b"hello", headers=("content-encoding: gzip", "content-encoding: br")), "two headers"),
    "length and chunks": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding can't be present with Content-Length",
    ),
    "a negative length": (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhello", "Content-Length"),
    "a length in words": (b"HTTP/1.1 200 OK\r\ncontent-length: 5 bytes\r\n\r\nhello", "Content-Length"),
    "another coding": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "transfer-encoding"),
    "a bad chunk": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", "chunk"),
    "a chunk without its end": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloX0\r\n0\r\n\r\n",
        "chunk",
    ),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.7\r\n\r\n", "Expected HTTP/"),
    "HTTP/2": (b"HTTP/2 200 OK\r\n\r\n", "not proper HTTP/1.1"),
    "a header with a space": (b"HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\nhello", "header field"),
    "a folded header": (b"HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 5\r\n\r\nhello", "whitespace"),
    "another protocol": (
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n" + response(b"hello"),
        "another protocol",
    ),
    "a long head": (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, "too long"),
    "interim answers without end": (b"HTTP/1.1 102 Processing\r\n\r\n" * 20, "without end"),
    "trailers without end": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 20_000,
        "too long",
    ),
    "nothing there": (response(b"no such file", status="404 Not Found"), "404"),
    "an error": (response(b"", status="500 Internal Server Error"), "500"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", "204"),
    "a part": (response(b"hello", status="206 Partial Content"), "206"),
}


@pytest.mark.parametrize("name", EVIL)
def test_evil_answers_are_refused(name: str) -> None:
    data, why = EVIL[name]
    with pytest.raises(TransportError, match=why) as refused:
        fetch(once(data))
    assert "\n" not in str(refused.value)


def test_absence_has_its_status() -> None:
    with pytest.raises(TransportError) as refused:
        fetch(once(response(status="404 Not Found")))
    assert refused.value.status == 404


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell"])
def test_a_connection_closed_half_way_is_an_error(data: bytes) -> None:
    with pytest.raises(TransportError, match="closed the connection"):
        fetch(once(data), close_after=True)


def test_a_gzip_bomb_takes_no_memory() -> None:
    body = gzip.compress(bytes(200_000_000), 9)
    tracemalloc.start()
    try:
        with pytest.raises(TransportError, match="unpacks to more"):
            fetch(
                once(response(body, headers=("content-encoding: gzip",))),
                max_bytes=len(body),
                limits=Limits(deadline=10),
            )
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def drip(first: bytes, gap: float, step: bytes = b"x") -> Answer:
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(first)
        while True:
            time.sleep(gap)
            connection.sendall(step)

    return answer


SLOW: dict[str, Answer] = {
    "silence": lambda connection, _: time.sleep(5),
    "a dripping status line": drip(b"HTTP/1.1 200 O", 0.02),
    "dripping headers": drip(b"HTTP/1.1 200 OK\r\n", 0.02, b"a: b\r\n"),
    "a dripping body": drip(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", 0.02),
    "a dripping endless body": drip(b"HTTP/1.1 200 OK\r\n\r\n", 0.02),
    "dripping chunks": drip(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 0.02, b"1\r\nx\r\n"),
    "dripping interim answers": drip(b"", 0.02, b"HTTP/1.1 102 Processing\r\nx: y\r\n\r\n"),
}


@pytest.mark.parametrize("name", SLOW)
def test_slow_answers_are_given_up(name: str) -> None:
    start = time.monotonic()
    with pytest.raises(TransportError, match=r"gave up|without end|too long"):
        fetch(SLOW[name], max_bytes=1_000_000)
    assert time.monotonic() - start < 1.5


def test_a_fast_enough_answer_still_has_to_meet_the_deadline() -> None:
    limits = Limits(deadline=0.4, least_rate=1, grace=0.2)
    start = time.monotonic()
    with pytest.raises(TransportError, match="gave up"):
        fetch(
            drip(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", 0.01, bytes(100)),
            max_bytes=1_000_000,
            limits=limits,
        )
    assert time.monotonic() - start < 1.2


def test_a_refusal_with_an_endless_body_is_given_up_too() -> None:
    start = time.monotonic()
    with pytest.raises(TransportError, match="404"):
        fetch(drip(b"HTTP/1.1 404 Not Found\r\ncontent-length: 1000\r\n\r\n", 0.02))
    assert time.monotonic() - start < 1.5


def test_a_server_that_does_not_answer_the_door() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        HttpFetcher(f"http://127.0.0.1:{port}/", limits=QUICK) as fetcher,
        pytest.raises(TransportError, match="refused") as refused,
    ):
        fetcher.get("metadata/timestamp.json", max_bytes=10)
    assert refused.value.hint


def test_a_connection_is_used_again() -> None:
    with serving(once(response(b"hello"))) as server, HttpFetcher(server.url) as fetcher:
        for _ in range(5):
            assert fetcher.get("metadata/timestamp.json", max_bytes=10) == b"hello"
        assert server.connections == 1
    head = server.heads[0]
    assert head.startswith(b"GET /repo/metadata/timestamp.json HTTP/1.1\r\nhost: 127.0.0.1:")


def test_a_connection_that_was_closed_while_idle_is_opened_again() -> None:
    with serving(once(response(b"hello")), close_after=True) as server, HttpFetcher(server.url) as fetcher:
        for _ in range(3):
            assert fetcher.get("metadata/timestamp.json", max_bytes=10) == b"hello"
            time.sleep(0.02)
        assert server.connections == 3


@pytest.mark.parametrize("gap", [0.0, 0.05])
def test_what_a_server_sends_unasked_is_not_the_next_answer(gap: float) -> None:
    """Bytes after an answer would be read as the answer to the next request."""

    def answer(connection: socket.socket, _: bytes) -> None:
        if not gap:
            connection.sendall(response(b"hello") + response(b"smuggled"))
            return
        connection.sendall(response(b"hello"))
        time.sleep(gap)
        connection.sendall(response(b"smuggled"))

    with serving(answer) as server, HttpFetcher(server.url) as fetcher:
        for _ in range(4):
            assert fetcher.get("a", max_bytes=100) == b"hello"
            time.sleep(2 * gap)
    assert server.connections == 4


@pytest.mark.parametrize("answer", [response(status="204 No Content"), b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_connection_that_was_not_opened_to_the_end_is_not_kept(answer: bytes) -> None:
    """Refused by the proxy, or silent when TLS should begin."""
    with (
        serving(once(answer)) as proxy,
        HttpFetcher("https://mirror.example/", proxy=proxy.url, limits=QUICK) as fetcher,
    ):
        for _ in range(2):
            with pytest.raises(TransportError, match=r"the proxy answered 204|gave up"):
                fetcher.get("x", max_bytes=100)
            assert fetcher._idle == []
    assert proxy.connections == 2


@pytest.mark.parametrize(
    "extra", [b"x", response(b"hello"), b"\x16\x03\x03\x00\x05hello"], ids=["a byte", "HTTP", "TLS"]
)
@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", response()], ids=["as it should be", "with a length"])
def test_bytes_after_a_tunnel_was_opened_are_not_the_origins(head: bytes, extra: bytes) -> None:
    """They came before we said hello, so they are the proxy's; TLS would begin with them, or the first answer would."""
    with (
        serving(once(head + extra)) as proxy,
        HttpFetcher("https://mirror.example/", proxy=proxy.url, limits=QUICK) as fetcher,
        pytest.raises(TransportError, match=r"the proxy answered 200|more than the tunnel|unasked|not proper HTTP"),
    ):
        fetcher.get("x", max_bytes=100)
    assert len(proxy.heads) == 1, "nothing was said to whoever sent them"


def test_a_tunnel_to_an_address_has_brackets_and_a_port() -> None:
    with (
        serving(once(response(status="403 Forbidden"))) as proxy,
        HttpFetcher("https://[::1]/", proxy=proxy.url) as fetcher,
        pytest.raises(TransportError, match="the proxy answered 403"),
    ):
        fetcher.get("metadata/timestamp.json", max_bytes=10)
    assert proxy.heads[0].startswith(b"CONNECT [::1]:443 HTTP/1.1\r\nhost: [::1]:443\r\n")


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_no_proxy_is_taken_from_the_environment(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1/")
    assert fetch(once(response(b"hello"))) == b"hello"


def test_a_proxy_that_is_asked_for_gets_the_whole_url() -> None:
    with (
        serving(once(response(b"hello"))) as proxy,
        HttpFetcher("http://mirror.example/repo", proxy=proxy.url) as fetcher,
    ):
        assert fetcher.get("metadata/timestamp.json", max_bytes=10) == b"hello"
    assert proxy.heads[0].startswith(
        b"GET http://mirror.example/repo/metadata/timestamp.json HTTP/1.1\r\nhost: mirror.example\r\n"
    )


def test_https_goes_through_a_proxy_in_a_tunnel_only() -> None:
    with (
        serving(once(response(status="403 Forbidden"))) as proxy,
        HttpFetcher("https://mirror.example/", proxy=proxy.url) as fetcher,
        pytest.raises(TransportError, match="the proxy answered 403"),
    ):
        fetcher.get("metadata/timestamp.json", max_bytes=10)
    assert proxy.heads[0].startswith(b"CONNECT mirror.example:443 HTTP/1.1\r\n")


@pytest.mark.parametrize("path", ["", "a b", "a\r\nx: y", "a\n", "\u00e4", "a?b", "a#b", 'a"'])
def test_paths_that_would_change_the_request_are_refused(path: str) -> None:
    with (
        serving(once(response(b"hello"))) as server,
        HttpFetcher(server.url) as fetcher,
        pytest.raises(TransportError, match="not a path"),
    ):
        fetcher.get(path, max_bytes=10)
    assert server.heads == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mirror.example",
        "ftp://mirror.example/",
        "file:///etc/passwd",
        "http://",
        "http://user:secret@mirror.example/",
        "http://mirror.example/?x=y",
        "http://mirror.example/#x",
        "http://mirror.example:99999/",
        "http://mirror.example:x/",
        "http://mirror.example/a b/",
        "http://mir\u00e4ror.example/",
        "http://[::1/",
        "http://.mirror.example/",
        "http://mirror..example/",
        "http://./",
        "http://" + "m" * 64 + ".example/",
    ],
)
def test_urls_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        HttpFetcher(url)


@pytest.mark.parametrize(
    "url", ["http://mirror.example", "https://mirror.example/a/b", "http://[::1]:8080/", "http://mirror.example./"]
)
def test_urls_are_taken(url: str) -> None:
    assert HttpFetcher(url).url == (url if url.endswith("/") else url + "/")


@pytest.mark.parametrize(
    "more",
    [
        b"x",
        b"\x16\x03\x03\x00\x7a",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ],
    ids=["a byte", "the start of a handshake", "another answer"],
)
@pytest.mark.parametrize("headers", ["", "content-length: 0\r\n", "content-length: 99\r\n", "connection: close\r\n"])
def test_what_a_proxy_sends_after_the_tunnel_is_refused(headers: str, more: bytes) -> None:
    """What came before TLS begins would otherwise be read as if it came from the origin, or be lost."""
    answer = f"HTTP/1.1 200 OK\r\n{headers}\r\n".encode() + more
    with (
        serving(once(answer)) as proxy,
        HttpFetcher("https://mirror.example/", proxy=proxy.url, limits=QUICK) as fetcher,
        pytest.raises(TransportError, match=r"more than the tunnel|answered unasked|not proper HTTP"),
    ):
        fetcher.get("metadata/timestamp.json", max_bytes=10)
    assert [head.split(b" ")[0] for head in proxy.heads] == [b"CONNECT"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (b"\r\nhello", "the proxy sent more than the tunnel that was asked for"),
        (b"content-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "the server answered unasked"),
    ],
    ids=["bytes", "an answer"],
)
def test_what_comes_after_a_tunnel_is_named(more: bytes, why: str) -> None:
    with (
        serving(once(b"HTTP/1.1 200 OK\r\n" + more)) as proxy,
        HttpFetcher("https://mirror.example/", proxy=proxy.url, limits=QUICK) as fetcher,
        pytest.raises(TransportError, match=why),
    ):
        fetcher.get("metadata/timestamp.json", max_bytes=10)
