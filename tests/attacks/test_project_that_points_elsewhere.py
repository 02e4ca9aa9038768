"""A cloned project whose links and configuration name places outside it: cargo writes nothing into carnet's home.

Control: the same project, pointing elsewhere, is built; and the place is not refused for being a link.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.machines.gatebox import GateBox, gate_box

pytestmark = pytest.mark.cargo


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateBox]:
    """One for all: each test asks that nothing was left in carnet's home by it."""
    with gate_box(tmp_path_factory.mktemp("elsewhere")) as one:
        one.works("fetch")
        yield one


@pytest.fixture
def project(box: GateBox) -> Iterator[Path]:
    """A clone of the project as it was, and what is in carnet's home may not change."""
    pristine = box.machine.path / "pristine"
    if not pristine.exists():
        shutil.copytree(box.project, pristine, symlinks=True)
    shutil.rmtree(box.project)
    shutil.copytree(pristine, box.project, symlinks=True)
    before = _within(box.machine.carnet_home)
    yield box.project
    assert _within(box.machine.carnet_home) - before == set()


def _within(home: Path) -> set[str]:
    """What is there, without locks and the records of which folders the gate made in which target folder."""
    own = ("lock", "target", "intermediates")
    paths = [path.relative_to(home) for path in home.rglob("*")]
    return {str(path) for path in paths if not any(word in path.name for word in own) and own[-1] not in path.parts}


@pytest.mark.parametrize("command", ["fetch", "tree", "update"])
def test_a_target_that_links_into_carnets_home_is_refused_by_every_command(
    box: GateBox, project: Path, command: str
) -> None:
    (project / "target").symlink_to(box.machine.carnet_home / "marks")
    assert "are not apart" in box.refused(command, status=2)


@pytest.mark.parametrize("place", ["", "marks/new", ".."])
def test_a_configuration_that_builds_into_carnets_home_is_refused(box: GateBox, project: Path, place: str) -> None:
    _configure(project, f'target-dir = "{box.machine.carnet_home / place}"')
    assert "are not apart" in box.refused("fetch", status=2)
    _configure(project, f'build-dir = "{box.machine.carnet_home / place}"')
    assert "are not apart" in box.refused("fetch", status=2)


@pytest.mark.parametrize("command", ["update", "build"])
def test_a_lock_that_links_into_carnets_home_is_not_written(box: GateBox, project: Path, command: str) -> None:
    (project / "Cargo.lock").unlink()
    (project / "Cargo.lock").symlink_to(box.machine.carnet_home / "marks" / f"{'a' * 32}.json")
    assert "lies in carnet's home" in box.refused(command, status=2)


def test_another_file_among_the_marks_stops_nobody(box: GateBox, project: Path) -> None:
    stray = box.machine.carnet_home / "marks" / ".rustc_info.json"
    stray.parent.mkdir(mode=0o700, exist_ok=True)
    stray.write_text("{}")
    box.works("check")
    stray.unlink()


@pytest.mark.parametrize("leads_to", ["target", "/proc/self/x", "/dev/null", "nowhere/at/all", None])
def test_a_target_that_is_no_folder_is_an_error_of_ours(box: GateBox, project: Path, leads_to: str | None) -> None:
    if leads_to is None:
        (project / "target").write_text("")
    else:
        (project / "target").symlink_to(leads_to)
    if leads_to == "nowhere/at/all":  # the control: a link to where nothing is yet
        box.works("check")
        return
    stderr = _refused_in_one_line(box, "build")
    assert "cargo cannot build into " in stderr or "/proc/" in stderr  # which is another folder for each process


@pytest.mark.parametrize("target", ["/proc/x/y", f"/{'a' * 300}", "a" * 5000])
def test_a_target_that_cannot_be_made_is_an_error_of_ours(box: GateBox, project: Path, target: str) -> None:
    _configure(project, f'target-dir = "{target}"')
    assert target[:100] in _refused_in_one_line(box, "build")


def _configure(project: Path, line: str) -> None:
    (project / ".cargo").mkdir(exist_ok=True)
    (project / ".cargo/config.toml").write_text(f"[build]\n{line}\n")


def _refused_in_one_line(box: GateBox, *args: str) -> str:
    done = box.cargo(*args)
    assert done.returncode in (2, 3), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    return done.stderr


def test_an_environment_that_names_no_cargo_and_a_folder_that_is_gone(box: GateBox, project: Path) -> None:
    assert "which is no program" in box.refused("build", status=2, env={"CARGO": "/nonexistent/cargo"})
    done = box.machine.run("sh", "-c", "mkdir gone && cd gone && rmdir ../gone && exec cargo-carnet build")
    assert "Traceback" not in done.stderr
    assert (done.returncode, "is gone" in done.stderr) == (2, True), done.stderr
