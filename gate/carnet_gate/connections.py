"""Connections to the verifying registry: those on which nobody asks for anything are cut."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

ASKED_WITHIN = 10.0
"""Seconds for a request to be there, from the connection's begin or from the answer before it."""


class AskingConnection(H11Protocol):
    """A connection that ends when no request comes in time, however much of one has come."""

    _cutting: asyncio.TimerHandle | None = None

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
        self._cutting = self.loop.call_later(ASKED_WITHIN, self._cut)

    def _cut(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
