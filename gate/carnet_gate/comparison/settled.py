"""Crates that nothing has changed about since an earlier run: neither what let them in, nor a byte of theirs.

A run that compared a crate's tarball, its index file and its unpacked trees remembers what the system told of each of
those files (`carnet_verifier.cargo.stamps`), and what the crate was let in by (`carnet_verifier.judgements`). A
later run walks over them once: what is told, and asked, as it was then is neither judged nor read again. Whatever
differs, be it a file's time alone, is judged and compared as if nothing were remembered.

This is remembered in carnet's own home, which builds cannot write to, and counts only where that is so. It is worth
what the root beside it is worth: who can write here can replace that, too. Missing or damaged it costs time.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.durable import as_storage_error, private_folder, read_file
from carnet.errors import CarnetError
from carnet.level import Level
from carnet.strictjson import encode, parse_known
from carnet.tuf import paths
from carnet.value import value
from carnet_verifier.cargo.localregistry import LocalRegistry, Unpacked, remove_tree, source_roots
from carnet_verifier.cargo.stamps import TICK, Stamp, stamp, tells, write_back
from carnet_verifier.judgements import is_settled
from carnet_verifier.memory.pack import replace_file
from carnet_verifier.outcomes import Admission

_MAX = 100_000_000
_HEAD = b"carnet settled 2 "
"""Another number makes older files unread: raise it when what is remembered changes its meaning."""
_FOLDER = "settled"


@value
class Settled:
    """A crate that an earlier run let in, and whose files are as that run left them.

    Attributes:
        crate: Which one.
        level: What stands behind it.
        roots: The folders in which cargo has it unpacked.
    """

    crate: CrateId
    level: Level
    roots: tuple[Path, ...]


class SettledCrates:
    """What is remembered of the crates of one project.

    Args:
        folder: All of the trusted repository in carnet's home.
        workspace: The project's.
        registry: Where admitted tarballs are kept.
        home: The private CARGO_HOME.
        keys: What each crate is let in by in this run; nothing is remembered of others.
        now: The time of this run, in seconds since 1970.

    Attributes:
        settled: The crates that nothing has changed about.

    Raises:
        Poisoned: A folder of unpacked crates is none.
        StorageError: The disk failed.
    """

    def __init__(
        self,
        folder: Path,
        workspace: Path,
        registry: LocalRegistry,
        home: Path,
        keys: Mapping[CrateId, str],
        *,
        now: float,
    ) -> None:
        self._file = folder / _FOLDER / sha256_hex(os.fsencode(workspace))
        self._registry = registry
        self._home = home
        self._keys = keys
        self._now = int(now)
        self._known = _read(self._file) if keys else {}
        self.settled = self._unchanged()

    def _unchanged(self) -> dict[CrateId, Settled]:
        roots = source_roots(self._home, strict=True) if self._known else []
        found = {}
        with as_storage_error(self._home):
            for crate, key in self._keys.items():
                then = self._known.get(crate.stem)
                if then is None or then[0] != key or self._now < then[2]:
                    continue
                with suppress(FileNotFoundError):
                    told = self._look(crate, roots)
                    if then[1] == told.digest():
                        found[crate] = Settled(crate, Level.REGISTRY, told.holding)
        return found

    def still_settled(self) -> bool:
        """Whether nothing has changed about those crates since: something ran that could write there.

        A copy in one more folder, which that would compile from, is a change too.
        """
        return self._unchanged() == self.settled

    def remember(self, admissions: Sequence[Admission], unpacked: Unpacked) -> None:
        """Remember crates of this run, beside those that are settled still; where nothing can be written, none are.

        Args:
            admissions: Those that were judged.
            unpacked: Their trees, compared once all that mappings of them held was on the disk.
        """
        if not self._keys:
            return
        known = {crate.stem: self._known[crate.stem] for crate in self.settled}
        with suppress(OSError, CarnetError):  # it only makes later runs quick
            if tells(str(self._home)) and tells(str(self._registry.path)):
                devices = self._home.stat().st_dev, self._registry.path.stat().st_dev
                roots = source_roots(self._home, strict=True)
                for admission in admissions:
                    key = self._keys.get(admission.crate)
                    if key is not None and is_settled(admission):
                        digest = self._compared(admission, roots, unpacked, devices)
                        if digest is not None:
                            known[admission.crate.stem] = [key, digest, self._now]
            if known != self._known:
                data = encode(known)
                private_folder(self._file.parent)
                replace_file(str(self._file), _HEAD + sha256_hex(data).encode() + b"\n" + data)
                self._known = known

    def _compared(
        self, admission: Admission, roots: Sequence[Path], unpacked: Unpacked, devices: tuple[int, int]
    ) -> str | None:
        """What is told of a crate's files, all of which are those that were compared; None where that is not sure."""
        files = self._compare_files(admission)
        found = self._look(admission.crate, roots)
        for path, told in found.by_path():
            device, inode, *_, changed = told
            there = files.get(path) == told or unpacked.stamps.get(path) == (inode, changed)
            if not there or device not in devices or changed > unpacked.began - TICK:
                return None
        return found.digest()

    def _compare_files(self, admission: Admission) -> dict[str, Stamp]:
        """Read the tarball and the index file again, now that what mappings of them held is on the disk."""
        from carnet.cargo.index_file import IndexFile  # start-up time counts, and where nothing changed none is read

        tarball, index = self._places(admission.crate)
        data, of_tarball = _read_written_back(tarball)
        lines, of_index = _read_written_back(index)
        line = IndexFile.from_bytes(lines, admission.crate.name).line(admission.crate.version)
        if sha256_hex(data) != admission.sha256 or line is None or line.to_bytes() != admission.line.to_bytes():
            return {}
        return {tarball: of_tarball, index: of_index}

    def _places(self, crate: CrateId) -> tuple[str, str]:
        return self._registry.place(crate), f"{self._registry.path}/{paths.index_path(crate.name)}"

    def _look(self, crate: CrateId, roots: Sequence[Path]) -> _Told:
        """What is told of a crate's files, and of all in its trees."""
        whole = [(place, stamp(os.lstat(place))) for place in self._places(crate)]
        folders: list[Folder] = []
        holding = []
        for root in roots:
            tree = f"{root}/{crate.stem}"
            try:
                whole.append((tree, stamp(os.lstat(tree))))
            except FileNotFoundError:
                continue
            holding.append(root)
            _walk(tree, folders)
        return _Told(whole, folders, tuple(holding))


Folder = tuple[str, list[tuple[str, Stamp]]]
"""A folder's path, and what is told of each entry by its name: paths of all files would take as long as the walk."""


@value
class _Told:
    """What is told of a crate's files.

    Attributes:
        whole: Of its tarball, its index file and each of its trees, by path.
        folders: Of all in those trees.
        holding: The folders that have these trees.
    """

    whole: list[tuple[str, Stamp]]
    folders: list[Folder]
    holding: tuple[Path, ...]

    def by_path(self) -> Iterator[tuple[str, Stamp]]:
        """All of it, by whole paths."""
        yield from self.whole
        for folder, inside in self.folders:
            yield from ((f"{folder}/{name}", told) for name, told in inside)

    def digest(self) -> str:
        """The same for the same, and for nothing else."""
        # Version 2 writes equal values as equal bytes, five times as fast as JSON: a walk has many thousand numbers.
        return sha256_hex(marshal.dumps((self.whole, self.folders), 2))


def forget(folder: Path) -> None:
    """Forget everything: a build runs that could write it.

    Args:
        folder: As for `SettledCrates`.

    Raises:
        StorageError: The system refused.
    """
    if os.path.lexists(folder / _FOLDER):
        with as_storage_error(folder):
            remove_tree(folder / _FOLDER)


def _walk(tree: str, folders: list[Folder]) -> None:
    """Add what is told of everything in a tree."""
    told = stamp
    todo = [tree]
    while todo:
        folder = todo.pop()
        inside: list[tuple[str, Stamp]] = []
        folders.append((folder, inside))
        # By the open folder, the kernel need not go all the way to each file. Their order is the folder's own: as long
        # as nothing changes in it, it is the same.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with os.scandir(descriptor) as listed:
                for entry in listed:
                    inside.append((entry.name, told(entry.stat(follow_symlinks=False))))
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(f"{folder}/{entry.name}")
        finally:
            os.close(descriptor)


def _read_written_back(path: str) -> tuple[bytes, Stamp]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        write_back(descriptor)
        told = stamp(os.fstat(descriptor))
        return file.read(_MAX), told


def _read(file: Path) -> dict[str, Any]:
    """The file as `remember` wrote it, whole; nothing otherwise."""
    try:
        head, _, data = read_file(file, "what is settled", max_bytes=_MAX).partition(b"\n")
        if head != _HEAD + sha256_hex(data).encode():
            return {}
        known: Any = parse_known(data, "what is settled")  # as its digest says
    except (FileNotFoundError, CarnetError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {stem: one for stem, one in known.items() if isinstance(one, list) and [*map(type, one)] == [str, str, int]}
