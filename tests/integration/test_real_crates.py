"""The strict reader and the index comparison refuse no crate of a real program's tree."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.support.crates.corpus import examine, fetch

from carnet.cargo.lockfile import read_lockfile

pytestmark = [pytest.mark.network, pytest.mark.cargo]

EXAMPLE = Path(__file__).parents[2] / "examples/app/Cargo.lock"


def test_the_crates_of_the_example_are_read_and_their_lines_are_their_manifests(tmp_path: Path) -> None:
    locked = read_lockfile(EXAMPLE.read_bytes()).registry_packages
    newest = {package.id.name.text: package for package in locked}
    wanted = [f'{name} = "={package.id.version}"' for name, package in sorted(newest.items())]
    assert fetch(tmp_path / "home", tmp_path / "project", wanted) == []
    findings = examine(tmp_path / "home")
    assert findings.refused == {}
    assert findings.counts["tarballs"] >= len(wanted)
    # a registry of another make may write lines that differ in their order; most are cargo's own words
    assert findings.counts["identical lines"] > 0.9 * findings.counts["tarballs"]


def test_positive_control_a_tampered_crate_is_found(tmp_path: Path) -> None:
    assert fetch(tmp_path / "home", tmp_path / "project", ['cfg-if = "1"', 'itoa = "1"']) == []
    one, other = sorted((tmp_path / "home/registry/cache").glob("*/*.crate"))
    shutil.copyfile(other, one)
    assert len(examine(tmp_path / "home").refused) == 1
