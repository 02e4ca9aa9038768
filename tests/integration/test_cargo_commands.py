"""Commands behind the gate, with real cargo; those that take longer are in `cargo_commands.py`, `cargo_install.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.machines.gatebox import GateBox, gate_box

pytestmark = pytest.mark.cargo

STAND_IN = """#!/bin/sh
# As cargo starts an external subcommand: its name comes first, and CARGO names the cargo to be used.
printf '%s\\n' "$*" >> {log}
echo "setup=$CARGO_LLVM_COV_SETUP" >> {log}
shift 2
exec "$CARGO" check "$@"
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateBox]:
    """One for all: what each test leaves in the project does not disturb the others."""
    with gate_box(tmp_path_factory.mktemp("commands")) as one:
        yield one


def test_an_external_subcommand_gets_its_flags_once_and_where_it_takes_them(box: GateBox, tmp_path: Path) -> None:
    """With a stand-in that passes everything on to `cargo check`."""
    log = tmp_path / "log"
    (tmp_path / "cargo-llvm-cov").write_text(STAND_IN.format(log=log))
    (tmp_path / "cargo-llvm-cov").chmod(0o755)
    path = f"{tmp_path}:{box.machine.env()['PATH']}"
    said = box.works("-q", "llvm-cov", "--locked", env={"PATH": path})
    assert "Compiling" not in said
    asked, variables = log.read_text().splitlines()
    assert asked.startswith("llvm-cov test --config source.crates-io.replace-with=")
    assert asked.endswith(" --locked --offline -q")
    assert variables == "setup=no"


def test_a_vendored_folder_has_what_was_admitted_and_builds_by_itself(box: GateBox) -> None:
    stray = box.project / "third-party/leaf/src/stray.rs"
    stray.parent.mkdir(parents=True)
    stray.write_text("left by an earlier run")
    done = box.cargo("vendor", "third-party")
    assert done.returncode == 0, done.stderr
    assert not stray.exists()
    assert 'directory = "third-party"' in done.stdout
    for source in box.machine.sources("leaf-1.0.0"):
        copied = box.project / "third-party/leaf/src/lib.rs"
        assert copied.read_bytes() == (source / "src/lib.rs").read_bytes()
    (box.project / "third-party/vendored.toml").write_text(done.stdout)
    flags = ("--offline", "--config", "third-party/vendored.toml")
    built = box.machine.run("cargo", "metadata", "--format-version=1", *flags, cwd=box.project)
    assert built.returncode == 0, built.stderr


def test_questions_about_crates_are_answered_by_the_signed_index(box: GateBox) -> None:
    """In a project, and where there is none."""
    done = box.cargo("info", "leaf@1.0.0")
    assert done.returncode == 0, done.stderr
    assert "version: 1.0.0" in done.stdout
    assert "license: Apache-2.0" in done.stdout
    assert box.downloads()[-1] == "api/v1/crates/leaf/1.0.0/download"
    assert "could not find `absent`" in box.cargo("info", "absent").stderr
