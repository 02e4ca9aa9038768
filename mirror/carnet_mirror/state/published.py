"""What the published metadata says, parsed and not verified: for a mirror that looks at what it signed itself.

Clients verify everything, and so does `fsck`. Here the question is only what stands in the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from carnet import times
from carnet.cargo.let_in import LetIn, read_let_in
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.cargo.takedown import Takedown, read_takedowns
from carnet.errors import StorageError
from carnet.strictjson import JsonObject
from carnet.tuf.paths import (
    INDEX,
    METADATA_PREFIX,
    ROOT,
    SNAPSHOT,
    TIMESTAMP,
    claims_shard_role,
    index_path,
    metadata_name,
    owner_role,
)
from carnet.tuf.read import parse_role
from carnet.tuf.roles import RoleFile, RoleT, Root, Snapshot, Targets, Timestamp
from carnet.tuf.tree import is_bin
from carnet_mirror.state.store import Store

T = TypeVar("T")


class UnverifiedView:
    """The current view: one timestamp, its snapshot, and the roles that the snapshot names.

    Args:
        store: The mirror. Its timestamp is read once, so that everything comes from one view.

    Raises:
        StorageError: Nothing is published, or a file is missing.
        FormatError: A file does not parse.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.timestamp = self._read(TIMESTAMP, None, Timestamp).signed

    @cached_property
    def snapshot(self) -> Snapshot:
        """The snapshot that the timestamp names."""
        return self._read(SNAPSHOT, self.timestamp.snapshot.version, Snapshot).signed

    def root(self) -> Root:
        """The newest root."""
        version = self.root_versions()[-1]
        return self._read(ROOT, version, Root).signed

    def root_versions(self) -> list[int]:
        """Every root's version, counting from 1 without a gap."""
        versions: list[int] = []
        while self._store.files.published(METADATA_PREFIX + metadata_name(ROOT, len(versions) + 1)) is not None:
            versions.append(len(versions) + 1)
        if not versions:
            raise StorageError("this mirror has no root", hint="`carnet mirror init` publishes one")
        return versions

    def targets(self, role: str) -> Targets | None:
        """A targets role, top-level or delegated; None when the snapshot does not name it."""
        meta = self.snapshot.meta.get(role)
        return None if meta is None else self._read(role, meta.version, Targets).signed

    def expires(self, role: str) -> datetime | None:
        """When a targets role ends; None when the snapshot does not name it.

        Of a file that says it in one place no more is read: there are thousands of bins.
        """
        meta = self.snapshot.meta.get(role)
        if meta is None:
            return None
        before, found, after = self._file(role, meta.version).partition(b'"expires":"')
        if not found or b'"expires"' in before or b'"expires"' in after:
            return self._read(role, meta.version, Targets).signed.expires
        return times.read(after.partition(b'"')[0].decode(errors="replace"), f"the expiry of {role}")

    def claimed(self, names: Iterable[CrateName]) -> frozenset[str]:
        """The canonical names, out of these, that have owners here."""
        owners: dict[str, frozenset[str]] = {}
        found: set[str] = set()
        for name in names:
            if name.shard not in owners:
                shard = self.targets(claims_shard_role(name.shard))
                listed = () if shard is None or shard.delegations is None else shard.delegations.roles
                owners[name.shard] = frozenset(listed)
            if owner_role(name) in owners[name.shard]:
                found.add(name.canonical)
        return frozenset(found)

    def let_in(self, names: Iterable[CrateName]) -> dict[CrateId, LetIn]:
        """Versions of these crates that are let in although their index lines are not their manifests'.

        Raises:
            FormatError: What is published of them does not parse.
        """
        return self._said_of(names, read_let_in)

    def all_let_in(self) -> dict[CrateId, LetIn]:
        """Every version that is or was let in, and of which something is still said.

        Raises:
            FormatError: What is published of one does not parse.
        """
        return self._all_said(read_let_in)

    def taken_down(self, names: Iterable[CrateName]) -> dict[CrateId, Takedown]:
        """Versions of these crates that were taken down.

        Raises:
            FormatError: What is published of them does not parse.
        """
        return self._said_of(names, read_takedowns)

    def all_taken_down(self) -> dict[CrateId, Takedown]:
        """Every version that was taken down.

        Raises:
            FormatError: What is published of one does not parse.
        """
        return self._all_said(read_takedowns)

    def _said_of(self, names: Iterable[CrateName], read: Callable[[JsonObject, str], dict[str, T]]) -> dict[CrateId, T]:
        index = self.targets(INDEX)
        succinct = None if index is None or index.delegations is None else index.delegations.succinct
        found: dict[CrateId, T] = {}
        bins: dict[str, Targets | None] = {}
        if succinct is None:
            return found
        for name in names:
            path = index_path(name)
            role = succinct.bin_of(path)
            if role not in bins:
                bins[role] = self.targets(role)
            listed = bins[role]
            target = None if listed is None else listed.targets.get(path)
            if target is not None and target.custom:
                versions = read(target.custom, path)
                found |= {CrateId(name, Version(version)): said for version, said in versions.items()}
        return found

    def _all_said(self, read: Callable[[JsonObject, str], dict[str, T]]) -> dict[CrateId, T]:
        found: dict[CrateId, T] = {}
        for role, meta in self.snapshot.meta.items():
            if not is_bin(role) or b'"custom"' not in self._file(role, meta.version):
                continue
            listed = self.targets(role)
            for path, target in {} if listed is None else listed.targets.items():
                for version, said in read(target.custom, path).items() if target.custom else ():
                    name = CrateName(path.rpartition("/")[2])
                    found[CrateId(CrateName(self._store.crates.spelling(name) or name.text), Version(version))] = said
        return found

    def _read(self, role: str, version: int | None, kind: type[RoleT]) -> RoleFile[RoleT]:
        return parse_role(self._file(role, version), kind, what=METADATA_PREFIX + metadata_name(role, version))

    def _file(self, role: str, version: int | None) -> bytes:
        path = METADATA_PREFIX + metadata_name(role, version)
        data = self._store.read(path)
        if data is None:
            raise StorageError(f"{path} is not published", hint="`carnet mirror fsck` lists what is damaged")
        return data
