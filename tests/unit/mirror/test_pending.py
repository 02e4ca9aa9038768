"""Proposals over HTTP: bounds, places, and the two lists of what waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.ceremony import NOW
from tests.support.worlds.claims import World

from carnet.claims.submission import PENDING_PATH, PROPOSALS_PATH
from carnet.claims.waiting import Waiting
from carnet.errors import FormatError, StorageError
from carnet_mirror.waiting import MAX_PROPOSAL, Public, take_proposal
from carnet_mirror.web.files import Mirror
from carnet_mirror.web.pending import BOUNDS, PendingPages, Proposals
from carnet_mirror.web.senders import network_of, sender_of
from carnet_signer.proposals import waiting


async def behind(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def ask(
    app: Any,
    chunks: Iterable[bytes | float] = (b"x",),
    *,
    method: str = "POST",
    path: str = PROPOSALS_PATH,
    length: str | None = None,
    client: str = "192.0.2.7",
) -> tuple[int, Any]:
    """One request; a number among the chunks is a pause in seconds."""
    return asyncio.run(ask_beside(app, chunks, method=method, path=path, length=length, client=client))


async def ask_beside(
    app: Any, chunks: Iterable[bytes | float], *, method: str, path: str, length: str | None, client: str
) -> tuple[int, Any]:
    left = list(chunks)
    size = sum(len(chunk) for chunk in left if isinstance(chunk, bytes))
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        while left and isinstance(left[0], float):
            await asyncio.sleep(left.pop(0))  # type: ignore[arg-type]
        if not left:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", (str(size) if length is None else length).encode())]
    scope = {"type": "http", "method": method, "path": f"/{path}", "headers": headers, "client": (client, 1)}
    await app(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


def fail(_body: bytes, _source: str) -> Public:
    raise FormatError("no")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"method": "GET"}, 405),
        ({"length": ""}, 411),
        ({"length": "+1"}, 411),
        ({"length": "9" * 10}, 413),
        ({"length": str(MAX_PROPOSAL + 1)}, 413),
        ({"length": "2"}, 400),
        ({"chunks": (b"xx", b"yy"), "length": "3"}, 400),
        ({"chunks": ()}, 400),
        ({}, 400),
        ({"path": "elsewhere"}, 299),
    ],
)
def test_each_bad_request_has_its_answer(request_: dict[str, Any], status: int) -> None:
    assert ask(Proposals(behind, fail), **request_)[0] == status


def test_a_mirror_that_signs_nothing_and_one_without_room_say_so() -> None:
    assert ask(Proposals(behind, None))[0] == 503

    def full(_body: bytes, _source: str) -> Public:
        raise StorageError("too many claims wait already")

    assert ask(Proposals(behind, full))[0] == 503


def test_senders_of_nothing_hold_no_place_for_long_and_never_all() -> None:
    app = Proposals(behind, fail, replace(BOUNDS, deadline=0.3))

    async def crowd() -> tuple[list[int], int]:
        slow = [
            asyncio.ensure_future(
                ask_beside(app, (5.0, b"x"), method="POST", path=PROPOSALS_PATH, length="1", client="203.0.113.9")
            )
            for _ in range(20)
        ]
        await asyncio.sleep(0.05)
        honest, _ = await ask_beside(
            app, (b"x",), method="POST", path=PROPOSALS_PATH, length="1", client="198.51.100.1"
        )
        return sorted([(await one)[0] for one in slow]), honest

    statuses, honest = asyncio.run(crowd())
    assert honest == 400  # it was judged
    assert statuses == [408] * 4 + [503] * 16


def test_a_network_is_as_much_of_an_address_as_one_sender_gets() -> None:
    for address, network in (
        ("192.0.2.7", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("what", "unknown"),
    ):
        assert network_of(sender_of({"type": "http", "headers": [], "client": (address, 1)})) == network
    assert network_of(sender_of({"type": "http", "headers": [], "client": None})) == "unknown"


def test_everybody_sees_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.make(tmp_path, waits=Waiting(claim=7, takeover=30))

    def take(body: bytes, source: str) -> Public:
        return take_proposal(world.store, world.online, body, source=source, now=NOW)

    proposal = world.claim_proposal()
    status, answer = ask(Proposals(behind, take), (waiting.body(proposal),))
    given = json.loads(answer)
    assert (status, given["ends"]) == (200, "2026-11-30T12:00:00Z")

    class Clock:
        @staticmethod
        def now(_zone: object) -> Any:
            return NOW + timedelta(days=1)

    monkeypatch.setattr("carnet_mirror.web.pending.datetime", Clock)
    mirror = Mirror(world.store, "http://localhost")
    status, answer = ask(mirror, (), method="GET", path=PENDING_PATH)
    listed = json.loads(answer)
    assert (status, listed["ok"], listed["waiting"]) == (200, True, {"claim": 7, "takeover": 30})
    (one,) = listed["pending"]
    assert (one["crate"], one["kind"], one["digest"]) == ("demo_lib", "claim", given["digest"])
    assert one["receipt"] == given["receipt"]
    assert sorted(one["owners"]["people"].values()) == ["alice", "bob", "carol"]
    assert one["replaces"] is None
    assert b"alice" in ask(mirror, (), method="GET", path="pending")[1]


def test_a_list_that_takes_long_is_not_made_anew_for_each_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    made: list[float] = []
    monkeypatch.setattr("carnet_mirror.web.pending.time.monotonic", lambda: clock[0])

    class Crowded(PendingPages):
        def _listed(self) -> list[Any]:
            made.append(clock[0])
            clock[0] += 0.5
            return []

    world = World.make(tmp_path)
    pages = Crowded(world.store)
    revisions = iter(range(1000))
    monkeypatch.setattr("carnet_mirror.state.pending.Pending.revision", lambda _: next(revisions))
    for _ in range(100):
        assert pages.page(PENDING_PATH)
        clock[0] += 0.2
    assert len(made) == 2, "every ten seconds, whatever was written meanwhile"
