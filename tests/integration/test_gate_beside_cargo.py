"""The gate and plain cargo take turns in one project, as an editor and a person do: neither makes the other compile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.machines.gatebox import GateBox, gate_box

pytestmark = pytest.mark.cargo


@pytest.fixture
def box(tmp_path: Path) -> Iterator[GateBox]:
    with gate_box(tmp_path) as one:
        yield one


def plain(box: GateBox, *args: str) -> str:
    """Plain cargo, which has the same crates from a folder; returns what it said."""
    registry = str(box.machine.registry)
    source = ["--config", 'source.crates-io.replace-with="x"', "--config", f'source.x.local-registry="{registry}"']
    done = box.machine.run("cargo", "build", *source, *args, cwd=box.project)
    assert done.returncode == 0, done.stderr
    return done.stderr


def compiled(said: str) -> int:
    return said.count("Compiling ")


@pytest.mark.parametrize("chosen", ["", 'target-dir = "a"\nbuild-dir = "b"'])
def test_each_compiles_everything_once(box: GateBox, chosen: str) -> None:
    (box.project / ".cargo").mkdir()
    (box.project / ".cargo/config.toml").write_text(f"[build]\n{chosen}\n")
    turns = [compiled(turn) for turn in (box.works("build"), plain(box), box.works("build"), plain(box))]
    assert turns == [3, 3, 0, 0]
    (results,) = box.project.glob("*/debug/app")
    assert box.machine.run(str(results)).stdout == "answer 42\n"


def test_a_folder_that_is_chosen_on_the_command_line_is_not_shared_either(box: GateBox) -> None:
    chosen = f'build.build-dir="{box.machine.path / "chosen"}"'
    named = ["--config", "build.jobs=1", "--config", chosen, "--target-dir", str(box.project / "other")]
    turns = [box.works("build", *named), plain(box, *named), box.works("build", *named), plain(box, *named)]
    assert [compiled(turn) for turn in turns] == [3, 3, 0, 0]
    assert box.machine.run(str(box.project / "other/debug/app")).stdout == "answer 42\n"


def test_a_cargo_that_knows_no_such_folder_builds_into_one_of_the_gates(box: GateBox) -> None:
    """Older than 1.91: it ignores the setting, and says nothing of the folder."""
    old = box.machine.path / "old-cargo"
    old.write_text(
        '#!/bin/sh\n[ "$1" = metadata ] || exec cargo "$@"\n'
        'cargo "$@" | sed "s/,\\"build_directory\\":\\"[^\\"]*\\"//"\n'
    )
    old.chmod(0o755)
    env = {"CARGO": str(old)}
    said = box.works("build", env=env)
    assert said.count("this cargo is older than 1.91: what the gate builds lies in ") == 1
    (program,) = box.project.glob("target/carnet-*/debug/app")
    assert box.machine.run(str(program)).stdout == "answer 42\n"
    again = [box.works("build", env=env), plain(box), box.works("build", env=env), plain(box)]
    assert [compiled(turn) for turn in again] == [0, 3, 0, 0]
    assert "older than 1.91" not in again[0]
    assert "or leave `--target-dir` out" in box.refused("build", "--target-dir", "x", status=2, env=env)
