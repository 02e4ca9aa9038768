"""README's commands, typed one after another as a reader would; only passphrases and a free port are filled in."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.cargo import Machine
from tests.support.machines.processes import running
from tests.support.registries.sparse import sparse_registry

README = (Path(__file__).parents[2] / "README.md").read_text()
UNLOCKS = ("key generate", "root sign", "mirror init", "mirror sync", "mirror serve", "mirror quickstart")


def block(name: str) -> list[str]:
    """The commands of one marked block."""
    found = re.search(rf"<!-- tested: {name} -->\n```console\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return [line.removeprefix("$ ") for line in found[1].splitlines() if line.startswith("$ ")]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


class Reader:
    """Somebody who types what the README says."""

    def __init__(self, folder: Path) -> None:
        self.machine = Machine(folder / "machine")
        self.folder = self.machine.path / "project"
        self.port = free_port()
        (folder / "passphrase").touch(mode=0o600)
        (folder / "passphrase").write_text("correct horse battery staple\n")
        self._unlock = f" --passphrase-file {folder / 'passphrase'}"

    def command(self, text: str) -> list[str]:
        if any(text.startswith(f"carnet {command}") for command in UNLOCKS):
            text += self._unlock
        if text.startswith("carnet root sign"):
            text += " --yes"
        if text.startswith("carnet mirror quickstart"):
            text += f" --port {self.port} --least-age-days 0"  # what these crates' index does not say is no age
        return shlex.split(text.replace("8790", str(self.port)).replace("~", str(self.machine.home)))

    def types(self, text: str, **more: str) -> str:
        done = self.machine.run(*self.command(text), cwd=self.folder, env=more)
        assert done.returncode == 0, f"$ {text}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    @contextmanager
    def leaves_running(self, text: str, **more: str) -> Iterator[list[str]]:
        with running(
            self.command(text),
            cwd=self.folder,
            env=self.machine.env(more),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            lines = [process.stdout.readline()]
            while lines[-1] and not lines[-1].startswith("listening"):
                lines.append(process.stdout.readline())
            assert lines[-1] == f"listening on http://127.0.0.1:{self.port}\n"
            yield lines


@pytest.mark.cargo
def test_the_readme_leads_from_an_empty_folder_to_a_verified_build(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    with sparse_registry() as upstream:
        upstream.add(honest_crate("adler2", "2.0.1"))
        reader.machine.project("project", {"adler2": '"2"'})
        home = {"CARGO_HOME": str(upstream.cargo_home(tmp_path / "upstream-home"))}
        reader.types("cargo generate-lockfile", **home)
        *steps, serve = block("mirror")
        printed = [reader.types(step, **home) for step in steps]
    assert any("1 added" in text for text in printed)
    shutil.copy(reader.folder / "ceremony" / "1.root.json", reader.folder / "root.json")
    with reader.leaves_running(serve):
        told = {step: reader.types(step) for step in block("build")}
    assert "1 allowed, 0 refused" in told["carnet verify"]
    assert "Admitted 1 crate " in told["cargo carnet build"]
    assert "Compiling adler2 v2.0.1" in told["cargo carnet build"]
    assert "adler2@2.0.1: allowed at level registry" in told["carnet explain adler2@2.0.1"]


@pytest.mark.cargo
def test_the_readme_leads_from_nothing_to_a_build_through_a_mirror_that_was_empty(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    with sparse_registry() as upstream:
        upstream.add(honest_crate("adler2", "2.0.1"))
        reader.machine.project("project", {"adler2": '"2"'})
        home = {"CARGO_HOME": str(upstream.cargo_home(tmp_path / "upstream-home"))}
        (begin,) = block("quickstart")
        trust, build = block("newcomer")
        with reader.leaves_running(begin, **home) as said:
            typed = " ".join(reader.command(trust))
            assert f"    {typed}\n" in said, "what it prints is what is typed"
            reader.types(trust)
            assert "Compiling adler2 v2.0.1" in reader.types(build)
        keys = reader.machine.home / "mirror/keys"
        before = {file.name: file.read_bytes() for file in keys.iterdir() if file.is_file()}
        settings = reader.machine.home / "mirror/mirror/mirror.toml"
        settings.write_text(settings.read_text() + 'deny = ["left-pad"]\n')
        with reader.leaves_running(begin, **home):
            assert "Admitted 1 crate " in reader.types(build), "the same command again serves what is there"
        assert {file.name: file.read_bytes() for file in keys.iterdir() if file.is_file()} == before
        assert "left-pad" in settings.read_text(), "what its operator changed stays"
        assert b"correct horse" not in b"".join(before.values())


@pytest.mark.parametrize("place", ["ceremony", ".mirror/mirror.db"])
def test_a_quickstart_that_was_interrupted_goes_on(tmp_path: Path, place: str) -> None:
    """Whatever was made stays; the passphrase is the one that was chosen."""
    reader = Reader(tmp_path)
    reader.folder.mkdir(parents=True)
    (begin,) = block("quickstart")
    reader.machine.home.mkdir(parents=True)
    there = reader.machine.home / "mirror" / place
    with running(
        reader.command(begin),
        cwd=reader.folder,
        env=reader.machine.env(),
        end=signal.SIGKILL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while not there.exists() and process.poll() is None:
            time.sleep(0.005)
    key = (reader.machine.home / "mirror/keys/holder").read_bytes()
    with reader.leaves_running(begin):
        reader.types(block("newcomer")[0])
    assert (reader.machine.home / "mirror/keys/holder").read_bytes() == key
