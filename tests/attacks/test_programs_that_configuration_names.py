"""Whoever can write cargo's configuration, which also a confined build can: what it names is started in builds alone.

cargo asks a compiler for its version also where it compiles nothing. That runs as long as the gate is at work.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.gatebox import GateBox, gate_box

from carnet_gate.confinement import landlock
from carnet_gate.confinement.protection import WRITABLE

pytestmark = pytest.mark.cargo

COMPILES_NOTHING = (
    *(("tree",), ("metadata", "--format-version", "1"), ("fetch",)),
    *(("update",), ("generate-lockfile",), ("add", "leaf")),
)


def program(box: GateBox, name: str, *, starts: str) -> Path:
    """A program that tries to write to carnet's memory, and says in `log` how that went."""
    path = box.machine.path / name
    trusted = f"{box.machine.carnet_home}/trust/pwned"
    path.write_text(
        f"#!/bin/sh\nif touch {trusted} 2> /dev/null; then how=wrote; else how=denied; fi\n"
        f"echo {name} $how >> {box.project}/log\nexec {starts}\n"
    )
    path.chmod(0o755)
    return path


def log(box: GateBox) -> set[str]:
    """What was started since the last time, and how it went."""
    file = box.project / "log"
    lines = set(file.read_text().splitlines()) if file.exists() else set()
    file.unlink(missing_ok=True)
    return lines


@pytest.mark.parametrize("by", ["project", "user"])
def test_what_configuration_names_is_started_by_builds_alone(tmp_path: Path, by: str) -> None:
    """Without a protection: nothing but not being started holds it."""
    with gate_box(tmp_path) as box:
        folder = box.project / ".cargo" if by == "project" else box.machine.cargo_home
        folder.mkdir(parents=True, exist_ok=True)
        named = {
            "rustc": program(box, "compiler", starts='rustc "$@"'),
            "rustc-wrapper": program(box, "wrapper", starts='"$@"'),
            "rustc-workspace-wrapper": program(box, "inner", starts='"$@"'),
        }
        lines = (f'{key} = "{path}"\n' for key, path in named.items())
        (folder / "config.toml").write_text(
            "[build]\n" + "".join(lines) + '[resolver]\nincompatible-rust-versions = "fallback"\n'
        )
        for command in COMPILES_NOTHING if by == "project" else COMPILES_NOTHING[2:4]:
            box.works(*command, env={WRITABLE: "1"})
            assert log(box) == set(), command
        box.cargo("check", env={WRITABLE: "1"})  # the positive control
        assert log(box) == {"compiler wrote", "wrapper wrote", "inner wrote"}


def test_what_cargo_starts_is_confined_in_every_step(tmp_path: Path) -> None:
    """The compiler of the user's own environment stands for all that cargo starts: credential providers, git, ssh."""
    if landlock.abi() < landlock.LEAST_ABI:
        pytest.skip(f"the kernel's Landlock has version {landlock.abi()}")
    with gate_box(tmp_path) as box:
        own = {"RUSTC": str(program(box, "compiler", starts='rustc "$@"'))}
        for command in (("fetch",), ("update",)):
            box.works(*command, env=own)
            assert log(box) == {"compiler denied"}, command
        box.works("fetch", env={**own, WRITABLE: "1"})
        assert log(box) == {"compiler wrote"}  # the positive control


def test_cargo_itself_is_confined_each_time_that_it_is_started(tmp_path: Path) -> None:
    """A build can write what rustup reads, and so choose the cargo of the next run: also that one is held."""
    if landlock.abi() < landlock.LEAST_ABI:
        pytest.skip(f"the kernel's Landlock has version {landlock.abi()}")
    with gate_box(tmp_path) as box:
        own = {"CARGO": str(program(box, "cargo", starts='cargo "$@"'))}
        for command in (("build",), ("build",), ("update",), ("build", "--help")):
            box.works(*command, env=own)
            assert log(box) == {"cargo denied"}, command
        box.works("build", env={**own, WRITABLE: "1"})
        assert log(box) == {"cargo wrote"}  # the positive control


LEAVES_A_WRAPPER = r"""
use std::{env, fs, os::unix::fs::PermissionsExt, path::Path};
fn main() {
    let folder = Path::new(&env::var("HOME").unwrap()).join(".cargo");
    let trusted = env::var("CARNET_HOME").unwrap() + "/trust/pwned";
    let (wrapper, log) = (folder.join("wrapper"), folder.join("log"));
    let text = format!("#!/bin/sh\ntouch {trusted} 2> /dev/null\ntouch {}\nexec \"$@\"\n", log.display());
    fs::write(&wrapper, text).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.join("config.toml"), format!("[build]\nrustc-wrapper = \"{}\"\n", wrapper.display())).unwrap();
}
"""


def test_a_wrapper_that_a_confined_build_leaves_is_confined_too(tmp_path: Path) -> None:
    if landlock.abi() < landlock.LEAST_ABI:
        pytest.skip(f"the kernel's Landlock has version {landlock.abi()}")
    worm = honest_crate("worm", "1.0.0", files={"build.rs": LEAVES_A_WRAPPER.encode()})
    with gate_box(tmp_path, worm, locked=False) as box:
        manifest = box.project / "Cargo.toml"
        manifest.write_text(manifest.read_text() + 'worm = "1"\n')
        box.works("build")
        assert not (box.machine.cargo_home / "log").exists()
        box.works("build")
        assert (box.machine.cargo_home / "log").exists()
        assert not (box.machine.carnet_home / "trust/pwned").exists()


def test_a_project_around_carnets_home_can_still_choose_versions(tmp_path: Path) -> None:
    """As in CI, where everything is kept in one folder."""
    with gate_box(tmp_path) as box:
        inside = box.project / ".carnet"
        box.machine.carnet_home.rename(inside)
        (box.project / "Cargo.lock").unlink()
        for command in ("generate-lockfile",), ("add", "leaf"), ("build",):
            box.works(*command, env={"CARNET_HOME": str(inside)})
