"""docs/editors.md: what is typed there works, what is set is what the shim says, and the doctor sees half of it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.support.machines.cargo import Machine

from carnet_cli.commands.build import doctor
from carnet_cli.commands.editors import shim as command
from carnet_cli.config.shims.folder import Shim

PAGE = (Path(__file__).parents[2] / "docs/editors.md").read_text()


def block(name: str) -> str:
    """One marked block of the page."""
    found = re.search(rf"<!-- tested: {name} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def alice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine on which the page's folder is the user's, and cargo a program that says its version."""
    machine = Machine(tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "cargo").write_text("#!/bin/sh\necho cargo 1.95.0\n")
    (programs / "cargo").chmod(0o755)
    for name in ("CARGO", "CARNET_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in machine.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return machine


def folder(machine: Machine) -> Path:
    return machine.home / ".local/share/carnet/shim"


def typed(text: str) -> tuple[int, str]:
    words = shlex.split(text)
    assert words[0] == "carnet"
    run = {"shim": command.command, "doctor": doctor.command}[words[1]]
    done = CliRunner().invoke(run, words[2:], standalone_mode=False)
    assert done.exception is None, done.exception
    return done.return_value or 0, done.output


def found() -> dict[str, Any]:
    """What the doctor says of shims."""
    lines = CliRunner().invoke(doctor.command, ["--json"], standalone_mode=False).output.splitlines()
    return next(one for one in map(json.loads, lines) if one["check"] == "shim")


def set_for(machine: Machine) -> dict[str, str]:
    """The variables of the page, on this machine."""
    settings = json.loads(block("code").replace("/home/alice", str(machine.home)))
    named: dict[str, str] = settings["rust-analyzer.server.extraEnv"]
    return named


def test_what_is_typed_works_and_every_editor_is_told_the_same(alice: Machine) -> None:
    for line in block("shim").splitlines():
        status, said = typed(line.removeprefix("$ "))
        assert status == 0, said
    assert "ok      shim: made are" in said
    variables = set_for(alice)
    status, said = typed(f"carnet shim {folder(alice)}")
    assert all(f"    {name}={value}\n" in said for name, value in variables.items())
    assert variables == {"CARGO_HOME": str(folder(alice)), "CARGO": str(folder(alice) / "bin/cargo")}
    lua = block("neovim").replace("/home/alice", str(alice.home))
    assert dict(re.findall(r'(\w+) = "(.+)",', lua)) == variables
    exported = block("export").removeprefix("$ export ").replace("~", str(alice.home))
    assert dict(word.split("=") for word in exported.split()) == variables
    assert typed(f"carnet shim --remove {folder(alice)}")[0] == 0


def test_the_doctor_sees_who_was_told_half_of_it(alice: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (found()["health"], found()["shims"]) == ("good", [])
    typed(f"carnet shim {folder(alice)}")
    variables = set_for(alice)
    for name, value in variables.items():
        with monkeypatch.context() as half:
            half.setenv(name, value)
            said = found()
            assert (said["health"], said["ways"][name]) == ("warning", str(folder(alice)))
            assert "around it by another" in said["summary"]
            assert "CARGO=" in said["advice"]
    monkeypatch.setenv("CARGO_HOME", variables["CARGO_HOME"])
    monkeypatch.setenv("PATH", f"{folder(alice)}/bin:/usr/bin:/bin")  # in the place of CARGO
    assert (found()["health"], found()["ways"]["PATH"]) == ("good", str(folder(alice)))
    monkeypatch.setenv("CARGO", variables["CARGO"])
    assert found()["health"] == "good"


def test_the_doctor_sees_a_shim_that_is_open_gone_or_of_another_carnet(alice: Machine) -> None:
    typed(f"carnet shim {folder(alice)}")
    program = folder(alice) / "bin/cargo"
    for path in (program, program.parent, folder(alice)):
        before = path.stat().st_mode
        path.chmod(before | 0o020)
        said = found()
        assert said["health"] == "failure", path
        assert str(path) in said["summary"]
        path.chmod(before)
    assert found()["health"] == "good"
    script = program.read_text()
    for text, why in (
        (script.replace("-I -c", "-c"), "starts another carnet"),
        (script.replace("/programs/cargo", "/programs/gone"), "which is gone"),
        ("#!/bin/sh\n", "is none any more"),
    ):
        program.write_text(text)
        assert (found()["health"], why in found()["summary"]) == ("warning", True), text
        assert Shim(folder(alice), alice.path / "programs/cargo", alice.cargo_home).write()  # what it advises
        assert found()["health"] == "good"
    program.unlink()
    assert "is gone" in found()["summary"]
    assert Shim(folder(alice), alice.path / "programs/cargo", alice.cargo_home).write()
    assert found()["health"] == "good"
