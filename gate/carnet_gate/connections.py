"""Connections to the verifying registry: those on which nobody asks for anything, or takes the answer, are cut."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

ASKED_WITHIN = 10.0
"""Seconds for a request to be there, from the connection's begin or from the answer before it."""
LEAST_TAKEN = 10_240
"""Bytes of answers that are to be taken in that time."""


class AskingConnection(H11Protocol):
    """A connection that ends when no request comes in time, however much of one has come, or no answer is taken."""

    _cutting: asyncio.TimerHandle | None = None
    _left = 0  # bytes of answers that were not taken at the last look

    def connection_made(self, transport: Any) -> None:
        """Begin to wait."""
        super().connection_made(transport)
        self._wait_for_request()

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
        self._cutting = self.loop.call_later(ASKED_WITHIN, self._look)

    def _look(self) -> None:
        """Cut it, unless an answer is being worked out or taken: one that waits for another to be taken is neither."""
        left, before = self.transport.get_write_buffer_size(), self._left
        is_taken = left > 0 and (before == 0 or before - left >= LEAST_TAKEN)
        is_worked_out = left == 0 and self.cycle is not None and not self.cycle.response_complete
        if not is_taken and not is_worked_out:
            self.transport.abort()
            return
        self._left = left
        self._cutting = self.loop.call_later(ASKED_WITHIN, self._look)
