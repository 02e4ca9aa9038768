"""Ending what waits for an upstream when nobody serves any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_EVERY = 0.2

Stopped = Callable[[], bool]
"""Whether nobody serves any more."""


def never() -> bool:
    """For whoever is ended otherwise, such as a command by Ctrl-C."""
    return False


@contextmanager
def ending(stopped: Stopped, end: Callable[[], None]) -> Iterator[None]:
    """Look now and then whether the block is to end, and make it end.

    Args:
        stopped: Whether it is.
        end: Makes what it waits for end; called once, in another thread.
    """
    if stopped is never:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_EVERY):
            if stopped():
                end()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
