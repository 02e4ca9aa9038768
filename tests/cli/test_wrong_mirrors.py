"""What answers at a mirror's address is something else: each error says where, what it is, and what to type."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.crates.locks import LEAF, locked, write_lock
from tests.support.machines.cargo import Machine
from tests.support.machines.command import done
from tests.support.registries.signed import SignedRegistry

from carnet.errors import ExpiredMetadata
from carnet_cli.config import home
from carnet_gate.admission import Grounds
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.policy.policy import Policy
from carnet_verifier.tuf.refresh import read_repository


@pytest.fixture(autouse=True)
def lock(machine: Machine) -> None:
    write_lock(machine, locked(LEAF))


def told(machine: Machine, *command: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """The exit status, the error and the hint of a command: one line each."""
    done = machine.carnet(*(command or ("verify",)), env=env)
    assert "Traceback" not in done.stderr
    errors = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
    hints = [line.removeprefix("hint: ") for line in done.stderr.splitlines() if line.startswith("hint: ")]
    assert (len(errors), len(hints)) == (1, 1), done.stderr
    return done.returncode, errors[0], hints[0]


def instead(registry: SignedRegistry, answer: bytes | None) -> dict[str, bytes | None]:
    """The same answer to everything."""
    return dict.fromkeys([*registry.publication.files, "metadata/2.root.json"], answer)


def test_another_repository_is_named_and_the_way_to_the_moved_one(machine: Machine, registry: SignedRegistry) -> None:
    other = SignedRegistry("other")
    registry.served.update({path: other.publication.read(path) for path in registry.publication.files})
    status, error, hint = told(machine)
    assert status == 1
    assert error.startswith(f"{registry.url}/: timestamp is signed by 0 of its 1 keys")
    assert "another repository than the one that you trust answers there" in hint
    with SignedRegistry.serving(registry_at(registry)) as moved:
        command = hint.split("`")[1].replace("URL", moved.url).split()
        assert machine.carnet(*command[1:]).returncode == 0
        assert machine.carnet("verify").returncode == 0


def test_a_clock_that_is_two_days_behind_is_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(machine.path)
    for name in ("HOME", "CARNET_HOME"):
        monkeypatch.setenv(name, machine.env()[name])
    true = datetime.now(UTC)
    monkeypatch.setattr(home, "now", lambda: true - timedelta(days=2, hours=1))
    behind = done("verify")
    assert "warning: this machine's clock says" in behind.err
    assert "signed at least 2 days later" in behind.err
    monkeypatch.setattr(home, "now", lambda: true)
    assert "clock" not in done("verify").err


@pytest.mark.parametrize(("behind", "remarks"), [(timedelta(days=2, hours=1), 1), (timedelta(0), 0)])
def test_the_gate_is_told_of_it_as_well(
    registry: SignedRegistry, tmp_path: Path, behind: timedelta, remarks: int
) -> None:
    trust, told = TrustDirectory.create(tmp_path / "seen", registry.root, registry.url), list[str]()
    grounds = Grounds(Policy(), trust, lambda: datetime.now(UTC) - behind, remark=told.append)
    with grounds.open_view() as view:
        assert view.repository.trusted.root.signed.version == 1
    assert len(told) == remarks


def registry_at(registry: SignedRegistry) -> SignedRegistry:
    """The same repository, for another address."""
    one = SignedRegistry()
    one.publication, one.ceremony = registry.publication, registry.ceremony
    return one


@pytest.mark.parametrize(
    ("body", "expected", "reason", "shown"),
    [
        (b"<html>please log in</html>", 3, "metadata/2.root.json: answered with a web page", "2.root.json"),
        (b"\xef\xbb\xbf\r\n <!DOCTYPE html>", 3, "metadata/2.root.json: answered with a web page", "2.root.json"),
        (b"", 3, "metadata/2.root.json: answered with an empty file", "2.root.json"),
        (b"\xff\xfe\x00", 1, ": root is not ", "timestamp.json"),
    ],
    ids=["login", "login with a mark", "empty", "binary"],
)
def test_what_is_no_mirror_is_shown_how_to_look_at(
    machine: Machine, registry: SignedRegistry, body: bytes, expected: int, reason: str, shown: str
) -> None:
    registry.served.update(instead(registry, body))
    status, error, hint = told(machine)
    assert status == expected
    assert error.startswith(f"{registry.url}/{reason}")
    assert f"{registry.url}/metadata/{shown}`" in hint
    assert "`carnet trust move URL`" in hint


def test_a_web_server_without_a_mirror(machine: Machine, registry: SignedRegistry) -> None:
    registry.served.update(instead(registry, None))
    status, error, hint = told(machine)
    assert (status, error) == (3, f"{registry.url}/metadata/timestamp.json: answered 404")
    assert "`carnet trust move URL`" in hint


def test_an_old_copy_is_not_believed_and_says_whom_to_ask(machine: Machine, registry: SignedRegistry) -> None:
    old = dict(registry.publication.files)
    registry.add(LEAF)
    assert machine.carnet("verify").returncode == 0
    registry.served.update({"metadata/timestamp.json": old["metadata/timestamp.json"]})
    status, error, hint = told(machine)
    assert status == 1
    assert error.startswith(f"{registry.url}/: ")
    assert "an old copy of the mirror answers there" in hint


@pytest.mark.parametrize(
    ("days", "what", "who"),
    [
        (2, "timestamp version", "its operator has to run `carnet mirror refresh DIR`"),
        (370, "root version", "the registry's holders have to sign the next version (`carnet root rotate DIR`)"),
    ],
)
def test_what_expired_is_renewed_by_whoever_signs_it_unless_the_clock_is_wrong(days: int, what: str, who: str) -> None:
    registry = SignedRegistry()
    late = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    with pytest.raises(ExpiredMetadata) as caught:
        read_repository(registry.root, ReadFetcher(registry.publication.read), now=late)
    assert str(caught.value).startswith(what)
    assert f"this machine's clock says {late:%Y-%m-%dT}" in str(caught.value)
    assert "if the clock is right (`date -u`)" in caught.value.hint
    assert who in caught.value.hint


@pytest.mark.parametrize("data", [b"<html>", b"", b"{}"], ids=["login", "empty", "object"])
def test_a_file_that_is_no_root(machine: Machine, registry: SignedRegistry, data: bytes) -> None:
    (machine.path / "bad.json").write_bytes(data)
    status, error, hint = told(machine, "trust", "add", registry.url, "--root", str(machine.path / "bad.json"))
    assert (status, "bad.json: this root cannot be trusted: " in error) == (2, True)
    assert "ask the repository's operator for the root file" in hint


# --- TLS ---


def authority(name: str, folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    private = ec.generate_private_key(ec.SECP256R1())
    made = certificate(name, private, None, ca=True)
    (folder / "authority.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return made, private


def certificate(
    name: str,
    private: ec.EllipticCurvePrivateKey,
    by: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    *,
    ca: bool = False,
    days: int = 1,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by[0].subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(private if by is None else by[1], hashes.SHA256())
    )


@contextlib.contextmanager
def in_front_of(
    registry: SignedRegistry, folder: Path, host: str = "localhost", *, days: int = 1, alone: bool = False
) -> Iterator[str]:
    """TLS for a registry, with a certificate of an authority of our own, or of nobody's; its https:// address."""
    above = authority("Example Corp Root", folder)
    private = ec.generate_private_key(ec.SECP256R1())
    shown = certificate(host, private, None if alone else above, days=days)
    (folder / "server.pem").write_bytes(
        shown.public_bytes(serialization.Encoding.PEM)
        + private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    back = ("127.0.0.1", int(registry.url.rsplit(":", 1)[1]))

    def talk(raw: socket.socket) -> None:
        with contextlib.suppress(OSError), raw, context.wrap_socket(raw, server_side=True) as front:
            front.settimeout(20)
            with socket.create_connection(back) as behind:
                there = threading.Thread(target=copy, args=(front, behind), daemon=True)
                there.start()
                copy(behind, front)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"https://localhost:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def copy(from_one: socket.socket, to_other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := from_one.recv(65_536):
            to_other.sendall(data)
        to_other.shutdown(socket.SHUT_WR)


def test_the_missing_authority_is_named_and_its_file_lets_the_mirror_in(
    machine: Machine, registry: SignedRegistry, tmp_path: Path
) -> None:
    with in_front_of(registry, tmp_path) as url:
        status, error, hint = told(machine, "trust", "move", url)
        assert status == 3
        assert f"certificate verify failed: {url.removeprefix('https://')}: " in error
        assert "the authority that signed it, 'CN=Example Corp Root', is none of those that this machine knows" in error
        command = hint.split("`")[1].replace("FILE.pem", str(tmp_path / "authority.pem"))
        name, value = command.removeprefix("export ").split("=")
        assert machine.carnet("trust", "move", url, env={name: value}).returncode == 0
        assert machine.carnet("verify", env={name: value}).returncode == 0
        _, error, _ = told(machine, env={name: f"{value}.gone"})
        assert f"(SSL_CERT_FILE names {value}.gone, which is not there)" in error


@pytest.mark.parametrize(
    ("server", "said", "way_on"),
    [
        ({"alone": True}, "is none of those that this machine knows", "`export SSL_CERT_FILE=FILE.pem`"),
        ({"host": "mirror.example"}, "not valid for 'localhost'", "subjectAltName` shows it"),
        ({"days": -1}, "certificate has expired", "`date -u`"),
    ],
    ids=["self-signed", "another name", "expired"],
)
def test_what_is_wrong_with_a_certificate(
    machine: Machine, registry: SignedRegistry, tmp_path: Path, server: dict[str, str], said: str, way_on: str
) -> None:
    with in_front_of(registry, tmp_path, **server) as url:  # type: ignore[arg-type]
        trusted = {} if "alone" in server else {"SSL_CERT_FILE": str(tmp_path / "authority.pem")}
        status, error, hint = told(machine, "trust", "move", url, env=trusted)
        assert (status, said in error, way_on in hint) == (3, True, True), (error, hint)


def test_http_where_https_is_meant(machine: Machine, registry: SignedRegistry) -> None:
    status, error, hint = told(machine, "trust", "move", registry.url.replace("http:", "https:"))
    assert status == 3
    assert "does not speak TLS as it should" in error
    assert "write http://" in hint


def test_a_proxy_that_is_configured_for_others_is_told_of(machine: Machine) -> None:
    """It is used, so what fails is about the proxy, and says who named it; without one, that there may be one."""
    name, proxy = "mirror.invalid", "proxy.invalid"
    status, error, hint = told(machine, "trust", "move", f"https://{name}", env={"HTTPS_PROXY": f"http://{proxy}"})
    assert status == 3
    assert f"{name}/metadata/2.root.json: the proxy {proxy}:1080: " in error
    assert f"`getent hosts {proxy}`" in hint
    assert "HTTPS_PROXY names the proxy" in hint
    status, error, hint = told(machine, "trust", "move", f"https://{name}")
    assert status == 3
    assert f"{name}:443: " in error
    assert f"`getent hosts {name}`" in hint
    assert "where servers are reached through a proxy only, set HTTPS_PROXY" in hint
