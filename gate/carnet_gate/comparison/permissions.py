"""Who may write to carnet's home: a confinement keeps a build from writing there, and not from opening it to others.

Permissions are nothing that Landlock looks at, and whoever builds owns the home. So what a build opened, other users
could write to, and the next run would trust. It is told by the run that did it, and `carnet doctor` looks for it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from carnet.durable import as_storage_error
from carnet.value import value
from carnet_gate.comparison.surroundings import is_cargos
from carnet_verifier.cargo.localregistry import Poisoned

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@value
class Permissions:
    """What was found at one moment.

    Attributes:
        entries: Path to permission bits and owner, of what decides over builds and of each folder above.
        home: What tells the home itself from another one, and one state of it from another: device, inode, time of the
            last change, which nobody can set.
        names: What is in it; who adds or removes something there changes that time too.
    """

    entries: Mapping[str, tuple[int, int]]
    home: tuple[int, ...]
    names: frozenset[str]


def look(home: Path, deciding: Sequence[Path]) -> Permissions:
    """Find out who may write where.

    Args:
        home: Carnet's own folder.
        deciding: More folders from which files decide over builds; they need not be there.

    Raises:
        StorageError: It cannot be looked into.
    """
    with as_storage_error(home):
        entries = dict(_walk(home))
        for folder in deciding:
            entries.update(_walk(folder, deep=False))
        for above in {above for folder in (home, *deciding) for above in (*folder.parents, *folder.resolve().parents)}:
            if above.exists():
                entries[str(above)] = _bits(above.stat())
        status = home.stat()
        return Permissions(
            entries,
            (status.st_dev, status.st_ino, status.st_ctime_ns),
            frozenset(os.listdir(home)),  # noqa: PTH208
        )


def compare(before: Permissions, after: Permissions) -> None:
    """Demand that nothing was opened to others.

    Raises:
        Poisoned: Something was, or the home was, for a while.
    """
    changed = [path for path, found in after.entries.items() if before.entries.get(path, found) != found]
    for path in sorted(changed):
        (then, owner), (now, owner_now) = before.entries[path], after.entries[path]
        if now & ~then & _OTHERS or owner_now != owner:
            raise Poisoned(
                f"{path} was opened to others while cargo ran (permissions {then:04o}, now {now:04o})",
                hint="a build script or macro may have done it: find out what ran, and whether what lies there is what "
                f"you left; then `chmod {then:04o} {path}`, `carnet doctor`, `carnet trust clean` and `cargo clean`",
            )
    if before.home != after.home and before.names == after.names:
        raise Poisoned(
            "carnet's home was replaced while cargo ran, or its permissions were changed and changed back",
            hint="find out what ran, and whether it is what you left; then `carnet trust clean` and `cargo clean`",
        )


def open_to_others(home: Path) -> Iterator[str]:
    """Everything in carnet's home that somebody else may write to, cargo's own files aside.

    Those lie in folders that nobody else may look into; what is unpacked is compared before each build.

    Args:
        home: Carnet's own folder; it need not be there.

    Raises:
        StorageError: It cannot be looked into.
    """
    with as_storage_error(home):
        for path, (mode, owner) in _walk(home):
            if not is_cargos(Path(path).relative_to(home)) and (mode & _OTHERS or owner not in (os.geteuid(), 0)):
                yield path


def _walk(folder: Path, *, deep: bool = True) -> Iterator[tuple[str, tuple[int, int]]]:
    """Permissions and owner of a folder and of what is in it; of a CARGO_HOME not what cargo unpacks."""
    if not folder.is_dir():
        return
    yield str(folder), _bits(folder.stat())
    todo = [(str(folder), 0)]
    while todo:
        current, depth = todo.pop()
        descriptor = os.open(current, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with os.scandir(descriptor) as entries:  # by the open folder: no long way to each file
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # another run's mark, or a file that was just replaced
                    if stat.S_ISLNK(status.st_mode):
                        continue
                    path = f"{current}/{entry.name}"
                    yield path, _bits(status)
                    in_cargos_home = depth == 3 and entry.name in ("registry", "git")
                    if deep and stat.S_ISDIR(status.st_mode) and not in_cargos_home:
                        todo.append((path, depth + 1))
        finally:
            os.close(descriptor)


def _bits(status: os.stat_result) -> tuple[int, int]:
    return stat.S_IMODE(status.st_mode), status.st_uid
