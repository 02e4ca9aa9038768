"""What a thief can sign with the keys that were stolen; the thief asks no rule of carnet's before signing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from carnet import strictjson
from carnet.cargo.index_line import IndexFile, IndexLine
from carnet.cargo.names import CrateName
from carnet.tuf import paths
from carnet.tuf.roles import MetaFile, RoleKeys
from carnet.tuf.tree import is_bin
from carnet_signer.keys.signer import Signer
from carnet_signer.keys.uri import load_signer
from carnet_signer.metadata import role_files
from carnet_signer.proposals.proposal import Proposal
from examples.stage import DemoError
from examples.wire import Tamper, Wire

PASSPHRASE = b"correct horse battery staple"
_JUMP = 1000
"""So many versions a thief goes ahead, to be newer than whatever the mirror signs meanwhile."""


def open_key(folder: Path, name: str) -> Signer:
    """Open a stolen key with the passphrase that was stolen with it."""
    return load_signer(str(folder / name), lambda _: PASSPHRASE)


class Online:
    """Somebody who stole the online key and the passphrase, and signs what the online signer never would."""

    def __init__(self, folder: Path, network: Wire) -> None:
        self._signer = open_key(folder, "online")
        self._read: Callable[[str], bytes] = lambda name: network.fetch(f"/{name}")[2]
        self._timestamp = self._signed("timestamp.json")

    def snapshot_file(self) -> MetaFile:
        """What the newest timestamp says of the snapshot."""
        listed = self._timestamp["meta"]["snapshot.json"]
        return MetaFile(listed["version"], listed["length"], listed["hashes"])

    def timestamp(self, snapshot: MetaFile, expires: datetime) -> bytes:
        """The next timestamp."""
        return self._file(role_files.timestamp(self._timestamp["version"] + 1, expires, snapshot))

    def bin_that_delegates(self, path: str, role: str) -> dict[str, bytes]:
        """The bin that lists `path`, made to delegate to `role`; with the snapshot and timestamp that name it."""
        name, bin_file = self._bin_of(path)
        entry = role_files.delegation(role, RoleKeys((self._signer.public_key,), 1), ["index/*/*/*"], terminating=True)
        bin_file |= {"targets": {}, "delegations": role_files.delegate_by_name([entry])}
        return self._published(name, bin_file, {f"{role}.json": {"version": 1}})

    def index_file(
        self, crate: CrateName, edit: Callable[[IndexFile], Iterable[IndexLine]], more: dict[str, Any] | None = None
    ) -> dict[str, bytes]:
        """The index file of a crate with other lines; with the bin, snapshot and timestamp that vouch for it."""
        path = paths.index_path(crate)
        name, bin_file = self._bin_of(path)
        folder, _, file = path.rpartition("/")
        old = self._read(f"{paths.TARGETS_PREFIX}{folder}/{bin_file['targets'][path]['hashes']['sha256']}.{file}")
        data = IndexFile(crate, tuple(edit(IndexFile.from_bytes(old, crate)))).to_bytes()
        bin_file["targets"][path] = role_files.target(len(data), sha256(data).hexdigest())
        return self._published(name, bin_file, more or {}) | {_target(path, data): data, f"/{path}": data}

    def release(self, proposal: Proposal) -> dict[str, bytes]:
        """A release that no mirror took: its role, tarball, evidence and index line, in a snapshot that names them."""
        files = {_target(path, data): data for path, data in proposal.targets.items()}
        named = {}
        for role, draft in proposal.drafts.items():
            files[f"/metadata/{draft.signed.version}.{role}.json"] = draft.raw
            digest = sha256(draft.raw).hexdigest()
            named[f"{role}.json"] = role_files.target(len(draft.raw), digest) | {"version": draft.signed.version}
        lines = [IndexLine.from_bytes(data) for data in proposal.lines.values()]
        return files | self.index_file(proposal.crate, lambda index: [*index.lines, *lines], named)

    def _bin_of(self, path: str) -> tuple[str, dict[str, Any]]:
        """The file name and content of the bin that lists a path."""
        for name, meta in self._snapshot()["meta"].items():
            if is_bin(name.removesuffix(".json")):
                bin_file = self._signed(f"{meta['version']}.{name}")
                if path in bin_file["targets"]:
                    return name, bin_file
        raise DemoError(f"no bin lists {path}")

    def _published(self, name: str, bin_file: dict[str, Any], more: dict[str, Any]) -> dict[str, bytes]:
        """A bin, the snapshot that names it, the timestamp that names that: by URL path."""
        snapshot = self._snapshot()
        bin_file["version"] += _JUMP
        snapshot["version"] += _JUMP
        snapshot["meta"] |= {name: {"version": bin_file["version"]}, **more}
        snapshot_file = self._file(snapshot)
        meta = MetaFile(snapshot["version"], len(snapshot_file))
        return {
            f"/metadata/{bin_file['version']}.{name}": self._file(bin_file),
            f"/metadata/{snapshot['version']}.snapshot.json": snapshot_file,
            "/metadata/timestamp.json": self.timestamp(meta, datetime.now(UTC) + timedelta(hours=20)),
        }

    def _snapshot(self) -> dict[str, Any]:
        return self._signed(f"{self.snapshot_file().version}.snapshot.json")

    def _signed(self, name: str) -> dict[str, Any]:
        signed: dict[str, Any] = json.loads(self._read(f"metadata/{name}"))["signed"]
        return signed

    def _file(self, signed: strictjson.JsonObject) -> bytes:
        message = strictjson.canonical(signed)
        return role_files.file_bytes(message, [self._signer.sign(message)])


def _target(path: str, data: bytes) -> str:
    """The URL path of a target: its digest stands before its name."""
    folder, _, file = path.rpartition("/")
    return f"/{paths.TARGETS_PREFIX}{folder}/{sha256(data).hexdigest()}.{file}"


def instead(files: dict[str, bytes]) -> Tamper:
    """Serve these files, by URL path, whatever the mirror answers."""

    def tamper(path: str, status: int, body: bytes) -> tuple[int, bytes]:
        return (200, files[path]) if path in files else (status, body)

    return tamper
