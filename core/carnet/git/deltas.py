"""What git has to unpack before it can answer, found out before it is asked: a few bytes may stand upon gigabytes.

A pack keeps an object as the difference to another one, which may be a difference as well. Whoever writes a pack by
hand lets a small file be one to a gigabyte of zeros, or puts a thousand large ones upon one another: git unpacks all of
them for one answer. Their sizes stand in the pack and cost little to ask for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from typing import IO

from carnet.errors import FormatError
from carnet.git.limits import GitLimits

CHECK = "--batch-check=%(objectsize) %(deltabase)"
"""The format in which `git cat-file` is asked; what it does not know it says in other words."""
AHEAD = 60
"""Objects that git is asked for before the first of them is read: to take turns costs more than a small object does.
Their ids fit into the smallest pipe, 4,096 bytes, so that nobody waits for the other."""
_HINT = "if it is honest, `git repack -adf` in it writes it anew; look at what it holds before you trust it"
_DEEPEST = 300
"""Differences upon one another; git makes 50, and 250 where somebody insists."""
_STEP = 4096
"""Bytes that are unpacked in the time in which one more difference is looked up."""


class Deltas:
    """Counts what git unpacks for the objects that it is asked for.

    Args:
        asking: Takes ids, a line each.
        answering: Gives what `CHECK` asks for, a line for each id.
        limits: What may be unpacked, and how much at once.
    """

    def __init__(self, asking: IO[bytes], answering: IO[bytes], limits: GitLimits) -> None:
        self._asking, self._answering = asking, answering
        self._limits = limits
        self._objects: dict[str, tuple[int, str]] = {}
        self._below: dict[str, int] = {"": 0}
        self._unpacked = 0

    def check(self, oids: Collection[str]) -> None:
        """Go on only when git has to unpack no more for these objects, and those before, than it may.

        Raises:
            FormatError: It would.
            OSError: git ended.
        """
        level = [oid for oid in dict.fromkeys(oids) if oid not in self._objects]
        for _ in range(_DEEPEST):
            self._look_up(level)
            level = [base for base in dict.fromkeys(self._objects[oid][1] for oid in level) if self._is_new(base)]
            if not level:
                break
        else:
            raise FormatError(
                f"more than {_DEEPEST} versions of a file or folder stand upon one another in the repository",
                hint=_HINT,
            )
        for oid in oids:
            self._unpacked += self._upon(oid)
        if self._unpacked > self._limits.unpacked:
            raise FormatError(
                f"git would have to unpack {self._unpacked} bytes beside the commit's own, in a repository of few",
                hint=_HINT,
            )

    def _is_new(self, oid: str) -> bool:
        return oid != "" and oid not in self._objects

    def _look_up(self, oids: Iterable[str]) -> None:
        waiting = iter(oids)
        while some := list(islice(waiting, AHEAD)):
            self._asking.write("".join(f"{oid}\n" for oid in some).encode())
            self._asking.flush()
            for oid in some:
                size, _, base = self._answering.readline().strip().partition(b" ")
                if not size.isdigit():  # it is missing: whoever asks for it is told so
                    self._objects[oid] = 0, ""
                    continue
                self._objects[oid] = int(size[:19]), "" if base.strip(b"0") == b"" else base.decode("ascii", "replace")

    def _upon(self, oid: str) -> int:
        """Bytes of all objects below one that it is a difference to."""
        chain = []
        while oid not in self._below:
            chain.append(oid)
            oid = self._objects[oid][1]
            if len(chain) > _DEEPEST:
                raise FormatError("a file or folder of the repository is a difference to itself")
        found = self._below[oid]
        for oid in reversed(chain):
            base = self._objects[oid][1]
            if base:
                size = self._objects[base][0]
                if size > self._limits.blob // 2:  # git has both in memory
                    raise FormatError(f"object {oid[:12]} is a difference to one of {size} bytes: that is no source")
                found += size + _STEP
            self._below[oid] = found
        return found
