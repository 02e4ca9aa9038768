"""What is done before anything large is imported: our own modules are found where the import system finds them."""

from __future__ import annotations

import importlib.machinery
import os
from pathlib import Path

import pytest

import carnet_verifier
from carnet_cli import start

FOLDER = list(carnet_verifier.__path__)


@pytest.mark.parametrize("name", ["carnet_verifier.admit", "carnet_verifier.tuf", "carnet_verifier.policy"])
def test_a_module_is_found_as_the_import_system_finds_it(name: str) -> None:
    found = start._BelowOurs.find_spec(name, FOLDER)
    theirs = importlib.machinery.PathFinder.find_spec(name, FOLDER)
    assert found is not None
    assert theirs is not None
    assert (found.name, found.origin, found.cached) == (theirs.name, theirs.origin, theirs.cached)
    assert found.submodule_search_locations == theirs.submodule_search_locations
    assert type(found.loader) is type(theirs.loader)


@pytest.mark.parametrize("name", ["carnet_verifier", "carnet_verifier.absent", "email.message"])
def test_what_is_not_there_or_not_ours_is_left_to_the_import_system(name: str, tmp_path: Path) -> None:
    assert start._BelowOurs.find_spec(name, FOLDER if name.endswith("absent") else None) is None
    assert start._BelowOurs.find_spec(name, [str(tmp_path)]) is None


def test_a_system_without_file_locks_is_refused_in_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        with pytest.raises(SystemExit) as ended:
            start._open_streams()
    error, hint = str(ended.value.code).splitlines()
    assert error == "error: carnet runs on Linux and macOS"
    assert "WSL 2" in hint
