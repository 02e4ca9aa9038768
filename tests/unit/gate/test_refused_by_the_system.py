"""What the system refuses the gate, and that no machine of a test does by itself."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from carnet.errors import ConfigError, StorageError
from carnet_gate import home
from carnet_gate.confinement import descendants


def test_a_home_that_cargos_configuration_cannot_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / os.fsdecode(b"\xff")
    monkeypatch.setattr(home, "lasting_path", lambda folder, project: odd)
    nothing: Any = SimpleNamespace()
    with pytest.raises(ConfigError, match="is not UTF-8, and so cargo's configuration cannot name it"):
        home.lasting_home(tmp_path, tmp_path / "registry", nothing, nothing)


def test_a_kernel_that_hands_no_detached_process_over_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(prctl=lambda *_: -1))
    with pytest.raises(StorageError, match="does not hand detached processes over"), descendants.none_left():
        pytest.fail("nothing is run that nobody could end")


def test_processes_that_cannot_be_listed_are_not_taken_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", unreadable)
    with pytest.raises(StorageError, match="/proc cannot be read"):
        descendants._children()
