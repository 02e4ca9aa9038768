"""What is fuzzed of folders that others can write to: target and vendor folders, and a mirror's without its state."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tests.fuzz.kept import scratch
from tests.fuzz.mutate import documents
from tests.fuzz.worlds import Target, role_seeds
from tests.support.crates.archives import honest_crate
from tests.support.crates.locks import LEAF, locked

from carnet import strictjson
from carnet.cargo.crate import CrateFile, read_crate
from carnet.cargo.lockfile import read_lockfile
from carnet.digests import sha256_hex
from carnet.durable import private_folder
from carnet_gate.comparison import intermediates, settled
from carnet_gate.without_lock import dependent
from carnet_mirror.fsck import signed_files
from carnet_verifier.cargo import copies, vendoring
from carnet_verifier.cargo.vendored import MARK


def _intermediates(data: bytes) -> None:
    """What carnet remembers of the folder that it made in a target folder."""
    _record().write_bytes(data)
    intermediates.Intermediates(_record().parent, [scratch() / "target"], separates=True)


@cache
def _record() -> Path:
    records = private_folder(scratch() / "intermediates")
    return intermediates.Intermediates(records, [scratch() / "target"], separates=True)._file


def _settled(data: bytes) -> None:
    """What carnet remembers of crates about which nothing changed, with the digest that it wrote in front of it."""
    file = scratch() / "settled"
    file.write_bytes(settled._HEAD + sha256_hex(data).encode() + b"\n" + data)
    settled._read(file)


def _program_lock(data: bytes) -> None:
    """The lock that a program's tarball brings along."""
    read_lockfile(data, "its lock")
    dependent.lock(data, "its lock", _program())


@cache
def _program() -> CrateFile:
    return read_crate(honest_crate("demo", "0.1.0"))


def _vendored_manifest(data: bytes) -> None:
    """Which crate a vendored folder says that it is."""
    manifest = scratch() / "Cargo.toml"
    manifest.write_bytes(data)
    copies._crate_of(manifest)


def _vendor_mark(data: bytes) -> None:
    """What carnet wrote into a vendor folder of itself."""
    (_vendor() / MARK).write_bytes(data)
    vendoring._parts_before(_vendor())


@cache
def _vendor() -> Path:
    folder = scratch() / "vendor"
    (folder / "demo").mkdir(parents=True)
    return folder


def _signed_chain(data: bytes) -> None:
    """The roots and snapshots in the folder of a mirror whose database is lost."""
    for name in ("1.root.json", "1.snapshot.json"):
        (_mirror() / "metadata" / name).write_bytes(data)
    signed_files.read_signed_chain(_mirror(), data)


@cache
def _mirror() -> Path:
    folder = scratch() / "mirror"
    (folder / "metadata").mkdir(parents=True)
    return folder


_LOCK = locked(LEAF).replace('"app"', '"demo"')
FOLDERS: dict[str, Target] = {
    "intermediates": Target(
        lambda: [strictjson.encode({"name": f"carnet-{'0' * 16}", "identity": [1, 2, 3]})], _intermediates, documents
    ),
    "settled": Target(lambda: [strictjson.encode({"demo-0.1.0": ["0" * 64, "1" * 64, 3]})], _settled, documents),
    "program-lock": Target(lambda: [_LOCK.encode()], _program_lock),
    "vendored-manifest": Target(lambda: [b'[package]\nname = "demo"\nversion = "0.1.0"\n'], _vendored_manifest),
    "vendor-mark": Target(lambda: [strictjson.encode({"parts": {"demo": "0" * 64}})], _vendor_mark, documents),
    "signed-chain": Target(role_seeds("root"), _signed_chain, documents),
}
