"""Fetching over TLS: whose certificate counts, and what records without data, or a ragged end, come to."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.servers.evil import once, response, serving

from carnet.errors import TransportError
from carnet_verifier.net.fetch import HttpFetcher, Limits
from carnet_verifier.net.route import Route
from carnet_verifier.net.wire import Clock, Wire

QUICK = Limits(deadline=0.6, connect=0.5, least_rate=10_000, grace=0.3)


def certificate(host: str, folder: Path) -> tuple[Path, Path]:
    """A key and a certificate that signs itself."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize(("host", "trusted"), [("localhost", True), ("localhost", False), ("other.example", True)])
def test_https_is_for_the_named_host_and_a_trusted_authority(host: str, trusted: bool, tmp_path: Path) -> None:
    cert, private = certificate(host, tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, private)
    with serving(once(response(b"hello")), tls=context) as server:
        port = server.url.rsplit(":", 1)[1].split("/")[0]
        with HttpFetcher(
            f"https://localhost:{port}/", ca_file=str(cert) if trusted else None, limits=Limits(deadline=5)
        ) as fetcher:
            if trusted and host == "localhost":
                for _ in range(3):
                    assert fetcher.get("metadata/timestamp.json", max_bytes=10) == b"hello"
            else:
                with pytest.raises(TransportError, match="certificate verify failed"):
                    fetcher.get("metadata/timestamp.json", max_bytes=10)


@pytest.fixture
def localhost(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's side of TLS as localhost, and the file of the authority behind it."""
    cert, private = certificate("localhost", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, private)
    return context, str(cert)


def secure(url: str) -> str:
    return url.replace("http://127.0.0.1", "https://localhost")


def test_large_files_come_whole_over_tls_and_through_a_tunnel(localhost: tuple[ssl.SSLContext, str]) -> None:
    context, authority = localhost
    body = bytes(range(256)) * 4000

    with serving(once(response(body)), tls=context) as server:

        def tunnel(connection: socket.socket, _: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            port = int(server.url.split(":")[2].split("/")[0])
            with socket.create_connection(("127.0.0.1", port)) as onward:
                there = threading.Thread(target=copy, args=(connection, onward), daemon=True)
                there.start()
                copy(onward, connection)
            there.join()

        with serving(tunnel) as proxy:
            for through in (None, proxy.url):
                with HttpFetcher(secure(server.url), ca_file=authority, proxy=through) as fetcher:
                    for _ in range(2):
                        assert fetcher.get_many([("x", len(body))] * 3) == [body] * 3
        assert server.connections == 2


def copy(from_one: socket.socket, to_other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := from_one.recv(65_536):
            to_other.sendall(data)
        to_other.shutdown(socket.SHUT_WR)


def test_records_without_data_do_not_hold_up_the_deadline_of_a_handshake() -> None:
    """Anybody on the way can send them: requests to say hello again, which TLS ignores meanwhile."""
    flood = b"\x16\x03\x03\x00\x04\x00\x00\x00\x00" * 5000

    def talk() -> None:
        connection, _ = listener.accept()
        end = time.monotonic() + 3
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            while time.monotonic() < end:
                connection.sendall(flood)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=talk)
        thread.start()
        start = time.monotonic()
        with (
            HttpFetcher(f"https://127.0.0.1:{listener.getsockname()[1]}/", limits=QUICK) as fetcher,
            pytest.raises(TransportError, match="gave up after 0 seconds and 0 bytes"),
        ):
            fetcher.get("x", max_bytes=100)
        assert time.monotonic() - start < 1.2
        thread.join()


def test_nothing_is_asked_for_in_the_clear_after_a_handshake_that_took_too_long() -> None:
    heard: list[bytes] = []

    def silent(connection: socket.socket) -> None:
        heard.append(connection.recv(65_536)[:1])
        heard.append(connection.recv(65_536))

    with (
        talking(silent) as url,
        HttpFetcher(url, limits=QUICK) as fetcher,
        pytest.raises(TransportError, match="gave up after 0 seconds and 0 bytes"),
    ):
        fetcher.get("x", max_bytes=100)
    assert heard == [b"\x16", b""]


def in_memory(context: ssl.SSLContext, connection: socket.socket) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """Shake hands as a server that has its records in its own hand; those that it did not send are in the last."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    engine = context.wrap_bio(incoming, outgoing, server_side=True)
    while True:
        incoming.write(connection.recv(65_536))
        try:
            engine.do_handshake()
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
        else:
            return engine, incoming, outgoing


@contextlib.contextmanager
def talking(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of one connection, on localhost and with TLS."""

    def accept() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            talk(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}/"
        thread.join()


def test_tickets_for_later_sessions_are_no_answer_that_comes_fast_enough(localhost: tuple[ssl.SSLContext, str]) -> None:
    context, authority = localhost
    context.num_tickets = 400
    ended = threading.Event()

    def talk(connection: socket.socket) -> None:
        _, _, outgoing = in_memory(context, connection)
        tickets = outgoing.read()
        assert len(tickets) > 50_000
        for start in range(0, len(tickets), 200):
            connection.sendall(tickets[start : start + 200])
            if ended.wait(0.005):
                return

    limits = Limits(deadline=5, grace=0.5, least_rate=10_000)
    start = time.monotonic()
    with talking(talk) as url, HttpFetcher(url, ca_file=authority, limits=limits) as fetcher:
        with pytest.raises(TransportError, match="and 0 bytes"):
            fetcher.get("x", max_bytes=100)
        ended.set()
    assert time.monotonic() - start < 1.2


@pytest.mark.parametrize("unasked", ["in its own time", "with an answer"])
def test_an_idle_connection_may_bring_tickets_and_nothing_else(
    unasked: str, localhost: tuple[ssl.SSLContext, str]
) -> None:
    context, authority = localhost
    steps = [threading.Event() for _ in range(3)]

    def talk(connection: socket.socket) -> None:
        engine, _, outgoing = in_memory(context, connection)
        for step in steps:
            assert step.wait(5)
            if step is not steps[0]:
                engine.write(b"hello")
            if step is steps[1] and unasked == "with an answer":
                engine.write(b"smuggled")
            connection.sendall(outgoing.read())

    with talking(talk) as url:
        clock = Clock(5, 5, 1)
        wire = Wire(clock)
        wire.connect("localhost", int(url.split(":")[2].strip("/")), 1)
        wire.start_tls("localhost", Route(ca_file=authority))
        assert wire.quiet
        steps[0].set()
        time.sleep(0.05)
        assert wire.quiet
        steps[1].set()
        assert wire.receive() == b"hello"
        assert clock.received == 5
        assert wire.quiet == (unasked != "with an answer")
        steps[2].set()
        time.sleep(0.05)
        assert not wire.quiet
        wire.close()
        assert not wire.quiet


@pytest.mark.parametrize("tls", [False, True])
def test_why_a_server_refused_is_read_though_it_was_gone_before_we_wrote(
    tls: bool, localhost: tuple[ssl.SSLContext, str]
) -> None:
    """Its last words wait to be read, the refusal of our certificate too; writing fails by then."""
    context, authority = localhost
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority)
    connected, gone = threading.Event(), threading.Event()

    def refuse(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        assert connected.wait(5)  # else connecting fails already
        if tls:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            engine = context.wrap_bio(incoming, outgoing, server_side=True)
            with contextlib.suppress(ssl.SSLError):
                while True:
                    with contextlib.suppress(ssl.SSLWantReadError):
                        engine.do_handshake()
                    connection.sendall(outgoing.read())
                    incoming.write(connection.recv(65_536))
            connection.sendall(outgoing.read())
        else:
            connection.sendall(b"busy")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing is a reset
        connection.close()
        gone.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=refuse, args=(listener,), daemon=True).start()
        wire = Wire(Clock(5, 5, 1))
        wire.connect("127.0.0.1", listener.getsockname()[1], 1)
        connected.set()
        if tls:
            wire.start_tls("localhost", Route(ca_file=authority))
        assert gone.wait(5)
        wire.send(b"GET / HTTP/1.1\r\n\r\n")
        if tls:
            with pytest.raises(ssl.SSLError, match=r"(?i)alert certificate required"):
                wire.receive()
        else:
            assert wire.receive() == b"busy"
        wire.close()


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("length", [False, True])
def test_an_end_that_anybody_can_make_is_no_end_of_an_answer(
    ragged: bool, length: bool, localhost: tuple[ssl.SSLContext, str]
) -> None:
    """TLS has an end of its own; without it, an answer that only ends with the connection may be half of one."""
    context, authority = localhost

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(response(b"hello") if length else b"HTTP/1.0 200 OK\r\n\r\nhello")
        if not ragged:
            assert isinstance(connection, ssl.SSLSocket)
            connection.unwrap()
        raise OSError

    with (
        serving(answer, tls=context) as server,
        HttpFetcher(secure(server.url), ca_file=authority, limits=Limits(deadline=5)) as fetcher,
        pytest.raises(TransportError, match="half-way") if ragged and not length else contextlib.nullcontext(),
    ):
        assert fetcher.get("x", max_bytes=100) == b"hello"


def test_session_keys_are_not_written_where_the_environment_says(
    localhost: tuple[ssl.SSLContext, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = localhost
    keys = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    with (
        serving(once(response(b"hello")), tls=context) as server,
        HttpFetcher(secure(server.url), ca_file=authority) as fetcher,
    ):
        assert fetcher.get("x", max_bytes=100) == b"hello"
    assert not keys.exists()


def test_nothing_is_loaded_that_a_fetch_does_not_need(localhost: tuple[ssl.SSLContext, str]) -> None:
    """Each of these takes longer to load than a file to fetch."""
    context, authority = localhost
    script = """
import sys
sys.path[:] = sys.argv[4].split(":")
from carnet_verifier.net.fetch import HttpFetcher
before = set(sys.modules)
with HttpFetcher(sys.argv[1]) as fetcher:
    assert fetcher.get("x", max_bytes=100) == b"hello"
assert not {"ssl", "encodings.idna", "stringprep"} & sys.modules.keys()
assert "zlib" in before or "zlib" not in sys.modules
with HttpFetcher(sys.argv[2], ca_file=sys.argv[3]) as fetcher:
    assert fetcher.get("x", max_bytes=100) == b"hello"
assert not {"encodings.idna", "stringprep"} & sys.modules.keys()
"""
    with serving(once(response(b"hello"))) as plain, serving(once(response(b"hello")), tls=context) as server:
        arguments = [plain.url, secure(server.url), authority, ":".join(sys.path)]
        ended = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, check=False)
    assert ended.stderr == b""
