"""The lock that an editor names is the one that is admitted, and the one that cargo reads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.machines.gatebox import BRANCH, LOCK, NEWER_LEAF, GateBox, gate_box
from tests.support.machines.naming import can_name, naming

from carnet.cargo.crate import read_crate

pytestmark = [pytest.mark.cargo, pytest.mark.skipif(not can_name(), reason="this cargo follows no lock elsewhere")]


def lock_with(leaf: bytes, version: str) -> str:
    text = LOCK.format(branch=read_crate(BRANCH).sha256, leaf=read_crate(leaf).sha256)
    return text.replace('name = "leaf"\nversion = "1.0.0"', f'name = "leaf"\nversion = "{version}"')


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateBox]:
    with gate_box(tmp_path_factory.mktemp("named"), NEWER_LEAF) as one:
        yield one


@pytest.fixture
def named(tmp_path: Path) -> Path:
    (tmp_path / "copy").mkdir()
    return tmp_path / "copy/Cargo.lock"


def test_it_is_admitted_and_read_in_the_place_of_the_workspaces(box: GateBox, named: Path) -> None:
    named.write_text(lock_with(NEWER_LEAF, "1.1.0"))
    flags, variables = naming(named)
    done = box.cargo("tree", *flags, env=variables)
    assert done.returncode == 0, done.stderr
    assert "leaf v1.1.0" in done.stdout
    assert 'version = "1.1.0"' not in (box.project / "Cargo.lock").read_text()


def test_where_there_is_none_it_is_made_there_and_nowhere_else(box: GateBox, named: Path) -> None:
    project = box.machine.project("lockless", {"branch": '"0.2"'})
    flags, variables = naming(named)
    done = box.cargo("metadata", "--format-version", "1", *flags, cwd=project, env=variables)
    assert done.returncode == 0, done.stderr
    assert "Admitted 2 crates" in done.stderr
    assert 'name = "leaf"\nversion = "1.1.0"' in named.read_text()
    assert not (project / "Cargo.lock").exists()
    shutil.rmtree(project)


def test_one_that_is_not_complete_is_brought_up_to_date_where_it_is(box: GateBox, named: Path) -> None:
    before = (box.project / "Cargo.lock").read_bytes()
    named.write_text('version = 4\n\n[[package]]\nname = "app"\nversion = "0.0.0"\n')
    flags, variables = naming(named)
    done = box.cargo("metadata", "--format-version", "1", *flags, env=variables)
    assert done.returncode == 0, done.stderr
    assert 'name = "branch"' in named.read_text()
    assert (box.project / "Cargo.lock").read_bytes() == before


def test_a_name_that_this_cargo_passes_over_counts_for_nobody(box: GateBox, named: Path) -> None:
    """Without its flag, cargo 1.95 reads the workspace's lock: so that one is admitted, and no word is lost on it."""
    flags, variables = naming(named)
    if "-Zlockfile-path" not in flags:
        pytest.skip("this cargo always follows the variable, or has none")
    named.write_text("no lock at all")
    done = box.cargo("tree", env=variables)
    assert done.returncode == 0, done.stderr
    assert "leaf v1.0.0" in done.stdout
