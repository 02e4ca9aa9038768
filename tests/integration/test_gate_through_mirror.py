"""`cargo carnet` through a real mirror process: the crates that are compiled came from there."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.cargo import Machine
from tests.support.machines.gatebox import BRANCH, LEAF, MAIN
from tests.support.registries.mirror_process import running_mirror

pytestmark = pytest.mark.cargo

PLUS = honest_crate("plus", "0.1.0+build.7", source="pub fn n() {}\n")


def test_the_mirrors_log_shows_the_crates_that_were_compiled(tmp_path: Path) -> None:
    with running_mirror(tmp_path / "mirror", [LEAF, BRANCH, PLUS]) as mirror:
        machine = Machine(tmp_path / "user")
        machine.path.mkdir()
        machine.trust(mirror.root, mirror.url)
        project = machine.project(dependencies={"branch": '"0.2"', "plus": '"0.1"'}, main=MAIN)
        done = machine.cargo_carnet("run", cwd=project)
        assert done.returncode == 0, done.stderr
        assert "answer 42" in done.stdout
        fetched = [line.split()[1] for line in mirror.requests() if "/download" in line]
        assert sorted(path.rsplit("/", 3)[1] for path in fetched) == ["branch", "leaf", "plus"]
        mirror.directory.add(honest_crate("leaf", "1.2.0", source="pub fn n() -> u32 { 50 }\n"))
        updated = machine.cargo_carnet("update", cwd=project)
        assert "v1.0.0 -> v1.2.0" in updated.stderr
        assert "answer 52" in machine.cargo_carnet("run", cwd=project).stdout
        verified = machine.carnet("verify", str(project / "Cargo.lock"))
        assert verified.returncode == 0, verified.stderr
