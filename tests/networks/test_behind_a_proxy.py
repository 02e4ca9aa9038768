"""Every command that connects gets through a forward proxy to a mirror of a private authority, and through it alone."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.networks.surroundings import Front, PrivateAuthority, tls_front
from tests.support.crates.locks import LEAF, locked
from tests.support.machines.cargo import Machine
from tests.support.registries.signed import SignedRegistry
from tests.support.registries.sparse import sparse_registry
from tests.support.servers.forward_proxy import ForwardProxy, forward_proxy

from carnet.cargo.lockfile import Lockfile, read_lockfile
from carnet.errors import TransportError
from carnet_cli import main
from carnet_cli.config.network.reading import read_network
from carnet_mirror.upstream.sparse import SparseUpstream
from carnet_mirror.web import client
from carnet_verifier.net.route import Network, Origin, Proxy

SECRET = "s3cr@t"


@dataclass
class Company:
    """A mirror that only the proxy knows, and somebody's machine.

    Attributes:
        machine: The machine; its project is `project`.
        proxy: The way out.
        front: The mirror.
        authority: Who vouches for it.
    """

    machine: Machine
    proxy: ForwardProxy
    front: Front
    authority: PrivateAuthority

    @property
    def project(self) -> Path:
        return self.machine.path / "project"

    @property
    def network(self) -> Network:
        """What the settings come to."""
        return read_network().network


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    path = tmp_path_factory.mktemp("company")
    authority, registry, machine = PrivateAuthority(path / "ca"), SignedRegistry(), Machine(path)
    registry.add(LEAF)
    with registry.serving(), tls_front(registry.url, authority) as front, forward_proxy(f"alice:{SECRET}") as proxy:
        proxy.known[front.target] = ("127.0.0.1", front.port)
        machine.environment = {"HTTPS_PROXY": proxy.url, "CARGO_HTTP_CAINFO": str(authority.file)}
        one = Company(machine, proxy, front, authority)
        one.project.mkdir()
        (one.project / "Cargo.lock").write_text(locked(LEAF))
        machine.trust(registry.root, front.url)
        yield one


@pytest.fixture
def company(made: Company, monkeypatch: pytest.MonkeyPatch) -> Company:
    """The same, and this process is on the machine."""
    made.proxy.heads.clear()
    environment = made.machine.env()
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(made.project)
    return made


@dataclass
class Said:
    """Runs commands in this process.

    Attributes:
        capture: What was printed.
    """

    capture: pytest.CaptureFixture[str]

    def __call__(self, *args: str) -> tuple[int, str]:
        """The exit status, and all that was said."""
        status = main.run(main.cli, args, "carnet")
        printed = self.capture.readouterr()
        return status, printed.out + printed.err


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


COMMANDS: dict[str, tuple[str, ...]] = {
    "verify": ("verify",),
    "one crate": ("verify", "leaf@1.0.0"),
    "explain": ("explain", "leaf@1.0.0"),
    "policy": ("policy", "explain", "leaf@1.0.0"),
    "status": ("trust", "status"),
    "move": ("trust", "move", "URL"),
    "login": ("trust", "login", "URL", "--token-file", "../token"),
    "watch": ("watch",),
}
NOT_SERVED = {"watch": "it answered with status 404"}
"""What the registry of these tests does not have, and the command says so: it asked."""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_gets_through_and_says_why_where_it_may_not(
    command: str, company: Company, told: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    (company.machine.path / "token").touch(mode=0o600)
    (company.machine.path / "token").write_text("t0ken\n")
    args = [word.replace("URL", company.front.url) for word in COMMANDS[command]]
    status, said = told(*args)
    assert (status, NOT_SERVED.get(command, "") in said) == (3 if command in NOT_SERVED else 0, True), said
    if command == "login":
        told("trust", "logout", company.front.url)
    assert set(company.proxy.asked) == {f"CONNECT {company.front.target}"}
    monkeypatch.setenv("HTTPS_PROXY", f"http://eve:pa55@{company.proxy.place}")
    status, said = told(*args)
    assert (status, "407" in said, "pa55" in said) == (3, True, False), said
    monkeypatch.delenv("HTTPS_PROXY")
    status, said = told(*args)
    assert (status, SECRET in said) == (3, False), said


def test_who_a_proxy_wants_to_know_is_told_where_to_write_it(
    company: Company, told: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{company.proxy.place}")
    status, said = told("verify")
    assert (status, f"write http://USER:PASSWORD@{company.proxy.place} in HTTPS_PROXY" in said) == (3, True), said


def test_carnet_verify_itself_takes_the_same_way(company: Company) -> None:
    """It has an entry of its own, which parses nothing."""
    company.proxy.heads.clear()
    done = company.machine.carnet("verify", cwd=company.project)
    assert (done.returncode, bool(company.proxy.heads)) == (0, True), done.stderr


def test_the_users_cargo_configuration_alone_is_enough(
    company: Company, told: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in company.machine.environment:
        monkeypatch.delenv(name)
    file = company.machine.cargo_home / "config.toml"
    assert told("verify")[0] == 3
    file.write_text(f'[http]\nproxy = "{company.proxy.url}"\ncainfo = "{company.authority.file}"\n')
    status, said = told("verify")
    file.unlink()
    assert (status, company.proxy.asked[0]) == (0, f"CONNECT {company.front.target}"), said


def test_a_direct_mirror_is_asked_directly(company: Company, told: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "localhost,.corp.example")
    status, said = told("verify")
    assert (status, company.proxy.heads, "mirror.corp.example" in said) == (3, [], True), said


# --- http:// through the same proxy ---


def test_a_plain_mirror_is_asked_for_with_whole_urls(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    with sparse_registry() as plain:
        plain.scripts["/metadata/x"] = []
        place = ("127.0.0.1", int(plain.url.rsplit(":", 1)[1]))
        company.proxy.known["plain.corp.example:80"] = place
        monkeypatch.setenv("http_proxy", company.proxy.url)
        with pytest.raises(TransportError, match="404"):
            next(client.pending("http://plain.corp.example", network=company.network))
        assert company.proxy.asked == ["GET http://plain.corp.example/api/v1/carnet/pending"]
        monkeypatch.setenv("http_proxy", f"http://eve:pa55@{company.proxy.place}")
        with pytest.raises(TransportError, match="407") as error:
            next(client.pending("http://plain.corp.example", network=company.network))
        assert "pa55" not in f"{error.value} {error.value.hint}"
        assert "http_proxy" in error.value.hint


# --- an upstream, and submissions ---


def test_an_upstream_is_read_through_the_proxy(company: Company, tmp_path: Path) -> None:
    with (
        sparse_registry() as upstream,
        tls_front(upstream.url, company.authority, "crates.corp.example") as front,
    ):
        company.proxy.known[front.target] = ("127.0.0.1", front.port)
        config = json.dumps({"dl": f"{front.url}/dl/{{crate}}/{{version}}"}).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(config)
        upstream.scripts["/index/config.json"] = [lambda connection: connection.sendall(head + config)]
        lock: Lockfile = read_lockfile(locked(LEAF).encode(), "Cargo.lock")
        source = SparseUpstream(f"sparse+{front.url}/index/", network=company.network)
        (fetched,) = source.fetch(lock.registry_packages, tmp_path, lambda _: None)
        assert fetched.package.id.stem == "leaf-1.0.0"
        assert upstream.requests[0] == "/index/config.json"
        assert set(company.proxy.asked) == {f"CONNECT {front.target}"}


def test_a_submission_goes_through_the_proxy_to_a_mirror_that_is_vouched_for(company: Company) -> None:
    network = company.network
    with pytest.raises(TransportError, match="did not take it"):
        client.submit(company.front.url, b"body", network=network)
    assert company.proxy.asked == [f"CONNECT {company.front.target}"]
    strange = Network(network.proxy)
    with pytest.raises(TransportError, match="cannot be reached"):
        client.submit(company.front.url, b"body", network=strange)
    origin = Origin(False, "127.0.0.1", company.proxy.port)
    with pytest.raises(TransportError, match="407") as error:
        client.submit(
            company.front.url, b"x", network=Network(Proxy(origin, "it", "Basic eHg="), ca_file=network.ca_file)
        )
    assert "eHg" not in str(error.value)


# --- the gate ---


@pytest.mark.cargo
def test_cargo_behind_the_gate_asks_the_gate_directly_and_git_through_the_proxy(company: Company) -> None:
    machine, origin = company.machine, company.machine.path / "origin"
    machine.configure('[rules]\ngit = "allow"\n')
    (origin / "src").mkdir(parents=True)
    (origin / "Cargo.toml").write_text('[package]\nname = "dep"\nversion = "0.1.0"\nedition = "2021"\n')
    (origin / "src/lib.rs").write_text("")
    who = {**machine.env(), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for command in (
        "init -q",
        "add .",
        "-c user.name=n -c user.email=e@example commit -qm first",
        "update-server-info",
    ):
        subprocess.run(["git", *command.split()], cwd=origin, env=who, check=True, capture_output=True)
    app = machine.project("app", {"leaf": '"1"', "dep": '{ git = "http://git.corp.example/.git" }'})
    handler: Any = functools.partial(Quiet, directory=str(origin))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        company.proxy.known["git.corp.example:80"] = ("127.0.0.1", server.server_port)
        everywhere = dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY"), company.proxy.url)
        done = machine.cargo_carnet("fetch", cwd=app, env={**everywhere, "CARGO_NET_GIT_FETCH_WITH_CLI": "true"})
        server.shutdown()
    assert done.returncode == 0, done.stderr
    asked = "\n".join(company.proxy.asked)
    assert f"CONNECT {company.front.target}" in asked
    assert "GET http://git.corp.example/.git/info/refs" in asked
    assert "127.0.0.1" not in asked
    assert 'name = "leaf"' in (app / "Cargo.lock").read_text()
    shutil.rmtree(machine.home / ".config")


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and tells nobody."""

    def log_message(self, format: str, *args: Any) -> None:
        pass
