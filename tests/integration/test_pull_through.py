"""An empty mirror that brings what clients ask for: one command of a newcomer is enough, and each crate comes once."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.cargo import Machine
from tests.support.machines.gatebox import BRANCH, LEAF, MAIN
from tests.support.registries.live import LiveRegistry, live_registry
from tests.support.registries.sparse import SparseRegistry, sparse_registry

from carnet.cargo.names import CrateId
from carnet.tuf.paths import download_path

pytestmark = pytest.mark.cargo


@dataclass
class Pulling:
    """A registry that was empty at first, what it may ask, and a folder for its users' machines."""

    registry: LiveRegistry
    upstream: SparseRegistry
    folder: Path

    def machine(self, name: str) -> Machine:
        """A machine that trusts the mirror and has never looked at it since."""
        machine, trusts = Machine(self.folder / name), Machine(self.folder / "trusts")
        if not trusts.path.exists():
            trusts.path.mkdir()
            trusts.trust(self.registry.mirror.root, self.registry.url)
        machine.path.mkdir()
        shutil.copytree(trusts.carnet_home, machine.carnet_home)
        return machine

    def downloads(self) -> list[str]:
        return sorted(
            path.removeprefix("/dl/").replace("%2B", "+") for path in self.upstream.requests if path.startswith("/dl/")
        )

    def asks(self) -> list[str]:
        return [line for line in self.registry.mirror.requests() if line.startswith("POST ")]


@contextmanager
def pulling(folder: Path) -> Iterator[Pulling]:
    with sparse_registry() as upstream:
        for tarball in (LEAF, BRANCH, honest_crate("plus", "0.1.0+build.7"), honest_crate("denied")):
            upstream.add(tarball)
        pulls = f'[pull]\nupstream = "{upstream.index_url}"\nallow = ["*"]\ndeny = ["denied"]\napprove = ["acme-*"]\n'
        with live_registry(folder / "registry", trusted=False, pulls=pulls) as registry:
            yield Pulling(registry, upstream, folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulling]:
    with pulling(tmp_path_factory.mktemp("pulling")) as world:
        yield world


def test_four_newcomers_begin_with_a_lock_at_once_and_again_without_the_upstream(world: Pulling) -> None:
    """Each by one command and one ask for the whole lock, with a mirror that has nothing."""
    machines = [world.machine(f"user-{number}") for number in range(4)]
    lock = world.upstream.lock("leaf-1.0.0", "branch-0.2.0", "plus-0.1.0+build.7").decode()
    lock = lock.replace('name = "branch"', 'dependencies = ["leaf"]\nname = "branch"')
    lock += '[[package]]\nname = "app"\nversion = "0.0.0"\ndependencies = ["branch", "plus"]\n'

    def begin(machine: Machine, command: str = "tree") -> subprocess.CompletedProcess[str]:
        project = machine.project(dependencies={"branch": '"0.2"', "plus": '"0.1"'}, main=MAIN)
        (project / "Cargo.lock").write_text(lock)
        return machine.cargo_carnet(command, "--locked", cwd=project)

    with ThreadPoolExecutor(4) as pool:
        for done in pool.map(begin, machines):
            assert "leaf v1.0.0" in done.stdout, done.stderr
            assert done.stderr.count("Asking the mirror for") <= 1  # who comes last may find all of it there
            assert "hint:" not in done.stderr
    assert world.downloads() == ["branch-0.2.0", "leaf-1.0.0", "plus-0.1.0+build.7"]
    assert set(world.asks()) == {"POST /api/v1/carnet/pull 200"}
    before = len(world.upstream.requests)
    done = begin(world.machine("later"), "run")
    assert "answer 42" in done.stdout, done.stderr
    assert "Asking" not in done.stderr
    assert len(world.upstream.requests) == before


def test_a_crate_that_is_added_comes_with_what_it_needs_and_what_is_denied_is_told_as_before(world: Pulling) -> None:
    world.upstream.add(honest_crate("twig", "0.3.0", extra='[dependencies]\nbud = "1"\n'))
    world.upstream.add(honest_crate("bud", "1.1.0"))
    machine = world.machine("adds")
    project = machine.project()
    added = machine.cargo_carnet("add", "twig@0.3", cwd=project)
    assert added.returncode == 0, added.stderr
    assert "      Asking the mirror for twig@^0.3\n" in added.stderr
    assert "      Mirror says that it has brought 2 versions\n" in added.stderr
    assert "Missing" not in added.stderr
    world.upstream.add(honest_crate("twig", "0.3.1", extra='[dependencies]\nbud = "1"\n'))
    updated = machine.cargo_carnet("update", cwd=project)  # the mirror knows of no newer version until it is asked
    assert "twig v0.3.0 -> v0.3.1" in updated.stderr
    before = len(world.asks())
    refused = machine.cargo_carnet("add", "denied", cwd=project)
    assert refused.returncode == 101
    assert "did not bring denied@*: this mirror's operator lets nobody bring it" in refused.stderr
    assert "     Missing denied@*: the mirror has none\n" in refused.stderr
    assert "hint: ask the mirror's operator for `carnet mirror sync DIR denied`" in refused.stderr
    assert len(world.asks()) == before + 1
    offline = machine.cargo_carnet("add", "never-heard-of", "--offline", cwd=project)
    assert offline.returncode != 0
    assert len(world.asks()) == before + 1


def test_what_waits_for_approval_is_listed_and_brought_by_its_operator(world: Pulling) -> None:
    world.upstream.add(honest_crate("acme-parser"))
    machine = world.machine("waits")
    project = machine.project()
    refused = machine.cargo_carnet("add", "acme-parser", cwd=project)
    assert "it waits for a person: the mirror's operator approves of it" in refused.stderr
    run, folder = world.registry.run, str(world.registry.mirror.directory.path)
    (listed,) = run("mirror", "approve", folder).stdout.splitlines()
    assert listed.startswith("acme-parser@*    asked for since ")
    assert "1 added" in run("mirror", "approve", folder, "acme-parser").stdout
    assert world.registry.run("mirror", "approve", folder).stdout == "nothing waits for approval\n"
    added = machine.cargo_carnet("add", "acme-parser", cwd=project)
    assert added.returncode == 0, added.stderr


def test_a_crate_of_a_whole_index_comes_when_it_is_downloaded(world: Pulling) -> None:
    """Plain cargo's way: the version is in the signed index before anybody has looked at its tarball."""
    tarball = honest_crate("petal", source="pub fn petal() {}\n")
    world.upstream.add(tarball)
    index = world.folder / "index" / "pe" / "ta" / "petal"
    index.parent.mkdir(parents=True)
    index.write_text("".join(json.dumps(line) + "\n" for line in world.upstream.lines["petal"]))
    directory = str(world.registry.mirror.directory.path)
    done = world.registry.run("mirror", "sync", directory, "--whole-index", str(world.folder / "index"))
    assert done.stdout.startswith("read 1 of 1 files: 1 added, 0 updated\n")
    assert "petal-0.1.0" not in world.downloads()
    place = f"{world.registry.url}/{download_path(CrateId.of('petal', '0.1.0'))}"
    with urllib.request.urlopen(place, timeout=60) as answer:
        assert answer.read() == tarball
    assert world.downloads().count("petal-0.1.0") == 1


def test_a_mirror_that_is_killed_while_it_brings_has_all_of_it_or_nothing(world: Pulling) -> None:
    """The last one of this module: its mirror does not come back."""
    world.upstream.add(honest_crate("stem", extra='[dependencies]\nroot-hair = "0.1"\n'))
    world.upstream.add(honest_crate("root-hair"))
    reached, go = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        reached.set()
        go.wait(30)

    world.upstream.scripts["/dl/stem-0.1.0"] = [hold]
    mirror = world.registry.mirror
    machine = world.machine("killed")
    project = machine.project()
    with mirror.directory.open() as store:
        before = store.crates.count()[1]
    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(machine.cargo_carnet, "add", "stem", cwd=project)
        assert reached.wait(60)
        with urllib.request.urlopen(f"{mirror.url}/metadata/timestamp.json", timeout=60) as answer:
            assert answer.status == 200  # it serves as always meanwhile
        mirror.process.send_signal(signal.SIGKILL)
        assert adding.result(100).returncode != 0
    go.set()
    checked = world.registry.run("mirror", "fsck", str(mirror.directory.path))
    assert f" {before} version" in checked.stdout
    assert "no problem" in checked.stdout
