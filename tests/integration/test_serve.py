"""A real server on a real socket: what it answers, and what it refuses."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import CARNET, RunningMirror, make_mirror, running_mirror, serving


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMirror]:
    noise = random.Random(1).randbytes(400_000)  # larger than what is sent in one piece
    crates = [honest_crate("small"), honest_crate("large", files={"noise.bin": noise})]
    with running_mirror(tmp_path_factory.mktemp("serve"), crates) as running:
        yield running


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def ask(mirror: RunningMirror, request: bytes, timeout: float = 5) -> bytes:
    """Send bytes as they are, and return what comes until the server closes or says no more."""
    host, port = mirror.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        connection.sendall(request)
        pieces = []
        try:
            while piece := connection.recv(65536):
                pieces.append(piece)
        except TimeoutError:
            pieces.append(b"[silence]")
        except ConnectionResetError:
            pass
        return b"".join(pieces)


def get(mirror: RunningMirror, path: str, method: str = "GET", *, host: str = "localhost", **headers: str) -> Answer:
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    raw = ask(mirror, "\r\n".join([*lines, "", ""]).encode("latin-1"))
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    found = dict(line.lower().split(": ", 1) for line in rest)
    return Answer(int(first.split()[1]), found, body)


def test_metadata_is_served(mirror: RunningMirror) -> None:
    root = get(mirror, "/metadata/1.root.json")
    assert (root.status, root.body) == (200, mirror.root)
    assert root.headers["cache-control"] == "public, max-age=31536000, immutable"
    timestamp = get(mirror, "/metadata/timestamp.json")
    assert json.loads(timestamp.body)["signed"]["_type"] == "timestamp"
    assert timestamp.headers["cache-control"] == "no-cache"


def test_config_points_to_this_mirror(mirror: RunningMirror) -> None:
    assert json.loads(get(mirror, "/index/config.json").body) == {"dl": f"{mirror.url}/api/v1/crates"}


@pytest.mark.parametrize("name", ["small", "large"])
def test_a_crate_is_downloaded_as_it_was_published(mirror: RunningMirror, name: str) -> None:
    line = json.loads(get(mirror, f"/index/{name[:2]}/{name[2:4]}/{name}").body)
    path = f"/api/v1/crates/{name}/0.1.0/download"
    whole = get(mirror, path, accept_encoding="gzip")
    assert whole.status == 200
    assert hashlib.sha256(whole.body).hexdigest() == line["cksum"]
    assert "content-encoding" not in whole.headers
    assert whole.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert get(mirror, path, if_none_match=whole.headers["etag"]).status == 304
    head = get(mirror, path, "HEAD")
    assert (head.body, head.headers["content-length"]) == (b"", str(len(whole.body)))
    for other in ("0.1.1", "0.1.0+x", "0.1", "0.1.0/x"):
        assert get(mirror, f"/api/v1/crates/{name}/{other}/download").status == 404
    assert get(mirror, f"/api/v1/crates/{name.upper()}/0.1.0/download").status == 404


def test_an_etag_saves_the_body(mirror: RunningMirror) -> None:
    etag = get(mirror, "/metadata/1.root.json").headers["etag"]
    for sent in (etag, f'W/{etag}, "other"', "*"):
        again = get(mirror, "/metadata/1.root.json", if_none_match=sent)
        assert (again.status, again.body) == (304, b"")
    assert get(mirror, "/metadata/1.root.json", if_none_match='"other"').status == 200


def test_gzip_for_those_who_ask(mirror: RunningMirror) -> None:
    packed = get(mirror, "/metadata/1.root.json", accept_encoding="br, gzip;q=0.5")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "accept-encoding"
    assert gzip.decompress(packed.body) == mirror.root
    assert get(mirror, "/metadata/1.root.json", if_none_match=packed.headers["etag"]).status == 304
    for accept in ("identity", "gzip;q=0", "br"):
        assert get(mirror, "/metadata/1.root.json", accept_encoding=accept).body == mirror.root


def test_head_has_the_headers_and_no_body(mirror: RunningMirror) -> None:
    whole, head = get(mirror, "/metadata/1.root.json"), get(mirror, "/metadata/1.root.json", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.body))
    assert head.headers["etag"] == whole.headers["etag"]


@pytest.mark.parametrize(
    "path",
    [
        "/metadata/../mirror.db",
        "/metadata/%2e%2e/mirror.db",
        "/mirror.db",
        "/metadata/..%2fmirror.db",
        "//metadata/1.root.json",
        "/metadata//1.root.json",
        "/metadata/1.root.json/",
        "/metadata/1.root.json%00",
        "/metadata/1.root.json%0a",
        "/metadata/%ff%fe",
        "/metadata/",
        "/metadata/2.root.json",
        "/targets/",
        "/blobs/",
        "/index/",
        "/index/se/rd/serde",
        "/index/../metadata/1.root.json",
        "/api/v1/crates/serde/1.0.0/download",
        "/api/v1/crates/../x/download",
        "/api/v1/crates/serde/1.0/download",
        "/nothing",
    ],
)
def test_what_is_not_published_is_not_found(mirror: RunningMirror, path: str) -> None:
    answer = get(mirror, path)
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_only_reading(mirror: RunningMirror, method: str) -> None:
    assert get(mirror, "/metadata/1.root.json", method).status == 405


def test_a_long_path_and_large_headers_are_refused(mirror: RunningMirror) -> None:
    assert get(mirror, "/" + "a" * 2000).status == 414
    flood = ask(mirror, b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"x: " + b"a" * 200_000 + b"\r\n\r\n")
    assert b" 200 " not in flood[:20]
    assert get(mirror, "/metadata/1.root.json").status == 200


@pytest.mark.parametrize("framing", [b"content-length: 1000000000", b"transfer-encoding: chunked"])
def test_a_body_is_neither_read_nor_waited_for(mirror: RunningMirror, framing: bytes) -> None:
    started = time.monotonic()
    answer = ask(mirror, b"GET / HTTP/1.1\r\nhost: localhost\r\n" + framing + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"[silence]" not in answer
    assert time.monotonic() - started < 4


@pytest.mark.parametrize(
    "noise", [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x00"]
)
def test_noise_does_not_disturb_others(mirror: RunningMirror, noise: bytes) -> None:
    ask(mirror, noise, timeout=0.5)
    assert get(mirror, "/metadata/1.root.json").status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8790", "localhost", "LOCALHOST:1", "[::1]", "[::1]:80"])
def test_loopback_is_answered_by_each_of_its_names(mirror: RunningMirror, host: str) -> None:
    assert get(mirror, "/metadata/1.root.json", host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8790", "evil@[::", "", "192.0.2.1"]
)
@pytest.mark.parametrize("path", ["/metadata/1.root.json", "/api/v1/carnet/submissions"])
def test_a_name_that_was_bound_to_this_address_is_not_answered(mirror: RunningMirror, host: str, path: str) -> None:
    """A page of that name would read what only this machine may, or hand something in."""
    answer = get(mirror, path, host=host)
    assert answer.status in (400, 421)
    assert mirror.root not in answer.body


def test_two_hosts_are_none(mirror: RunningMirror) -> None:
    answer = ask(mirror, b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\nconnection: close\r\n\r\n")
    assert b" 421 " in answer or b" 400 " in answer


def test_hosts_that_the_operator_names_are_answered(tmp_path: Path) -> None:
    directory = make_mirror(tmp_path / "mirror")
    named = ("--read-only", "--url", "https://crates.example.org/x", "--host-name", "Internal.example")
    with serving(directory, *named) as served:
        running = replace(served, url=f"http://127.0.0.1:{port_of(served.process.pid)}")
        for host, status in (("crates.example.org", 200), ("internal.example:80", 200), ("other.example", 421)):
            assert get(running, "/metadata/1.root.json", host=host).status == status, host


def port_of(pid: int) -> int:
    """The port on which a process listens."""
    links = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(str(descriptor.readlink()))
    sockets = {link[8:-1] for link in links if link.startswith("socket:")}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in sockets:
            return int(fields[1].split(":")[1], 16)
    raise AssertionError("it listens nowhere")


def test_a_line_for_each_request(mirror: RunningMirror) -> None:
    get(mirror, "/log-me%0aforged%20line", user_agent="an agent")
    line = next(line for line in mirror.access_log.read_text().splitlines() if "log-me" in line)
    assert "GET /log-me\\nforged%20line 404" in line
    assert line.endswith('"an agent"')


def test_a_taken_port_is_refused(mirror: RunningMirror) -> None:
    port = mirror.url.rpartition(":")[2]
    command = [*CARNET, "mirror", "serve", str(mirror.directory.path), "--port", port, "--read-only"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 2
    assert second.stderr.startswith(f"error: cannot listen on 127.0.0.1:{port}")
    assert "Traceback" not in second.stderr


def test_it_stops_when_asked(tmp_path: Path) -> None:
    with running_mirror(tmp_path) as running:
        assert get(running, "/metadata/1.root.json").status == 200
        assert running.stop() == 0


def test_a_directory_without_a_mirror(tmp_path: Path) -> None:
    command = [*CARNET, "mirror", "serve", str(tmp_path), "--port", "0", "--read-only"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path} holds no mirror")
