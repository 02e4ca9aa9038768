"""Places for bodies that arrive: who gets one, who loses one, and whose turn it is."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.mirror.test_submissions import RECEIPT, behind

from carnet.claims.submission import URL_PATH
from carnet_mirror.web.posted import Bounds, Posted
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


@pytest.mark.usefixtures("entered")
@pytest.mark.parametrize(
    "crowd",
    [
        ("2001:db8:0:1::", "2001:db8:0:2::", "2001:db8:0:3::"),
        ("192.0.2.1", "192.0.2.2", "192.0.2.3"),
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
    ],
    ids=["one /48", "one /24", "one address"],
)
def test_who_comes_gets_the_newest_that_waits_of_the_network_with_the_most(crowd: tuple[str, ...]) -> None:
    places = Senders(at_once=4, from_one=3, least_rate=100)
    waiting = [held(places, one, settled=9.0 - n, received=10**6)[0] for n, one in enumerate(crowd)]
    (other,) = held(places, "198.51.100.7", received=10**6)
    for place in (*waiting, other):
        place.arriving = False
    held(places, "203.0.113.7", received=10**6)
    assert [place.taken_away for place in (*waiting, other)] == [False, False, True, False]
    with pytest.raises(Full):
        held(places, crowd[0])  # the crowd itself gets nobody's


@pytest.mark.usefixtures("entered")
def test_within_a_crowded_network_the_address_with_the_most_gives_way() -> None:
    places = Senders(at_once=3, from_one=3, least_rate=100)
    crowd = held(places, *["192.0.2.1"] * 3, received=10**6)
    for place in crowd:
        place.arriving = False
    held(places, "192.0.2.7")
    assert [place.taken_away for place in crowd].count(True) == 1


@pytest.mark.usefixtures("entered")
def test_what_is_judged_is_not_taken_away() -> None:
    places = Senders(at_once=2, from_one=2, least_rate=100)
    judged, waits = held(places, "a"), held(places, "a")
    for place in (*judged, *waits):
        place.arriving = False
    waits[0].started -= 1
    judged[0].judged = True
    held(places, "b")
    assert (judged[0].taken_away, waits[0].taken_away) == (False, True)


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


@pytest.mark.parametrize(
    "address",
    ["2001:db8:0:{:x}::1", "2001:db8:{:x}::1", "10.0.{}.1", "10.0.0.{}"],
    ids=["/64s of one /48", "/48s", "/24s", "addresses of one /24"],
)
def test_small_whole_bodies_of_sixteen_senders_keep_nobody_out(address: str) -> None:
    """They are all there at once, so none of them is slow; each takes its time to be refused."""
    judged: list[str] = []

    def take(body: bytes, sender: str) -> Any:
        judged.append(sender)
        time.sleep(0.002)
        return {}

    app = Posted(behind, path="p", what="submission", take=take, bounds=replace(BOUNDS, at_once=64, from_one=4))

    async def post(client: str) -> int:
        answered: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"x" * 80, "more_body": False}

        async def send(message: Any) -> None:
            answered.append(message)

        asked = {"type": "http", "method": "POST", "path": "/p", "headers": [(b"content-length", b"80")]}
        await app({**asked, "client": (client, 1)}, receive, send)
        return int(answered[0]["status"])

    async def again(client: str) -> None:
        while True:
            if await post(client) != 200:
                await asyncio.sleep(0.01)

    async def flood() -> list[int]:
        others = [asyncio.ensure_future(again(address.format(n % 16))) for n in range(16 * 5)]
        honest = []
        for _ in range(5):
            await asyncio.sleep(0.1)
            async with asyncio.timeout(2):
                honest.append(await post("192.0.2.7"))
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        return honest

    assert asyncio.run(flood()) == [200] * 5
    assert len(set(judged)) > 1


def test_a_body_that_lost_its_place_is_never_judged_and_the_next_one_is() -> None:
    """It was told to come back: judging it all the same would take two turns at a time, or publish what was refused."""
    judged: list[str] = []
    gate = threading.Event()

    def take(body: bytes, sender: str) -> Any:
        judged.append(sender)
        gate.wait(5)
        return {}

    app = Posted(behind, path="p", what="submission", take=take, bounds=replace(BOUNDS, at_once=3, from_one=3))

    async def post(client: str) -> tuple[int, Any]:
        answered: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"x", "more_body": False}

        async def send(message: Any) -> None:
            answered.append(message)

        asked = {"type": "http", "method": "POST", "path": "/p", "headers": [(b"content-length", b"1")]}
        await app({**asked, "client": (client, 1)}, receive, send)
        return int(answered[0]["status"]), dict(answered[0]["headers"]).get(b"retry-after")

    async def run() -> list[tuple[int, Any]]:
        crowd = []
        for _ in range(3):
            crowd.append(asyncio.ensure_future(post("10.0.0.1")))
            await asyncio.sleep(0.02)
        honest = asyncio.ensure_future(post("192.0.2.7"))
        await asyncio.sleep(0.02)
        gate.set()
        return list(await asyncio.gather(*crowd, honest))

    assert asyncio.run(run()) == [(200, None), (200, None), (503, b"2"), (200, None)]
    assert sorted(judged) == ["10.0.0.1", "10.0.0.1", "192.0.2.7"]


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
