"""A repository in memory, for the tests of those who build on `carnet_verifier.api`; no mirror, no network, no disk.

    repository = InMemoryRepository(now=datetime.now(UTC))
    repository.add("serde@1.0.219")
    repository.publish()

Every signature in it is real and every file has the form that a mirror's has, so that verification has nothing to look
away from; only its keys are made on the spot and forgotten with it. Its crates are unclaimed: no owners, no
signed releases, no provenance, and so nothing above the level `registry`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet import strictjson
from carnet.cargo.index_file import IndexFile, IndexLine
from carnet.cargo.lockfile import CRATES_IO
from carnet.cargo.names import CrateId, CrateName
from carnet.digests import sha256_hex
from carnet.strictjson import Json, JsonObject
from carnet.tuf import paths
from carnet.tuf.keys import PublicKey
from carnet.tuf.roles import RoleKeys, SuccinctRoles
from carnet.tuf.structure import role_field, shard_field
from carnet.tuf.tree import place_of
from carnet_verifier.net.local import ReadFetcher

__all__ = ["InMemoryRepository"]

_BIT_LENGTH = 4
"""Sixteen bins: a test has few crates."""
_TIMESTAMP, _SNAPSHOT, _BINS, _OFFLINE = (timedelta(days=days) for days in (1, 7, 90, 365))
"""How long what is signed lasts."""


class InMemoryRepository(ReadFetcher):
    """A repository of unclaimed crates, and the fetcher that `open_repository` takes.

    Args:
        now: The time that it is made at, aware, UTC: what it publishes expires as on a mirror.
        url: What it is to be called.

    Attributes:
        url: As given.
        root: The root file, to be trusted.
        files: What is served, by its path below the URL; a test may take a file away or change it.
        requests: The paths that were asked for, in order.
    """

    def __init__(self, *, now: datetime, url: str = "https://registry.invalid/") -> None:
        super().__init__(self._read)
        self.url = url
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self._now = now
        self._holder, self._online = _Key(), _Key()
        self._bins = SuccinctRoles(RoleKeys((self._online.public,), 1), _BIT_LENGTH, paths.INDEX_BIN_PREFIX)
        self._lines: dict[str, dict[CrateId, IndexLine]] = {}
        self._meta: JsonObject = {}
        self._version = 0
        self.root = self._sign_offline()

    # --- making it ---

    def add(self, crate: str, tarball: bytes | None = None, *, yanked: bool = False) -> str:
        """Add a version without dependencies, or replace it; `publish` makes it visible.

        Args:
            crate: Which one, such as `serde@1.0.219`.
            tarball: What is to be downloaded; some bytes that are no tarball, when None.
            yanked: Whether the registry takes it back.

        Returns:
            The sha256 of its tarball, in hex, as a lock pins it.

        Raises:
            FormatError: Not a crate.
        """
        version = CrateId.parse(crate)
        data = f"the tarball of {version}".encode() if tarball is None else tarball
        line: JsonObject = {"name": version.name.text, "vers": version.version.text, "deps": [], "features": {}}
        self.add_line(IndexLine.from_object(line | {"cksum": sha256_hex(data), "yanked": yanked}))
        self.files[unquote(paths.download_path(version))] = data
        return sha256_hex(data)

    def add_line(self, line: IndexLine) -> None:
        """Add a version by its index line, or replace it; `publish` makes it visible, and no tarball is served."""
        self._lines.setdefault(paths.index_path(line.id.name), {})[line.id] = line

    def lock(self) -> bytes:
        """A `Cargo.lock` that pins every version that was added."""
        lines = sorted((line for lines in self._lines.values() for line in lines.values()), key=lambda line: line.id)
        packages = (
            f'\n[[package]]\nname = "{line.id.name}"\nversion = "{line.id.version}"\n'
            f'source = "{CRATES_IO}"\nchecksum = "{line.cksum}"\n'
            for line in lines
        )
        return f"version = 4\n{''.join(packages)}".encode()

    def publish(self, *, now: datetime | None = None) -> None:
        """Sign the index as it is now, then the snapshot, then the timestamp.

        Args:
            now: The time of this publication, when it is another one than the last.

        Raises:
            FormatError: Lines that cannot stand in one index file.
        """
        self._now = now or self._now
        self._version += 1
        listed: dict[str, JsonObject] = {role: {} for role in self._bins.names()}
        for path, lines in self._lines.items():
            data = IndexFile(CrateName(next(iter(lines)).name.text), lines.values()).to_bytes()
            self.files[paths.TARGETS_PREFIX + paths.hashed_path(path, sha256_hex(data))] = data
            listed[self._bins.bin_of(path)][path] = {"length": len(data), "hashes": {"sha256": sha256_hex(data)}}
        for role, targets in listed.items():
            body = _targets({"targets": targets}) | role_field(role)
            self._serve(role, self._online.sign(body, self._version, self._now + _BINS), self._version)
            self._meta[f"{role}.json"] = {"version": self._version}
        body = {"_type": paths.SNAPSHOT, "meta": self._meta}
        snapshot = self._online.sign(body, self._version, self._now + _SNAPSHOT)
        self._serve(paths.SNAPSHOT, snapshot, self._version)
        body = {"_type": paths.TIMESTAMP, "meta": {"snapshot.json": _meta(snapshot, self._version)}}
        self._serve(paths.TIMESTAMP, self._online.sign(body, self._version, self._now + _TIMESTAMP), None)

    # --- being fetched from ---

    def _read(self, path: str) -> bytes | None:
        self.requests.append(path)
        return self.files.get(path)

    # --- the roles that holders sign once: root, targets, claims and its shards, index ---

    def _sign_offline(self) -> bytes:
        holder, online = self._holder, self._online
        ends = self._now + _OFFLINE
        keys: JsonObject = {**holder.listed, **online.listed}
        roles: JsonObject = {
            paths.ROOT: holder.threshold,
            paths.TIMESTAMP: online.threshold,
            paths.SNAPSHOT: online.threshold,
            paths.TARGETS: holder.threshold,
        }
        body: JsonObject = {"_type": paths.ROOT, "keys": keys, "roles": roles, "consistent_snapshot": True}
        root = holder.sign(body, 1, ends)
        self._serve(paths.ROOT, root, 1)
        shards = [paths.claims_shard_role(shard) for shard in paths.SHARDS]
        bins: JsonObject = {"bit_length": _BIT_LENGTH, "name_prefix": paths.INDEX_BIN_PREFIX}
        said: dict[str, JsonObject] = {
            paths.TARGETS: {"delegations": holder.delegations((paths.CLAIMS, paths.INDEX))},
            paths.CLAIMS: {"delegations": holder.delegations(shards)},
            paths.INDEX: {"delegations": {"keys": online.listed, "succinct_roles": online.threshold | bins}},
            **dict.fromkeys(shards, shard_field(paths.SHARDS)),  # nobody claims: one file for all of them
        }
        for role, fields in said.items():
            data = holder.sign(_targets(fields), 1, ends)
            self._serve(role, data, 1)
            self._meta[f"{role}.json"] = _meta(data, 1)
        return root

    def _serve(self, role: str, data: bytes, version: int | None) -> None:
        self.files[paths.METADATA_PREFIX + paths.metadata_name(role, version)] = data


def _targets(said: JsonObject) -> JsonObject:
    return {"_type": paths.TARGETS, "targets": {}, **said}


def _meta(data: bytes, version: int) -> JsonObject:
    return {"version": version, "length": len(data), "hashes": {"sha256": sha256_hex(data)}}


class _Key:
    """A key that is made in memory and signs alone, as metadata speaks of it."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()
        self.public = PublicKey.ed25519(self._private.public_key().public_bytes_raw())
        self.listed: JsonObject = {self.public.keyid: self.public.to_object()}
        self.threshold: JsonObject = {"keyids": [self.public.keyid], "threshold": 1}

    def delegations(self, roles: Iterable[str]) -> JsonObject:
        """Delegations to roles that this key signs, each for the paths that the trust model gives it."""
        found: list[Json] = []
        for role in roles:
            said: JsonObject = {"name": role, "paths": list[Json](place_of(role).patterns), "terminating": False}
            found.append(said | self.threshold)
        return {"keys": self.listed, "roles": found}

    def sign(self, body: JsonObject, version: int, expires: datetime) -> bytes:
        """A metadata file (TUF 4.2)."""
        common: JsonObject = {"spec_version": "1.0.31", "version": version, "expires": f"{expires:%Y-%m-%dT%H:%M:%SZ}"}
        signed = body | common
        signature = self._private.sign(strictjson.canonical(signed)).hex()
        return strictjson.encode({"signatures": [{"keyid": self.public.keyid, "sig": signature}], "signed": signed})
