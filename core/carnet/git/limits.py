"""What reading a repository may cost: it grows with what the repository weighs, and ends.

A few kilobytes of git's objects can stand for very much: one folder in a thousand places, each of those in a thousand
others; a thousand objects of which each is the one before and a byte; a gigabyte of zeros.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from carnet.value import value

MIB = 1024 * 1024
MAX_BLOB = 1024 * MIB
"""Bytes of a file."""
MAX_ENTRIES = 200_000
"""Files, folders, links and submodules of a commit."""
MAX_NAME = 1024
"""Bytes of one name in a folder; no file system takes more than 255."""
_MAX_TREE = 16 * MIB
_LOOSE = 1_000_000
"""Loose objects that are looked at to know what a repository weighs."""


@value
class GitLimits:
    """What one repository may cost whoever reads a commit of it.

    Attributes:
        blob: Bytes of a file, and of all files together.
        tree: Bytes of a folder or of a commit.
        objects: Bytes of all folders and commits together, one that is read again counted again.
        entries: Files, folders, links and submodules of a commit; one folder may stand in many places.
        processor: Seconds of git's processor time.
        unpacked: Bytes that git may unpack without being asked for them: what files and folders are differences to.
        memory: Bytes that git may have in memory, beside the files that it maps.
        seconds: From the first object to the last.
    """

    blob: int
    tree: int
    objects: int
    entries: int
    processor: int
    seconds: float
    unpacked: int = 1024 * MIB
    memory: int = 8 * 1024 * MIB

    @classmethod
    def of(cls, weight: int) -> GitLimits:
        """Limits for a repository whose objects take so many bytes of the disk.

        Of 37 repositories of Rust code, small and large, none has an entry for fewer than 7,000 bytes, nor more than
        two bytes in files for each; of the newest commit alone, as a shallow clone has it, none an entry for fewer
        than 270 bytes (tc39/test262, a file for each test), nor more than five bytes in files.
        """
        blob = min(MAX_BLOB, 8 * MIB + 12 * weight)
        return cls(
            blob=blob,
            tree=min(_MAX_TREE, MIB // 8 + weight // 10),
            objects=min(256 * MIB, 4 * MIB + 16 * weight),
            entries=min(MAX_ENTRIES, 3_000 + weight // 250),
            processor=1 + weight // (5 * MIB),
            seconds=60.0 + weight / MIB,
            unpacked=64 * MIB + 64 * weight,
            memory=64 * MIB + 3 * blob,
        )

    @classmethod
    def of_repository(cls, git_dir: Path) -> GitLimits:
        """Limits for a repository, from what its objects weigh, and those that it shares with others."""
        return cls.of(sum(_weights(_objects(git_dir), 5)))

    def hold(self, process: subprocess.Popen[bytes]) -> None:
        """Let the system end a git that takes more; where it cannot, its deadline does."""
        prlimit = getattr(resource, "prlimit", None)
        if prlimit is None:
            return
        for kind, most in ((resource.RLIMIT_CPU, self.processor), (resource.RLIMIT_DATA, self.memory)):
            with suppress(OSError, ValueError):  # it has ended already
                prlimit(process.pid, kind, (most, most))


def _objects(git_dir: Path) -> Path:
    """A linked work tree has the objects of the repository that it belongs to."""
    try:
        with (git_dir / "commondir").open("rb") as file:
            return git_dir / os.fsdecode(file.read(4096).strip()) / "objects"
    except (OSError, ValueError):
        return git_dir / "objects"


def _weights(objects: Path, depth: int) -> Iterator[int]:
    """The sizes of packs and loose objects in a store, and in those that its `info/alternates` names."""
    looked_at = 0
    for folder in _entries(objects):
        if len(folder.name) == 2 or folder.name == "pack":
            for file in _entries(Path(folder.path)):
                looked_at += 1
                if looked_at > _LOOSE:
                    return
                if folder.name != "pack" or file.name.endswith(".pack"):
                    with suppress(OSError):
                        yield file.stat(follow_symlinks=False).st_size
    try:
        with (objects / "info" / "alternates").open("rb") as file_of_paths:
            others = file_of_paths.read(64 * 1024).splitlines()[:10]
    except (OSError, ValueError):
        return
    for other in others if depth else ():
        if other and not other.startswith(b"#"):
            yield from _weights(objects / os.fsdecode(other), depth - 1)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (OSError, ValueError):
        return []
