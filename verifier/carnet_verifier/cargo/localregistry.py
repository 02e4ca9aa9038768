"""The admitted tarballs as cargo's local registry, and what cargo unpacked of them: kept, and compared before it runs.

cargo checks a tarball once, when it unpacks it, and never looks at what it unpacked again: an edited source in its
cache compiles. So nothing here is trusted for lying where it lies. Before cargo runs, every tarball of the lock has the
admitted digest, and every unpacked tree is exactly its tarball's files: none changed, missing or added, no links.

What is found to differ is refused and not repaired in silence: somebody wrote there, and a person should know.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.cargo.names import CrateId, CrateName
from carnet.digests import sha256_hex, sha256_raw
from carnet.durable import make_folder, read_file, write_file, write_files
from carnet.errors import CarnetError, MetadataMismatch, StorageError
from carnet.lock import locked
from carnet.tuf import paths
from carnet.value import value
from carnet_verifier.cargo.stamps import begin_write_back, write_back
from carnet_verifier.outcomes import Admission

if TYPE_CHECKING:
    # What reads tarballs and index files is imported where one is read: start-up time counts, and mostly none is.
    from carnet.cargo.crate import CrateFile
    from carnet.cargo.index_file import IndexFile

MARKER = ".cargo-ok"
"""What cargo writes into a tree that it has unpacked completely, and never unpacks from a tarball."""
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FOLDER = _FILE | os.O_DIRECTORY
_DEEPEST = 100
"""`carnet.cargo.crate.MAX_DEPTH`, which is not imported at each start."""
_FINISHED = b'{"v":1}'
_FINISHED_DIGEST = sha256_raw(_FINISHED)


class Poisoned(MetadataMismatch):
    """What is kept for cargo is not what was admitted."""


class Unfinished(MetadataMismatch):
    """No folder has all the trees that were asked for, unpacked completely."""


def _poisoned(message: str) -> Poisoned:
    return Poisoned(message, hint="somebody wrote to it: find out who; `carnet trust clean` then fetches it again")


@value
class Kept:
    """What cargo may unpack of one admitted crate.

    Attributes:
        id: Which one.
        files: Path in the unpacked tree to length, sha256, and whether it is executable; the contents of a large lock
            would not fit into memory.
    """

    id: CrateId
    files: Mapping[str, tuple[int, bytes, bool]]

    @classmethod
    def of(cls, crate: CrateFile) -> Kept:
        """What a tarball unpacks to."""
        return cls(
            crate.id,
            {
                entry.path: (len(entry.data), sha256_raw(entry.data), entry.executable)
                for entry in crate.entries
                if entry.path.rpartition("/")[2] != MARKER
            },
        )


Stamp = tuple[int, int]


@value
class Unpacked:
    """The unpacked trees of a lock, each exactly its tarball's files.

    Attributes:
        roots: The folders that have all of them. Empty only when there is nothing to unpack.
        stamps: Each file and folder in the trees to its inode and the time of its last change, in nanoseconds: whatever
            is done to it, and undone, moves that time, and nobody can set it.
        began: When the first file was read, in nanoseconds since 1970.
    """

    roots: tuple[Path, ...]
    stamps: Mapping[str, Stamp]
    began: int = 0


class LocalRegistry:
    """Admitted tarballs at one path for each trust root, and the private CARGO_HOMEs that unpack them.

    Args:
        path: The folder for `*.crate` and `index/`; its path takes part in what cargo thinks is fresh.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        make_folder(path / "index", mode=0o700)

    @contextmanager
    def locked(self, timeout: float = 600.0) -> Iterator[None]:
        """Keep other gates out while tarballs, index and unpacked trees are prepared and compared.

        Raises:
            StorageError: Another process held the lock for longer than `timeout` seconds.
        """
        busy = StorageError(
            f"another `cargo carnet` has been preparing crates for {timeout:.0f} s", hint="wait for it, or end it"
        )
        with locked(self.path.parent / "lock", timeout=timeout, busy=busy):
            yield

    def tarball(self, crate: CrateId) -> Path:
        """Where a crate's tarball is kept."""
        return Path(self.place(crate))

    def place(self, crate: CrateId) -> str:
        """The same as text: a path takes longer to make than a file to look at."""
        return f"{self.path}/{crate.stem}.crate"

    def keep(self, tarballs: Iterable[tuple[Admission, bytes]]) -> None:
        """Keep admitted tarballs; one that is kept already is not written again.

        Raises:
            MetadataMismatch: Some bytes are not the admitted ones.
            Poisoned: The file there is not the admitted tarball.
        """
        files = {}
        for admission, data in tarballs:
            if sha256_hex(data) != admission.sha256:
                raise MetadataMismatch(f"the tarball of {admission.crate} is not the admitted one")
            if self.read(admission.crate, admission.sha256) is None:
                files[self.tarball(admission.crate).name] = data
        write_files(self.path, files, mode=0o400)

    def read(self, crate: CrateId, sha256: str) -> bytes | None:
        """The kept tarball of a crate, compared with what it has to be; None when it is not kept yet.

        Args:
            crate: Which.
            sha256: Of the tarball that metadata vouches for.

        Raises:
            Poisoned: The file there is another one.
        """
        path = self.tarball(crate)
        try:
            plain = stat.S_ISREG(path.lstat().st_mode)
        except FileNotFoundError:
            return None
        if not plain:
            raise _poisoned(f"the tarball of {crate} kept for cargo is not a plain file: {path}")
        from carnet.cargo.crate import CrateLimits

        data = read_file(path, "the tarball", max_bytes=CrateLimits().compressed)
        digest = sha256_hex(data)
        if digest != sha256:
            raise _poisoned(
                f"the tarball of {crate} in cargo's cache was changed after it was admitted: "
                f"sha256 {digest}, admitted {sha256}"
            )
        return data

    def open(self, admission: Admission) -> Kept | None:
        """Read an admitted crate's tarball and compare it; None when it is not kept yet.

        Raises:
            Poisoned: The file there is not the admitted tarball.
            ArchiveRefused: The signed line does not say what its manifest says.
        """
        data = self.read(admission.crate, admission.sha256)
        if data is None:
            return None
        from carnet.cargo.crate import read_crate
        from carnet.cargo.index_line import compare_line

        crate = read_crate(data, admission.crate)
        compare_line(
            admission.line, crate, let_in=admission.attributed.let_in
        )  # it was kept under another line, perhaps
        return Kept.of(crate)

    def write_index(self, kept: Iterable[Admission]) -> None:
        """Give cargo the signed index lines of these crates; lines of other admitted crates stay.

        Raises:
            Poisoned: A line there says something else of one of these versions.
        """
        by_path: dict[str, list[Admission]] = {}
        for admission in kept:
            by_path.setdefault(paths.index_path(admission.crate.name), []).append(admission)
        for relative, admissions in by_path.items():
            path = self.path / relative
            old = self._read_index(path, admissions[0].crate.name)
            wanted = {admission.crate: admission.line for admission in admissions}
            others = [line for line in old.lines if line.id not in wanted] if old else []
            for line in old.lines if old else ():
                if line.id in wanted and line.identity() != wanted[line.id].identity():
                    raise _poisoned(
                        f"the index line of {line.id} kept for cargo is not the one that is signed now: {path} "
                        "(unless the registry has signed another one since, somebody changed it)"
                    )
            lines = sorted([*others, *wanted.values()], key=lambda line: line.id.version)
            data = b"".join(line.to_bytes() + b"\n" for line in lines)
            if old is None or old.to_bytes() != data:
                make_folder(path.parent, mode=0o700)
                write_file(path, data, mode=0o600)

    def _read_index(self, path: Path, name: CrateName) -> IndexFile | None:
        from carnet.cargo.index_file import MAX_FILE, IndexFile

        try:
            index = IndexFile.from_bytes(read_file(path, "the index file", max_bytes=MAX_FILE), name)
            _ = index.lines  # every line has to parse
            return index
        except FileNotFoundError:
            return None
        except CarnetError as error:
            raise _poisoned(f"the index file of {name} kept for cargo does not parse: {error}") from None

    def clean(self, crates: Iterable[CrateId] | None, homes: Iterable[Path]) -> int:
        """Forget kept crates, so that they are fetched and checked again.

        Args:
            crates: Which; None for all of them.
            homes: The private CARGO_HOMEs.

        Returns:
            How many tarballs and unpacked trees were removed.
        """
        stems = None if crates is None else {crate.stem for crate in crates}
        found = [file for file in self.path.glob("*.crate") if stems is None or file.name[:-6] in stems]
        for file in found:
            file.unlink()
        trees = [
            tree
            for home in homes
            for root in source_roots(home, strict=False)
            for tree in root.iterdir()
            if stems is None or tree.name in stems
        ]
        for tree in trees:
            remove_tree(tree)
        for index in sorted((self.path / "index").rglob("*")) if trees or found else ():
            if index.is_file() or index.is_symlink():
                index.unlink()  # written again from the signed index by the next run
        return len(found) + len(trees)


def remove_unfinished(home: Path, crates: Iterable[CrateId]) -> None:
    """Remove the trees of these crates that cargo did not finish: it would unpack over what lies there.

    Args:
        home: A private CARGO_HOME; nobody may be unpacking in it.
        crates: Which.
    """
    stems = [crate.stem for crate in crates]
    for root in source_roots(home, strict=True):
        for stem in stems:
            if not _is_finished(root / stem) and os.path.lexists(root / stem):
                remove_tree(root / stem)


def compare_sources(
    home: Path, kept: Mapping[CrateId, Kept], *, before: Unpacked | None = None, synced: bool = False
) -> Unpacked:
    """Compare every unpacked tree of these crates with its tarball, and demand that cargo finds all of them.

    Args:
        home: A private CARGO_HOME.
        kept: What their tarballs unpack to.
        before: What was found before cargo ran; then permissions, too, have to be what `protect` left, and nothing may
            have been changed and changed back: it was compiled from meanwhile.
        synced: Whether stamps are to tell every later write (`carnet_verifier.cargo.stamps`).

    Returns:
        Where they are; cargo compiles from one of these folders.

    Raises:
        Poisoned: A tree is not exactly its tarball's files.
        Unfinished: No folder has all of them.
    """
    began = time.time_ns()
    complete: list[Path] = []
    stamps: dict[str, Stamp] = {}
    missing: list[CrateId] = list(kept)
    for root in source_roots(home, strict=True):
        missing = []
        for crate, expected in kept.items():
            tree = root / crate.stem
            if _is_finished(tree):
                stamps |= compare_tree(tree, expected, protected=before is not None, synced=synced)
            else:
                missing.append(crate)
        if not missing:
            complete.append(root)
        elif before is not None and root in before.roots:
            raise Unfinished(f"{missing[0]}: cargo's copy of the crate is not there, or not complete")
    if kept and not complete:
        raise Unfinished(f"{missing[0]}: cargo's copy of the crate is not there, or not complete")
    if before is not None:
        require_untouched(before.stamps, stamps)
    return Unpacked(tuple(complete), stamps, began)


def stamp_of(status: os.stat_result) -> Stamp:
    """What tells one state of a file or folder from another: whatever is done moves the time of its last change."""
    return status.st_ino, status.st_ctime_ns


def require_untouched(before: Mapping[str, Stamp], after: Mapping[str, Stamp]) -> None:
    """Demand that nothing was done to files and folders, be it undone; what is new or gone shows at its folder.

    Raises:
        Poisoned: Something was.
    """
    for path, stamp in before.items():
        if after.get(path) != stamp:
            raise _poisoned(f"{path} was changed, or changed and changed back")


def compare_tree(tree: Path, kept: Kept, *, protected: bool = False, synced: bool = False) -> dict[str, Stamp]:
    """Demand that an unpacked tree is exactly the files of its tarball.

    Args:
        tree: The folder.
        kept: What the tarball unpacks to.
        protected: Whether permissions, too, have to be what `protect` left.
        synced: As for `compare_sources`.

    Returns:
        What tells one state of each file and folder from another.

    Raises:
        Poisoned: A file differs, is missing, was added, is a link or device, or has another name somewhere else.
    """
    seen = 0
    stamps: dict[str, Stamp] = {}
    loose: list[str] = []
    for relative, path in _walk(tree, stamps, loose):
        expected = kept.files.get(relative)
        if expected is None:
            if relative != MARKER:
                raise _poisoned(f"{kept.id}: {relative!a} was added to the unpacked crate: {tree}")
            length, digest, executable = len(_FINISHED), _FINISHED_DIGEST, False
        else:
            length, digest, executable = expected
            seen += 1
        data, status = _read(path, length, synced=synced)
        if len(data) != length or sha256_raw(data) != digest:
            raise _poisoned(f"{kept.id}: {relative!a} was changed after the crate was admitted: {tree}")
        if status.st_nlink != 1:
            raise _poisoned(f"{kept.id}: {relative!a} can be written to by another name, a hard link: {tree}")
        if stat.S_IMODE(status.st_mode) != (0o555 if executable else 0o444):
            loose.append(relative)
        stamps[path] = stamp_of(status)
    if seen != len(kept.files):
        missing = next(path for path in kept.files if not os.path.lexists(tree / path))
        raise _poisoned(f"{kept.id}: {missing!a} was removed from the unpacked crate: {tree}")
    if protected and loose:
        raise _poisoned(f"{kept.id}: the permissions of {loose[0]!a} were changed: {tree}")
    return stamps


def protect(home: Path, crates: Iterable[CrateId]) -> int:
    """Take the write permission from unpacked trees: nobody edits an admitted source by accident.

    No link is followed, and what has another name somewhere else, or lies deeper than in any tarball, is left as it is:
    `compare_tree` refuses it. What
    was written is on its way to the disk when this returns, all of it at once.

    Returns:
        From how many; what was found of those before has another time of its last change now.
    """
    protected = 0
    stems = {crate.stem for crate in crates}
    for root in source_roots(home, strict=True):
        for tree in root.iterdir():
            status = tree.lstat()
            if tree.name in stems and stat.S_ISDIR(status.st_mode) and status.st_mode & 0o200:
                _close(os.open(tree, _FOLDER))
                protected += 1
    return protected


def _close(folder: int, parts: int = 0) -> None:
    """Take the write permission from an open folder and all below it, as deep as a tarball goes, and close it."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if parts < _DEEPEST:
                        _close(os.open(entry.name, _FOLDER, dir_fd=folder), parts + 1)
                elif entry.is_file(follow_symlinks=False):
                    _close_file(os.open(entry.name, _FILE, dir_fd=folder))
        os.fchmod(folder, 0o555)
    finally:
        os.close(folder)


def _close_file(file: int) -> None:
    try:
        status = os.fstat(file)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            os.fchmod(file, 0o555 if status.st_mode & 0o100 else 0o444)
            begin_write_back(file)
    finally:
        os.close(file)


def source_roots(home: Path, *, strict: bool) -> list[Path]:
    """The folders of unpacked crates: one for each source, and for each way cargo hashes its name."""
    for folder in (home / "registry", home / "registry" / "src"):
        if folder.is_symlink() and strict:
            raise _poisoned(f"{folder} is a link")
        if folder.is_symlink() or not folder.is_dir():
            return []
    roots = sorted((home / "registry" / "src").iterdir())
    for root in roots:
        if strict and (root.is_symlink() or not root.is_dir()):
            raise _poisoned(f"{root} is not a folder")
    return [root for root in roots if root.is_dir() and not root.is_symlink()]


def _is_finished(tree: Path) -> bool:
    """Whether cargo would use a tree as it is; without a good marker it unpacks again, over what is there."""
    try:
        if not stat.S_ISDIR(os.lstat(tree).st_mode):
            return False
        marker = f"{tree}/{MARKER}"
        return stat.S_ISREG(os.lstat(marker).st_mode) and _read(marker, len(_FINISHED))[0] == _FINISHED
    except FileNotFoundError:
        return False


def _walk(tree: Path, stamps: dict[str, Stamp], loose: list[str]) -> Iterator[tuple[str, str]]:
    stack = [(str(tree), "")]
    while stack:
        current, below = stack.pop()
        status = os.lstat(current)
        stamps[current] = stamp_of(status)
        if stat.S_IMODE(status.st_mode) != 0o555:
            loose.append(below or ".")
        with os.scandir(current) as entries:
            listed = list(entries)
        for entry in listed:
            relative = below + entry.name
            if entry.is_dir(follow_symlinks=False):
                stack.append((entry.path, relative + "/"))
            elif entry.is_file(follow_symlinks=False):
                yield relative, entry.path
            else:
                raise _poisoned(f"{relative!a} is a link or device in the unpacked crate {tree}")


def _read(path: str, length: int, *, synced: bool = False) -> tuple[bytes, os.stat_result]:
    """The content, without following a link that took the file's place since it was listed; one byte more is enough."""
    try:
        descriptor = os.open(path, _FILE)
    except OSError as error:
        raise _poisoned(f"{path} cannot be read: {error.strerror}") from None
    try:
        if synced:
            write_back(descriptor)
        status = os.fstat(descriptor)
        data = os.read(descriptor, length + 1)
        while len(data) < min(status.st_size, length + 1) and (more := os.read(descriptor, length + 1 - len(data))):
            data += more
    finally:
        os.close(descriptor)
    return data, status


def remove_tree(tree: Path) -> None:
    """Remove whatever is there: a file, a link, or a folder that is protected."""
    if tree.is_symlink() or not tree.is_dir():
        tree.unlink()
        return
    import shutil  # as what reads tarballs

    for folder, _, _ in os.walk(tree):
        Path(folder).chmod(0o700)
    shutil.rmtree(tree)
