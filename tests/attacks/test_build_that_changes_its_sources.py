"""A build script that changes what is compiled: it is told, and stays told; nothing that was built then is used.

Here nothing keeps it from writing. What does is tried in `test_confined_build.py`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.gatebox import GateBox, gate_box

from carnet_gate.confinement.protection import WRITABLE

pytestmark = pytest.mark.cargo

UNCONFINED = {WRITABLE: "1"}
VICTIM = honest_crate(
    "victim", "1.0.0", source="pub fn n() -> u32 { 42 }\n", extra='[dependencies]\nworm = { version = "1" }\n'
)
MAIN = 'fn main() { println!("answer {}", victim::n()); }\n'


def worm(*lines: str) -> bytes:
    """A crate whose build script has the victim's tree as `victim`, with every permission in it."""
    script = "\n".join(
        (
            "use std::{fs, path::{Path, PathBuf}};",
            "fn open(path: &Path) {",
            "    let mut mode = fs::metadata(path).unwrap().permissions();",
            "    mode.set_readonly(false);",
            "    fs::set_permissions(path, mode).unwrap();",
            "    if path.is_dir() { for entry in fs::read_dir(path).unwrap() { open(&entry.unwrap().path()); } }",
            "}",
            "fn main() {",
            '    println!("cargo:rerun-if-changed=build.rs");',
            '    let own = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap());',
            '    let victim = own.parent().unwrap().join("victim-1.0.0");',
            "    open(&victim);",
            *lines,
            "}",
            "",
        )
    )
    return honest_crate("worm", "1.0.0", source="pub fn w() {}\n", files={"build.rs": script.encode()})


EVIL = 'fs::write(victim.join("src/lib.rs"), "pub fn n() -> u32 { 666 }\\n").unwrap();'


def start(box: GateBox) -> None:
    manifest = box.project / "Cargo.toml"
    manifest.write_text(manifest.read_text() + 'victim = "1"\n')
    (box.project / "src/main.rs").write_text(MAIN)


@pytest.mark.parametrize("marker", ["", 'fs::remove_file(victim.join(".cargo-ok")).unwrap();'])
def test_what_a_changed_source_was_compiled_to_is_never_used(tmp_path: Path, marker: str) -> None:
    with gate_box(tmp_path, worm(EVIL, marker), VICTIM, locked=False) as box:
        start(box)
        done = box.cargo("build", env=UNCONFINED)
        assert done.returncode == 1, done.stderr
        assert "it was changed while cargo ran" in done.stderr
        assert "is not used: victim@1.0.0" in box.refused("build")
        assert box.machine.carnet("trust", "clean").returncode == 0
        assert "is not used: victim@1.0.0" in box.refused("run")  # although the sources are good again
        assert "is not used" in box.refused("run", "--manifest-path", str(box.project / "Cargo.toml"), cwd=tmp_path)
        elsewhere = tmp_path / "elsewhere"
        (box.project / "target").rename(elsewhere)
        assert "is not used" in box.refused("run", "--target-dir", str(elsewhere))
        assert box.cargo("tree").returncode == 0  # which uses nothing that was built
        shutil.rmtree(elsewhere)
        again = box.cargo("build", env=UNCONFINED)
        assert "Compiling victim" in again.stderr  # a folder that is gone has nothing left to use
        assert again.returncode == 1


def test_a_gate_that_is_killed_before_it_compares(tmp_path: Path) -> None:
    """The comparison is what an attacker would rather not have; so that it did not happen is remembered too."""
    wait = 'fs::write(std::env::var("HOME").unwrap() + "/built", "").unwrap();', "std::thread::sleep_ms(60000);"
    with gate_box(tmp_path, worm(EVIL, *wait), VICTIM, locked=False) as box:
        start(box)
        box.works("fetch")
        command = [sys.executable, "-c", "from carnet_cli.start import cargo_main; cargo_main()", "build"]
        environment = {name: value for name, value in box.machine.env(UNCONFINED).items() if value}
        gate = subprocess.Popen(
            command, cwd=box.project, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
        )
        end = time.monotonic() + 60
        while not (box.machine.home / "built").exists():
            assert gate.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        os.killpg(gate.pid, signal.SIGKILL)
        gate.wait()
        box.machine.carnet("trust", "clean")  # the sources are good again
        assert "was ended before its sources were compared" in box.refused("build")
        box.machine.run("cargo", "clean", cwd=box.project)
        box.works("fetch")
        assert not (box.project / "target").exists()


RESTORE = """
use std::{env, fs, os::unix::fs::PermissionsExt, path::PathBuf};
fn main() {
    let own = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap());
    let victim = own.parent().unwrap().join("victim-1.0.0");
    let source = victim.join("src/lib.rs");
    fs::write(&source, "pub fn n() -> u32 { 42 }\n").unwrap();
    let then = fs::metadata(victim.join("Cargo.toml")).unwrap().modified().unwrap();
    fs::File::options().write(true).open(&source).unwrap().set_modified(then).unwrap();
    for entry in fs::read_dir(&victim).unwrap().chain(fs::read_dir(victim.join("src")).unwrap()) {
        let path = entry.unwrap().path();
        if path.is_file() { fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap(); }
    }
    for path in [victim.join("src"), victim] { fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap(); }
}
"""


def test_a_source_that_is_good_again_before_anybody_compares(tmp_path: Path) -> None:
    """One crate's build script changes the victim, cargo compiles it, and one that is built later changes it back."""
    late = honest_crate(
        "late", "1.0.0", files={"build.rs": RESTORE.encode()}, extra='[build-dependencies]\nvictim = "1"\n'
    )
    with gate_box(tmp_path, worm(EVIL), VICTIM, late, locked=False) as box:
        start(box)
        manifest = box.project / "Cargo.toml"
        manifest.write_text(manifest.read_text() + 'late = "1"\n')
        done = box.cargo("build", env=UNCONFINED)
        assert "Compiling victim" in done.stderr
        (tree,) = box.machine.sources("victim-1.0.0")
        assert "42" in (tree / "src/lib.rs").read_text()
        assert done.returncode == 1, done.stderr
        assert "changed and changed back" in done.stderr
        assert "is not used: " in box.refused("run")
        assert "answer 666" in box.machine.run(str(box.project / "target/debug/app")).stdout  # the positive control
