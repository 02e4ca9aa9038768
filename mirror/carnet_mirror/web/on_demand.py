"""HTTP: tarballs of versions that are only listed, brought when somebody asks for one.

Plain cargo waits for half a minute, and comes again when it is told to (503 with `Retry-After`, three times at most).
What it wants is asked for like anything else (`carnet_mirror.pull`): the same rules, quotas, and judgement.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from carnet.cargo.asked import AskedFor
from carnet.cargo.names import CrateId
from carnet.cargo.pull import PullAsk, PullEnd
from carnet.errors import CarnetError
from carnet.tuf.paths import DOWNLOAD_PREFIX
from carnet_mirror.pull.puller import Asker, NoPlace, Puller
from carnet_mirror.state.store import Store
from carnet_mirror.web.files import downloaded
from carnet_mirror.web.senders import network_of, sender_of

_WAIT = 25.0
_LOOK_EVERY = 0.1
"""Seconds."""

Listed = Callable[[str], CrateId | None]
"""The version that a path of downloads is about, if it is only listed."""


def listed_in(store: Store) -> Listed:
    """What a mirror lists and does not have."""

    def listed(path: str) -> CrateId | None:
        crate = downloaded(path)
        stored = None if crate is None else store.crates.version(crate)
        if stored is None or stored.id != crate or stored.is_here or store.withheld(stored.path) is not None:
            return None
        return crate

    return listed


class OnDemand:
    """Brings a tarball before the application behind it answers with it, or says why there is none.

    Args:
        app: Answers.
        puller: Brings.
        listed: What is brought.
        sender_header: As for `carnet_mirror.web.submissions.Submissions`.
        wait: Seconds for which an answer may wait.
    """

    def __init__(
        self, app: ASGIApp, puller: Puller, listed: Listed, *, sender_header: str | None = None, wait: float = _WAIT
    ) -> None:
        self._app = app
        self._puller = puller
        self._listed = listed
        self._sender_header = sender_header
        self._wait = wait

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            path = scope["path"].removeprefix("/")
            crate = self._only_listed(path) if path.startswith(DOWNLOAD_PREFIX) else None
            answer = None if crate is None else await self._bring(path, crate, sender_of(scope, self._sender_header))
            if answer is not None:
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _only_listed(self, path: str) -> CrateId | None:
        try:
            return self._listed(path)
        except CarnetError:
            return None  # the application behind reads it as well, and tells

    async def _bring(self, path: str, crate: CrateId, sender: str) -> Response | None:
        """Bring it; what is answered instead, or None when it is here."""
        ask = PullAsk((AskedFor.of(str(crate.name), f"={crate.version}"),), locked=True)
        try:
            # One build downloads hundreds: they count by what is brought, and not as asks.
            asker = self._puller.join(ask, network_of(sender), counted=False)
        except NoPlace:
            return _text(503, "others are waiting: ask again", retry_after=2)
        try:
            end = await self._ended(asker)
        finally:
            self._puller.leave(asker)
        if (end is not None and str(crate) in end.published) or self._only_listed(path) is None:
            return None  # or it came with what another one asked for
        if end is None:
            return _text(503, f"{crate} is being brought: ask again", retry_after=2)
        said = [*end.refused, *end.missing, *end.waiting]
        if said:
            return _text(403, f"{crate} is listed and not brought: {said[0].reason}")
        reason = end.undecided[0].reason if end.undecided else "nothing was heard of it"
        return _text(503, f"{crate} was not brought: {reason}", retry_after=10)

    async def _ended(self, asker: Asker) -> PullEnd | None:
        until = time.monotonic() + self._wait
        while asker.end is None and time.monotonic() < until and not self._puller.stopped:
            await asyncio.sleep(_LOOK_EVERY)
        return asker.end


def _text(status: int, text: str, *, retry_after: int | None = None) -> Response:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return PlainTextResponse(f"{text[:500]}\n", status, headers)
