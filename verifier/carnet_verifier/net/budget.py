"""What a whole run may cost: each file of a slow repository can be within its own bounds, and all of them take days."""

from __future__ import annotations

import threading
import time

from carnet.errors import TransportError
from carnet.value import value


@value
class RunBounds:
    """What one run may cost.

    Attributes:
        seconds: Of the whole run; an answer that has begun is waited for within its own bounds.
        size: Bytes of all answers.
        pull_seconds: How long a mirror is waited for that brings what it lacks, altogether.
    """

    seconds: float = 3600.0
    size: int = 16 * 1024**3
    pull_seconds: float = 300.0


DEFAULT_BOUNDS = RunBounds()


class Budget:
    """Counts what one run has fetched, and ends it when that is too much. Threads may share it.

    Args:
        bounds: What is too much, from here on.
    """

    def __init__(self, bounds: RunBounds = DEFAULT_BOUNDS) -> None:
        self._bounds = bounds
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._files = self._bytes = 0
        self._slowest = (0.0, "")

    def count(self, path: str, seconds: float, size: int) -> None:
        """Say that a file came, after so many seconds."""
        with self._lock:
            self._files += 1
            self._bytes += size
            self._slowest = max(self._slowest, (seconds, path))

    def check(self) -> None:
        """Go on only within the budget.

        Raises:
            TransportError: It is used up; the message says what was slow.
        """
        elapsed = time.monotonic() - self._started
        if elapsed <= self._bounds.seconds and self._bytes <= self._bounds.size:
            return
        seconds, path = self._slowest
        slow = f"; the slowest was {path} after {seconds:.0f} seconds" if path else ""
        raise TransportError(
            f"gave up on the whole run after {elapsed:.0f} seconds, {self._files} files and {self._bytes} bytes{slow}",
            hint="the repository is too slow or sends too much, and nothing was decided; for a run that is longer, "
            "`[run]` of your own carnet.toml, CARNET_RUN_SECONDS and CARNET_RUN_MEGABYTES allow for more",
        )
