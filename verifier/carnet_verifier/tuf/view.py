"""Opening a verified view of a repository: refreshed at a fixed time, and closed with the connections that it used.

Three ways in, for whoever has a trust directory and looks once (`open_view`), has one and serves for long
(`open_renewed_view`), or has only a root and remembers nothing (`open_view_from`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from carnet.value import value
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.budget import DEFAULT_BOUNDS, Budget, RunBounds
from carnet_verifier.net.fetch import Fetcher, HttpFetcher
from carnet_verifier.net.route import DIRECT, Network
from carnet_verifier.tuf.refresh import read_repository, refresh, remarks_on_clock
from carnet_verifier.tuf.repository import TrustedRepository
from carnet_verifier.tuf.told import of_mirror

REFRESH_EVERY = timedelta(seconds=10)
"""How old the view of a long-running server may become."""


@value
class View:
    """A verified view, open for as long as the block that asked for it.

    Attributes:
        repository: What was verified.
        fetcher: Where it came from, for tarballs, which are no targets of an unclaimed crate.
        url: The repository's base URL, as it is trusted.
    """

    repository: TrustedRepository
    fetcher: Fetcher
    url: str


def unheard(_: str) -> None:
    """For those who look at a view for nobody."""


@contextmanager
def open_view(
    trust: TrustDirectory,
    *,
    now: datetime,
    bounds: RunBounds = DEFAULT_BOUNDS,
    network: Network = DIRECT,
    remark: Callable[[str], None] = unheard,
) -> Iterator[View]:
    """Refresh a trusted repository, and look at it while the block runs.

    Args:
        trust: The client's memory, which says where the repository is.
        now: The fixed time of the refresh (TUF 5.1), aware, UTC.
        bounds: What the whole run may cost.
        network: How its server is reached.
        remark: Is told what a person should know of what was verified, and that stops nothing.

    Returns:
        The view; its connections are closed with the block.

    Raises:
        CarnetError: As `carnet_verifier.tuf.refresh.refresh`.
    """
    with HttpFetcher(trust.url, network=network, budget=Budget(bounds)) as fetcher:
        with of_mirror(trust.url):
            repository = refresh(trust, fetcher, now=now)
        for one in remarks_on_clock(repository.trusted.timestamp.signed, now):
            remark(one)
        yield View(repository, fetcher, trust.url)


@contextmanager
def open_view_from(
    root: bytes, url: str, *, now: datetime, bounds: RunBounds = DEFAULT_BOUNDS, network: Network = DIRECT
) -> Iterator[View]:
    """Verify a repository from a root on, without a memory: for the holders, who have the root and trust nothing else.

    Args:
        root: The root file to start from.
        url: The repository's base URL.
        now: The fixed time, aware, UTC.
        bounds: What the whole run may cost.
        network: How its server is reached.

    Raises:
        CarnetError: As `carnet_verifier.tuf.refresh.read_repository`.
    """
    with HttpFetcher(url, network=network, budget=Budget(bounds)) as fetcher:
        with of_mirror(url):
            repository = read_repository(root, fetcher, now=now)
        yield View(repository, fetcher, url)


class RenewedView:
    """The newest verified view, refreshed when it is older than `REFRESH_EVERY`; never one that could not be had.

    Threads may share it.

    Args:
        trust: The client's memory.
        fetcher: The repository.
        clock: The time, aware, UTC.
    """

    def __init__(self, trust: TrustDirectory, fetcher: Fetcher, clock: Callable[[], datetime]) -> None:
        self.fetcher = fetcher
        self._trust = trust
        self._clock = clock
        self._lock = threading.Lock()
        self._view: TrustedRepository | None = None

    def __call__(self) -> TrustedRepository:
        """The view of now.

        Raises:
            CarnetError: As `carnet_verifier.tuf.refresh.refresh`.
        """
        with self._lock:
            now = self._clock()
            if self._view is None or now - self._view.now > REFRESH_EVERY:
                self._view = None  # fail closed: an old view is not served because a new one cannot be had
                with of_mirror(self._trust.url):
                    self._view = refresh(self._trust, self.fetcher, now=now)
            return self._view


@contextmanager
def open_renewed_view(
    trust: TrustDirectory, clock: Callable[[], datetime], *, network: Network = DIRECT
) -> Iterator[RenewedView]:
    """Refresh a trusted repository, and again whenever the view is asked for and old, while the block runs.

    Args:
        trust: The client's memory, which says where the repository is.
        clock: The time, aware, UTC.
        network: How its server is reached.

    Raises:
        CarnetError: As `carnet_verifier.tuf.refresh.refresh`, for the first view.
    """
    with HttpFetcher(trust.url, network=network) as fetcher:
        view = RenewedView(trust, fetcher, clock)
        view()
        yield view
