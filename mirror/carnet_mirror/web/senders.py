"""Who is sending: places for bodies that arrive, held only by those who send, and turns that go round between senders.

A sender is an address, or the /64 that an IPv6 address is in. Places are few for each of them; who comes when all are
taken gets the place of somebody who hardly sends. So sixteen hundred connections that say nothing keep nobody out.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

_UNKNOWN = "unknown"
_SETTLED = 0.1
"""Seconds before it can be said how fast somebody sends."""


def sender_of(scope: Scope, header: str | None = None) -> str:
    """Whose request it is: the peer's address, or what the proxy before this server says of it.

    Args:
        scope: Of the request.
        header: The header in which that proxy names the address, such as `X-Forwarded-For`. Its last address is the
            one that the nearest proxy saw; those before it are what others claim.

    Returns:
        An IPv4 address, or the /64 of an IPv6 address.
    """
    named = Headers(scope=scope).getlist(header) if header is not None else []
    client = scope.get("client")
    for text in (*(named[-1].split(",")[-1:] if named else ()), client[0] if client else ""):
        try:
            address = ip_address(text.strip())
        except ValueError:
            continue
        if isinstance(address, IPv6Address):
            return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
        return str(address)
    return _UNKNOWN


@dataclass(eq=False)
class Arrival:
    """One body that arrives, and the place that it has.

    Attributes:
        sender: Whose it is.
        until: Ends the wait for it.
        received: Bytes so far.
        arriving: False once all of it is there: then nobody else gets the place.
        taken_away: Whether somebody else got it.
    """

    sender: str
    until: asyncio.Timeout
    received: int = 0
    arriving: bool = True
    taken_away: bool = False
    started: float = field(default_factory=time.monotonic)

    @property
    def rate(self) -> float:
        """Bytes a second, on average; without bound before it can be said."""
        elapsed = time.monotonic() - self.started
        return self.received / elapsed if elapsed > _SETTLED else float("inf")


class Full(Exception):  # noqa: N818  -- what a sender is told, not an error
    """There is no place, and nobody who would have to give one up."""


class Senders:
    """The places.

    Args:
        at_once: All of them.
        from_one: Of one sender.
        least_rate: Bytes a second; who sends less may lose the place.
    """

    def __init__(self, *, at_once: int, from_one: int, least_rate: int) -> None:
        self._at_once = at_once
        self._from_one = from_one
        self._least_rate = least_rate
        self._places: set[Arrival] = set()

    @contextmanager
    def place(self, sender: str, until: asyncio.Timeout) -> Iterator[Arrival]:
        """Hold a place.

        Raises:
            Full: There is none.
        """
        self._make_room(sender)
        place = Arrival(sender, until)
        self._places.add(place)
        try:
            yield place
        finally:
            self._places.discard(place)

    def held(self, sender: str) -> int:
        """Bytes that wait in the places of one sender."""
        return sum(place.received for place in self._places if place.sender == sender)

    def _make_room(self, sender: str) -> None:
        own = [place for place in self._places if place.sender == sender]
        if len(own) >= self._from_one:
            self._take_away(own, whoever_is_slow=True)
        elif len(self._places) >= self._at_once:
            most, count = Counter(place.sender for place in self._places).most_common(1)[0]
            crowd = [place for place in self._places if place.sender == most] if count > 1 else list(self._places)
            self._take_away(crowd, whoever_is_slow=count == 1)

    def _take_away(self, places: list[Arrival], *, whoever_is_slow: bool) -> None:
        """Let the slowest of these go; where `whoever_is_slow`, only one that sends less than it must."""
        arriving = [place for place in places if place.arriving]
        slowest = min(arriving, key=lambda place: place.rate, default=None)
        if slowest is None or (whoever_is_slow and slowest.rate >= self._least_rate):
            raise Full
        slowest.taken_away, slowest.arriving = True, False
        self._places.discard(slowest)
        if not slowest.until.expired():
            slowest.until.reschedule(0)


class Turns:
    """One at a time, and of several senders each in turn: who hands in a hundred waits for a hundred of their own."""

    def __init__(self) -> None:
        self._busy = False
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, sender: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it while the block runs."""
        if self._busy:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(sender, deque()).append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._next()
                raise
        self._busy = True
        try:
            yield
        finally:
            self._next()

    def _next(self) -> None:
        self._busy = False
        while self._waiting:
            sender, queue = self._waiting.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._waiting[sender] = queue  # behind all others
            if not turn.done():
                self._busy = True
                turn.set_result(None)
                return
