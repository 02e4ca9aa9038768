"""Whoever puts files into a target folder: a restored cache, a project's archive, an earlier build without the gate.

cargo compiles nothing again that lies there and looks fresh. So the gate's cargo looks only into a folder that the gate
made itself, and only while it is that very folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.machines.gatebox import GateBox, gate_box

from carnet.errors import StorageError
from carnet_gate.comparison import intermediates
from carnet_gate.comparison.intermediates import Intermediates

pytestmark = pytest.mark.cargo

EVIL = "#!/bin/sh\necho EVIL\n"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateBox]:
    with gate_box(tmp_path_factory.mktemp("box")) as one:
        one.works("build")
        yield one


def own(box: GateBox) -> Path:
    (folder,) = box.project.glob("target/carnet-*")
    return folder


def forge(folder: Path) -> None:
    """Put another program in the place of the one that cargo linked, which it then calls fresh."""
    programs = [
        file for file in folder.glob("debug/**/app-*") if file.is_file() and not file.suffix and is_program(file)
    ]
    assert programs
    for program in programs:
        program.unlink()
        program.write_text(EVIL)
        program.chmod(0o755)


def is_program(file: Path) -> bool:
    return file.read_bytes()[:4] == b"\x7fELF"


def test_positive_control_cargo_believes_what_lies_in_its_folder(box: GateBox) -> None:
    """Who can write to the live folder is outside: it is the user, or what the user runs."""
    forge(own(box))
    assert box.cargo("run").stdout == "EVIL\n"
    shutil.rmtree(box.project / "target")
    assert box.cargo("run").stdout == "answer 42\n"


def test_another_folder_in_its_place_is_not_used(box: GateBox) -> None:
    """A cache that was restored, by somebody who knows the folder's name."""
    folder = own(box)
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy, symlinks=True)
    forge(copy)
    shutil.rmtree(folder)
    copy.rename(folder)
    done = box.cargo("run")
    assert done.stdout == "answer 42\n", done.stderr
    assert f"{folder} is not the folder that carnet made" in done.stderr
    assert "Compiling leaf" in done.stderr
    assert "Compiling" not in box.works("build")


def test_a_link_to_another_folder_is_not_used(box: GateBox) -> None:
    folder, elsewhere = own(box), box.project / "elsewhere"
    shutil.copytree(folder, elsewhere, symlinks=True)
    forge(elsewhere)
    shutil.rmtree(folder)
    folder.symlink_to(elsewhere)
    assert box.cargo("run").stdout == "answer 42\n"
    assert not folder.is_symlink()
    assert elsewhere.is_dir()


def test_what_lies_where_plain_cargo_builds_is_not_used(box: GateBox) -> None:
    folder = own(box)
    for path in folder.iterdir():
        if path.name == "debug":
            shutil.copytree(path, box.project / "target/debug", symlinks=True, dirs_exist_ok=True)
    forge(box.project / "target")
    (box.project / "target/debug/app").unlink()
    (box.project / "target/debug/app").write_text(EVIL)  # what is finished is put there again in each run
    shutil.rmtree(folder)
    done = box.cargo("run")
    assert (done.stdout, "Compiling leaf" in done.stderr) == ("answer 42\n", True), done.stderr


# --- what is remembered ---


def made(records: Path, target: Path) -> tuple[Intermediates, list[str]]:
    told: list[str] = []
    one = Intermediates(records, (target,), separates=True)
    one.make(told.append)
    return one, told


def test_a_folder_is_made_once_and_keeps_its_name(tmp_path: Path) -> None:
    first, _ = made(tmp_path / "records", tmp_path / "target")
    assert first.is_new
    assert first.outputs == (tmp_path / "target", first.path)
    (first.path / "x").touch()
    second, told = made(tmp_path / "records", tmp_path / "target")
    assert (second.path, second.is_new, told) == (first.path, False, [])
    assert (second.path / "x").exists()
    other, _ = made(tmp_path / "records of another", tmp_path / "target")
    assert other.path != first.path


def test_two_gates_that_begin_at_once_have_one_folder(tmp_path: Path) -> None:
    slow = Intermediates(tmp_path / "records", (tmp_path / "target",), separates=True)
    assert not (tmp_path / "records").exists()  # a command that is refused leaves nothing
    fast, _ = made(tmp_path / "records", tmp_path / "target")
    assert slow.path != fast.path
    slow.make(pytest.fail)
    assert (slow.path, slow.outputs, slow.flags) == (fast.path, fast.outputs, fast.flags)


def test_a_folder_of_which_no_birth_is_told_is_never_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intermediates, "identity_of", lambda path: (1, 2, 0) if path.exists() else None)
    (made(tmp_path / "records", tmp_path / "target")[0].path / "x").touch()
    one, told = made(tmp_path / "records", tmp_path / "target")
    assert [*one.path.iterdir()] == []
    assert "does not tell when a folder came into being" in told[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"name": "../x", "identity": [1, 2, 3]}',
        '{"name": "carnet-0123456789abcdef", "identity": null}',
        '{"name": "carnet-0123456789abcdef", "identity": [1, 2]}',
    ],
)
def test_a_damaged_record_is_an_error(tmp_path: Path, text: str) -> None:
    made(tmp_path / "records", tmp_path / "target")
    (record,) = (tmp_path / "records").iterdir()
    record.write_text(text)
    with pytest.raises(StorageError, match="is damaged"):
        Intermediates(tmp_path / "records", (tmp_path / "target",), separates=True)
