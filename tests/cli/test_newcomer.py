"""A newcomer's first build: whatever goes wrong, the hint is typed as it stands, until cargo has compiled."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.locks import BRANCH, LEAF
from tests.support.machines.cargo import Machine
from tests.support.registries.signed import SignedRegistry

pytestmark = pytest.mark.cargo


@pytest.fixture
def registry() -> Iterator[SignedRegistry]:
    one = SignedRegistry()
    one.add(LEAF)
    with one.serving():
        yield one


class Newcomer:
    """Types commands, and what hints say."""

    def __init__(self, folder: Path) -> None:
        self.machine = Machine(folder)
        self.project = self.machine.project("app", {"leaf": '"1"'}, main="use leaf as _; fn main() {}\n")
        self.said = ""

    def types(self, command: str) -> int:
        words = shlex.split(command)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.machine.environment[name] = value
            return 0
        run = {"carnet": self.machine.carnet, "cargo": lambda *args, cwd: self.machine.cargo_carnet(*args[1:], cwd=cwd)}
        done: subprocess.CompletedProcess[str] = run[words[0]](*words[1:], cwd=self.project)
        self.said = done.stderr
        assert "Traceback" not in self.said
        return done.returncode

    def hint(self, number: int = 0, **values: str) -> str:
        """A command of the last hint, with what the newcomer knows in place of the capital words."""
        (hint,) = [line for line in self.said.splitlines() if line.startswith("hint: ")]
        command = hint.split("`")[1::2][number]
        for name, value in values.items():
            assert name in command
            command = command.replace(name, value)
        return command


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    return Newcomer(tmp_path)


def test_from_nothing_to_a_build(newcomer: Newcomer, registry: SignedRegistry) -> None:
    """Nothing is trusted, a wrong root, a lock of which the mirror has a half, a mirror that moved."""
    other = SignedRegistry("other")
    (newcomer.project / "root.json").write_bytes(other.root)
    assert newcomer.types("cargo carnet build") == 2
    add = newcomer.hint(URL=registry.url)
    assert newcomer.types(add) == 1
    assert "ask its operator for the address and the root file" in newcomer.said
    (newcomer.project / "root.json").write_bytes(registry.root)  # as its operator says
    assert newcomer.types(add) == 0
    manifest = newcomer.project / "Cargo.toml"
    manifest.write_text(manifest.read_text() + 'branch = "0.2"\n')
    assert newcomer.types("cargo carnet build --locked") == 2
    generate = newcomer.hint()
    assert newcomer.types(generate) != 0
    assert newcomer.types("cargo carnet build") == 2
    assert newcomer.hint() == "carnet mirror sync DIR 'branch@^0.2'"
    registry.add(BRANCH)  # which is what its operator does then
    assert newcomer.types(generate) == 0
    assert newcomer.types("cargo carnet build --locked") == 0
    moved = SignedRegistry()
    moved.publication = registry.publication
    with moved.serving():
        registry.served.update(dict.fromkeys([*registry.publication.files, "metadata/2.root.json"], b"<html>"))
        assert newcomer.types("cargo carnet build") == 3
        assert newcomer.types(newcomer.hint(1, URL=moved.url)) == 0
        assert newcomer.types("cargo carnet build") == 0, newcomer.said


def test_a_lock_that_the_mirror_has_half_of(newcomer: Newcomer, registry: SignedRegistry) -> None:
    """cargo's own words stand above; what to ask of whom below."""
    newcomer.machine.trust(registry.root, registry.url)
    assert newcomer.types("cargo carnet generate-lockfile") == 0
    manifest = newcomer.project / "Cargo.toml"
    manifest.write_text(manifest.read_text() + 'branch = "0.2"\n')
    assert newcomer.types("cargo carnet build") == 101
    assert newcomer.hint() == "carnet mirror sync DIR 'branch@^0.2'"
    registry.add(BRANCH)
    assert newcomer.types("cargo carnet build") == 0


def test_a_home_that_is_a_file(newcomer: Newcomer, registry: SignedRegistry, tmp_path: Path) -> None:
    """It is not taken for an empty one, of which the hint would lead back to the same error."""
    (newcomer.project / "root.json").write_bytes(registry.root)
    (tmp_path / "file").touch()
    newcomer.machine.environment["CARNET_HOME"] = str(tmp_path / "file")
    assert newcomer.types("cargo carnet build") == 2
    assert f"CARNET_HOME leads to {tmp_path}/file, which is no folder" in newcomer.said
    assert newcomer.types(newcomer.hint(DIR=str(tmp_path / "own"))) == 0
    assert newcomer.types("cargo carnet build") == 2
    assert f"no repository is trusted yet in {tmp_path}/own" in newcomer.said
    assert newcomer.types(newcomer.hint(URL=registry.url)) == 0
    assert newcomer.types("cargo carnet build") == 0


def test_a_home_whose_path_is_not_utf_8(newcomer: Newcomer, registry: SignedRegistry, tmp_path: Path) -> None:
    machine = newcomer.machine
    (newcomer.project / "root.json").write_bytes(registry.root)
    machine.environment |= {"CARNET_HOME": os.fsdecode(bytes(tmp_path) + b"/\xff"), "PYTHONIOENCODING": "utf-8:strict"}
    add = f"carnet trust add {registry.url} --root root.json"
    assert newcomer.types(add) == 0
    for form in ("human", "json"):  # what is printed of such a path is printable
        done = machine.carnet("doctor", "--message-format", form)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\\udcff" in done.stdout
    assert newcomer.types("cargo carnet build") == 2
    assert "is not UTF-8, and so cargo's configuration cannot name it" in newcomer.said
    assert newcomer.types(newcomer.hint(DIR=str(tmp_path / "carnet-home"))) == 0
    assert newcomer.types(add) == 0
    assert newcomer.types("cargo carnet build") == 0
