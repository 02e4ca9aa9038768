"""Names that are not what they seem: other registries, git, other spellings, crates that the mirror does not have."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.gatebox import EVIL, GateBox, gate_box

from carnet.cargo.index_line import IndexLine

pytestmark = pytest.mark.cargo


@pytest.fixture
def box(tmp_path: Path) -> Iterator[GateBox]:
    with gate_box(tmp_path) as one:
        assert "Admitted 2 crates" in one.works("check")  # the positive control of every test here
        yield one


def depend(box: GateBox, line: str) -> None:
    manifest = box.project / "Cargo.toml"
    manifest.write_text(manifest.read_text() + line + "\n")


def git_repository(box: GateBox) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = box.machine.path / "fork"
    (folder / "src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text('[package]\nname = "forked"\nversion = "1.0.0"\nedition = "2021"\n')
    (folder / "src/lib.rs").write_text("pub fn n() -> u32 { 1 }\n")
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main")
    for command in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "x")):
        done = box.machine.run("git", *identity, *command, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def test_a_git_dependency_is_refused_unless_the_policy_gives_a_reason(box: GateBox) -> None:
    depend(box, f'forked = {{ git = "file://{git_repository(box)}" }}')
    assert "forked@1.0.0 comes from git+file://" in box.refused("check")
    day = (datetime.now(UTC) + timedelta(days=30)).date()
    box.machine.configure(f'[[exception]]\ncrates = "forked"\nrule = "git"\nreason = "our own fork"\nexpires = {day}\n')
    stderr = box.works("check")
    assert "excused until" in stderr
    assert "our own fork" in stderr


def test_a_patch_to_git_is_refused(box: GateBox) -> None:
    folder = git_repository(box)
    manifest = folder / "Cargo.toml"
    manifest.write_text(manifest.read_text().replace("forked", "leaf"))
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    assert box.machine.run("git", *identity, "commit", "-qam", "y", cwd=folder).returncode == 0
    depend(box, f'[patch.crates-io]\nleaf = {{ git = "file://{folder}" }}')
    assert "leaf@1.0.0 comes from git+file://" in box.refused("check")


def test_a_patch_to_a_path_is_the_users_own_and_seen_in_the_lock(box: GateBox) -> None:
    own = box.project / "own-leaf"
    (own / "src").mkdir(parents=True)
    (own / "Cargo.toml").write_text('[package]\nname = "leaf"\nversion = "1.0.0"\nedition = "2021"\n')
    (own / "src/lib.rs").write_text("pub fn n() -> u32 { 1 }\n")
    depend(box, '[patch.crates-io]\nleaf = { path = "own-leaf" }')
    assert "Admitted 1 crate " in box.works("check")
    verified = box.machine.carnet("verify", str(box.project / "Cargo.lock"))
    assert "leaf@1.0.0    your own" in verified.stdout


def test_another_registry_is_refused(box: GateBox) -> None:
    lock = box.project / "Cargo.lock"
    text = lock.read_text()
    lock.write_text(
        text + '\n[[package]]\nname = "secret"\nversion = "1.0.0"\n'
        'source = "registry+https://example.com/index"\n' + f'checksum = "{"00" * 32}"\n'
    )
    assert "secret@1.0.0 comes from registry+https://example.com/index" in box.refused("check", "--locked")


def test_a_name_that_the_mirror_does_not_have_is_looked_for_nowhere_else(box: GateBox) -> None:
    depend(box, 'serde = "1"')
    done = box.cargo("check")
    assert done.returncode != 0
    assert "serde" in done.stderr
    assert "Checking" not in done.stderr


@pytest.mark.parametrize("line", ['bran_ch = "0.2"', 'Branch = "0.2"'])
def test_another_spelling_is_another_crate(box: GateBox, line: str) -> None:
    depend(box, line)
    done = box.cargo("check")
    assert done.returncode != 0
    assert "Checking" not in done.stderr


def test_a_line_whose_dependencies_are_not_the_manifests_is_refused(tmp_path: Path) -> None:
    """The index decides what cargo resolves, the manifest what it builds: they must say the same."""

    def without_leaf(line: IndexLine) -> IndexLine:
        raw = {**line.raw, "deps": []} if str(line.id.name) == "twig" else line.raw
        return IndexLine.from_object(raw)

    twig = honest_crate("twig", "1.0.0", source=EVIL, extra='[dependencies]\nleaf = "1"\n')
    with gate_box(tmp_path) as box:
        box.registry.add(twig, change=without_leaf)
        depend(box, 'twig = "1"')
        assert "twig@1.0.0" in box.refused("check")
