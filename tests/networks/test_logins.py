"""`carnet trust login` and `logout`: tokens, passwords, the system's keyring, client certificates."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tests.networks.surroundings import Front, PrivateAuthority, tls_front
from tests.support.servers.evil import response, serving
from tests.support.servers.forward_proxy import forward_proxy

from carnet.errors import CarnetError, ConfigError, TransportError
from carnet_cli import main
from carnet_cli.config.network.reading import VARIABLES, read_network
from carnet_mirror.web import client
from carnet_verifier.net.fetch import HttpFetcher
from carnet_verifier.net.route import Identity, Network, Origin

FILE = "metadata/timestamp.json"
TOKEN = "t0ken-of-alice"


class Desk:
    """Somebody who logs in.

    Attributes:
        path: Their folder, with their home in it.
        capture: What commands printed.
    """

    def __init__(self, path: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self.capture = capture
        (path / "secret").touch(mode=0o600)
        (path / "secret").write_text(f"{TOKEN}\nnot this line\n")

    @property
    def logins(self) -> Path:
        return self.path / "home/.config/carnet/logins.toml"

    def told(self, *args: str) -> tuple[int, str]:
        """The exit status of `carnet trust ...`, and all that it said."""
        status = main.run(main.cli, ["trust", *args], "carnet")
        printed = self.capture.readouterr()
        assert TOKEN not in printed.out + printed.err
        return status, printed.out + printed.err

    def login(self, url: str, *more: str) -> tuple[int, str]:
        return self.told("login", url, "--token-file", str(self.path / "secret"), *more)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    for name in ("CARGO_HOME", "NETRC", "XDG_CONFIG_HOME", *VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path, capsys)


def test_a_mirror_that_asks_who_one_is_lets_in_who_logged_in(desk: Desk, tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path / "ca")
    with (
        serving(lambda connection, _: connection.sendall(response(b"here"))) as server,
        tls_front(server.url.removesuffix("/repo/"), authority, "localhost", wants=f"Bearer {TOKEN}") as front,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("CARGO_HTTP_CAINFO", str(authority.file))
        with pytest.raises(TransportError, match="answered 401") as error:
            fetch(front.url)
        assert error.value.hint.startswith(
            f"the repository wants to know who you are: `carnet trust login {front.url}`"
        )
        (desk.path / "wrong").touch(mode=0o600)
        (desk.path / "wrong").write_text("another")
        status, said = desk.told("login", front.url, "--token-file", "wrong")
        assert (status, "nothing was kept" in said, desk.logins.exists()) == (3, True, False)
        status, said = desk.login(front.url, "--message-format", "json")
        assert status == 0
        assert json.loads(said) == {
            "reason": "logged-in",
            "origin": front.url,
            "file": str(desk.logins),
            "keyring": False,
        }
        assert fetch(front.url) == b"here"
        assert desk.told("logout", front.url) == (0, f"logged out at {front.url}\n")
        with pytest.raises(TransportError, match="answered 401"):
            fetch(front.url)
        status, said = desk.told("logout", front.url)
        assert (status, f"you are not logged in at {front.url}" in said) == (2, True)


def fetch(url: str, network: Network | None = None) -> bytes:
    with HttpFetcher(url, network=network or read_network().network) as fetcher:
        return fetcher.get(FILE, max_bytes=10)


def identity_at(url: str) -> Identity | None:
    host = url.removeprefix("https://")
    return read_network().network.route_to(Origin(True, host, 443)).identity


def test_each_origin_has_a_login_of_its_own(desk: Desk) -> None:
    assert desk.login("https://one.example/registry/", "--offline")[0] == 0
    assert desk.login("sparse+https://TWO.example:443/index/", "--offline", "--user", "alice")[0] == 0
    one, two, three = map(identity_at, ("https://one.example", "https://two.example", "https://three.example"))
    assert one is not None
    assert two is not None
    assert (one.authorization, three) == (f"Bearer {TOKEN}", None)
    assert two.authorization == "Basic YWxpY2U6dDBrZW4tb2YtYWxpY2U="
    assert desk.told("logout", "https://one.example")[0] == 0
    assert (identity_at("https://one.example"), identity_at("https://two.example")) == (None, two)


def test_what_is_no_login_changes_nothing(desk: Desk) -> None:
    wrong = [
        ("login", "http://mirror.example/", "--token-file", "secret"),
        ("login", "mirror.example", "--token-file", "secret"),
        ("login", "https://mirror.example/", "--token-file", "secret", "--token-fd", "0"),
        ("login", "https://mirror.example/", "--token-file", "nowhere"),
        ("login", "https://mirror.example/", "--client-key", "secret"),
        ("login", "https://mirror.example/"),
        ("logout", "https://mirror.example/"),
    ]
    for args in wrong:
        status, said = desk.told(*args)
        assert (status, "error: " in said, "Traceback" in said) == (2, True, False), (args, said)
    assert not desk.logins.exists()


# --- the system's keyring ---


class Keyring(ModuleType):
    """Stands where the package `keyring` would be."""

    def __init__(self) -> None:
        super().__init__("keyring")
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def _open(self) -> dict[tuple[str, str], str]:
        if self.locked:
            raise RuntimeError(f"locked, and here is all of it: {self.kept}")
        return self.kept

    def set_password(self, service: str, name: str, secret: str) -> None:
        self._open()[service, name] = secret

    def get_password(self, service: str, name: str) -> str | None:
        return self._open().get((service, name))

    def delete_password(self, service: str, name: str) -> None:
        del self._open()[service, name]


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> Keyring:
    one = Keyring()
    monkeypatch.setitem(sys.modules, "keyring", one)
    return one


def test_the_keyring_has_the_secret_and_the_file_has_not(desk: Desk, keyring: Keyring) -> None:
    url = "https://mirror.example"
    assert desk.login(url, "--offline", "--keyring")[0] == 0
    assert keyring.kept == {("carnet", url): TOKEN}
    assert TOKEN not in desk.logins.read_text()
    identity = identity_at(url)
    assert identity is not None
    assert (identity.authorization, "keyring" in identity.source) == (f"Bearer {TOKEN}", True)
    keyring.locked = True
    with pytest.raises(ConfigError, match=r"the system's keyring did not do it \(RuntimeError\)"):
        identity_at(url)
    keyring.locked = False
    assert desk.told("logout", url)[0] == 0
    assert keyring.kept == {}
    assert desk.login(url, "--offline", "--keyring")[0] == 0
    keyring.kept.clear()
    with pytest.raises(ConfigError, match="has nothing for https://mirror"):
        identity_at(url)


def test_without_the_extra_it_says_what_to_install(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    status, said = desk.login("https://mirror.example", "--offline", "--keyring")
    assert (status, "extra `keyring`" in said, desk.logins.exists()) == (2, True, False)


# --- client certificates ---


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> PrivateAuthority:
    return PrivateAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def asking(authority: PrivateAuthority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """A mirror that wants a certificate of the same authority."""
    monkeypatch.setenv("CARGO_HTTP_CAINFO", str(authority.file))
    with (
        serving(lambda connection, _: connection.sendall(response(b"here"))) as server,
        tls_front(server.url.removesuffix("/repo/"), authority, "localhost", clients=True) as front,
    ):
        yield front


def test_a_certificate_says_who_one_is(desk: Desk, asking: Front, authority: PrivateAuthority) -> None:
    with pytest.raises(TransportError, match="wants a certificate that says who you are") as error:
        fetch(asking.url)
    assert f"`carnet trust login {asking.url} --client-certificate FILE.pem`" in error.value.hint
    mine = authority.certify("alice")
    assert desk.told("login", asking.url, "--client-certificate", str(mine))[0] == 0
    assert fetch(asking.url) == b"here"
    with pytest.raises(CarnetError, match="did not take it"):
        client.submit(asking.url, b"body", network=read_network().network)
    with forward_proxy() as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HTTPS_PROXY", proxy.url)
        assert fetch(asking.url) == b"here"
        assert proxy.asked == [f"CONNECT {asking.target}"]


def test_a_certificate_of_another_authority(desk: Desk, asking: Front, tmp_path: Path) -> None:
    theirs = PrivateAuthority(tmp_path / "theirs").certify("eve")
    status, said = desk.told("login", asking.url, "--client-certificate", str(theirs))
    assert (status, f"does not take the certificate {theirs}" in said, desk.logins.exists()) == (3, True, False), said


def test_a_certificate_that_cannot_be_used_is_named(desk: Desk, asking: Front, authority: PrivateAuthority) -> None:
    mine, other = authority.certify("alice"), authority.certify("bob")
    (desk.path / "none.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    for args in (("none.pem",), (str(mine), "--client-key", str(other))):
        status, said = desk.told("login", asking.url, "--client-certificate", *args)
        assert (status, f"{args[0]} (what you gave) cannot be used" in said) == (2, True), said
    assert desk.told("login", asking.url, "--client-certificate", str(mine))[0] == 0
    mine.unlink()
    with pytest.raises(ConfigError, match="cannot be used: a file is not there"):
        fetch(asking.url)
