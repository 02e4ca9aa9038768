"""A program to be installed, that brings a lock of its own, as `cargo package` makes one."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.crates.archives import honest_crate
from tests.support.machines.gatebox import BRANCH, LEAF, LOCK

from carnet.cargo.crate import read_crate

SOURCE = b'fn main() { println!("tool {}", branch::n()); }\n'
DEPENDS = '[dependencies]\nbranch = "0.2"\nleaf = { version = "1", optional = true }\n'


def lock_of_tool(version: str = "1.0.0", *, leaf: str = "", tested_with: bytes | None = None) -> bytes:
    """Its lock: with `leaf` 1.0.0, whatever newer there is.

    Args:
        version: Of the program.
        leaf: Another checksum than that of `leaf`.
        tested_with: A crate that only its tests need.
    """
    checksums = {"leaf": leaf or read_crate(LEAF).sha256, "branch": read_crate(BRANCH).sha256}
    text = LOCK.replace('"app"\nversion = "0.0.0"', f'"tool"\nversion = "{version}"')
    text = text.replace('["branch"]', '["branch", "leaf"]').format(**checksums)
    if tested_with is not None:
        crate = read_crate(tested_with)
        text = text.replace('["branch", "leaf"]', f'["branch", "leaf", "{crate.id.name}"]')
        text += f'\n[[package]]\nname = "{crate.id.name}"\nversion = "{crate.id.version}"\n'
        text += f'source = "registry+https://github.com/rust-lang/crates.io-index"\nchecksum = "{crate.sha256}"\n'
    return text.encode()


def tool(
    version: str = "1.0.0", *, lock: bytes | None = None, files: Mapping[str, bytes] = {}, extra: str = ""
) -> bytes:
    """The tarball of `tool`, which prints what `branch` gives it.

    Args:
        version: Its version.
        lock: The lock in it; that of `lock_of_tool` when none is given.
        files: More files.
        extra: More lines for the end of its `Cargo.toml`.
    """
    own = lock_of_tool(version) if lock is None else lock
    return honest_crate(
        "tool", version, source="", extra=DEPENDS + extra, files={"src/main.rs": SOURCE, "Cargo.lock": own, **files}
    )
