"""The recipe for CI in docs/build-systems.md, in a read-only container without git, over and over and side by side."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.machines.gatebox import GateBox, gate_box
from tests.support.machines.image import PROJECT, Image, toolchain
from tests.support.machines.processes import running

from carnet.digests import sha256_hex

pytestmark = [pytest.mark.cargo, pytest.mark.xdist_group("ci-recipe")]  # one worker makes the image once


def recipe() -> list[str]:
    """The commands of the page."""
    text = (PROJECT / "docs/build-systems.md").read_text()
    found = re.search(r"<!-- tested: ci -->\n```console\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return [line.removeprefix("$ ") for line in found[1].splitlines()]


@dataclass
class Done:
    status: int
    said: str


@dataclass
class Runner:
    """A machine that runs jobs, each in a container of one image with a checkout of its own."""

    folder: Path
    box: GateBox
    image: Image

    def checkout(self, name: str, *, memory: bytes | None = None) -> Path:
        """A fresh one."""
        place = self.folder / name
        shutil.copytree(self.box.project, place, ignore=shutil.ignore_patterns("target", "carnet.lock"))
        (place / "ci").mkdir()
        (place / "ci/root.json").write_bytes(self.box.registry.root)
        if memory is not None:
            (place / "carnet.lock").write_bytes(memory)
        return place

    def start(
        self, checkout: Path, home: Path, *, may_write: bool = True, steps: slice = slice(None), wrapper: str = ""
    ) -> tuple[list[str], dict[str, str]]:
        """The command line and the variables of a job that follows the recipe."""
        script = "\n".join(recipe()[steps]).replace("https://mirror.example/", self.box.registry.url)
        script = script.replace("5f0c…", sha256_hex(self.box.registry.root))
        user = self.folder / f"home-of-{checkout.name}"
        user.mkdir(exist_ok=True)
        home.mkdir(mode=0o700, exist_ok=True)
        writable, readable = ((user, home), ()) if may_write else ((user,), (home,))
        if wrapper:
            readable = (*readable, Path(wrapper).resolve().parent)
        command = self.image.command(script, checkout, writable=writable, readable=readable)
        environment = {"HOME": str(user), "CARGO_HOME": str(user / ".cargo"), "CARNET_HOME": str(home)}
        return command, self.image.environment({**environment, "RUSTC_WRAPPER": wrapper} if wrapper else environment)

    def run(self, *jobs: tuple[list[str], dict[str, str]]) -> list[Done]:
        """Run jobs, all at the same time."""
        done = []
        with ExitStack() as stack:
            started = []
            for number, (command, environment) in enumerate(jobs):
                log = self.folder / f"log-{number}"
                file = stack.enter_context(log.open("wb"))
                nothing = subprocess.DEVNULL
                process = running(command, env=environment, stdin=nothing, stdout=file, stderr=file)
                started.append((stack.enter_context(process), log))
            for process, log in started:
                status = process.wait(200)
                done.append(Done(status, log.read_text()))
        return done


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("ci")
    image = Image(folder)
    (folder / "developer").mkdir()
    with gate_box(folder / "developer") as box:
        yield Runner(folder, box, image)


def test_the_container_has_no_git_and_is_read_only(runner: Runner) -> None:
    """Else the others would show less than they say."""
    place = runner.checkout("looked-at")
    home = runner.folder / "looked-at-home"
    home.mkdir()
    script = f"""
        for place in / /usr /usr/bin {PROJECT} {sys.prefix} {toolchain()} {home}; do
            ! ( : > "$place/written" ) 2>&- || {{ echo "$place can be written"; exit 1; }}
        done
        ! command -v git || exit 1
        test -z "$(ls /usr/lib/git-core 2>&-)"
        : > written
        command -v cargo-carnet
    """
    command = runner.image.command(script, place, writable=(), readable=(home,))
    (done,) = runner.run((command, runner.image.environment({})))
    assert done.status == 0, done.said
    assert done.said == f"{sys.prefix}/bin/cargo-carnet\n"


def test_side_by_side_and_again(runner: Runner) -> None:
    """Two jobs with one new home; then once more with that home, which was kept."""
    kept = runner.folder / "kept"
    first, second = runner.checkout("first"), runner.checkout("second")
    for done in runner.run(runner.start(first, kept), runner.start(second, kept)):
        assert done.status == 0, done.said
        assert "2 allowed, 0 refused" in done.said
        assert "Compiling leaf v1.0.0" in done.said
        assert "test result: ok" in done.said
    (again,) = runner.run(runner.start(first, kept))
    assert again.status == 0, again.said
    assert "Compiling" not in again.said
    assert "test result: ok" in again.said


def test_a_home_of_the_image(runner: Runner) -> None:
    """It was trusted when the image was made; the job cannot write to it."""
    home = runner.folder / "image-home"
    (made,) = runner.run(runner.start(runner.checkout("making"), home, steps=slice(1)))
    assert made.status == 0, made.said
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    (done,) = runner.run(runner.start(runner.checkout("read-only"), home, may_write=False))
    assert done.status == 0, done.said
    assert "[unremembered]" in done.said
    assert "test result: ok" in done.said
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_a_home_that_was_put_back(runner: Runner) -> None:
    """An attacker restores an older cache, and the mirror, or whoever stands before it, shows the state of that day."""
    home, old = runner.folder / "cached", runner.folder / "old"
    without = runner.checkout("without")
    (made,) = runner.run(runner.start(without, home, steps=slice(2)))
    assert made.status == 0, made.said
    shutil.copytree(home, old)
    registry = runner.box.registry
    past = {path: registry.publication.files[path] for path in ("metadata/timestamp.json",)}
    registry.publish()
    runner.box.machine.carnet("verify", "--update-memory", cwd=runner.box.project)
    memory = (runner.box.project / "carnet.lock").read_bytes()
    with_memory = runner.checkout("with", memory=memory)
    (now,) = runner.run(runner.start(with_memory, home, steps=slice(2)))
    assert now.status == 0, now.said
    registry.served.update(past)
    try:
        again, back, fooled, fresh = runner.run(
            runner.start(without, home, steps=slice(2)),
            runner.start(with_memory, old),
            runner.start(without, old, steps=slice(2)),
            runner.start(with_memory, runner.folder / "fresh"),
        )
    finally:
        registry.served.clear()
    assert again.status == 1, "the home itself has seen more"
    assert fooled.status == 0, "nothing but carnet.lock tells the one that was put back"
    for done in (back, fresh):
        assert done.status == 1
        assert "carnet.lock has seen version" in done.said
        assert "Compiling" not in done.said


WRAPPER = """#!/bin/sh
# As compiler caches do: keeps things in a folder of the user's, and leaves a process behind.
mkdir -p "$HOME/.cache/wrapper"
echo "$*" >> "$HOME/.cache/wrapper/asked"
[ -e "$HOME/.cache/wrapper/server" ] || { sleep 60 >/dev/null 2>&1 & : > "$HOME/.cache/wrapper/server"; }
exec "$@"
"""


@pytest.mark.parametrize("name", ["stand-in", "sccache"])
def test_compiler_caches(runner: Runner, name: str) -> None:
    """In a job with a new home, and in the next one, which has what the cache kept and nothing that was compiled."""
    wrapper = shutil.which("sccache") or ""
    if name == "stand-in":
        folder = runner.folder / "bin"
        folder.mkdir()
        (folder / "wrapper").write_text(WRAPPER)
        (folder / "wrapper").chmod(0o755)
        wrapper = str(folder / "wrapper")
    elif not wrapper:
        pytest.skip("sccache is not installed: its stand-in is tried alone")
    place, home = runner.checkout(f"wrapped-by-{name}"), runner.folder / f"home-with-{name}"
    for _ in range(1 if name == "stand-in" else 2):
        (done,) = runner.run(runner.start(place, home, wrapper=wrapper))
        assert done.status == 0, done.said
        assert "Compiling leaf v1.0.0" in done.said
        assert "test result: ok" in done.said
        shutil.rmtree(place / "target")
    kept = runner.folder / f"home-of-{place.name}/.cache" / ("wrapper" if name == "stand-in" else name)
    if name == "stand-in":
        for crate in ("leaf", "branch", "app"):
            assert f"--crate-name {crate} " in (kept / "asked").read_text()
    else:
        assert [path for path in kept.rglob("*") if path.is_file()], "sccache kept nothing"
