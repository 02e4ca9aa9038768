"""Who is sending: places for bodies that arrive or wait, and turns that go round between networks.

A sender is an address, or the /64 that an IPv6 address is in, and stands in a network: a /24, or a /48. Places are few
for each sender. Who comes when all are taken gets one of the network that has the most, a body that waits for its turn
as well as one that arrives; where nobody has more than the others, that of somebody who hardly sends. So sixteen
hundred connections that say nothing keep nobody out, and neither do as many that say a little.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network

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


def network_of(sender: str) -> str:
    """The network that a sender is in: 24 bits of an IPv4 address, 48 of an IPv6 address.

    Whoever has one address of it has the others for nothing, or nearly.

    Args:
        sender: As `sender_of` names it; who has no address is a network of its own.
    """
    try:
        address = ip_address(sender)
    except ValueError:
        return sender
    return str(ip_network((address, 24 if address.version == 4 else 48), strict=False))


@dataclass(eq=False)
class Arrival:
    """One body that arrives, and the place that it has.

    Attributes:
        sender: Whose it is.
        until: Ends the wait for it.
        received: Bytes so far.
        arriving: False once all of it is there: it waits for its turn, however slowly it came.
        judged: Whether its turn has come: then nobody else gets the place.
        taken_away: Whether somebody else got it.
    """

    sender: str
    until: asyncio.Timeout
    received: int = 0
    arriving: bool = True
    judged: bool = False
    taken_away: bool = False
    started: float = field(default_factory=time.monotonic)
    network: str = field(init=False)

    def __post_init__(self) -> None:
        self.network = network_of(self.sender)

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

    def __len__(self) -> int:
        """How many places are taken."""
        return len(self._places)

    def held(self, sender: str) -> int:
        """Bytes that wait in the places of one sender."""
        return sum(place.received for place in self._places if place.sender == sender)

    def _make_room(self, sender: str) -> None:
        own = [place for place in self._places if place.sender == sender]
        if len(own) >= self._from_one:
            self._take_away_slow(own)
        elif len(self._places) >= self._at_once:
            network = network_of(sender)
            neighbours = [place for place in self._places if place.network == network]
            crowd = _crowd(self._places, network, _network) or _crowd(neighbours, sender, _sender)
            if crowd:
                self._take_away(_most(crowd, _sender))
            else:
                self._take_away_slow(self._places)

    def _take_away_slow(self, places: Collection[Arrival]) -> None:
        """Let the slowest go of those that send less than they must."""
        slow = [place for place in places if place.arriving and place.rate < self._least_rate]
        if not slow:
            raise Full
        self._take_away(slow)

    def _take_away(self, places: Collection[Arrival]) -> None:
        """Let one go: the slowest that arrives, and when all of them wait, the newest."""
        arriving = [place for place in places if place.arriving]
        if arriving:
            place = min(arriving, key=lambda place: place.rate)
        else:
            place = max(places, key=lambda place: place.started)
        place.taken_away, place.arriving = True, False
        self._places.discard(place)
        if not place.until.expired():
            place.until.reschedule(0)


def _network(place: Arrival) -> str:
    return place.network


def _sender(place: Arrival) -> str:
    return place.sender


def _most(places: Collection[Arrival], by: Callable[[Arrival], str]) -> list[Arrival]:
    """Those of whoever has the most of these places, or of all who have as many."""
    counts = Counter(by(place) for place in places)
    most = max(counts.values(), default=0)
    return [place for place in places if counts[by(place)] == most]


def _crowd(places: Collection[Arrival], who: str, by: Callable[[Arrival], str]) -> list[Arrival]:
    """The places that can be taken away of whoever has the most; none if `who` would then have as many as they had."""
    most = _most(places, by)
    if not most or sum(by(place) == by(most[0]) for place in most) <= sum(by(place) == who for place in places) + 1:
        return []
    return [place for place in most if not place.judged]


class Turns:
    """One at a time, and of several networks each in turn: who hands in a hundred waits for a hundred of their own."""

    def __init__(self) -> None:
        self._busy = False
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, network: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it while the block runs."""
        if self._busy:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(network, deque()).append(turn)
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
            network, queue = self._waiting.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._waiting[network] = queue  # behind all others
            if not turn.done():
                self._busy = True
                turn.set_result(None)
                return
