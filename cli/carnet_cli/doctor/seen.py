"""What one look at a trusted mirror shows: it is asked once, for all checks; nothing of it is remembered."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from carnet.errors import CarnetError
from carnet.tuf import paths
from carnet_cli.config import home
from carnet_verifier.net.address import parse_url
from carnet_verifier.net.fetch import HttpFetcher
from carnet_verifier.net.http1 import Connection, Limits
from carnet_verifier.net.patience import Patience
from carnet_verifier.net.route import Network, Origin
from carnet_verifier.tuf.refresh import read_repository

if TYPE_CHECKING:
    from carnet_verifier.memory.trust import TrustDirectory

_LIMITS = Limits(deadline=20.0, connect=10.0)
_MAX_BYTES = 65_536


@dataclass(frozen=True)
class SeenMirror:
    """A trusted mirror, as it answered.

    Attributes:
        url: Its base URL.
        origin: Its server.
        seconds: How long it took to be verified, or to fail.
        error: Why it could not be; None when it was.
        ahead: How far its clock is ahead of this machine's; None when it does not say.
        ends: When each top-level role ends, by name; empty where nothing was verified.
    """

    url: str
    origin: Origin
    seconds: float
    error: CarnetError | None
    ahead: timedelta | None
    ends: tuple[tuple[str, datetime], ...] = ()


def look_at(trust: TrustDirectory, network: Network, *, now: datetime) -> SeenMirror:
    """Ask a trusted mirror for its clock, and verify it from the newest root on that was seen of it.

    Args:
        trust: What is remembered of it, and stays as it is.
        network: How it is reached.
        now: This machine's time, aware, UTC.
    """
    url, ahead, started = trust.url, None, time.monotonic()
    origin = parse_url(url, "repository").origin
    try:
        ahead = _clock_ahead(url, network)
        started = time.monotonic()
        with HttpFetcher(url, limits=_LIMITS, network=network, patience=Patience(tries=1)) as fetcher:
            repository = read_repository(trust.root, fetcher, now=now)
            top = repository.trusted
            ends = (
                ("root", top.root.signed.expires),
                ("timestamp", top.timestamp.signed.expires),
                ("snapshot", top.snapshot.signed.expires),
                ("targets", repository.targets.expires),
            )
    except CarnetError as error:
        return SeenMirror(url, origin, time.monotonic() - started, error, ahead)
    return SeenMirror(url, origin, time.monotonic() - started, None, ahead, ends)


def _clock_ahead(url: str, network: Network) -> timedelta | None:
    """How far a server's clock is ahead, by the date that it writes on an answer (RFC 9110, 6.6.1)."""
    from email.utils import parsedate_to_datetime

    base = parse_url(url, "repository")
    with closing(Connection(base.origin, _LIMITS, network.route_to(base.origin))) as connection:
        # A file that no repository has: only refusals keep their headers.
        none = f"{base.path}{paths.METADATA_PREFIX}0.root.json"
        (answer,) = connection.get([(none, _MAX_BYTES)])
    try:
        said = parsedate_to_datetime(answer.headers.get(b"date", b"").decode("latin-1"))
        return said.replace(tzinfo=said.tzinfo or UTC) - home.now()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
