"""What a client remembers: the pinned root, the metadata it trusted last, and what it saw of each crate.

Everything that protects against going back (root, timestamp, snapshot, memory of crates) is written durably before it
is acted on: to a new file, fsynced, renamed over the old one, directory fsynced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from carnet.names import CrateName


class TrustDirectory:
    """One repository that the user trusts, from one root on. `create` or `open` make it.

    Attributes:
        path: The directory.
        url: The repository's base URL.
    """

    path: Path
    url: str

    @classmethod
    def create(cls, path: Path, root: bytes, url: str) -> TrustDirectory:
        """Pin a root.

        Args:
            path: A directory that does not hold a trust directory yet.
            root: The root file as the user got it, by a way they trust.
            url: The repository's base URL.

        Raises:
            ConfigError: There is one already, or the root is not one, or is not signed by its own threshold.
            StorageError: The disk failed.
        """
        raise NotImplementedError

    @classmethod
    def open(cls, path: Path) -> TrustDirectory:
        """Open what `create` made.

        Raises:
            ConfigError: There is none.
            StorageError: It is damaged, or the disk failed.
        """
        raise NotImplementedError

    @property
    def root(self) -> bytes:
        """The newest root that was trusted; the pinned one at first."""
        raise NotImplementedError

    @contextmanager
    def locked(self, timeout: float = 60.0) -> Iterator[None]:
        """Keep other processes out (trap 6); reentrant within a thread.

        Raises:
            StorageError: Another process held the lock for longer than `timeout` seconds.
        """
        raise NotImplementedError
        yield

    def highest_level(self, name: CrateName) -> int | None:
        """The highest level at which a version of this crate was ever admitted, or None."""
        raise NotImplementedError

    def remember_levels(self, levels: Mapping[CrateName, int]) -> None:
        """Remember levels durably; one that is lower than remembered changes nothing.

        Raises:
            StorageError: The disk failed.
        """
        raise NotImplementedError
