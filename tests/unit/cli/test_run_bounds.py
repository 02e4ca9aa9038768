"""What a whole run may fetch: said by the environment, the machine and the user, and never by a project."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from carnet.errors import ConfigError
from carnet_cli.config import places, settings
from carnet_verifier.net.budget import DEFAULT_BOUNDS, RunBounds

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MIB = 1024**2


class Machine:
    """A machine whose files one test writes."""

    def __init__(self, folder: Path) -> None:
        self.project, self.user, self.machine = folder / "project", folder / "config", folder / "etc"

    def says(self, folder: Path, text: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / places.FILE_NAME
        file.write_text(f"[run]\n{text}\n")
        file.chmod(0o600)
        return file

    def users(self, text: str) -> Path:
        return self.says(self.user / "carnet", text)

    def bounds(self) -> RunBounds:
        """What holds for a command about the project, and has to hold for those about none as well."""
        found = settings.load(self.project, now=NOW).run
        assert settings.run_bounds(NOW) == found
        return found


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(tmp_path)
    found.project.mkdir()
    monkeypatch.chdir(found.project)
    for name in ("CARNET_CONFIG", "CARNET_RUN_SECONDS", "CARNET_RUN_MEGABYTES", "CARNET_PULL_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(found.user))
    monkeypatch.setattr(places, "MACHINE", found.machine)
    monkeypatch.setattr(places, "MACHINE_OWNER", tmp_path.stat().st_uid)
    return found


def test_an_hour_and_sixteen_gibibytes_where_nobody_says_anything(machine: Machine) -> None:
    assert machine.bounds() == DEFAULT_BOUNDS == RunBounds(3600.0, 16 * 1024 * MIB)


def test_the_user_allows_for_more_and_for_less(machine: Machine) -> None:
    machine.users("seconds = 7200")
    assert machine.bounds() == RunBounds(7200.0, 16 * 1024 * MIB)
    machine.users("megabytes = 100")
    assert machine.bounds() == RunBounds(3600.0, 100 * MIB)


def test_of_the_machine_and_the_user_the_smaller_one_counts(machine: Machine) -> None:
    machine.says(machine.machine, "seconds = 600\nmegabytes = 50")
    machine.users("seconds = 7200\nmegabytes = 20")
    assert machine.bounds() == RunBounds(600.0, 20 * MIB)


def test_the_environment_decides(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.users("seconds = 60\nmegabytes = 20")
    monkeypatch.setenv("CARNET_RUN_SECONDS", "90")
    assert machine.bounds() == RunBounds(90.0, 20 * MIB)
    monkeypatch.setenv("CARNET_RUN_MEGABYTES", "30")
    assert machine.bounds() == RunBounds(90.0, 30 * MIB)
    monkeypatch.setenv("CARNET_PULL_SECONDS", "45")
    assert machine.bounds() == RunBounds(90.0, 30 * MIB, 45.0)


@pytest.mark.parametrize("text", ["seconds = 9000000\nmegabytes = 9000000", "seconds = 1\nmegabytes = 1"])
def test_a_project_says_nothing_of_it(machine: Machine, text: str) -> None:
    file = machine.says(machine.project, text)
    found = settings.load(machine.project, now=NOW)
    assert found.run == DEFAULT_BOUNDS
    assert f"{file}: [run] does not count" in str(found.remarks)
    machine.users("seconds = 60")
    assert settings.load(machine.project, now=NOW).run.seconds == 60


def test_neither_does_a_users_file_that_lies_in_the_project(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(machine.project / "home"))
    (machine.project / "Cargo.lock").write_text("")
    machine.says(machine.project / "home/carnet", "seconds = 9000000")
    assert machine.bounds() == DEFAULT_BOUNDS


def test_a_file_that_a_flag_names_has_the_rank_of_the_flag(machine: Machine, tmp_path: Path) -> None:
    machine.users("seconds = 60")
    named = machine.says(tmp_path / "elsewhere", "seconds = 120")
    assert settings.load(machine.project, now=NOW, file=named).run.seconds == 120


@pytest.mark.parametrize("said", ["0", "-1", "1.5", '"60"', "true", "10000001", "1" + "0" * 30])
def test_what_is_no_such_number_is_refused(machine: Machine, said: str) -> None:
    machine.users(f"seconds = {said}")
    for read in (lambda: settings.load(machine.project, now=NOW), lambda: settings.run_bounds(NOW)):
        with pytest.raises(ConfigError, match=r"whole number|64 bits"):
            read()


@pytest.mark.parametrize("said", ["0", "ten", "1e3", "9" * 5000, "\u0661"])
def test_so_is_such_a_variable(machine: Machine, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("CARNET_RUN_SECONDS", said)
    for read in (lambda: settings.load(machine.project, now=NOW), lambda: settings.run_bounds(NOW)):
        with pytest.raises(ConfigError, match="CARNET_RUN_SECONDS: seconds is no whole number"):
            read()


def test_a_key_that_carnet_does_not_know_is_refused(machine: Machine) -> None:
    machine.users("minutes = 3")
    with pytest.raises(ConfigError, match="unknown key 'minutes'"):
        machine.bounds()
