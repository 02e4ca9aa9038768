"""What lies around the unpacked crates in carnet's home: configuration, tarballs, index; what cargo may not find there.

The unpacked crates themselves are compared file by file with their tarballs (`carnet_verifier.cargo.localregistry`).
Several gates share these folders. Each changes them only while it holds their lock, and then leaves a new word in
`generation`: as long as the word is the same, whatever differs was changed by somebody else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath

from carnet.cargo.names import CrateId
from carnet.durable import as_storage_error, read_file, write_file
from carnet.tuf import paths
from carnet.value import value
from carnet_verifier.cargo.localregistry import LocalRegistry, Poisoned

_MAX = 100_000_000
_GENERATION = "generation"
_READ = frozenset(("config.toml", "credentials.toml", "credentials", "source-name"))
"""What the gate writes into a CARGO_HOME, and cargo reads."""
_CARGOS = frozenset((".package-cache", ".package-cache-mutate", ".global-cache", ".global-cache-journal"))
"""Files of cargo's own, which nothing is built from: locks, and when something was last used."""
_FOLDERS = frozenset(("registry", "git"))
_IN_REGISTRY = frozenset(("src", "index", "cache", "CACHEDIR.TAG"))
_IN_GIT = frozenset(("db", "checkouts", "CACHEDIR.TAG"))


@value
class Surroundings:
    """What was found at one moment.

    Attributes:
        generation: The word of the last gate that changed something.
        own: What no other gate changes: path to what tells one state of it from another.
        shared: What other gates change when they prepare their crates.
    """

    generation: bytes
    own: Mapping[str, object]
    shared: Mapping[str, object]


def look(registry: LocalRegistry, home: Path, crates: Iterable[CrateId]) -> Surroundings:
    """Find what lies around the unpacked crates.

    Args:
        registry: Locked by the caller.
        home: The private CARGO_HOME.
        crates: Those of this run.

    Raises:
        Poisoned: Something is there that neither the gate nor cargo puts there.
        StorageError: It cannot be read.
    """
    with as_storage_error(home.parent):
        own: dict[str, object] = {}
        shared: dict[str, object] = {str(path): _content(path) for path in _files_of(home)}
        for crate in crates:
            index = f"{registry.path}/{paths.index_path(crate.name)}"
            shared[index] = _stamp(index)
            tarball = str(registry.tarball(crate))
            own[tarball] = _stamp(tarball)
        for folder in (home / "registry", home / "registry" / "src"):
            shared[str(folder)] = _stamp(str(folder))  # renamed and renamed back, another one was in its place
        for root in _entries(home / "registry" / "src"):
            shared[root.path] = _kind(root), _stamp(root.path)
            if root.is_dir(follow_symlinks=False):
                shared.update((tree.path, _kind(tree)) for tree in _entries(root.path))
        return Surroundings(_generation(registry), own, shared)


def compare(before: Surroundings, after: Surroundings) -> None:
    """Demand that nothing was added, removed or changed, but by another gate.

    Raises:
        Poisoned: Something was.
    """
    pairs = [(before.own, after.own)]
    if before.generation == after.generation:
        pairs.append((before.shared, after.shared))
    for then, now in pairs:
        for path in sorted({*then, *now}):
            if path not in then or path not in now or then[path] != now[path]:
                what = "was added" if path not in then else "was removed" if path not in now else "was changed"
                raise Poisoned(f"{path} {what}")


def announce(registry: LocalRegistry, before: Surroundings, after: Surroundings) -> Surroundings:
    """Tell other gates that this one changed something, if it did; the lock is still held.

    Returns:
        `after`, with the word that stands there now.

    Raises:
        StorageError: The disk failed.
    """
    if (before.own, before.shared) == (after.own, after.shared):
        return after
    word = os.urandom(16).hex().encode()
    write_file(registry.path.parent / _GENERATION, word, mode=0o600)
    return Surroundings(word, after.own, after.shared)


def tidy(home: Path) -> Iterator[Path]:
    """What a person who cleans up should lose of a CARGO_HOME: all but the gate's own files and the unpacked crates."""
    for path in home.iterdir():
        if path.name not in _READ and path.name != "registry":
            yield path
    registry = home / "registry"
    if registry.is_symlink() or not registry.is_dir():
        if os.path.lexists(registry):
            yield registry
        return
    yield from (path for path in registry.iterdir() if path.name != "src")


def is_cargos(path: PurePath) -> bool:
    """Whether a path below carnet's home is one of cargo's own files, which it makes as open as the umask lets it."""
    return len(path.parts) == 4 and path.parts[0] == "cargo" and path.name in _CARGOS


def _generation(registry: LocalRegistry) -> bytes:
    try:
        return read_file(registry.path.parent / _GENERATION, "the generation", max_bytes=1000)
    except FileNotFoundError:
        return b""


def _files_of(home: Path) -> Iterator[Path]:
    """The files that cargo reads in its home; anything that has no business there is refused."""
    for folder, allowed in (
        (home, _READ | _CARGOS | _FOLDERS),
        (home / "registry", _IN_REGISTRY),
        (home / "git", _IN_GIT),
    ):
        if not os.path.lexists(folder):
            continue
        if stat.S_IFMT(folder.lstat().st_mode) != stat.S_IFDIR:
            raise _unexpected(folder)
        for path in sorted(folder.iterdir()):
            is_folder = stat.S_ISDIR(path.lstat().st_mode)
            if path.name not in allowed or not (is_folder or stat.S_ISREG(path.lstat().st_mode)):
                raise _unexpected(path)
            if path.name in _READ:
                yield path


def _unexpected(path: Path) -> Poisoned:
    return Poisoned(
        f"{path} was put there neither by carnet nor by cargo",
        hint="find out who writes there; `carnet trust clean` removes it",
    )


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _kind(entry: os.DirEntry[str]) -> tuple[bool, bool, int]:
    return entry.is_dir(follow_symlinks=False), entry.is_symlink(), entry.inode()


def _stamp(path: str) -> tuple[int, ...] | None:
    """What a write to a file leaves; nothing is compiled from it, and the next run reads all of it."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_mode, status.st_ino, status.st_nlink, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _content(path: Path) -> tuple[tuple[int, ...] | None, bytes] | None:
    try:
        data = read_file(path, "the file", max_bytes=_MAX)
    except FileNotFoundError:
        return None
    return _stamp(str(path)), data
