"""Two small crates, one of which needs the other, and lock files as cargo writes them."""

from __future__ import annotations

from pathlib import Path

from tests.support.crates.archives import honest_crate
from tests.support.machines.cargo import Machine

from carnet.cargo.crate import read_crate

LEAF = honest_crate("leaf", "1.0.0")
BRANCH = honest_crate("branch", "0.2.0", extra='[dependencies]\nleaf = "1"\n')
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def package(name: str, version: str, source: str | None = None, checksum: str | None = None) -> str:
    """One entry; what is None is left out."""
    lines = [f'[[package]]\nname = "{name}"\nversion = "{version}"']
    lines += [f'source = "{source}"'] if source else []
    lines += [f'checksum = "{checksum}"'] if checksum else []
    return "\n".join(lines) + "\n\n"


def locked(*tarballs: bytes, more: str = "") -> str:
    """The lock of a program `app` that needs these crates of the public registry, and `more` entries."""
    crates = [read_crate(data) for data in tarballs]
    packages = [package(str(one.id.name), str(one.id.version), CRATES_IO, one.sha256) for one in crates]
    return "version = 4\n\n" + package("app", "0.1.0") + "".join(packages) + more


def write_lock(machine: Machine, text: str) -> Path:
    """Write the lock of the folder where the machine's commands run."""
    path = machine.path / "Cargo.lock"
    path.write_text(text)
    return path
