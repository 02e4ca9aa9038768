"""More commands behind the gate, with real cargo: external subcommands, packing, copying, mending, aliases."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.machines.gatebox import MAIN, GateBox, gate_box

pytestmark = pytest.mark.cargo

TESTED = MAIN + "#[test]\nfn answers() { assert_eq!(branch::n(), 42); }\n"
STAND_IN = """#!/bin/sh
# As cargo starts an external subcommand: its name comes first, and CARGO names the cargo to be used.
printf '%s\\n' "$*" >> {log}
echo "setup=$CARGO_LLVM_COV_SETUP" >> {log}
shift 2
exec "$CARGO" test "$@"
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateBox]:
    """One for all: what each test leaves in the project does not disturb the others."""
    with gate_box(tmp_path_factory.mktemp("commands")) as one:
        manifest = one.project / "Cargo.toml"
        about = 'description = "d"\nlicense = "MIT"\n[dependencies]'
        manifest.write_text(manifest.read_text().replace("[dependencies]", about))
        (one.project / "src/main.rs").write_text(TESTED)
        yield one


@pytest.mark.parametrize(("name", "inner", "setup"), [("nextest", "run", ""), ("llvm-cov", "test", "no")])
def test_an_external_subcommand_gets_its_flags_once_and_where_it_takes_them(
    box: GateBox, tmp_path: Path, name: str, inner: str, setup: str
) -> None:
    """With a stand-in that passes everything on to `cargo test`."""
    log = tmp_path / "log"
    (tmp_path / f"cargo-{name}").write_text(STAND_IN.format(log=log))
    (tmp_path / f"cargo-{name}").chmod(0o755)
    path = f"{tmp_path}:{box.machine.env()['PATH']}"
    said = box.works("-q", name, inner, "--locked", env={"PATH": path})
    assert "Compiling" not in said
    asked, variables = log.read_text().splitlines()
    assert asked.startswith(f"{name} {inner} --config source.crates-io.replace-with=")
    assert asked.endswith(" --locked --offline -q")
    assert variables == f"setup={setup}"


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


def test_questions_about_crates_are_answered_by_the_signed_index(box: GateBox) -> None:
    """In a project, and where there is none."""
    done = box.cargo("info", "leaf@1.0.0")
    assert done.returncode == 0, done.stderr
    assert "version: 1.0.0" in done.stdout
    assert "license: Apache-2.0" in done.stdout
    assert box.downloads()[-1] == "api/v1/crates/leaf/1.0.0/download"
    assert "could not find `absent`" in box.cargo("info", "absent").stderr
    done = box.cargo("search", "branch", cwd=box.machine.path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == 'branch = "0.2.0"'
    assert "the signed index is asked by name" in done.stderr


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
