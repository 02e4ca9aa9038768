"""Connections to the verifying registry: those on which nobody asks for anything, or takes the answer, are cut.

Where there are as many as the registry holds, who comes next gets the place of the one that has gone longest without a
request: a program that opens very many keeps nobody else out.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

ASKED_WITHIN = 10.0
"""Seconds for a request to be there, from the connection's begin or from the answer before it."""
LEAST_TAKEN = 10_240
"""Bytes of answers that are to be taken in that time."""
MOST = 512
"""Connections at a time; cargo opens a few."""


class AskingConnection(H11Protocol):
    """A connection that ends when no request comes in time, however much of one has come, or no answer is taken."""

    _cutting: asyncio.TimerHandle | None = None
    _since = 0.0  # when it was opened, or its last answer was complete
    _left = 0  # bytes of answers that were not taken at the last look

    def connection_made(self, transport: Any) -> None:
        """Begin to wait, in the place of another if need be."""
        super().connection_made(transport)
        self._wait_for_request()
        others = [one for one in self.connections if one is not self and isinstance(one, AskingConnection)]
        if len(others) >= MOST:
            longest = min(others, key=lambda one: (one._is_worked_out(), one._since))
            self.connections.discard(longest)  # now, however many come before it is told that it is lost
            longest.transport.abort()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        if self._cutting is not None:
            self._cutting.cancel()
        super().connection_lost(exc)

    def _wait_for_request(self) -> None:
        if self._cutting is not None:
            self._cutting.cancel()
        self._left = 0
        self._since = self.loop.time()
        self._cutting = self.loop.call_later(ASKED_WITHIN, self._look)

    def _is_worked_out(self) -> bool:
        """Whether it waits for an answer, and not for the answer to be taken."""
        waiting = self.cycle is not None and not self.cycle.response_complete
        return waiting and self.transport.get_write_buffer_size() == 0

    def _look(self) -> None:
        """Cut it, unless an answer is being worked out or taken: one that waits for another to be taken is neither."""
        left, before = self.transport.get_write_buffer_size(), self._left
        is_taken = left > 0 and (before == 0 or before - left >= LEAST_TAKEN)
        if not is_taken and not self._is_worked_out():
            self.transport.abort()
            return
        self._left = left
        self._cutting = self.loop.call_later(ASKED_WITHIN, self._look)
