"""Places for bodies that arrive: who gets one, who loses one, and whose turn it is."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.mirror.test_submissions import RECEIPT, behind

from carnet.claims.submission import URL_PATH
from carnet_mirror.web.posted import Bounds
from carnet_mirror.web.senders import Arrival, Full, Senders, Turns, sender_of
from carnet_mirror.web.submissions import BOUNDS, Submissions


def scope(client: str | None, **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "client": None if client is None else (client, 1), "headers": raw}


@pytest.mark.parametrize(
    ("asked", "header", "sender"),
    [
        (scope("192.0.2.7"), None, "192.0.2.7"),
        (scope("::ffff:192.0.2.7"), None, "192.0.2.7"),
        (scope("2001:db8:1:2:3:4:5:6"), None, "2001:db8:1:2::"),
        (scope("2001:db8:1:2::ffff"), None, "2001:db8:1:2::"),
        (scope("10.0.0.1", x_forwarded_for="192.0.2.7"), None, "10.0.0.1"),
        (scope("10.0.0.1", x_forwarded_for="192.0.2.7"), "X-Forwarded-For", "192.0.2.7"),
        (scope("10.0.0.1", x_forwarded_for="6.6.6.6, 192.0.2.7"), "x-forwarded-for", "192.0.2.7"),
        (scope("10.0.0.1", x_forwarded_for="nonsense"), "x-forwarded-for", "10.0.0.1"),
        (scope("10.0.0.1"), "x-forwarded-for", "10.0.0.1"),
        (scope(None), None, "unknown"),
    ],
)
def test_a_sender_is_an_address_or_a_network_of_one_customer(
    asked: dict[str, Any], header: str | None, sender: str
) -> None:
    assert sender_of(asked, header) == sender


_HELD: list[object] = []


def held(places: Senders, *who: str, settled: float = 1.0, received: int = 0) -> list[Arrival]:
    """Places of these senders, taken `settled` seconds ago, in which so much arrived."""
    found = []
    for sender in who:
        entered = places.place(sender, asyncio.Timeout(None))
        _HELD.append(entered)
        place = entered.__enter__()
        place.started -= settled
        place.received = received
        found.append(place)
    return found


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> None:
    """No event loop runs: what a place's end sets off is not looked at here."""
    monkeypatch.setattr(asyncio.Timeout, "reschedule", lambda *_: None)


@pytest.mark.usefixtures("entered")
def test_who_does_not_send_gives_way_to_whoever_comes() -> None:
    places = Senders(at_once=100, from_one=2, least_rate=100)
    silent, sending = *held(places, "a"), *held(places, "a", received=1000)
    held(places, "a")
    assert (silent.taken_away, sending.taken_away) == (True, False)


@pytest.mark.usefixtures("entered")
@pytest.mark.parametrize(("settled", "received"), [(1.0, 1000), (0.0, 0)], ids=["it sends", "it has just come"])
def test_who_sends_keeps_the_place(settled: float, received: int) -> None:
    places = Senders(at_once=100, from_one=2, least_rate=100)
    held(places, "a", "a", settled=settled, received=received)
    with pytest.raises(Full):
        held(places, "a")
    held(places, "b")


@pytest.mark.usefixtures("entered")
def test_whose_body_is_there_waits_in_peace() -> None:
    places = Senders(at_once=1, from_one=1, least_rate=100)
    (place,) = held(places, "a")
    place.arriving = False
    with pytest.raises(Full):
        held(places, "b")
    assert not place.taken_away


@pytest.mark.usefixtures("entered")
def test_of_many_the_one_with_most_places_gives_way_however_fast_it_is() -> None:
    places = Senders(at_once=3, from_one=3, least_rate=100)
    (other,) = held(places, "a")
    crowd = held(places, "b", "b", received=10**9)
    held(places, "c")
    assert not other.taken_away
    assert [place.taken_away for place in crowd].count(True) == 1


def test_places_are_given_back() -> None:
    places = Senders(at_once=1, from_one=1, least_rate=100)

    async def hold() -> None:
        with places.place("a", asyncio.Timeout(None)):
            pass

    for _ in range(3):
        asyncio.run(hold())


def test_turns_go_round_between_senders() -> None:
    order: list[str] = []

    async def run() -> None:
        turns = Turns()

        async def one(sender: str) -> None:
            async with turns.turn(sender):
                order.append(sender)
                await asyncio.sleep(0)

        await asyncio.gather(*(one(sender) for sender in "aaaabc"))
        await one("d")

    asyncio.run(run())
    assert order == ["a", "a", "b", "c", "a", "a", "d"]


def test_a_turn_that_nobody_waits_for_any_more_passes_on() -> None:
    async def run() -> None:
        turns = Turns()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(turns.turn("a"))
            left = asyncio.ensure_future(stack.enter_async_context(turns.turn("b")))
            await asyncio.sleep(0)
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
        async with asyncio.timeout(1), turns.turn("c"):
            pass

    asyncio.run(run())


@pytest.mark.parametrize(
    ("hostile", "first", "one_address"),
    [(16, b"", True), (1600, b"", True), (1600, b"x", True), (1600, b"x", False)],
    ids=["sixteen", "sixteen hundred", "after one byte", "from as many addresses"],
)
def test_an_honest_submission_goes_through_beside_others(hostile: int, first: bytes, one_address: bool) -> None:
    """They hold whatever they get, and send nothing; all of them answered in the end."""
    app = Submissions(behind, lambda _: RECEIPT, replace(BOUNDS, grace=3.0))

    async def post(client: str, pieces: list[bytes], length: int) -> int:
        answered: list[Any] = []

        async def receive() -> dict[str, Any]:
            if pieces:
                body = pieces.pop(0)
                return {"type": "http.request", "body": body, "more_body": bool(pieces) or len(body) < length}
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

        async def send(message: Any) -> None:
            answered.append(message)

        headers = [(b"content-length", str(length).encode())]
        asked = {"type": "http", "method": "POST", "path": f"/{URL_PATH}", "headers": headers, "client": (client, 1)}
        await app(asked, receive, send)
        return int(answered[0]["status"])

    async def flood() -> tuple[int, set[int]]:
        where = ["192.0.2.1"] if one_address else [f"10.0.{n // 250}.{n % 250}" for n in range(hostile)]
        senders = [where[n % len(where)] for n in range(hostile)]
        others = [asyncio.ensure_future(post(sender, [first], 1000)) for sender in senders]
        honest = 503
        while honest == 503:  # our client comes back too, and waits longer
            await asyncio.sleep(0.3)
            honest = await post("192.0.2.1", [b"x" * 10], 10)
        assert sum(not other.done() for other in others) >= 10, "they hold what they got"
        return honest, set(await asyncio.gather(*others))

    honest, others = asyncio.run(flood())
    assert honest == 200
    assert others <= {408, 503}


def test_the_disk_is_not_filled_by_one_sender() -> None:
    """A quarter of the room is for one sender: the next byte is refused, and the honest one beside it has room."""
    app = Submissions(behind, lambda _: RECEIPT, Bounds(size=1000, room=4000, grace=0.5))

    async def post(client: str, sent: int) -> int:
        answered: list[Any] = []
        pieces = [b"x" * sent]

        async def receive() -> dict[str, Any]:
            if pieces:
                return {"type": "http.request", "body": pieces.pop(), "more_body": sent < 1000}
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

        async def send(message: Any) -> None:
            answered.append(message)

        asked = {"type": "http", "method": "POST", "path": f"/{URL_PATH}", "headers": [(b"content-length", b"1000")]}
        await app({**asked, "client": (client, 1)}, receive, send)
        return int(answered[0]["status"])

    async def run() -> tuple[int, int, int]:
        first = asyncio.ensure_future(post("192.0.2.1", 900))
        await asyncio.sleep(0.05)
        return await post("192.0.2.1", 200), await post("192.0.2.2", 1000), await first

    assert asyncio.run(run()) == (503, 200, 408)
