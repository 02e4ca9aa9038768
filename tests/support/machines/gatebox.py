"""A machine that trusts a signed repository on loopback, and a program on it that needs two crates."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.crates.archives import honest_crate
from tests.support.machines.cargo import Machine
from tests.support.registries.signed import SignedRegistry

from carnet.cargo.crate import read_crate

LEAF = honest_crate("leaf", "1.0.0", source="pub fn n() -> u32 { 40 }\n")
NEWER_LEAF = honest_crate("leaf", "1.1.0", source="pub fn n() -> u32 { 41 }\n")
BRANCH = honest_crate(
    "branch", "0.2.0", source="pub fn n() -> u32 { leaf::n() + 2 }\n", extra='[dependencies]\nleaf = "1"\n'
)
MAIN = 'fn main() { println!("answer {}", branch::n()); }\n'
EVIL = 'pub fn n() -> u32 { println!("EVIL"); 666 }\n'


@dataclass
class GateBox:
    """Everything that a test of the gate needs."""

    machine: Machine
    registry: SignedRegistry
    project: Path

    def cargo(
        self, *args: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`cargo-carnet ARGS...` in the project."""
        return self.machine.cargo_carnet(*args, cwd=cwd or self.project, env=env)

    def works(self, *args: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """The same, when it must succeed; returns what was printed on stderr."""
        done = self.cargo(*args, cwd=cwd, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stderr

    def refused(
        self, *args: str, status: int = 1, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> str:
        """The same, when it must be refused before anything was compiled; returns what was printed on stderr."""
        done = self.cargo(*args, cwd=cwd, env=env)
        assert done.returncode == status, done.stdout + done.stderr
        assert "error: " in done.stderr
        assert "Traceback" not in done.stderr
        assert "Compiling" not in done.stderr
        assert "Checking" not in done.stderr
        assert done.stdout == ""
        return done.stderr

    def downloads(self) -> list[str]:
        """The tarballs that the repository was asked for."""
        return [path for path in self.registry.requests if path.endswith("/download")]


LOCK = """version = 4

[[package]]
name = "app"
version = "0.0.0"
dependencies = ["branch"]

[[package]]
name = "branch"
version = "0.2.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "{branch}"
dependencies = ["leaf"]

[[package]]
name = "leaf"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "{leaf}"
"""


@contextmanager
def gate_box(tmp_path: Path, *tarballs: bytes, locked: bool = True) -> Iterator[GateBox]:
    """Make one; the repository has `leaf` and `branch`, and more when they are given.

    Args:
        tmp_path: Everything is below it.
        tarballs: More crates.
        locked: Whether the project has a lock already; making one takes cargo a second.
    """
    registry = SignedRegistry()
    registry.add(LEAF, BRANCH, *tarballs)
    with registry.serving():
        machine = Machine(tmp_path)
        machine.trust(registry.root, registry.url)
        project = machine.project(dependencies={"branch": '"0.2"'}, main=MAIN)
        if locked:
            checksums = {"leaf": read_crate(LEAF).sha256, "branch": read_crate(BRANCH).sha256}
            (project / "Cargo.lock").write_text(LOCK.format(**checksums))
        yield GateBox(machine, registry, project)
