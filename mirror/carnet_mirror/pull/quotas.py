"""How much strangers may have a mirror bring: for each network, and of a mirror's disk.

What a network has used is counted in memory: a mirror that is started again begins anew. Whoever has one address of a
network has the others for nothing (`carnet_mirror.web.senders.network_of`), so networks are counted and not addresses.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

HOUR = 3600
DAY = 24 * HOUR
_MOST_NETWORKS = 65_536
"""Of which something is remembered: those that asked last."""


@dataclass(frozen=True, slots=True)
class PullQuotas:
    """What one network, one ask and all of it may cost.

    Attributes:
        asks_per_hour: Asks of one network.
        names_per_day: Crates that the upstream is asked about for one network: also those that there are not.
        versions_per_day: Versions that are brought for one network.
        versions_per_ask: Versions that one ask may need, with all that they depend on.
        megabytes_per_ask: Bytes of tarballs of everything that is fetched at once, in units of a million.
        megabytes: Bytes of all tarballs that the mirror has: with more than these nothing is brought.
        seconds: How long may be fetched at once; what has not come by then is asked for again.
    """

    asks_per_hour: int = 60
    names_per_day: int = 100_000
    versions_per_day: int = 10_000
    versions_per_ask: int = 5_000
    megabytes_per_ask: int = 4_000
    megabytes: int = 100_000
    seconds: int = 600


class OverQuota(Exception):  # noqa: N818  -- what a sender is told, not an error
    """A network has used what it may.

    Attributes:
        come_back: Seconds until it may ask again.
    """

    def __init__(self, what: str, come_back: int) -> None:
        super().__init__(f"this network has used up its {what}")
        self.come_back = come_back


@dataclass
class _Window:
    """What was used since the beginning of a span of time."""

    length: int
    begun: float
    used: int = 0

    def now(self, moment: float) -> _Window:
        """This one, begun anew if its time is over."""
        if moment - self.begun >= self.length:
            self.begun, self.used = moment, 0
        return self


@dataclass
class Used:
    """What one network has used."""

    asks: _Window
    names: _Window
    versions: _Window = field()


class Usage:
    """What every network has used; threads may share it.

    Args:
        quotas: What they may use.
        clock: Seconds that only grow.
    """

    def __init__(self, quotas: PullQuotas, clock: Callable[[], float] = time.monotonic) -> None:
        self._quotas = quotas
        self._clock = clock
        self._lock = threading.Lock()
        self._networks: OrderedDict[str, Used] = OrderedDict()

    def ask(self, network: str) -> None:
        """Count one more ask of a network.

        Raises:
            OverQuota: It has used up its asks, or what they may cost; this one is not counted.
        """
        with self._lock:
            used, now = self._of(network), self._clock()
            for window, most, what in (
                (used.asks, self._quotas.asks_per_hour, "asks of this hour"),
                (used.names, self._quotas.names_per_day, "look-ups of this day"),
                (used.versions, self._quotas.versions_per_day, "versions of this day"),
            ):
                if window.now(now).used >= most:
                    raise OverQuota(what, int(window.begun + window.length - now) + 1)
            used.asks.used += 1

    def names_left(self, network: str) -> int:
        """About how many crates the upstream may still be asked for a network."""
        with self._lock:
            return max(0, self._quotas.names_per_day - self._of(network).names.now(self._clock()).used)

    def versions_left(self, network: str) -> int:
        """How many versions may still be brought for a network."""
        with self._lock:
            return max(0, self._quotas.versions_per_day - self._of(network).versions.now(self._clock()).used)

    def count(self, network: str, *, names: int = 0, versions: int = 0) -> None:
        """Say what was done for a network."""
        with self._lock:
            used = self._of(network)
            used.names.used += names
            used.versions.used += versions

    def _of(self, network: str) -> Used:
        now = self._clock()
        used = self._networks.pop(network, None) or Used(_Window(HOUR, now), _Window(DAY, now), _Window(DAY, now))
        self._networks[network] = used
        while len(self._networks) > _MOST_NETWORKS:
            self._networks.popitem(last=False)
        return used
