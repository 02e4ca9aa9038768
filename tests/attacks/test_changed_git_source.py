"""A package from git that the policy allows: what cargo checked out is the pinned commit, before a build and after."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.gatebox import GateBox, gate_box

from carnet_gate.confinement.protection import WRITABLE

pytestmark = pytest.mark.cargo

SCRIPT = """
fn main() {
    let home = std::path::PathBuf::from(std::env::var("CARGO_HOME").unwrap()).join("git/checkouts");
    let first = |path: &std::path::Path| std::fs::read_dir(path).unwrap().next().unwrap().unwrap().path();
    std::fs::write(first(&first(&home)).join("src/lib.rs"), "pub fn n() -> u32 { 666 }").ok();
}
"""


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=n", "-c", "user.email=e@example")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *who, *arguments], cwd=folder, env=environment, check=True, capture_output=True)


def depend_on_git(box: GateBox) -> None:
    origin = box.machine.project("dep", folder="origin/dep")
    (origin / "src/main.rs").unlink()
    (origin / "src/lib.rs").write_text("pub fn n() -> u32 { 7 }\n")
    git(origin, "init", "-q")
    git(origin, "add", ".")
    git(origin, "commit", "-qm", "first")
    manifest = box.project / "Cargo.toml"
    manifest.write_text(manifest.read_text() + f'worm = "1"\ndep = {{ git = "file://{origin}" }}\n')
    (box.project / "src/main.rs").write_text('fn main() { println!("answer {}", dep::n()); }\n')


def test_a_checkout_that_is_not_its_commit_is_never_compiled_unseen(tmp_path: Path) -> None:
    worm = honest_crate("worm", "1.0.0", files={"build.rs": SCRIPT.encode()})
    with gate_box(tmp_path, worm, locked=False) as box:
        depend_on_git(box)
        assert "which no signed metadata vouches for [git]" in box.refused("fetch")
        box.machine.configure('[rules]\ngit = "allow"\n')
        done = box.cargo("run")  # the build script writes, and cannot
        assert (done.returncode, done.stdout) == (0, "answer 7\n"), done.stderr
        (source,) = box.machine.carnet_home.glob("cargo/*/home/git/checkouts/*/*/src/lib.rs")
        assert source.read_text() == "pub fn n() -> u32 { 7 }\n"
        copied = box.project / "vendor/dep/src/lib.rs"
        assert 'git = "file://' in box.cargo("vendor").stdout
        assert copied.read_text() == "pub fn n() -> u32 { 7 }\n"
        source.write_text("pub fn n() -> u32 { 8 }\n")
        assert "'src/lib.rs' is not what the commit" in box.refused("run")
        assert "'src/lib.rs' is not what the commit" in box.refused("vendor")
        assert copied.read_text() == "pub fn n() -> u32 { 7 }\n"
        assert box.machine.carnet("trust", "clean").returncode == 0
        assert box.cargo("run").stdout == "answer 7\n"
        (box.project / "target").rename(tmp_path / "old")
        done = box.cargo("build", env={WRITABLE: "1"})
        assert done.returncode == 1
        assert "'src/lib.rs' is not what the commit" in done.stderr
        assert "it was changed while cargo ran" in done.stderr
        assert box.machine.carnet("trust", "clean").returncode == 0
        assert "is not used: 'src/lib.rs' is not what the commit" in box.refused("run")
