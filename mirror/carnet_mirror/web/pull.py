"""HTTP: taking asks, `POST /api/v1/carnet/pull`, and telling how far it is while they are worked on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from carnet import strictjson
from carnet.cargo.pull import LINES, MAX_ASK, URL_PATH, PullAsk
from carnet_mirror.pull.puller import Asker, NoPlace, Puller
from carnet_mirror.pull.quotas import OverQuota
from carnet_mirror.state.disk import Disk
from carnet_mirror.web.posted import Bounds, NotTaken, Posted
from carnet_mirror.web.senders import network_of

BOUNDS = Bounds(size=MAX_ASK, deadline=60.0, at_once=128, from_one=8, room=128 * MAX_ASK)
_LOOK_EVERY = 0.1
"""Seconds between two looks at how far it is."""
_SAY_EVERY = 5.0
"""Seconds after which it is said again, so that nobody on the way takes the connection for dead."""


class Pulls(Posted):
    """Takes asks, and leaves every other request to the application behind it.

    Args:
        app: Answers everything else.
        puller: Works on them.
        seconds: How long one answer may take, waiting included.
        bounds: What a body may cost.
        sender_header: As for `carnet_mirror.web.submissions.Submissions`.
        disk: As for `carnet_mirror.web.posted.Posted`.
    """

    def __init__(
        self,
        app: ASGIApp,
        puller: Puller,
        *,
        seconds: float,
        bounds: Bounds = BOUNDS,
        sender_header: str | None = None,
        disk: Disk | None = None,
    ) -> None:
        def take(body: bytes, sender: str) -> Response:
            try:
                asker = puller.join(PullAsk.from_bytes(body), network_of(sender))
            except NoPlace:
                raise NotTaken(503, "others are waiting", **{"retry-after": "10"}) from None
            except OverQuota as over:
                raise NotTaken(429, str(over), **{"retry-after": str(over.come_back)}) from None
            return _Telling(puller, asker, seconds)

        super().__init__(
            app, path=URL_PATH, what="ask", take=take, bounds=bounds, sender_header=sender_header, disk=disk
        )


class _Telling(StreamingResponse):
    """Lines that say how far it is, and at last what came of it; it ends in time, whoever reads it."""

    def __init__(self, puller: Puller, asker: Asker, seconds: float) -> None:
        headers = {"cache-control": "no-store", "x-content-type-options": "nosniff", "x-accel-buffering": "no"}
        super().__init__(_lines(puller, asker), 200, headers, LINES)
        self._puller = puller
        self._asker = asker
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            pass  # the answer ends without its last line: whoever asked looks at what is published
        finally:
            self._puller.leave(self._asker)


async def _lines(puller: Puller, asker: Asker) -> AsyncIterator[bytes]:
    told, when = None, 0.0
    while (end := asker.end) is None:
        if puller.stopped:
            return
        progress = asker.progress
        if progress != told or time.monotonic() - when > _SAY_EVERY:
            told, when = progress, time.monotonic()
            yield strictjson.encode(progress.to_object()) + b"\n"
        await asyncio.sleep(_LOOK_EVERY)
    yield strictjson.encode(end.to_object()) + b"\n"
