"""Proposals over HTTP: bounds, places, and the two lists of what waits."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.ceremony import NOW
from tests.support.worlds.claims import World

from carnet import times
from carnet.claims.submission import PENDING_PATH, PROPOSALS_PATH
from carnet.claims.waiting import Waiting
from carnet.digests import sha256_hex
from carnet.errors import FormatError, StorageError, TransportError
from carnet_mirror.state.pending import PendingPlace
from carnet_mirror.waiting import MAX_PROPOSAL, Public, take_proposal
from carnet_mirror.web.client import pending
from carnet_mirror.web.files import Mirror
from carnet_mirror.web.pending import BOUNDS, PAGE, PendingPages, Proposals
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
    query: str = "",
) -> tuple[int, Any]:
    """One request; a number among the chunks is a pause in seconds."""
    return asyncio.run(ask_beside(app, chunks, method=method, path=path, length=length, client=client, query=query))


async def ask_beside(
    app: Any,
    chunks: Iterable[bytes | float],
    *,
    method: str,
    path: str,
    length: str | None,
    client: str,
    query: str = "",
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
    scope["query_string"] = query.encode()
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
        def _listed(self, after: PendingPlace | None) -> list[Any]:
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


# --- a long list ---


def crowded(world: World, count: int) -> list[str]:
    """So many entries, a second after one another; their digests, the oldest first."""
    made = world.propose(world.claim_proposal())
    entry = world.store.pending.entry(made.said.proposed.digest)
    assert entry is not None
    found = []
    with closing(sqlite3.connect(world.store.directory / "mirror.db")) as database:
        (row,) = database.execute("SELECT * FROM pending")
        for number in range(count):
            found.append(sha256_hex(str(number).encode()))
            asked = times.written(entry.asked + timedelta(seconds=number // 3 + 1))
            database.execute(
                f"INSERT INTO pending VALUES ({', '.join('?' * len(row))})",
                (found[-1], row[1], asked, *row[3:6], row[6].replace(entry.digest, found[-1]), *row[7:]),
            )
        database.commit()
        ordered = database.execute("SELECT digest FROM pending ORDER BY asked, digest").fetchall()
    return [digest for (digest,) in ordered]


def parts(mirror: Mirror, between: Callable[[], object] = lambda: None) -> list[list[str]]:
    found: list[list[str]] = []
    query = ""
    while True:
        status, answer = ask(mirror, (), method="GET", path=PENDING_PATH, query=query)
        part = json.loads(answer)
        assert status == 200
        found.append([one["digest"] for one in part["pending"]])
        if part["next"] is None:
            return found
        query = f"after={part['next']}"
        between()


@pytest.fixture
def day_after(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        @staticmethod
        def now(_zone: object) -> Any:
            return NOW + timedelta(days=1)

    monkeypatch.setattr("carnet_mirror.web.pending.datetime", Clock)


@pytest.mark.usefixtures("day_after")
def test_a_long_list_comes_in_parts_each_entry_once(tmp_path: Path) -> None:
    world = World.make(tmp_path, waits=Waiting(claim=7, takeover=30))
    digests = crowded(world, 2 * PAGE + 39)
    found = parts(Mirror(world.store, "http://localhost"))
    assert [len(part) for part in found] == [PAGE, PAGE, 40]
    assert [digest for part in found for digest in part] == digests
    _, page = ask(Mirror(world.store, "http://localhost"), (), method="GET", path="pending")
    assert page.count(b"<tr>") == PAGE + 1
    assert b'<a href="?after=2026-11-23T' in page


@pytest.mark.usefixtures("day_after")
def test_parts_stay_the_same_while_entries_come_and_go(tmp_path: Path) -> None:
    world = World.make(tmp_path, waits=Waiting(claim=7, takeover=30))
    digests = crowded(world, 2 * PAGE)
    gone: list[str] = []

    def change() -> None:
        """What was shown already goes: nobody behind it moves up and is passed over."""
        gone.append(digests[len(gone)])
        with closing(sqlite3.connect(world.store.directory / "mirror.db")) as database:
            database.execute("DELETE FROM pending WHERE digest = ?", (gone[-1],))
            database.commit()

    shown = [digest for part in parts(Mirror(world.store, "http://localhost"), change) for digest in part]
    assert shown == digests


@pytest.mark.usefixtures("day_after")
def test_a_part_of_ten_thousand_costs_what_a_part_of_a_hundred_does(tmp_path: Path) -> None:
    world = World.make(tmp_path, waits=Waiting(claim=7, takeover=30))
    digests = crowded(world, 10_000)
    mirror = Mirror(world.store, "http://localhost")
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection = world.store.pending._database._connection
    connection.set_progress_handler(count, 100)  # each hundred instructions of SQLite's machine
    for query in ("", f"after=2026-11-23T12:40:00Z.{digests[9000]}"):
        before = steps
        status, answer = ask(mirror, (), method="GET", path=PENDING_PATH, query=query)
        assert (status, len(json.loads(answer)["pending"])) == (200, PAGE)
        assert steps - before < 100, "neither sorted nor walked through"
    pages = mirror._pending
    for number in range(200):
        pages.page(PENDING_PATH, f"after=2026-11-23T12:00:00Z.{number:064x}")
    assert len(pages._made) <= 64


@pytest.mark.parametrize(
    "query", ["page=2", "after=", "after=x", f"after=2026-11-23T12:00:00Z.{'0' * 63}", "after=%00"]
)
def test_a_query_that_names_no_place_is_refused(tmp_path: Path, query: str) -> None:
    world = World.make(tmp_path)
    mirror = Mirror(world.store, "http://localhost")
    assert ask(mirror, (), method="GET", path=PENDING_PATH, query=query)[0] == 400


def test_who_watches_follows_the_parts_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    following = {"": "b.1", "b.1": "b.2", "b.2": None}

    def answer(_method: str, _url: str, path: str, *_: object) -> dict[str, Any]:
        asked.append(path.removeprefix(PENDING_PATH).removeprefix("?after="))
        return {"ok": True, "pending": [], "next": following[asked[-1]]}

    monkeypatch.setattr("carnet_mirror.web.client._ask", answer)
    assert len(list(pending("http://localhost"))) == 3
    assert asked == ["", "b.1", "b.2"]


@pytest.mark.parametrize("following", ["b.1", "a", 7, "../x", "b.2&x=y"])
def test_a_list_without_an_end_is_no_list(monkeypatch: pytest.MonkeyPatch, following: object) -> None:
    answers = iter([{"ok": True, "next": "b.1"}, {"ok": True, "next": following}])
    monkeypatch.setattr("carnet_mirror.web.client._ask", lambda *_: next(answers))
    with pytest.raises(TransportError, match="does not come to an end"):
        list(pending("http://localhost"))
