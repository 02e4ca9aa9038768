"""More commands behind the gate, with real cargo and real external subcommands: `make commands` runs it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.machines.gatebox import MAIN, GateBox, gate_box

pytestmark = pytest.mark.cargo

TESTED = MAIN + "#[test]\nfn answers() { assert_eq!(branch::n(), 42); }\n"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateBox]:
    """One for all: what each test leaves in the project does not disturb the others."""
    with gate_box(tmp_path_factory.mktemp("commands")) as one:
        manifest = one.project / "Cargo.toml"
        about = 'description = "d"\nlicense = "MIT"\n[dependencies]'
        manifest.write_text(manifest.read_text().replace("[dependencies]", about))
        (one.project / "src/main.rs").write_text(TESTED)
        yield one


def test_the_real_nextest(box: GateBox) -> None:
    if shutil.which("cargo-nextest") is None:
        pytest.skip("cargo-nextest is not installed")
    said = box.works("nextest", "run", "--locked", "answers")
    assert "Admitted 2 crates" in said
    assert "1 test run: 1 passed" in said
    box.works("nextest", "--no-pager", "list")


def test_the_real_llvm_cov(box: GateBox) -> None:
    if shutil.which("cargo-llvm-cov") is None:
        pytest.skip("cargo-llvm-cov is not installed")
    # What reports is never started: a toolchain need not have it.
    tools = dict.fromkeys(("LLVM_COV", "LLVM_PROFDATA"), "/bin/true")
    done = box.cargo("llvm-cov", "--no-report", env=tools)
    assert done.returncode == 0, done.stderr
    assert "test answers ... ok" in done.stdout


def test_what_is_packed_is_compiled_from_admitted_crates(box: GateBox) -> None:
    said = box.works("package", "--allow-dirty")
    assert "Admitted 2 crates" in said
    assert "Verifying app v0.0.0" in said
    assert (box.project / "target/package/app-0.0.0.crate").exists()
    done = box.cargo("package", "--list", "--allow-dirty")
    assert "src/main.rs" in done.stdout.split()


def test_a_fix_changes_the_projects_own_sources(box: GateBox) -> None:
    other = box.machine.project(
        "mended", {"branch": '"0.2"'}, main='fn main() { let mut x = branch::n(); println!("{x}"); }\n'
    )
    assert "Fixed src/main.rs (1 fix)" in box.works("fix", "--allow-no-vcs", cwd=other)
    assert "let x" in (other / "src/main.rs").read_text()


def test_an_alias_is_followed_and_its_command_goes_through_the_gate(box: GateBox, tmp_path: Path) -> None:
    (box.machine.cargo_home / "config.toml").write_text('[alias]\nlook = "see --depth 0"\n')
    (box.project / ".cargo").mkdir()
    (box.project / ".cargo/config.toml").write_text('[alias]\nsee = ["tree", "--charset", "ascii"]\n')
    try:
        done = box.cargo("look", "-p", "leaf")
        assert "Admitted 2 crates" in done.stderr
        assert done.stdout.startswith("leaf v1.0.0")
        assert "\n" not in done.stdout.strip()
        plain = box.machine.run("cargo", "look", "-p", "leaf", "--frozen", cwd=box.project, env=private(box))
        assert done.stdout == plain.stdout  # as cargo itself understands it
    finally:
        shutil.rmtree(box.project / ".cargo")
        (box.machine.cargo_home / "config.toml").unlink()


def test_a_rehearsal_of_publishing_compiles_behind_the_gate_and_asks_the_signed_index(box: GateBox) -> None:
    before = len(box.registry.requests)
    assert "Compiling" not in box.works("publish", "-qn", "--allow-dirty")
    said = box.works("publish", "--dry-run", "--allow-dirty")
    assert said.index("Admitted 2 crates") < said.index("Verifying app") < said.index("Updating `carnet-")
    assert said.count("Verifying") == 1
    assert said.splitlines()[-1] == "warning: aborting upload due to dry run"
    assert not any("new" in path for path in box.registry.requests[before:])
    taken = box.machine.project("leaf", folder="taken")
    about = 'description = "d"\nlicense = "MIT"\n[dependencies]'
    manifest = (taken / "Cargo.toml").read_text().replace("0.0.0", "1.0.0").replace("[dependencies]", about)
    (taken / "Cargo.toml").write_text(manifest)
    done = box.cargo("publish", "--dry-run", "--no-verify", "--allow-dirty", cwd=taken)
    assert "leaf@1.0.0 already exists" in done.stderr


def private(box: GateBox) -> dict[str, str]:
    """The CARGO_HOME of the gate, in which plain cargo has the admitted crates and the copy of the configuration."""
    (home,) = box.machine.carnet_home.glob("cargo/*/home")
    return {"CARGO_HOME": os.fspath(home)}
