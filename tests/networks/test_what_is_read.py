"""What says how servers are reached: the tables of docs/networks.md, walked from the top down."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from carnet.errors import ConfigError
from carnet_cli.config.network import reading
from carnet_cli.config.network.reading import VARIABLES, read_network
from carnet_gate.home import CargoHome
from carnet_verifier.net.route import Network, Origin, Route

PROJECT = Path(__file__).parents[2]
HTTPS, HTTP = Origin(True, "mirror.example", 443), Origin(False, "mirror.example", 80)


class Desk:
    """A user's home and the project that they are in.

    Attributes:
        home: The home folder.
        project: The folder in which commands run.
    """

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.project = path / "home", path / "app"
        for folder in (self.home / ".cargo", self.home / ".config/carnet", self.project / ".cargo"):
            folder.mkdir(parents=True)
        (self.project / "Cargo.lock").write_text("version = 4\n")
        self._patch = monkeypatch
        for name in ("CARGO_HOME", "NETRC", "XDG_CONFIG_HOME", "REQUEST_METHOD", *VARIABLES):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(self.home))
        monkeypatch.chdir(self.project)

    def set(self, what: str, value: str) -> None:
        """Say something where a table names it: a variable, or a key of the user's cargo configuration."""
        if what.startswith("http."):
            file = self.home / ".cargo/config.toml"
            said = file.read_text() if file.exists() else "[http]\n"
            file.write_text(f'{said}{what.removeprefix("http.")} = "{value}"\n')
        else:
            self._patch.setenv(what, value)

    def logged_in(self, token: str) -> None:
        file = self.home / ".config/carnet/logins.toml"
        file.write_text(f'["https://mirror.example"]\ntoken = "{token}"\n')
        file.chmod(0o600)

    def netrc(self, text: str) -> None:
        (self.home / ".netrc").write_text(text)
        (self.home / ".netrc").chmod(0o600)

    def read(self) -> Network:
        settings = read_network()
        assert settings.remarks == ()
        return settings.network


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


def tables() -> dict[str, list[str]]:
    """What each table of the document names, in its order, by the words above it."""
    found: dict[str, list[str]] = {}
    title = ""
    for line in (PROJECT / "docs/networks.md").read_text().splitlines():
        heading, row = re.match(r"\*\*(.+?)\*\*", line), re.match(r"\| (\d) \| `?([^`|]+?)`? \|", line)
        if heading is not None:
            title = heading[1]
        elif row is not None:
            named = found.setdefault(title, [])
            assert int(row[1]) == len(named) + 1
            named.append(row[2])
    return found


TABLES = tables()


def test_the_tables_name_every_variable_and_nothing_else() -> None:
    named = {name for rows in TABLES.values() for name in rows}
    assert len(TABLES) == 5
    assert {name for name in named if re.fullmatch("[A-Za-z]+(_[A-Za-z]+)+", name)} == {*VARIABLES} - {"SSL_CERT_DIR"}
    read = set(re.findall(r'"([A-Za-z]+(?:_[A-Za-z]+)+)"', Path(reading.__file__).read_text()))
    assert read - {*VARIABLES} == {"REQUEST_METHOD"}


@pytest.mark.parametrize(("title", "origin"), [("The proxy for `https://`", HTTPS), ("The proxy for `http://`", HTTP)])
def test_proxies_in_their_order(title: str, origin: Origin, desk: Desk) -> None:
    assert desk.read().route_to(origin).proxy is None
    for number, what in reversed([*enumerate(TABLES[title])]):
        desk.set(what, f"http://proxy-{number}.example:3128")
        proxy = desk.read().route_to(origin).proxy
        assert proxy is not None
        assert (proxy.origin, what in proxy.source) == (Origin(False, f"proxy-{number}.example", 3128), True)
    for what in TABLES[title][1::-1]:  # an empty setting of cargo's is one: no proxy at all
        (desk.home / ".cargo/config.toml").unlink(missing_ok=True)
        desk._patch.delenv("CARGO_HTTP_PROXY", raising=False)
        desk.set(what, "")
        assert desk.read().route_to(origin).proxy is None


@pytest.mark.parametrize("what", ["http_proxy", "ALL_PROXY", "http.proxy", "CARGO_HTTP_PROXY"])
def test_a_server_on_this_machine_is_not_captured_by_what_is_meant_for_everybody(what: str, desk: Desk) -> None:
    desk.set(what, "http://proxy.example:3128")
    for_cargo = what in TABLES["The proxy for `http://`"][:2]
    for host in ("127.0.0.1", "localhost", "::1"):
        assert (desk.read().route_to(Origin(False, host, 8790)).proxy is not None) == for_cargo
    assert desk.read().route_to(HTTP).proxy is not None


def test_a_visitors_header_is_no_proxy(desk: Desk) -> None:
    desk.set("HTTP_PROXY", "http://proxy.example:1")
    assert desk.read().route_to(HTTP).proxy is not None
    desk.set("REQUEST_METHOD", "GET")
    assert desk.read().route_to(HTTP).proxy is None


@pytest.mark.parametrize("proxy", ["CARGO_HTTP_PROXY", "http.proxy", "HTTPS_PROXY"])
def test_hosts_without_a_proxy_in_their_order(proxy: str, desk: Desk) -> None:
    desk.set(proxy, "http://proxy.example:3128")
    lower, upper = TABLES["Hosts that are reached without a proxy"]
    desk.set(upper, "other.example, mirror.example")
    assert desk.read().route_to(HTTPS).proxy is None
    desk.set(lower, "other.example")
    assert desk.read().route_to(HTTPS).proxy is not None


def test_authorities_in_their_order(desk: Desk) -> None:
    *settings, by_tls, systems = TABLES["Certificate authorities"]
    assert (by_tls, systems) == ("SSL_CERT_FILE", "the system's")  # which TLS reads, where no file is named
    desk.set(by_tls, "/elsewhere.pem")
    assert desk.read().route_to(HTTPS).ca_file is None
    for number, what in reversed([*enumerate(settings)]):
        desk.set(what, f"/authority-{number}.pem")
        route = desk.read().route_to(HTTPS)
        assert (route.ca_file, what in route.ca_source) == (f"/authority-{number}.pem", True)


def test_relative_paths_of_authorities_lead_where_cargo_takes_them_from(desk: Desk) -> None:
    desk.set("http.cainfo", "corp/ca.pem")
    assert desk.read().ca_file == str(desk.home / "corp/ca.pem")
    desk.set("CARGO_HTTP_CAINFO", "corp/ca.pem")
    assert desk.read().ca_file == str(desk.project / "corp/ca.pem")


def test_who_one_is_in_its_order(desk: Desk) -> None:
    logins, netrc = TABLES["Who you are"]
    assert desk.read().route_to(HTTPS).identity is None
    desk.netrc("machine mirror.example login alice password s3cret\n")
    identity = desk.read().route_to(HTTPS).identity
    assert identity is not None
    assert (identity.authorization, netrc in identity.source) == ("Basic YWxpY2U6czNjcmV0", True)
    desk.logged_in("t0ken")
    identity = desk.read().route_to(HTTPS).identity
    assert identity is not None
    assert (identity.authorization, logins in identity.source) == ("Bearer t0ken", True)


# --- cargo's configuration ---


def test_files_that_the_users_configuration_includes_count_below_it(desk: Desk) -> None:
    file = desk.home / ".cargo/config.toml"
    file.write_text('include = ["one.toml", { path = "two.toml", optional = true }, "gone.toml"]\n')
    for name in ("one", "two"):
        (file.parent / f"{name}.toml").write_text(f'[http]\nproxy = "http://{name}.example:1"\n')
    proxy = desk.read().proxy
    assert proxy is not None
    assert proxy.origin.host == "two.example"
    file.write_text(f'{file.read_text()}[http]\nproxy = "http://own.example:1"\n')
    proxy = desk.read().proxy
    assert proxy is not None
    assert proxy.origin.host == "own.example"


def test_a_circle_of_includes_ends(desk: Desk) -> None:
    (desk.home / ".cargo/config.toml").write_text('include = "config.toml"\n')
    assert desk.read().proxy is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[http]\nproxy = 3\n", "`http.proxy` is not a string"),
        ("[http]\ncainfo = []\n", "`http.cainfo` is not a string"),
        ("[http\n", "is not TOML"),
        ('[http]\nproxy = "socks5://user:s3cret@proxy.example"\n', "http.proxy is not http://, but socks5://"),
        ('[http]\nproxy = "http://user:s3cret@pro xy.example"\n', "characters that a URL does not have"),
        ('[http]\nproxy = "http://user:s3cret@proxy.example:port"\n', "is not one"),
        ('[http]\nproxy = "http://user:s3cret@/"\n', "does not start with"),
    ],
)
def test_settings_that_are_none_are_told_without_what_is_secret_in_them(text: str, said: str, desk: Desk) -> None:
    (desk.home / ".cargo/config.toml").write_text(text)
    with pytest.raises(ConfigError) as told:
        read_network()
    assert said in str(told.value)
    assert str(desk.home / ".cargo/config.toml") in str(told.value)
    assert "s3cret" not in f"{told.value} {told.value.hint}"
    assert told.value.hint
    assert "for example https://" not in told.value.hint, "no proxy is spoken to so"


def test_a_file_that_says_nothing_of_the_network_is_not_parsed(desk: Desk) -> None:
    (desk.home / ".cargo/config.toml").write_text("this is no TOML at all\n")
    assert desk.read() == Network(identify=reading._identify)


# --- a proxy's URL, and NO_PROXY ---


def test_a_name_and_a_password_in_a_url_are_percent_encoded(desk: Desk) -> None:
    desk.set("HTTPS_PROXY", "al%3Aice:s3%40cret@proxy.example")
    proxy = desk.read().proxy
    assert proxy is not None
    assert (proxy.origin, proxy.authorization) == (Origin(False, "proxy.example", 1080), "Basic YWw6aWNlOnMzQGNyZXQ=")
    assert "s3" not in f"{proxy!r} {desk.read()!r}"


@pytest.mark.parametrize(
    ("pattern", "host", "is_direct"),
    [
        ("*", "mirror.example", True),
        ("mirror.example", "mirror.example", True),
        ("MIRROR.example", "mirror.EXAMPLE.", True),
        ("example", "mirror.example", True),
        (".example", "mirror.example", True),
        ("irror.example", "mirror.example", False),
        ("mirror.example.org", "mirror.example", False),
        ("mirror.example:443", "mirror.example", True),
        ("mirror.example:8443", "mirror.example", False),
        ("10.0.0.0/8", "10.2.3.4", True),
        ("10.0.0.0/8", "11.2.3.4", False),
        ("10.0.0.0/8", "mirror.example", False),
        ("10.0.0.0/80", "10.2.3.4", False),
        ("3.4", "10.2.3.4", False),
        ("10.2.3.4", "10.2.3.4", True),
        ("::1", "::1", True),
        ("[::1]:443", "::1", True),
        ("[::1]:444", "::1", False),
        ("fd00::/8", "fd00::1", True),
        (":443", "mirror.example", False),
        (".", "mirror.example", False),
    ],
)
def test_no_proxy_as_curl_and_cargo_read_it(pattern: str, host: str, is_direct: bool, desk: Desk) -> None:
    desk.set("HTTPS_PROXY", "http://proxy.example:3128")
    desk.set("NO_PROXY", f"elsewhere.invalid,{pattern}")
    assert (desk.read().route_to(Origin(True, host, 443)).proxy is None) == is_direct


# --- what cargo gets behind the gate ---


@pytest.mark.parametrize(
    ("said", "lower", "upper"),
    [
        ({}, "", ""),
        ({"NO_PROXY": "git.corp"}, "git.corp,", "git.corp,"),
        ({"no_proxy": "git.corp"}, "git.corp,", "git.corp,"),
        ({"no_proxy": "one", "NO_PROXY": "two"}, "one,", "two,"),
    ],
)
def test_cargo_reaches_the_gate_directly_and_whatever_it_reached_so_before(
    said: dict[str, str], lower: str, upper: str
) -> None:
    """curl and git look at the lower-case variable first: what only the other one says must not be lost behind it."""
    project: Any = SimpleNamespace(
        cargo=SimpleNamespace(environment=said), invocation=SimpleNamespace(offline=True), named=None
    )
    environment = CargoHome(Path("/home"), "carnet-x", {}, offline=True).environment(project)
    assert environment["no_proxy"] == f"{lower}127.0.0.1,localhost"
    assert environment["NO_PROXY"] == f"{upper}127.0.0.1,localhost"


def test_no_proxy_at_all_stays_that() -> None:
    project: Any = SimpleNamespace(
        cargo=SimpleNamespace(environment={"no_proxy": "*"}), invocation=SimpleNamespace(offline=True), named=None
    )
    environment = CargoHome(Path("/home"), "carnet-x", {}, offline=True).environment(project)
    assert (environment["no_proxy"], environment["NO_PROXY"]) == ("*", "*")  # `*,x` is a name, and no star


def test_where_nothing_is_set_nothing_is_opened(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """`carnet verify` in front of every build pays for a few questions whether a file is there."""

    def opened(path: object, *_: object, **__: object) -> None:
        pytest.fail(f"opened {path}")

    monkeypatch.setattr("os.open", opened)
    monkeypatch.setattr("builtins.open", opened)
    assert desk.read().route_to(HTTPS) == Route()
