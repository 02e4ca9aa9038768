"""What cargo leaves on a disk, made without cargo: a CARGO_HOME and a vendor folder as cargo 1.95 makes them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from tests.support.machines.cargo import Machine

from carnet.cargo.crate import read_crate

CRATES_IO = f"index.{'crates.io'}-1949cf8c6b5b557f"
CHECKSUMS = ".cargo-checksum.json"


def cached(home: Path, data: bytes, *, registry: str = CRATES_IO) -> Path:
    """Put a tarball into cargo's cache, and unpack it as cargo does; returns the unpacked tree."""
    stem = read_crate(data).id.stem
    tarball = home / "registry/cache" / registry / f"{stem}.crate"
    tarball.parent.mkdir(parents=True, exist_ok=True)
    tarball.write_bytes(data)
    tarball.chmod(0o644)
    tree = home / "registry/src" / registry / stem
    unpacked(data, tree)
    (tree / ".cargo-ok").write_text('{"v":1}')
    return tree


def unpacked(data: bytes, tree: Path, *, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Unpack a tarball; returns the digests of its files."""
    digests = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive.getmembers():
            path = member.name.partition("/")[2]
            content = archive.extractfile(member)
            if content is None or path in without:
                continue
            file = tree / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.read())
            file.chmod(member.mode)
            digests[path] = hashlib.sha256(file.read_bytes()).hexdigest()
    return digests


def vendored(folder: Path, data: bytes, name: str | None = None) -> Path:
    """Vendor a tarball as cargo does; returns its folder."""
    crate = read_crate(data)
    tree = folder / (name or str(crate.id.name))
    files = unpacked(data, tree, without=(".gitignore", ".gitattributes"))
    (tree / CHECKSUMS).write_text(
        json.dumps({"files": dict(sorted(files.items())), "package": crate.sha256}, separators=(",", ":"))
    )
    return tree


def set_environment(patch: pytest.MonkeyPatch, machine: Machine) -> None:
    """Let this process be on a machine, for commands that run in it."""
    for name, text in machine.env().items():
        patch.setenv(name, text)
    patch.delenv("XDG_CONFIG_HOME", raising=False)
    patch.chdir(machine.path)
