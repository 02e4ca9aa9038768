"""What of the files in a mirror's folders is signed: found from a pinned root down, without the mirror's database.

1. the roots, each signed by the one before; the first is the pinned one                                (TUF 5.3)
2. every snapshot that a key signed which one of these roots names; the current one is told by the caller (TUF 5.5)
3. of each snapshot every role's file: with the sha256 that it promises, and bins with a signature of those whom its
   index role names                                                                                  (TUF 5.6.2, 5.6.3)
4. of each such file every target, with the sha256 and the length that it promises
5. of the current index every tarball, with the sha256 that its line promises

A file that none of these leads to is not believed, whatever it is called. Of former snapshots files may be missing,
because nobody needs them any more; of the current one none may, but the tarball of a version that was taken down.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from carnet import durable
from carnet.cargo.index_line import IndexFile, IndexLine
from carnet.cargo.names import CrateName
from carnet.cargo.takedown import read_takedowns
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, FormatError, MetadataMismatch, StorageError, ThresholdNotMet, UnfitFile
from carnet.progress import Progress
from carnet.tuf.next_version import check_root
from carnet.tuf.paths import (
    INDEX,
    METADATA_PREFIX,
    ROOT,
    SNAPSHOT,
    TARGETS_PREFIX,
    crate_path,
    download_path,
    hashed_path,
    index_path,
    is_history,
    metadata_name,
)
from carnet.tuf.read import parse_role
from carnet.tuf.roles import MetaFile, RoleFile, RoleKeys, Root, Snapshot, TargetFile, Targets
from carnet.tuf.tree import is_bin
from carnet_mirror.state.files import blob_path
from carnet_mirror.state.records import StoredFile, StoredVersion

_SNAPSHOT = re.compile(r"([1-9][0-9]{0,18})\.snapshot\.json\Z")
_ROOT = re.compile(r"([1-9][0-9]{0,18})\.root\.json\Z")
_MAX_TARBALL = 1 << 30
_TOLD = 5
"""So many of the files that lack are named in one message."""
_HINT = "nothing was changed; put them back from a backup or from another copy of the mirror, and try again"


class Reader(Protocol):
    """Where files are read that nobody believes yet."""

    def __call__(self, path: str, most: int, *, address: str | None = None) -> bytes | None:
        """A file's bytes; None when it is missing, no regular file, or longer than it may be.

        Args:
            path: Below a mirror's directory.
            most: Bytes that it may have.
            address: What a mirror serves it as, where that is another path.
        """


def reader(directory: Path) -> Reader:
    """Read a mirror's own folder."""

    def read(path: str, most: int, *, address: str | None = None) -> bytes | None:
        return _read(directory, path, most)

    return read


@dataclass(slots=True)
class SignedFiles:
    """What was found.

    Attributes:
        roots: Every root, in order.
        snapshots: The versions of the snapshots that are signed, and the newest of them as a file.
        files: Every file that is signed, by path.
        crates: Every crate of the current index, with its versions.
        roles: How many files of roles there are.
    """

    roots: list[RoleFile[Root]]
    snapshots: dict[int, RoleFile[Snapshot]]
    files: dict[str, StoredFile] = field(default_factory=dict)
    crates: list[tuple[CrateName, list[StoredVersion]]] = field(default_factory=list)
    roles: int = 0


def read_signed_chain(directory: Path, pinned: bytes) -> SignedFiles:
    """Read roots and snapshots: what is signed from the pinned root on.

    Args:
        directory: The mirror's.
        pinned: The first root, as clients pin it.

    Raises:
        MetadataMismatch: The mirror's first root is another one, or a later one is gone, or not signed by the one
            before.
        FormatError: The pinned root does not parse.
        StorageError: The disk failed.
    """
    names = _names(directory)
    roots: list[RoleFile[Root]] = []
    while (data := _read(directory, METADATA_PREFIX + metadata_name(ROOT, len(roots) + 1), Root.MAX_BYTES)) is not None:
        try:
            envelope = parse_role(data, Root)
            check_root(roots[-1].signed if roots else None, envelope)
        except CarnetError as error:
            raise MetadataMismatch(f"{metadata_name(ROOT, len(roots) + 1)}: {error}", hint=_HINT) from None
        roots.append(envelope)
    first = parse_role(pinned, Root, what="the pinned root")
    if not roots or roots[0].message != first.message:
        wrong = "not the root that is given" if roots else "not there"
        raise MetadataMismatch(
            f"{directory / METADATA_PREFIX}/1.root.json is {wrong}",
            hint="--root names the first root, 1.root.json, as clients pin it",
        )
    last = max((int(numbered[1]) for name in names if (numbered := _ROOT.match(name))), default=0)
    if last != len(roots):
        raise MetadataMismatch(f"{len(roots) + 1}.root.json is not there, and {last}.root.json is", hint=_HINT)
    found = SignedFiles(roots, {})
    for envelope in roots:
        _believe(found, METADATA_PREFIX + metadata_name(ROOT, envelope.signed.version), envelope.raw)
    signers: dict[bytes, RoleKeys] = {
        root.signed.roles[SNAPSHOT].fingerprint: root.signed.roles[SNAPSHOT] for root in roots
    }
    for name in names:
        version = _SNAPSHOT.match(name)
        snapshot = None if version is None else _snapshot(directory, name, list(signers.values()))
        if version is not None and snapshot is not None and snapshot.signed.version == int(version[1]):
            found.snapshots[int(version[1])] = snapshot
    return found


def follow(found: SignedFiles, read: Reader, current: int, progress: Progress, *, listed_only: bool = False) -> None:
    """Find every file that the snapshots lead to, up to the current one.

    Args:
        found: From `read_signed_chain`; what is found is added.
        read: Where the files are.
        current: The version of the current snapshot.
        progress: Makes the progress bars.
        listed_only: Whether tarballs may be missing: a mirror that lists a whole index has those that were asked for.

    Raises:
        StorageError: A file of the current snapshot is missing or damaged, or the disk failed.
        FormatError: The current index does not parse.
    """
    walk = _Walk(found, read, listed_only=listed_only)
    wanted = sorted(version for version in found.snapshots if version <= current)
    with progress("checking snapshots", len(wanted)) as count:
        for version in wanted:
            walk.roles_of(found.snapshots[version], current=version == current)
            count(1)
    with progress("checking targets", len(walk.targets)) as count:
        for path, (sha256, length, needed) in walk.targets.items():
            walk.check(path, sha256, length, needed=needed)
            count(1)
    walk.complain()
    lines = list(walk.index_lines())
    with progress("checking tarballs", len(lines)) as count:
        for name, listed in lines:
            found.crates.append((name, [stored for line in listed if (stored := walk.version(line)) is not None]))
            count(1)
    walk.complain()


class _Walk:
    """From snapshots to roles to targets to tarballs.

    Attributes:
        targets: Where each target lies, its sha256 and length, and whether the current snapshot needs it.
        lacking: What the current snapshot needs and the disk does not have.
    """

    def __init__(self, found: SignedFiles, read: Reader, *, listed_only: bool) -> None:
        self._found = found
        self._read = read
        self._roles: dict[tuple[str, int, str, bytes], Mapping[str, TargetFile] | None] = {}
        self._index: dict[str, str] = {}
        self._down: set[tuple[str, str]] = set()
        self.targets: dict[str, tuple[str, int, bool]] = {}
        self.lacking: list[str] = []
        self._listed_only = listed_only

    def roles_of(self, snapshot: RoleFile[Snapshot], *, current: bool) -> None:
        version = snapshot.signed.version
        _believe(self._found, METADATA_PREFIX + metadata_name(SNAPSHOT, version), snapshot.raw)
        meta = snapshot.signed.meta
        signers = self._bin_signers(meta.get(INDEX))
        for role, promised in meta.items():
            bin_signers = signers if is_bin(role) else None
            listed = self._targets_of(role, promised, bin_signers)
            if listed is None:
                if current:
                    self.lacking.append(METADATA_PREFIX + metadata_name(role, promised.version))
                continue
            for path, target in listed.items():
                place = TARGETS_PREFIX + hashed_path(path, target.sha256)
                if current or place not in self.targets:
                    self.targets[place] = (target.sha256, target.length, current)
                if current and is_bin(role) and not is_history(path):
                    self._index[path] = place
                    name = CrateName(path.rpartition("/")[2]).canonical
                    self._down |= {(name, version) for version in read_takedowns(target.custom, path)}

    def _bin_signers(self, index: MetaFile | None) -> RoleKeys | None:
        if index is None:
            return None
        data = self._read(METADATA_PREFIX + metadata_name(INDEX, index.version), Targets.MAX_BYTES)
        if data is None or sha256_hex(data) != index.hashes.get("sha256"):
            return None
        delegations = parse_role(data, Targets, what=INDEX).signed.delegations
        return None if delegations is None or delegations.succinct is None else delegations.succinct.signers

    def _targets_of(
        self, role: str, promised: MetaFile, bin_signers: RoleKeys | None
    ) -> Mapping[str, TargetFile] | None:
        """What a role's file lists, once it is believed; None when it is missing, or is not the one that is meant."""
        signers = b"" if bin_signers is None else bin_signers.fingerprint
        key = (role, promised.version, promised.hashes.get("sha256", ""), signers)
        if key not in self._roles:
            self._roles[key] = self._read_role(role, promised, bin_signers)
        return self._roles[key]

    def _read_role(
        self, role: str, promised: MetaFile, bin_signers: RoleKeys | None
    ) -> Mapping[str, TargetFile] | None:
        path = METADATA_PREFIX + metadata_name(role, promised.version)
        data = self._read(path, Targets.MAX_BYTES)
        if data is None:
            return None
        try:
            envelope = parse_role(data, Targets, what=path)
            if is_bin(role):
                if bin_signers is None:
                    return None
                bin_signers.check(envelope, path, "5.6.3")
            elif sha256_hex(data) != promised.hashes.get("sha256"):
                return None
        except (FormatError, ThresholdNotMet):
            return None
        if envelope.signed.version != promised.version:
            return None
        self._found.roles += 1
        _believe(self._found, path, data)
        return envelope.signed.targets

    def check(
        self, path: str, sha256: str, length: int | None, *, needed: bool, address: str | None = None
    ) -> int | None:
        """Believe a file of this sha256; its length, or None when it is not there."""
        bound = _MAX_TARBALL if length is None else length
        data = self._read(path, bound, address=address)
        if data is None or sha256_hex(data) != sha256 or length not in (None, len(data)):
            if needed:
                self.lacking.append(path)
            return None
        _believe(self._found, path, data)
        return len(data)

    def index_lines(self) -> Iterator[tuple[CrateName, list[IndexLine]]]:
        for path, place in sorted(self._index.items()):
            data = self._read(place, self._found.files[place].length) or b""
            first = data.partition(b"\n")[0]
            name = IndexLine.from_bytes(first).id.name
            if index_path(name) != path:
                raise MetadataMismatch(f"{path} has lines of the crate {name}")
            yield name, list(IndexFile.from_bytes(data, name).lines)

    def version(self, line: IndexLine) -> StoredVersion | None:
        """A version, whose tarball lies where its release put it, or among those that came from upstream."""
        released = TARGETS_PREFIX + hashed_path(crate_path(line.id), line.cksum)
        blob = blob_path(line.cksum)
        kept = self._found.files.get(released)
        down = (line.id.name.canonical, str(line.id.version)) in self._down
        needed = not down and not self._listed_only
        if kept is not None:
            length: int | None = kept.length
        else:
            length = self.check(blob, line.cksum, None, needed=needed, address=download_path(line.id))
        if length is None and needed:
            return None
        path, upstream = (released, "maintainers") if kept is not None else (blob, "unknown")
        if kept is not None:  # adopted ones lie in both places
            self.check(blob, line.cksum, length, needed=False)
        return StoredVersion(line, length or 0, path, upstream, False, line.pubtime or "")

    def complain(self) -> None:
        """Refuse to go on when something lacks.

        Raises:
            StorageError: It does.
        """
        if self.lacking:
            more = len(self.lacking) - _TOLD
            raise StorageError(
                f"{len(self.lacking)} files of what is published are missing or damaged: "
                + ", ".join(sorted(self.lacking)[:_TOLD])
                + (f" and {more} more" if more > 0 else ""),
                hint=_HINT,
            )


def _believe(found: SignedFiles, path: str, data: bytes) -> None:
    found.files[path] = StoredFile.of(path, data)


def _snapshot(directory: Path, name: str, signers: list[RoleKeys]) -> RoleFile[Snapshot] | None:
    data = _read(directory, METADATA_PREFIX + name, Snapshot.MAX_BYTES)
    try:
        envelope = parse_role(data or b"", Snapshot, what=name)
    except CarnetError:
        return None
    return envelope if any(one.met_by(envelope) for one in signers) else None


def _names(directory: Path) -> list[str]:
    folder = directory / METADATA_PREFIX
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        raise StorageError(f"the folder {folder} is gone", hint=_HINT) from None
    except OSError as error:
        raise StorageError(f"{folder} cannot be read: {(error.strerror or '').lower()}") from None


def _read(directory: Path, path: str, most: int) -> bytes | None:
    """A file's bytes; None when it is missing, no regular file, or longer than it may be."""
    try:
        return durable.read_file(directory / path, "file", max_bytes=most)
    except (FileNotFoundError, UnfitFile):
        return None
