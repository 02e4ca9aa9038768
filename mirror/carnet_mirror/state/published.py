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
from carnet.claims.history import History
from carnet.claims.releases import Releases
from carnet.errors import StorageError
from carnet.strictjson import JsonObject
from carnet.tuf.paths import (
    INDEX,
    METADATA_PREFIX,
    ROOT,
    SNAPSHOT,
    TARGETS_PREFIX,
    TIMESTAMP,
    claims_shard_role,
    crate_role,
    hashed_path,
    history_path,
    index_path,
    metadata_name,
    owner_role,
)
from carnet.tuf.read import parse_role
from carnet.tuf.roles import RoleFile, RoleT, Root, Snapshot, SuccinctRoles, TargetFile, Targets, Timestamp
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
        self._bins: dict[str, Targets | None] = {}
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

    def releases(self, name: CrateName) -> Releases:
        """The versions that the release keys of a claimed crate signed.

        Raises:
            FormatError: Its role lists what is not its to list.
        """
        signed = self.targets(crate_role(name))
        return Releases(name, {}) if signed is None else Releases.of(name, signed)

    def history(self, name: CrateName) -> History | None:
        """What this mirror says that its upstream lists of a crate; None when it says nothing of that.

        Raises:
            FormatError: It does not parse.
            StorageError: Its file is not there.
        """
        target = self._listed(history_path(name))
        if target is None:
            return None
        path = TARGETS_PREFIX + hashed_path(history_path(name), target.sha256)
        data = self._store.read(path)
        if data is None:
            raise StorageError(f"{path} is not published", hint="`carnet mirror fsck` lists what is damaged")
        return History.from_bytes(data, name)

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

    def lists_only(self) -> bool:
        """Whether this mirror lists versions that it does not have, beside such as were taken down.

        Raises:
            FormatError: What is published of one does not parse.
        """
        down = self.all_taken_down()
        return any(one.id not in down for one in self._store.crates.not_here(len(down) + 1))

    def _said_of(self, names: Iterable[CrateName], read: Callable[[JsonObject, str], dict[str, T]]) -> dict[CrateId, T]:
        found: dict[CrateId, T] = {}
        for name in names:
            target = self._listed(index_path(name))
            if target is not None and target.custom:
                versions = read(target.custom, index_path(name))
                found |= {CrateId(name, Version(version)): said for version, said in versions.items()}
        return found

    def _listed(self, path: str) -> TargetFile | None:
        """What the bins list under a path; each is read once."""
        if self._succinct is None:
            return None
        role = self._succinct.bin_of(path)
        if role not in self._bins:
            self._bins[role] = self.targets(role)
        listed = self._bins[role]
        return None if listed is None else listed.targets.get(path)

    @cached_property
    def _succinct(self) -> SuccinctRoles | None:
        index = self.targets(INDEX)
        return None if index is None or index.delegations is None else index.delegations.succinct

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
