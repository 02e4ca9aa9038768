"""The disk that a mirror is on: what its upkeep needs is kept free, and taken up by nothing that comes in.

A mirror that cannot sign its timestamp again is refused by every client within a day; one that takes nothing in for a
day harms nobody. So intake, which is submissions, proposals, pulls and syncs, ends while there is still room, and
upkeep, root rotations and takedowns go on. Inodes run out as bytes do.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from carnet.errors import NoRoom, StorageError

RESERVE = 1_000_000_000
"""Bytes that are kept free where nothing else is said: 16,384 bins that are signed again at once are a tenth of it."""
KEEP = timedelta(days=7)
"""How long what was superseded stays where nothing else is said."""
LEAST_KEEP = timedelta(days=3)
"""A timestamp lives for a day, and another one or two go where the clock jumped (`carnet_mirror.pruning`)."""
FULL = "this mirror's disk is full: nothing is taken in until its operator has made room"
"""What strangers are told; how full it is, is the operator's to know."""
_FILES = 32_768
"""Inodes that are kept free: as many bins, twice."""


@dataclass(frozen=True, slots=True)
class DiskRules:
    """What an operator says of the mirror's disk.

    Attributes:
        reserve: Bytes that are kept free for upkeep.
        keep: How long what was superseded stays, at least `LEAST_KEEP`.
    """

    reserve: int = RESERVE
    keep: timedelta = KEEP


class Disk:
    """The disk of one mirror.

    Args:
        directory: The mirror's.
        rules: What its operator says.
    """

    def __init__(self, directory: Path, rules: DiskRules) -> None:
        self._directory = directory
        self.rules = rules

    def free(self) -> int:
        """Bytes that are free, for this user.

        Raises:
            StorageError: The system does not say.
        """
        return self._look()[0]

    def left(self) -> int:
        """Bytes that may still be taken in; nothing or less when intake is paused.

        Raises:
            StorageError: The system does not say.
        """
        free, files = self._look()
        return free - self.rules.reserve if files is None or files >= _FILES else 0

    def shortage(self, more: int = 0) -> NoRoom | None:
        """Why so many bytes more are not taken in; None where they are.

        Raises:
            StorageError: The system does not say.
        """
        free, files = self._look()
        if free - more < self.rules.reserve:
            comes = f", {_size(more)} would come" if more else ""
            said = f"{_size(free)} are free{comes}, and {_size(self.rules.reserve)} are kept for its upkeep"
        elif files is not None and files < _FILES:
            said = f"{files:,} more files fit, and room for {_FILES:,} is kept for its upkeep"
        else:
            return None
        return NoRoom(
            f"the mirror's disk is full, and nothing is taken in: {said}",
            hint="make room or add some (docs/operating.md, `Disk full`); what is published is served and signed again "
            "as always",
        )

    def require(self, more: int = 0) -> None:
        """Demand room for something that comes in.

        Args:
            more: Its bytes, as far as they are known.

        Raises:
            NoRoom: It would need what is kept for upkeep.
            StorageError: The system does not say.
        """
        if (shortage := self.shortage(more)) is not None:
            raise shortage

    def _look(self) -> tuple[int, int | None]:
        """Bytes and files that fit; no number of files where the file system has no bound of them."""
        try:
            found = os.statvfs(self._directory)
        except OSError as error:
            raise StorageError(f"the disk does not say how much is free: {error.strerror}") from None
        return found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 100_000_000 else f"{count / 1e6:.1f} MB"
