"""Where a repository's files are kept, as publishing needs it: three verbs, one for each phase of a publish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Publication(Protocol):
    """The mirror's store, or a plain folder.

    Paths are those below the repository's base URL: `metadata/timestamp.json`, `metadata/3.index-0a.json`,
    `targets/index/se/rd/<sha256>.serde`. One process at a time may publish: the caller holds the lock. A name never
    gets two contents; only `timestamp.json` is replaced. What is durable survives a power cut once the call returns.
    """

    def read(self, path: str) -> bytes | None:
        """A file's content, revealed or not; None when there is none."""

    def stage(self, files: Mapping[str, bytes]) -> None:
        """Keep files that nothing visible refers to yet: each atomic, all durable, in any order among them.

        Args:
            files: Path to content: targets, and roles other than root, snapshot and timestamp.

        Raises:
            StorageError: The disk failed, or a name has other bytes already.
        """

    def seal(self, version: int, snapshot: bytes) -> None:
        """Make the snapshot durable with all that was staged since the last one, as one; not visible yet.

        A timestamp for it is signed next: from then on the state can be completed, and cannot be given up.

        Args:
            version: The snapshot's version.
            snapshot: The whole file.

        Raises:
            StorageError: The disk failed, or the version has other bytes already.
        """

    def reveal(self, timestamp: bytes, new_root: tuple[int, bytes] | None = None) -> None:
        """Let clients see what the timestamp leads to, durably: the snapshot that was sealed last, or the one before.

        The timestamp and a new root become visible at once. Where they cannot, the root comes first at the very first
        publish, and last at every later one: whatever a crash leaves is a state that a client accepts.

        Args:
            timestamp: The whole file.
            new_root: Version and whole file of a root that follows the published one.

        Raises:
            StorageError: The disk failed, or the root's version has other bytes already.
        """
