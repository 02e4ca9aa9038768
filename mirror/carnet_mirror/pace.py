"""How often is published: at once where it is calm, and what comes together in one where it is not.

Each publish writes a snapshot, which is large, and costs the same for one crate as for a hundred. So a mirror saves up
publishes while nothing comes, one a minute and up to sixty, and spends them as things arrive: whoever waits for an
answer on a calm mirror is not kept waiting. When they are spent, things are gathered for half a minute at most, because
a person waits, and proxies cut an answer off that takes a minute; pulls for ten seconds, because a build waits, and
plain cargo gives up soon. The more wait already, the shorter, and when as many wait as are served at once, there is
nothing to wait for. Two publishes are a second apart at least. It counts since the last publish or since the first of
them came, whichever is longer ago: so nobody is put off by what others publish.

What anybody can cause leaves half of what is saved to those who have signed something. Time is a clock's that only
grows: one that jumps makes nobody wait. Each process has a pace of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Literal

Who = Literal["signed", "anybody"]
GATHERED_FOR: Mapping[Who, float] = {"signed": 30.0, "anybody": 10.0}
"""Seconds after which what waits is published, however little it is."""
SAVED = 60
"""Publishes that are saved up, ..."""
SAVED_IN = 60.0
"""... one in so many seconds."""
APART = 1.0
"""Seconds between two publishes, at least."""
TOGETHER = 16
"""Things that are published together."""


class Pace:
    """What was published when; used by several threads.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = float("-inf")
        self._saved, self._looked = float(SAVED), clock()

    def now(self) -> float:
        """The time, as this clock tells it."""
        return self._clock()

    def wait(self, waiting: int, who: Who, since: float | None = None) -> float:
        """Seconds until what waits is to be published; 0 when that is now.

        Args:
            waiting: How many things wait.
            who: Who causes it: somebody whose signature was checked, or anybody.
            since: When the first of it came, by `now`; others may publish in the meantime, as often as they like.
        """
        with self._lock:
            now = self._save()
            last = now - self._last
            left = self._saved - (SAVED / 2 if who == "anybody" else 0)
            gathered = 0.0 if left >= 1 else GATHERED_FOR[who] * max(0.0, 1 - waiting / TOGETHER)
            waited = last if since is None else max(last, now - since)
            return max(0.0, APART - last, gathered - waited)

    def published(self) -> None:
        """Say that something was published."""
        with self._lock:
            self._last = self._save()
            self._saved = max(0.0, self._saved - 1)

    def _save(self) -> float:
        now = self._clock()
        self._saved = min(float(SAVED), self._saved + (now - self._looked) / SAVED_IN)
        self._looked = now
        return now
