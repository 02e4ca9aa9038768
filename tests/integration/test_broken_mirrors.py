"""A mirror that breaks, end to end, with an unmodified cargo: behind the gate, and in front of `carnet proxy`.

What is told, which exit status (undecided is 3, never 1; bytes that are not the signed ones are refused with 1), that
nothing that was known changed, and that all is well once the mirror is. Each case has a server of its own, and they run
at the same time; the waits of carnet's client are shortened, and nothing else of it.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tests.support.machines.cargo import Machine
from tests.support.machines.gatebox import BRANCH, LEAF, LOCK, MAIN, gate_box
from tests.support.machines.processes import running
from tests.support.registries.signed import SignedRegistry

from carnet.cargo.crate import read_crate

pytestmark = pytest.mark.cargo

TIMESTAMP, SHARD, INDEX, TARBALL = (
    "metadata/timestamp.json",
    "metadata/1.claims-",
    "targets/index/le/af/",
    "api/v1/crates/leaf/1.0.0/download",
)
HURRIED = (
    "from functools import partial; import carnet_verifier.net.fetch as fetch; "
    "fetch.Limits, fetch.Patience = partial(fetch.Limits, grace=1.0), partial(fetch.Patience, pause=0.02); "
    "from carnet_cli.start import {0}; {0}()"
)
WEB_PAGE = "answered with a web page"
LOGIN = b"<html><form action=/login></form></html>"
Fault = Callable[[BaseHTTPRequestHandler], None]


def answer(
    status: int, body: bytes = b"", *, headers: tuple[tuple[str, str], ...] = (), length: int | None = None
) -> Fault:
    """An answer, which says that it has `length` bytes."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers:
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = length is not None

    return send


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """One byte a second, of ten thousand."""
    answer(200, length=10_000)(handler)
    with contextlib.suppress(OSError):
        for _ in range(60):
            handler.wfile.write(b"x")
            time.sleep(1)


@dataclass(frozen=True)
class Broken:
    """What breaks: every published file whose path begins so; and what is told of it."""

    path: str
    fault: Fault
    status: int
    told: tuple[str, ...]

    def breaks(self, registry: SignedRegistry) -> None:
        registry.faults = {path: self.fault for path in registry.publication.files if path.startswith(self.path)}
        assert registry.faults


BUSY = answer(503, b"busy", headers=(("retry-after", "3600"),))
CASES = {
    "busy for an hour": Broken(TIMESTAMP, BUSY, 3, ("/metadata/timestamp.json: answered 503",)),
    "too many requests": Broken(TARBALL, answer(429), 3, (f"/{TARBALL}: answered 429",)),
    "cut": Broken(TARBALL, answer(200, LEAF[:100], length=len(LEAF)), 3, (f"/{TARBALL}: ", "half-way")),
    "a byte a second": Broken(TIMESTAMP, trickle, 3, ("/metadata/timestamp.json: ", "the server is too slow")),
    "a login page": Broken(TIMESTAMP, answer(200, LOGIN), 3, ("/metadata/timestamp.json: ", WEB_PAGE)),
    "a login page for a crate": Broken(TARBALL, answer(200, LOGIN), 3, (f"/{TARBALL}: ", WEB_PAGE)),
    "a login page for delegated metadata": Broken(SHARD, answer(200, LOGIN), 3, ("claims-", WEB_PAGE)),
    "another crate": Broken(TARBALL, answer(200, BRANCH), 1, ("the tarball of leaf@1.0.0 has sha256 ",)),
    "another file for delegated metadata": Broken(
        SHARD, answer(200, b"{}"), 1, ("role claims-", "login page or a proxy")
    ),
    "an empty index file": Broken(INDEX, answer(200), 3, (".leaf: ", "answered with an empty file")),
    "a short index file": Broken(INDEX, answer(200, b"{}"), 1, ("index/le/af/leaf has 2 bytes",)),
}


class User:
    """A machine that trusts a mirror, and has seen it; and a program on it."""

    def __init__(self, folder: Path, registry: SignedRegistry, template: Machine) -> None:
        self.machine = Machine(folder)
        shutil.copytree(template.path / "carnet", self.machine.carnet_home)
        (trust,) = (self.machine.carnet_home / "trust").iterdir()
        for pack in trust.rglob("*.pack"):  # kept only to be fast
            pack.unlink()
        (trust / "trust.json").write_text(f'{{"url":"{registry.url}/"}}\n')
        self.project = self.machine.project(dependencies={"branch": '"0.2"'}, main=MAIN)
        checksums = {"leaf": read_crate(LEAF).sha256, "branch": read_crate(BRANCH).sha256}
        (self.project / "Cargo.lock").write_text(LOCK.format(**checksums))

    def runs(self, program: str, *args: str) -> subprocess.CompletedProcess[str]:
        return self.machine.run(sys.executable, "-c", HURRIED.format(program), *args, cwd=self.project)

    def known(self) -> dict[str, bytes]:
        """What it knows of the mirror, and its lock."""
        files = [path for path in (self.machine.carnet_home / "trust").rglob("*") if path.suffix in (".json", ".db")]
        return {str(path): path.read_bytes() for path in [*files, self.project / "Cargo.lock"]}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine that has seen the mirror while all was well, and fetched nothing."""
    with gate_box(tmp_path_factory.mktemp("template")) as box:
        assert box.machine.carnet("verify", cwd=box.project).returncode == 0
        return box.machine


@contextlib.contextmanager
def mirror() -> Iterator[SignedRegistry]:
    """The mirror at an address of its own; its files are those of every other one in this process."""
    registry = SignedRegistry()
    registry.add(LEAF, BRANCH)
    with registry.serving():
        yield registry


def behind_the_gate(folder: Path, template: Machine, command: str, broken: Broken) -> None:
    with mirror() as registry:
        user = User(folder, registry, template)
        before = user.known()
        broken.breaks(registry)
        done = user.runs("cargo_main", command)
        assert done.returncode == broken.status, done.stderr
        assert all(words in done.stderr for words in broken.told), done.stderr
        assert "hint: " in done.stderr
        assert not any(word in done.stderr for word in ("Traceback", "Compiling"))
        assert user.known() == before
        registry.faults.clear()
        if command == "build":  # the others would say the same, and cost a process each
            assert user.runs("cargo_main", "fetch").returncode == 0


def test_behind_the_gate(tmp_path: Path, template: Machine) -> None:
    with ThreadPoolExecutor(len(CASES)) as pool:
        commands = ["fetch", "build"] * len(CASES)
        tried = {
            case: pool.submit(behind_the_gate, tmp_path / case, template, command, broken)
            for (case, broken), command in zip(CASES.items(), commands, strict=False)
        }
    assert {case: str(error) for case, one in tried.items() if (error := one.exception()) is not None} == {}


def test_in_front_of_the_proxy(tmp_path: Path, template: Machine) -> None:
    """cargo shows why; it tries again by itself what is undecided, here never."""
    with mirror() as registry:
        user = User(tmp_path, registry, template)
        before = user.known()
        command = [sys.executable, "-c", HURRIED.format("main"), "proxy", "--port", "0"]
        environment = {name: value for name, value in user.machine.env().items() if value}
        with running(command, cwd=user.project, env=environment, stderr=subprocess.PIPE, text=True) as process:
            url = process.stderr.readline().rsplit(" ", 1)[1].strip()
            settings = tmp_path / "source.toml"
            settings.write_text(
                f'[source.crates-io]\nreplace-with = "carnet"\n[source.carnet]\nregistry = "{url}"\n[net]\nretry = 0\n'
            )
            fetch = partial(user.machine.run, "cargo", "fetch", "--locked", "--config", str(settings), cwd=user.project)
            for case in ("too many requests", "cut", "a login page for a crate"):
                broken = CASES[case]
                broken.breaks(registry)
                done = fetch()
                assert done.returncode == 101, done.stderr
                assert ("502" if broken.status == 3 else "403") in done.stderr
                assert all(words in done.stderr for words in ("carnet: ", *broken.told)), done.stderr
            registry.faults = {}
            assert user.known() == before
            assert fetch().returncode == 0
        registry.faults = {TIMESTAMP: BUSY}
        done = user.runs("main", "proxy", "--port", "0")
        assert (done.returncode, "answered 503" in done.stderr) == (3, True)
