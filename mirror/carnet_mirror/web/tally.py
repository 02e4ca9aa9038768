"""What a server has done since it started: requests by kind of path, refusals by kind, bodies that wait.

Every name in it is ours, never a sender's, so that there are few of them whoever asks for what.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate

from carnet.claims.submission import PENDING_PAGE, PENDING_PATH, PROPOSALS_PATH, URL_PATH
from carnet.tuf.paths import (
    DOWNLOAD_PREFIX,
    METADATA_PREFIX,
    SPARSE_INDEX_PREFIX,
    TARGETS_PREFIX,
    TIMESTAMP,
    metadata_name,
)

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Seconds, at which latencies are told apart."""
_EXACTLY = {
    METADATA_PREFIX + metadata_name(TIMESTAMP, None): "timestamp",
    URL_PATH: "submission",
    PROPOSALS_PATH: "proposal",
    PENDING_PATH: "pending",
    PENDING_PAGE: "pending",
}
_BELOW = {METADATA_PREFIX: "metadata", TARGETS_PREFIX: "target", SPARSE_INDEX_PREFIX: "index", DOWNLOAD_PREFIX: "crate"}


@dataclass(slots=True)
class Latencies:
    """How long requests took until their answers began.

    Attributes:
        counts: How many took at most as long as each of `BOUNDS`, and not as long as the one before; last, all others.
        seconds: All of them together.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus wants them: each with all that is below it."""
        return list(zip((*map(str, BOUNDS), "+Inf"), map(float, accumulate(self.counts)), strict=True))


class Tally:
    """Counts; used from the event loop's thread only.

    Attributes:
        requests: By `route_of` their paths, and the first digit of their status.
        refusals: Of what was posted: by what it was, and why.
        waiting: How many bodies arrive or wait to be judged, by what they are.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str], Latencies] = {}
        self.refusals: Counter[tuple[str, str]] = Counter()
        self.waiting: dict[str, Callable[[], int]] = {}

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests.setdefault((route_of(path), f"{status // 100}xx"), Latencies()).add(seconds)

    def refused(self, what: str, why: str) -> None:
        """Count something posted that was not taken."""
        self.refusals[what, why] += 1


def route_of(path: str) -> str:
    """The kind of a path, one of a dozen: what was asked for is nobody's label."""
    path = path.removeprefix("/")
    if path in _EXACTLY:
        return _EXACTLY[path]
    return next((name for prefix, name in _BELOW.items() if path.startswith(prefix)), "other")
