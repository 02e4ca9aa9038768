"""How bytes come to the verifier: the Fetcher protocol, and fetching over HTTP with limits of our own.

What a fetcher returns is untrusted. It promises only that it ends: within a deadline, at no less than a least rate,
and with no more bytes than were asked for (trap 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from carnet.errors import TransportError


class Fetcher(Protocol):
    """Where a repository's files come from.

    Paths are below the repository's base URL and quoted as in a URL (`carnet.paths.url_path`), such as
    `metadata/2.root.json` or `targets/index/se/rd/<sha256>.serde`.
    """

    def get(self, path: str, *, max_bytes: int) -> bytes:
        """Fetch one file.

        Raises:
            TransportError: It could not be had; `status` is 404 when it does not exist. More than `max_bytes` bytes
                are an error as well, and never returned in part.
        """
        ...

    def get_many(self, requests: Sequence[tuple[str, int]]) -> list[bytes | TransportError]:
        """Fetch several files at once: pairs of path and `max_bytes`, answered in the same order.

        One that fails does not stop the others: its place in the answer holds the error.
        """
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What an HTTP fetch may cost.

    Attributes:
        deadline: Seconds for one file, from the first byte sent to the last one received.
        connect: Seconds to reach the server, as part of the deadline.
        least_rate: Bytes a second, on average after `grace` seconds; slower is an error.
        grace: Seconds before the least rate counts.
        connections: At the same time.
    """

    deadline: float = 120.0
    connect: float = 15.0
    least_rate: int = 1024
    grace: float = 10.0
    connections: int = 8


class HttpFetcher:
    """Fetches over HTTP/1.1 with reused connections.

    It follows no redirect, decodes only gzip and only up to the asked size, and uses no proxy unless one is given.

    Args:
        base_url: `https://...` or `http://...`, the folder that holds `metadata/` and `targets/`.
        limits: What one fetch may cost.
        proxy: URL of an HTTP proxy, or None; nothing is read from the environment.
        ca_file: PEM file of certificate authorities to trust instead of the system's.

    Raises:
        ConfigError: The URL is not one.
    """

    def __init__(
        self, base_url: str, *, limits: Limits = Limits(), proxy: str | None = None, ca_file: str | None = None
    ) -> None:
        raise NotImplementedError

    def get(self, path: str, *, max_bytes: int) -> bytes:
        """See `Fetcher.get`."""
        raise NotImplementedError

    def get_many(self, requests: Sequence[tuple[str, int]]) -> list[bytes | TransportError]:
        """See `Fetcher.get_many`."""
        raise NotImplementedError

    def close(self) -> None:
        """Close all connections."""
        raise NotImplementedError

    def __enter__(self) -> HttpFetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
