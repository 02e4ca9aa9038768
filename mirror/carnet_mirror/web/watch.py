"""What is known of a mirror that serves, for whoever watches it: cheap, however often somebody asks.

What is published is looked at once for each timestamp, and of that only files that were not there before; what takes
longer, once in ten minutes. All of it is read in a thread of its own. No path, no sender and no message of an error is
in any of it: errors are logged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from carnet import times
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, ConfigError, StorageError
from carnet.tuf.paths import METADATA_PREFIX, SNAPSHOT, TIMESTAMP, metadata_name
from carnet_mirror import log
from carnet_mirror.clock import clock_problem
from carnet_mirror.schedule import Expiry, claims_that_end, expiries
from carnet_mirror.state.disk import Disk
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store

SLOWLY = 600.0
"""Seconds between two looks at what takes long."""
_TIMESTAMP = METADATA_PREFIX + metadata_name(TIMESTAMP, None)


@dataclass(frozen=True, slots=True)
class Published:
    """What one timestamp leads to.

    Attributes:
        timestamp: Its version.
        snapshot: The version of the snapshot that it names, and its sha256.
        roles: When each role ends; of owners and crates nothing.
        clock: What speaks against this machine's clock, or None.
    """

    timestamp: int
    snapshot: tuple[int, str]
    roles: tuple[Expiry, ...]
    clock: ConfigError | None

    def ended(self, now: datetime) -> list[Expiry]:
        """The roles without which clients refuse the mirror."""
        return [one for one in self.roles if one.expires <= now]


@dataclass(frozen=True, slots=True)
class Contents:
    """What takes longer to find.

    Attributes:
        claims: Owner and crate roles and layouts that have ended or end soon.
        stored: Bytes and number of the published files, by their folder.
        crates: How many crates and how many versions there are.
    """

    claims: tuple[Expiry, ...]
    stored: dict[str, tuple[int, int]]
    crates: tuple[int, int]


class Watch:
    """Looks at a mirror.

    Args:
        directory: The mirror's.
        store: Opened for reading; used from the event loop's thread only.
        now: Tells the time.
    """

    def __init__(self, directory: Path, store: Store, now: Callable[[], datetime]) -> None:
        self._directory = directory
        self._store = store
        self.now = now
        self._lock = asyncio.Lock()
        self._ends: dict[tuple[str, int], datetime] = {}
        self._seen: tuple[bytes, Published] | None = None
        self._contents: tuple[float, Contents] | None = None

    async def published(self) -> Published:
        """What is published now.

        Raises:
            CarnetError: It cannot be read.
        """
        async with self._lock:
            timestamp = self._store.read(_TIMESTAMP)
            if timestamp is None:
                raise StorageError("nothing is published")
            if self._seen is None or self._seen[0] != timestamp:
                self._seen = timestamp, await asyncio.to_thread(self._look)
            return self._seen[1]

    async def contents(self) -> Contents:
        """What is kept; as it was ten minutes ago at most.

        Raises:
            CarnetError: It cannot be read.
        """
        async with self._lock:
            if self._contents is None or time.monotonic() - self._contents[0] >= SLOWLY:
                found = await asyncio.to_thread(self._look_longer)
                self._contents = time.monotonic(), found
            return self._contents[1]

    @property
    def disk(self) -> Disk:
        """The mirror's disk."""
        return self._store.disk

    def waiting_claims(self) -> int:
        """How many claims and takeovers wait.

        Raises:
            StorageError: The database failed.
        """
        return self._store.pending.count(self.now())

    async def unready(self) -> str | None:
        """Why clients would be refused, in words; None when what is published is fresh, and can be read."""
        try:
            published = await self.published()
            version, sha256 = published.snapshot
            data = self._store.served(METADATA_PREFIX + metadata_name(SNAPSHOT, version))
            if data is None or sha256_hex(data) != sha256:
                raise StorageError(f"snapshot {version} is not the one that was published")
        except CarnetError as error:
            log.error(f"what is published cannot be read: {error}")
            return "what is published cannot be read; the log says more"
        ended = published.ended(self.now())
        return None if not ended else f"{ended[0].role} has ended at {times.written(ended[0].expires)}"

    # --- in a thread, with a connection of its own ---

    def _look(self) -> Published:
        with Store.open(self._directory) as store:
            roles = tuple(expiries(store, self._ends))
            timestamp = UnverifiedView(store).timestamp
            snapshot = timestamp.snapshot.version, timestamp.snapshot.hashes.get("sha256", "")
            return Published(timestamp.version, snapshot, roles, clock_problem(store, now=self.now()))

    def _look_longer(self) -> Contents:
        with Store.open(self._directory) as store:
            claims = tuple(claims_that_end(store, now=self.now()))
            return Contents(claims, store.files.sizes(), store.crates.count())
