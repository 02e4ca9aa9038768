"""The index of a local registry, compared with the lines that are signed: cargo resolves and builds by what it says.

::

    <folder>/<name>-<version>.crate
    <folder>/index/<prefix>/<name>      a line for each version, as in the sparse index
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from carnet.cargo.index_file import MAX_FILE, IndexFile, IndexLine
from carnet.cargo.names import CrateId
from carnet.durable import read_file
from carnet.errors import CarnetError
from carnet.tuf import paths
from carnet_verifier.cargo.differences import Difference

FOLDER = paths.SPARSE_INDEX_PREFIX.removesuffix("/")
"""Where it lies, below the tarballs."""


def index_differences(folder: Path, signed: IndexLine) -> Iterator[Difference]:
    """How the index of a local registry differs from what is signed of one version.

    Whether a version is yanked, and when it was published, is the registry's to say anew, and so no change.

    Args:
        folder: The registry's.
        signed: The line that counts.
    """
    crate = signed.id
    relative = paths.index_path(crate.name)
    path = folder / relative

    def different(change: str, said: str) -> Difference:
        return Difference(relative, change, f"{crate}: {said}: {path}")

    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            yield different("link", "its index file is no plain file")
            return
        lines = IndexFile.from_bytes(read_file(path, "the index file", max_bytes=MAX_FILE), crate.name).lines
    except FileNotFoundError:
        yield different("missing", "its index file is not there")
        return
    except (CarnetError, OSError) as error:
        reason = str(error) if isinstance(error, CarnetError) else (error.strerror or "failed").lower()
        yield different("changed", f"its index file cannot be read ({reason})")
        return
    if status.st_mode & stat.S_IWOTH:
        yield different("permissions", "its index file can be written to by everybody")
    found = {line.id: line for line in lines}
    mine = found.pop(crate, None)
    if mine is None:
        yield different("missing", "its line is not in the index")
    elif mine.identity() != signed.identity():
        yield different("changed", "its line in the index is not the one that is signed")
    for other in found:
        if not (folder / f"{other.stem}.crate").exists():
            yield Difference(
                relative, "added", f"{other}: it stands in the index, and its tarball is not there: {path}"
            )


def index_strays(folder: Path, crates: Collection[CrateId]) -> Iterator[Path]:
    """What lies in the index of a local registry, and is no index file of a crate that is there.

    Args:
        folder: The registry's.
        crates: Those whose tarballs are there.
    """
    known = {paths.index_path(crate.name) for crate in crates}
    for place, folders, files in os.walk(folder / FOLDER):
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            if path.relative_to(folder).as_posix() not in known:
                yield path
