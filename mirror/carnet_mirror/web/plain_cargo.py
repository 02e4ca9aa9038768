"""HTTP: what plain cargo has brought, by asking for the index file of a crate that is not here.

cargo cannot say what it needs: it asks for one index file after another, two at a time, level by level, and tries each
four times. So names are gathered for a moment, and brought as one ask of their network, closed over dependencies and
published once; cargo is told to come back, and held for some seconds when it does::

    first        503, Retry-After: 2     several names come together: two connections ask for them in turn
    again        held until all is there or a few seconds are over; then the file, or 503 once more
    not to be had   404, remembered for a minute; 403 with the reason, where a person has to approve of it, or where it
                    needs more than its network may have

Nobody knows which version cargo will want: of each name the newest version of several compatible ranges comes. What
an index file has already is what plain cargo gets of a crate. Quotas are those of every ask, for each network; and what
one network is told, or waits for, is nothing to another, which may have what that one may not.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from carnet.cargo.asked import AskedFor
from carnet.cargo.names import CrateName
from carnet.cargo.pull import NotBrought, PullAsk, PullEnd
from carnet.errors import CarnetError, FormatError
from carnet.tuf.paths import SPARSE_INDEX_PREFIX, index_path
from carnet_mirror.pull.puller import Asker, NoPlace, Puller
from carnet_mirror.pull.quotas import OverQuota
from carnet_mirror.web.senders import network_of, sender_of

RANGES = 3
"""Compatible ranges of which the newest version comes, of a crate that cargo asks for itself."""
_GATHERED = 0.4
"""Seconds in which the names that one network asks for become one ask."""
_HELD = 8.0
"""Seconds for which an answer waits: cargo takes silence of 30 for a broken connection."""
_REMEMBERED = 60.0
"""Seconds for which it is known that a crate is not to be had; a shorter time where nobody knows."""
_UNDECIDED = 5.0
_NAMES = 64
"""Crates in one ask."""
_MOST = 4096
"""Names of which something is known or asked, of all networks; and the names of one network that wait."""
_MOST_OF_ONE = 256
_LOOK_EVERY = 0.1
_COME_BACK = {"retry-after": "2"}


@dataclass(eq=False)
class _Known:
    """One crate that somebody asked for: still on its way, or why it is not to be had."""

    name: CrateName
    network: str
    since: float = field(default_factory=time.monotonic)
    answer: Response | None = None
    until: float = 0.0
    told: asyncio.Event = field(default_factory=asyncio.Event)


class PlainCargo:
    """Brings what plain cargo asks for, and leaves every answer that there is to the application behind it.

    Args:
        app: Answers everything else, and serves what was brought.
        puller: Works on asks.
        has: Whether an index file is published under a path.
        refuses: Why a crate is not brought, in words; empty where it may be.
        sender_header: As for `carnet_mirror.web.submissions.Submissions`.
        held: Seconds for which an answer waits.
    """

    def __init__(
        self,
        app: ASGIApp,
        puller: Puller,
        *,
        has: Callable[[str], bool],
        refuses: Callable[[CrateName], str],
        sender_header: str | None = None,
        held: float = _HELD,
    ) -> None:
        self._app = app
        self._puller = puller
        self._has = has
        self._refuses = refuses
        self._sender_header = sender_header
        self._held = held
        self._known: dict[tuple[str, str], _Known] = {}
        self._swept = time.monotonic()
        self._working: dict[str, asyncio.Task[None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        name = _asked_for(scope)
        if name is not None and not self._is_here(name) and not self._refuses(name):
            answer = await self._bring(name, network_of(sender_of(scope, self._sender_header)))
            if answer is not None:
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _bring(self, name: CrateName, network: str) -> Response | None:
        """Have a crate brought; what to answer, or None when it is here."""
        known = self._of(name, network)
        if known is None:
            if self._waiting(network) >= _MOST_OF_ONE or not self._has_room(network):
                return _text(503, "others are waiting for what they asked for", {"retry-after": "10"})
            self._known[network, name.text] = _Known(name, network)
            self._begin(network)
            return _text(503, f"{name} is being looked for: ask again", _COME_BACK)
        if known.answer is None:
            self._begin(network)
            try:
                await asyncio.wait_for(known.told.wait(), self._held)
            except TimeoutError:
                return _text(503, f"{name} is still being brought: ask again", _COME_BACK)
        return None if self._is_here(name) else known.answer

    def _is_here(self, name: CrateName) -> bool:
        try:
            return self._has(index_path(name))
        except CarnetError:
            return True  # the application behind reads it as well, and tells

    def _begin(self, network: str) -> None:
        if network not in self._working:
            self._working[network] = asyncio.create_task(self._work(network))

    def _of(self, name: CrateName, network: str) -> _Known | None:
        """What a network was told of a crate; what was known for long enough is forgotten."""
        now = time.monotonic()
        if now >= self._swept + _UNDECIDED:
            self._swept = now
            self._known = {key: one for key, one in self._known.items() if one.answer is None or one.until > now}
        known = self._known.get((network, name.text))
        return known if known is None or known.answer is None or known.until > now else None

    def _has_room(self, network: str) -> bool:
        """Whether a network may have one more name remembered.

        The oldest of which all is known is forgotten for it, or else the newest of a network that has more than it.
        """
        if len(self._known) < _MOST:
            return True
        oldest = next((key for key, one in self._known.items() if one.answer is not None), None)
        if oldest is None:
            most, count = Counter(one.network for one in self._known.values()).most_common(1)[0]
            if count <= self._waiting(network) + 1:
                return False
            oldest = next(key for key, one in reversed(self._known.items()) if one.network == most)
            self._tell([self._known[oldest]], lambda _: _text(503, "others are waiting", _COME_BACK))
        del self._known[oldest]
        return True

    def _waiting(self, network: str) -> int:
        return sum(one.network == network and one.answer is None for one in self._known.values())

    async def _work(self, network: str) -> None:
        """Bring what a network asks for, one ask after another, while there is something."""
        try:
            while True:
                await asyncio.sleep(_GATHERED)
                some = [one for one in self._known.values() if one.network == network and one.answer is None][:_NAMES]
                if not some:
                    return
                await self._ask(network, some)
        finally:
            self._working.pop(network, None)

    async def _ask(self, network: str, some: list[_Known]) -> None:
        wanted = [AskedFor(one.name) for one in some]
        try:
            asker = self._puller.join(PullAsk.of(wanted), network, ranges=RANGES)
        except NoPlace:
            self._tell(some, lambda _: _text(503, "others are waiting", _COME_BACK))
        except OverQuota as over:
            reason, headers = str(over), {"retry-after": str(over.come_back)}
            self._tell(some, lambda _: _text(429, reason, headers))
        else:
            end = await self._end_of(asker)
            if len(some) > 1 and end is not None and any(one.what in map(str, wanted) for one in end.refused):
                # It is too much together, which says nothing of any of them.
                await self._ask(network, some[: len(some) // 2])
                await self._ask(network, some[len(some) // 2 :])
                return
            self._tell(some, lambda one: _answer(one.name, end))

    async def _end_of(self, asker: Asker) -> PullEnd | None:
        while asker.end is None and not self._puller.stopped:
            await asyncio.sleep(_LOOK_EVERY)
        return asker.end

    def _tell(self, some: list[_Known], answer: Callable[[_Known], Response]) -> None:
        for one in some:
            one.answer = answer(one)
            undecided = one.answer.status_code in (429, 503)
            one.until = time.monotonic() + (_UNDECIDED if undecided else _REMEMBERED)
            one.told.set()


def _answer(name: CrateName, end: PullEnd | None) -> Response:
    """Why a crate did not come; whoever asks for one that did is served before this is looked at."""
    if end is None:
        return _text(503, "the mirror is being stopped", _COME_BACK)

    def about(entries: tuple[NotBrought, ...]) -> str:
        # A path is in lower case, whatever the crate's own spelling.
        said = ((one.what.partition("@")[0].partition(",")[0].lower(), one.reason) for one in entries)
        return next((reason for what, reason in said if what == name.text), "")

    too_much = next((one.reason for one in end.refused if one.what == str(AskedFor(name))), "")
    if reason := about(end.waiting) or too_much:
        return _text(403, f"{name}: {reason}")
    if reason := about(end.missing) or about(end.refused):
        return _text(404, f"{name}: {reason}")
    reason = about(end.undecided) or "nothing was decided about it"
    return _text(503, f"{name}: {reason}", _COME_BACK)


def _asked_for(scope: Scope) -> CrateName | None:
    """The crate of whose index file a request is; None for every other request."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return None
    path = scope["path"].removeprefix("/")
    if not path.startswith(SPARSE_INDEX_PREFIX):
        return None
    try:
        name = CrateName(path.rpartition("/")[2])
    except FormatError:
        return None
    return name if index_path(name) == path else None


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    shown = text[:500] + "\n"
    return PlainTextResponse(
        shown, status, {"cache-control": "no-store", "x-content-type-options": "nosniff"} | (headers or {})
    )
