"""Who is not told who one is: other servers, proxies, other users, readers of messages and of process lists."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.networks.surroundings import PrivateAuthority, tls_front
from tests.support.servers.evil import EvilServer, response, serving
from tests.support.servers.forward_proxy import forward_proxy

from carnet.errors import CarnetError, ConfigError, TransportError
from carnet_cli import main
from carnet_cli.config.network.reading import VARIABLES, read_network
from carnet_mirror.upstream.download import Downloads
from carnet_mirror.web import client
from carnet_verifier.net.fetch import HttpFetcher
from carnet_verifier.net.route import Network, Origin

TOKEN, PASSWORD = "t0ken-of-alice", "pa55-of-alice"
FILE = "metadata/timestamp.json"


@dataclass
class Desk:
    """Somebody's home.

    Attributes:
        home: The folder.
    """

    home: Path

    @property
    def logins(self) -> Path:
        return self.home / ".config/carnet/logins.toml"

    def logs_in(self, url: str, *, mode: int = 0o600, token: str = TOKEN) -> None:
        """As `carnet trust login` leaves it, but for its permissions."""
        self.logins.write_text(f'["{url}"]\ntoken = "{token}"\n')
        self.logins.chmod(mode)

    def netrc(self, text: str, *, mode: int = 0o600) -> None:
        (self.home / ".netrc").write_text(text)
        (self.home / ".netrc").chmod(mode)

    @property
    def network(self) -> Network:
        return read_network().network


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    one = Desk(tmp_path / "home")
    one.logins.parent.mkdir(parents=True)
    one.logins.parent.chmod(0o700)
    for name in ("CARGO_HOME", "NETRC", "XDG_CONFIG_HOME", *VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(one.home))
    monkeypatch.setenv("CARNET_HOME", str(tmp_path / "carnet"))
    monkeypatch.chdir(tmp_path)
    return one


@pytest.fixture
def mirror() -> Iterator[EvilServer]:
    with serving(lambda connection, _: connection.sendall(response(b"here"))) as server:
        yield server


def told(server: EvilServer) -> list[str]:
    """What the requests said of who asks."""
    lines = (line for head in server.heads for line in head.decode().split("\r\n"))
    return [line.partition(": ")[2] for line in lines if line.lower().startswith("authorization: ")]


def origin_of(server: EvilServer) -> str:
    return server.url.removesuffix("/repo/")


def fetch(url: str, network: Network) -> bytes:
    with HttpFetcher(url, network=network) as fetcher:
        return fetcher.get(FILE, max_bytes=10)


# --- other servers ---


def test_the_mirror_that_one_logged_in_at_is_told(desk: Desk, mirror: EvilServer) -> None:
    """The control: everything below differs from this by one thing."""
    desk.logs_in(origin_of(mirror))
    assert fetch(mirror.url, desk.network) == b"here"
    assert told(mirror) == [f"Bearer {TOKEN}"]


def test_another_port_another_name_and_another_scheme_are_told_nothing(desk: Desk, mirror: EvilServer) -> None:
    place = origin_of(mirror)
    for other in (
        place.replace("127.0.0.1", "localhost"),
        place.replace("http:", "https:"),
        f"{place}1",
        place.rpartition(":")[0],
    ):
        desk.logs_in(other)
        assert fetch(mirror.url, desk.network) == b"here"
    assert told(mirror) == []


def test_a_redirect_takes_a_token_nowhere(desk: Desk, mirror: EvilServer) -> None:
    def away(connection: object, _: bytes) -> None:
        connection.sendall(response(status="302 Found", headers=(f"location: {mirror.url}x",)))  # type: ignore[attr-defined]

    with serving(away) as first:
        desk.logs_in(origin_of(first))
        with pytest.raises(TransportError, match="redirects are not followed"):
            fetch(first.url, desk.network)
        assert mirror.heads == []
        with Downloads(network=desk.network, known=first.url) as downloads:  # an upstream's are followed
            assert downloads.get(f"{first.url}x", 10) == b"here"
        assert (told(first), told(mirror)) == ([f"Bearer {TOKEN}"] * 2, [])


def test_whom_an_upstream_leads_to_is_told_nothing_even_where_one_logged_in(desk: Desk, mirror: EvilServer) -> None:
    """Nobody but a person says where one's own token is sent; a `dl` in `config.json` is no person."""
    desk.logs_in(origin_of(mirror))
    with serving(lambda connection, _: connection.sendall(response(b"index"))) as upstream:
        with Downloads(network=desk.network, known=upstream.url) as downloads:
            assert downloads.get(f"{upstream.url}config.json", 10) == b"index"
            assert downloads.get(f"{mirror.url}leaf.crate", 10) == b"here"
        assert (told(upstream), told(mirror)) == ([], [])
    with Downloads(network=desk.network, known=mirror.url) as downloads:
        assert downloads.get(f"{mirror.url}config.json", 10) == b"here"
    assert told(mirror) == [f"Bearer {TOKEN}"]


def test_a_submission_tells_its_own_mirror_alone(desk: Desk, mirror: EvilServer) -> None:
    desk.logs_in(origin_of(mirror))
    for url in (mirror.url, mirror.url.replace("127.0.0.1", "localhost")):
        with pytest.raises(CarnetError):
            client.submit(url, b"body", network=desk.network)
    assert (told(mirror), len(mirror.heads)) == ([f"Bearer {TOKEN}"], 2)


# --- netrc, which names a host only ---


@pytest.mark.parametrize(
    ("machine", "origin", "is_told"),
    [
        ("mirror.example", Origin(True, "mirror.example", 443), True),
        ("mirror.example", Origin(True, "mirror.example", 8443), False),
        ("mirror.example:8443", Origin(True, "mirror.example", 8443), True),
        ("mirror.example:8443", Origin(True, "mirror.example", 443), False),
        ("mirror.example", Origin(False, "mirror.example", 80), False),
        ("mirror.example", Origin(True, "other.mirror.example", 443), False),
        ("example", Origin(True, "mirror.example", 443), False),
        ("127.0.0.1", Origin(False, "127.0.0.1", 8790), True),
    ],
)
def test_a_line_of_netrc_is_for_the_usual_port_over_tls(
    machine: str, origin: Origin, is_told: bool, desk: Desk
) -> None:
    desk.netrc(
        f"# mine\nmachine elsewhere.example login x password y\nmachine {machine}\n  login alice\n  password pw\n"
    )
    assert (desk.network.route_to(origin).identity is not None) == is_told
    assert desk.network.route_to(origin, anonymous=True).identity is None


def test_what_netrc_says_for_any_host_is_for_none(desk: Desk) -> None:
    desk.netrc(f"default login alice password {PASSWORD}\n")
    assert desk.network.route_to(Origin(True, "mirror.example", 443)).identity is None


def test_macros_quotes_and_comments_of_netrc_end_where_they_do(desk: Desk) -> None:
    macro = "macdef init\nmachine mirror.example login eve password x\n\n"
    desk.netrc(f'{macro}machine mirror.example login "a \\"b" password "p w"\n')
    identity = desk.network.route_to(Origin(True, "mirror.example", 443)).identity
    assert identity is not None
    assert identity.authorization == "Basic YSAiYjpwIHc="


# --- who is on the way ---


def test_in_the_clear_nothing_is_told_but_to_this_machine_and_through_no_proxy(
    desk: Desk, mirror: EvilServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with forward_proxy() as proxy:
        port = mirror.url.rsplit(":", 1)[1].split("/")[0]
        proxy.known["mirror.example:80"] = ("127.0.0.1", int(port))
        monkeypatch.setenv("http_proxy", proxy.url)
        desk.logs_in("http://mirror.example")
        assert fetch("http://mirror.example/", desk.network) == b"here"
        assert (told(mirror), len(proxy.heads)) == ([], 1)
        desk.logs_in(origin_of(mirror))
        assert fetch(mirror.url, desk.network) == b"here"
        assert (told(mirror), len(proxy.heads)) == ([f"Bearer {TOKEN}"], 1)
    assert main.run(main.cli, ["trust", "login", "http://mirror.example/", "--token-fd", "0"], "carnet") == 2


def test_the_proxy_reads_its_own_password_and_the_mirror_its_own_token(
    desk: Desk, mirror: EvilServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = PrivateAuthority(tmp_path / "ca")
    with (
        tls_front(origin_of(mirror), authority, "mirror.example") as front,
        forward_proxy(f"alice:{PASSWORD}") as proxy,
    ):
        proxy.known[front.target] = ("127.0.0.1", front.port)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("CARGO_HTTP_CAINFO", str(authority.file))
        desk.logs_in(front.url)
        assert fetch(f"{front.url}/", desk.network) == b"here"
        with pytest.raises(CarnetError):
            client.submit(front.url, b"body", network=desk.network)
        for head in proxy.heads:
            assert "\r\nproxy-authorization: basic " in head.lower()
            assert "\r\nauthorization" not in head.lower()
        assert (len(proxy.heads), told(mirror)) == (2, [f"Bearer {TOKEN}"] * 2)
        assert "proxy-authorization" not in b"".join(mirror.heads).decode().lower()


def test_who_is_behind_another_certificate_is_told_nothing(desk: Desk, mirror: EvilServer, tmp_path: Path) -> None:
    ours, theirs = PrivateAuthority(tmp_path / "ca"), PrivateAuthority(tmp_path / "theirs")
    with tls_front(origin_of(mirror), theirs, "localhost") as front:
        desk.logs_in(front.url)
        network = desk.network
        with pytest.raises(TransportError, match="certificate verify failed"):
            fetch(f"{front.url}/", Network(ca_file=str(ours.file), identify=network.identify))
        assert front.told == []
        assert fetch(f"{front.url}/", Network(ca_file=str(theirs.file), identify=network.identify)) == b"here"
        assert front.told == [f"Bearer {TOKEN}"]


# --- other users of the machine ---


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o606, 0o644])
def test_a_file_that_others_can_read_or_change_is_not_used(mode: int, desk: Desk, mirror: EvilServer) -> None:
    desk.logs_in(origin_of(mirror), mode=mode)
    with pytest.raises(ConfigError, match="others than you can read or change it") as error:
        fetch(mirror.url, desk.network)
    assert f"`chmod 600 {desk.logins}`" in error.value.hint
    desk.logins.unlink()
    desk.netrc(f"machine 127.0.0.1 login alice password {PASSWORD}\n", mode=mode)
    with pytest.raises(ConfigError, match="others than you can read or change it"):
        fetch(mirror.url, desk.network)
    assert mirror.heads == []
    desk.netrc(f"machine elsewhere.example login alice password {PASSWORD}\n", mode=mode)
    assert fetch(mirror.url, desk.network) == b"here"  # it says nothing of this one


def test_a_folder_that_others_can_write_to_is_not_used(desk: Desk, mirror: EvilServer) -> None:
    desk.logs_in(origin_of(mirror))
    desk.logins.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="who could take away"):
        fetch(mirror.url, desk.network)
    assert mirror.heads == []


def test_what_is_kept_is_for_its_owner_whatever_the_umask_is(
    desk: Desk, mirror: EvilServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    login = ["trust", "login", mirror.url, "--token-file", str(tmp_path / "token")]
    before = os.umask(0)
    try:
        assert main.run(main.cli, login, "carnet") == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(desk.logins.stat().st_mode) == 0o600
    assert fetch(mirror.url, desk.network) == b"here"
    assert told(mirror) == [f"Bearer {TOKEN}"] * 2  # it was asked before anything was kept
    (tmp_path / "token").chmod(0o644)
    assert main.run(main.cli, login, "carnet") == 3
    assert main.run(main.cli, ["trust", "logout", mirror.url], "carnet") == 0
    assert TOKEN not in desk.logins.read_text()
    assert TOKEN not in "".join(capsys.readouterr())


# --- readers of messages and process lists ---


def test_no_message_repeats_what_is_secret(
    desk: Desk, mirror: EvilServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [
        f'["{origin_of(mirror)}"]\ntoken = "{TOKEN} "\n',
        f'["{origin_of(mirror)}"]\ntoken = "{TOKEN}\\r\\nx: y"\n',
        f'["{origin_of(mirror)}"]\ntoken = ["{TOKEN}"]\n',
        f'["{origin_of(mirror)}"]\ntoken = "{TOKEN}"\nsecret = "{PASSWORD}"\n',
        f'["{origin_of(mirror)}"]\ntoken = {TOKEN}\n',
        f'token = "{TOKEN}"\n',
    ]
    for text in wrong:
        desk.logins.write_text(text)
        desk.logins.chmod(0o600)
        with pytest.raises(ConfigError) as error:
            fetch(mirror.url, desk.network)
        assert not any(secret in f"{error.value} {error.value.hint}" for secret in (TOKEN, PASSWORD))
    assert mirror.heads == []
    desk.logins.unlink()
    for proxy in (f"socks5://alice:{PASSWORD}@proxy.example", f"http://alice:{PASSWORD}@127.0.0.1:1"):
        for variable in ("HTTPS_PROXY", "CARGO_HTTP_PROXY"):
            monkeypatch.setenv(variable, proxy)
            assert main.run(main.cli, ["watch", "--mirror", "https://mirror.example/"], "carnet") in (2, 3)
            monkeypatch.delenv(variable)
    assert main.run(main.cli, ["watch", "--mirror", f"https://alice:{PASSWORD}@mirror.example/"], "carnet") == 2
    printed = "".join(capsys.readouterr())
    assert ("error: " in printed, PASSWORD in printed) == (True, False)


def test_a_refusal_says_which_file_it_is_about_and_nothing_of_it(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(lambda connection, _: connection.sendall(response(status="401 Unauthorized"))) as server:
        with pytest.raises(TransportError) as error:
            fetch(server.url, desk.network)
        assert f"`carnet trust login {origin_of(server)}`" in error.value.hint
        desk.logs_in(origin_of(server))
        with pytest.raises(TransportError) as error:
            fetch(server.url, desk.network)
        assert (str(desk.logins) in error.value.hint, TOKEN in error.value.hint) == (True, False)
        desk.logins.unlink()
        (tmp_path / "token").touch(mode=0o600)
        (tmp_path / "token").write_text(TOKEN)
        login = ["trust", "login", server.url, "--token-file", str(tmp_path / "token")]
        assert main.run(main.cli, login, "carnet") == 3
        assert (desk.logins.exists(), told(server)[-1]) == (False, f"Bearer {TOKEN}")
    printed = "".join(capsys.readouterr())
    assert ("nothing was kept: it does not take it" in printed, TOKEN in printed) == (True, False)


def test_no_secret_is_taken_from_the_command_line() -> None:
    login = main.cli.get_command(None, "trust").get_command(None, "login")  # type: ignore[arg-type, union-attr]
    takes = {option.opts[0] for option in login.params}
    assert takes >= {"--token-file", "--token-fd"}
    assert not takes & {"--token", "--password", "--secret", "--passphrase"}
