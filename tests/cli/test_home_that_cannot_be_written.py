"""A CARNET_HOME that cannot be written, as in an image: it works, says what is forgotten, and a rule can forbid it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.locks import LEAF, locked, write_lock
from tests.support.machines.cargo import Machine
from tests.support.registries.signed import SignedRegistry


@pytest.fixture(autouse=True)
def lock(machine: Machine) -> Iterator[None]:
    write_lock(machine, locked(LEAF))
    yield
    for folder, _, _ in os.walk(machine.carnet_home):
        Path(folder).chmod(0o700)


class ReadOnly:
    """Commands of a machine whose CARNET_HOME cannot be written."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.before = state(machine.carnet_home)
        self.prefix: tuple[str, ...] = ()
        if os.geteuid() == 0:  # who may write wherever it can be written
            bwrap = shutil.which("bwrap")
            if bwrap is None:
                pytest.skip("root is kept from writing only where bubblewrap is installed")
            home = str(machine.carnet_home)
            self.prefix = (bwrap, "--dev-bind", "/", "/", "--ro-bind", home, home)
        for folder, _, names in os.walk(machine.carnet_home, topdown=False):
            for path in (*(Path(folder, name) for name in names), Path(folder)):
                path.chmod(path.stat().st_mode & ~0o222)

    def carnet(self, *args: str, main: str = "main", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        code = f"from carnet_cli.start import {main}; {main}()"
        return self.machine.run(*self.prefix, sys.executable, "-c", code, *args, cwd=cwd)

    def is_unchanged(self) -> bool:
        return state(self.machine.carnet_home) == self.before


def state(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


def test_verify_works_and_says_what_is_forgotten(machine: Machine) -> None:
    read_only = ReadOnly(machine)
    done = read_only.carnet("verify")
    assert done.returncode == 0, done.stderr
    assert "1 allowed" in done.stdout
    assert "warning: " in done.stderr
    assert "cannot be written: what this run sees is not remembered [unremembered]" in done.stderr
    assert read_only.is_unchanged()
    for command in (("explain", "leaf@1.0.0"), ("verify", "leaf@1.0.0"), ("trust", "status")):
        done = read_only.carnet(*command)
        assert done.returncode == 0, done.stderr
    assert read_only.is_unchanged()


def test_nothing_of_the_copy_is_left(machine: Machine, tmp_path: Path) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    machine.environment["TMPDIR"] = str(place)
    read_only = ReadOnly(machine)
    for command in (("verify",), ("verify", "--least-level", "registry"), ("verify", "Cargo.lock")):
        assert read_only.carnet(*command).returncode == 0
    assert list(place.iterdir()) == []


def test_a_rule_can_forbid_it(machine: Machine) -> None:
    (machine.path / "carnet.toml").write_text('[rules]\nunremembered = "deny"\n')
    assert machine.carnet("verify").returncode == 0
    done = ReadOnly(machine).carnet("verify")
    assert done.returncode == 1
    assert "[unremembered]" in done.stderr
    assert done.stdout == ""


def test_going_back_behind_what_the_image_holds_is_still_refused(machine: Machine, registry: SignedRegistry) -> None:
    old = registry.publication.files["metadata/timestamp.json"]
    registry.add(LEAF)
    assert machine.carnet("verify").returncode == 0
    registry.served["metadata/timestamp.json"] = old
    done = ReadOnly(machine).carnet("verify")
    assert done.returncode == 1
    assert "older" in done.stderr or "rollback" in done.stderr.lower() or "seen before" in done.stderr


def test_what_only_changes_the_memory_is_refused(machine: Machine, registry: SignedRegistry) -> None:
    read_only = ReadOnly(machine)
    for command in (("move", "https://new.example/", "--offline"), ("remove", registry.url, "--yes"), ("clean",)):
        done = read_only.carnet("trust", *command)
        assert done.returncode == 3
        assert "cannot be written" in done.stderr
        assert "Traceback" not in done.stderr
    assert read_only.is_unchanged()


def test_cargo_works_behind_it(machine: Machine, registry: SignedRegistry) -> None:
    project = machine.project(dependencies={"leaf": '"1"'})
    read_only = ReadOnly(machine)
    done = read_only.carnet("check", main="cargo_main", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "[unremembered]" in done.stderr
    assert read_only.is_unchanged()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read whatever its modes")
def test_a_home_that_cannot_be_read_is_told(machine: Machine) -> None:
    machine.carnet_home.chmod(0o000)
    done = machine.carnet("verify")
    machine.carnet_home.chmod(0o700)
    assert done.returncode == 3
    assert "permission denied" in done.stderr
    assert "chmod -R a+rX" in done.stderr
