"""Fetchers without a network: a folder, a store's read function, and files laid on top of another fetcher."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from carnet.errors import TransportError


class ReadFetcher:
    """Fetches through a function that reads a stored file by its plain (unquoted) path, such as a mirror's store.

    Args:
        read: Path below the repository's base, such as `metadata/2.root.json`, to its bytes, or None when absent.
    """

    def __init__(self, read: Callable[[str], bytes | None]) -> None:
        raise NotImplementedError

    def get(self, path: str, *, max_bytes: int) -> bytes:
        """See `carnet_verifier.fetch.Fetcher.get`."""
        raise NotImplementedError

    def get_many(self, requests: Sequence[tuple[str, int]]) -> list[bytes | TransportError]:
        """See `carnet_verifier.fetch.Fetcher.get_many`."""
        raise NotImplementedError
