"""What plain cargo may set off with a GET: little, for each network, and nothing for names that there are not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from carnet.cargo.names import CrateName
from carnet.cargo.pull import NotBrought, PullEnd
from carnet.errors import StorageError
from carnet.tuf.paths import index_path
from carnet_mirror.pull.bring import Share
from carnet_mirror.pull.puller import Puller
from carnet_mirror.pull.quotas import PullQuotas, Usage
from carnet_mirror.pull.rules import APPROVAL
from carnet_mirror.web import plain_cargo
from carnet_mirror.web.plain_cargo import RANGES, PlainCargo


async def behind(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"behind"})


class Mirror:
    """A mirror that brings some names; what it was asked for."""

    refused: tuple[NotBrought, ...] = ()
    most = 1000

    def __init__(self, *there: str, quotas: PullQuotas | None = None, undecided: bool = False) -> None:
        self.there, self.here, self.asked = set(there), set[str](), list[list[str]]()
        self.undecided = undecided
        self.puller = Puller(lambda shares, _, __: self.work(shares), Usage(quotas or PullQuotas()))
        self.app = PlainCargo(
            behind,
            self.puller,
            has=self.here.__contains__,
            refuses=lambda name: "no" * (name.text == "denied"),
            held=5.0,
        )

    def work(self, shares: Sequence[Share]) -> None:
        for share in shares:
            assert share.ranges == RANGES
            names = [str(one.name) for one in share.ask.asked]
            self.asked.append(names)
            if len(names) > self.most:
                share.end = PullEnd(refused=tuple(NotBrought(str(one), "too much") for one in share.ask.asked))
                continue
            left = tuple(NotBrought(f"{name}@*", "the upstream has none") for name in names if name not in self.there)
            waits = tuple(NotBrought(one.what, APPROVAL) for one in left if one.what.startswith("acme"))
            self.here |= {index_path(CrateName(name)) for name in names if name in self.there}
            share.end = PullEnd(undecided=left) if self.undecided else PullEnd(missing=left, waiting=waits)
            share.end = PullEnd(refused=self.refused) if self.refused else share.end

    async def get(self, name: str, client: str = "192.0.2.1", *, path: str = "") -> tuple[int, dict[str, str], bytes]:
        sent = list[Any]()

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise AssertionError

        path = path or index_path(CrateName(name))
        scope = {"type": "http", "method": "GET", "path": f"/{path}", "headers": [], "client": (client, 1)}
        await self.app(scope, receive, send)
        headers = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
        return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])

    def run(self, work: Callable[[], Any]) -> Any:
        try:
            return asyncio.run(work())
        finally:
            self.puller.stop()


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_cargo, "_GATHERED", 0.05)
    monkeypatch.setattr(plain_cargo, "_LOOK_EVERY", 0.01)


def test_names_that_come_together_are_one_ask_and_whoever_comes_back_is_served() -> None:
    mirror = Mirror("leaf", "twig")

    async def work() -> None:
        first = await asyncio.gather(mirror.get("leaf"), mirror.get("twig"), mirror.get("bud"))
        assert [(status, headers["retry-after"]) for status, headers, _ in first] == [(503, "2")] * 3
        again = await asyncio.gather(mirror.get("leaf"), mirror.get("twig"), mirror.get("bud"))
        assert [status for status, _, _ in again] == [299, 299, 404]
        assert again[2][2] == b"bud: the upstream has none\n"
        assert (await mirror.get("bud"))[0] == 404

    mirror.run(work)
    assert mirror.asked == [["leaf", "twig", "bud"]], "what is not there is remembered"


def test_what_is_no_index_file_or_denied_sets_nothing_off() -> None:
    mirror = Mirror("leaf")

    async def work() -> None:
        for path in (
            "index/config.json",
            "index/x/y/leaf",
            "index/le/af/LEAF",
            "api/v1/crates/leaf/1.0.0/download",
            "",
        ):
            assert (await mirror.get("leaf", path=path or "metadata/x"))[0] == 299
        assert (await mirror.get("denied"))[0] == 299
        assert (await mirror.get("acme-x"))[0] == 503
        status, _, body = await mirror.get("acme-x")
        assert (status, APPROVAL.encode() in body) == (403, True)

    mirror.run(work)
    assert mirror.asked == [["acme-x"]]


def test_a_flood_of_names_is_a_few_asks_of_its_own_network_and_keeps_nobody_else_out() -> None:
    mirror = Mirror("leaf", quotas=PullQuotas(asks_per_hour=3))

    async def work() -> None:
        flood = [await mirror.get(f"name-{number}", f"192.0.2.{number % 200}") for number in range(600)]
        assert {status for status, _, _ in flood} == {503}
        assert (await mirror.get("leaf", "198.51.100.1"))[0] == 503
        assert (await mirror.get("leaf", "198.51.100.1"))[0] == 299
        while mirror.app._working:
            await asyncio.sleep(0.01)
        told = [(await mirror.get(f"name-{number}"))[0] for number in range(256)]
        assert set(told) == {404, 429}

    mirror.run(work)
    theirs = [names for names in mirror.asked if names != ["leaf"]]
    assert len(theirs) == 3
    assert sum(map(len, theirs)) <= 3 * 64


def test_what_one_network_may_not_have_is_nothing_to_another() -> None:
    """Somebody who has used up his quota asks for what others need before they do, again and again."""
    mirror = Mirror("leaf", quotas=PullQuotas(asks_per_hour=1))

    async def work() -> None:
        await mirror.get("other")
        assert (await mirror.get("other"))[0] == 404
        await mirror.get("leaf")
        assert (await mirror.get("leaf"))[0] == 429
        assert (await mirror.get("leaf", "198.51.100.1"))[0] == 503
        assert (await mirror.get("leaf", "198.51.100.1"))[0] == 299

    mirror.run(work)


def test_what_is_on_its_way_to_one_network_is_asked_for_by_another_itself() -> None:
    """Whoever is in a long queue keeps nobody in it who came later and has a queue of their own."""
    mirror = Mirror("leaf")

    async def work() -> None:
        assert [(await mirror.get("leaf", client))[0] for client in ("192.0.2.1", "198.51.100.1")] == [503, 503]
        assert sorted(mirror.app._working) == ["192.0.2.0/24", "198.51.100.0/24"]

    mirror.run(work)


def test_networks_that_take_all_places_leave_one_to_whoever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_cargo, "_MOST", 6)
    mirror = Mirror("leaf")

    async def work() -> None:
        for number in range(6):
            await mirror.get(f"name-{number}", f"192.0.{number % 2}.1")
        told = [await mirror.get("leaf", client) for client in ("192.0.0.1", "198.51.100.1", "203.0.113.1")]
        assert [headers["retry-after"] for _, headers, _ in told] == ["10", "2", "2"], "not to those who have most"
        assert len(mirror.app._known) == 6
        assert (await mirror.get("leaf", "198.51.100.1"))[0] == 299
        while mirror.app._working:
            await asyncio.sleep(0.01)

    mirror.run(work)


def test_whoever_is_held_costs_nothing_meanwhile() -> None:
    mirror, looked, goes_on = Mirror("leaf"), list[str](), threading.Event()
    has = mirror.here.__contains__

    def bring(shares: Sequence[Share], _progress: object, _stopped: object) -> None:
        goes_on.wait()
        mirror.work(shares)

    def looking(path: str) -> bool:
        looked.append(path)
        return has(path)

    mirror.puller = Puller(bring, Usage(PullQuotas()))
    mirror.app = PlainCargo(behind, mirror.puller, has=looking, refuses=lambda _: "", held=5.0)

    async def work() -> None:
        await mirror.get("leaf")
        held = asyncio.gather(*(mirror.get("leaf") for _ in range(20)))
        await asyncio.sleep(0.3)
        before = len(looked)
        goes_on.set()
        assert {status for status, _, _ in await held} == {299}
        assert before <= 41, "each looked when it came, and not while it waits"

    mirror.run(work)


def test_an_upstream_that_says_nothing_is_no_absence() -> None:
    mirror = Mirror(undecided=True)

    async def work() -> None:
        await mirror.get("leaf")
        status, headers, body = await mirror.get("leaf")
        assert (status, headers["retry-after"], body) == (503, "2", b"leaf: the upstream has none\n")

    mirror.run(work)


def test_what_is_too_much_together_is_asked_for_in_parts() -> None:
    """Several builds of one network are gathered: that all of it is too much says nothing of any crate."""
    names = ("leaf", "twig", "bud", "root")
    mirror = Mirror(*names)
    mirror.most = 2

    async def work() -> None:
        await asyncio.gather(*(mirror.get(name) for name in names))
        assert [status for status, _, _ in await asyncio.gather(*(mirror.get(name) for name in names))] == [299] * 4
        mirror.most = 0
        await mirror.get("huge")
        status, _, body = await mirror.get("huge")
        assert (status, body) == (403, b"huge: too much\n")

    mirror.run(work)
    assert mirror.asked == [[*names], ["leaf", "twig"], ["bud", "root"], ["huge"]]


def test_what_is_refused_is_told_whatever_the_crate_is_spelled_like() -> None:
    mirror = Mirror()
    mirror.refused = (NotBrought("Leaf@1.0.0", "its manifest says otherwise"),)

    async def work() -> None:
        await mirror.get("leaf")
        status, _, body = await mirror.get("leaf")
        assert (status, body) == (404, b"leaf: its manifest says otherwise\n")

    mirror.run(work)


def test_what_cannot_be_read_is_left_to_whoever_tells_of_it() -> None:
    mirror = Mirror()

    def damaged(_: str) -> bool:
        raise StorageError("the database is damaged")

    mirror.app = PlainCargo(behind, mirror.puller, has=damaged, refuses=lambda _: "")

    async def work() -> None:
        assert (await mirror.get("leaf"))[0] == 299

    mirror.run(work)
    assert mirror.asked == []
