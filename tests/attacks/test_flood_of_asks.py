"""Attacker: a stranger who has a mirror bring things: floods of asks, claimed names, hostile names, a lying upstream.

What must hold: a stranger costs bounded work, and takes nobody else's turn; a claimed crate is never looked for
upstream, and what is here never changes; nobody is told more than an answer of its own, and that in time.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import MirrorDirectory, make_mirror, quiet
from tests.support.registries.sparse import SparseRegistry, sparse_registry
from tests.support.worlds.claims import NAME, World

from carnet.cargo.asked import AskedFor
from carnet.cargo.index_line import IndexLine
from carnet.cargo.names import CrateName
from carnet.cargo.pull import LINES, MAX_ASK, URL_PATH, PullAsk, PullEnd
from carnet.progress import Progress
from carnet_mirror.pull import bounded as bounds
from carnet_mirror.pull.bounded import BoundedUpstream
from carnet_mirror.pull.bring import Share, bring
from carnet_mirror.pull.puller import Puller
from carnet_mirror.pull.quotas import PullQuotas, Usage
from carnet_mirror.pull.rules import PullRules
from carnet_mirror.pull.settings import PullSettings
from carnet_mirror.sync.closure import Taking, close
from carnet_mirror.upstream.packages import UpstreamIndex
from carnet_mirror.upstream.sparse import SparseUpstream
from carnet_mirror.web.pull import Pulls
from carnet_verifier.net.patience import Patience
from carnet_verifier.policy.policy import Pattern

ALL = PullSettings("sparse", PullRules(allow=(Pattern("*"),)))
BODY = PullAsk((AskedFor.parse("leaf"),)).to_bytes()


async def behind(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"behind"})


@contextmanager
def taking(
    work: Callable[[Sequence[Share]], None], quotas: PullQuotas | None = None, *, seconds: float = 30.0
) -> Iterator[Pulls]:
    def bring_it(shares: Sequence[Share], progress: Progress, stopped: Callable[[], bool]) -> None:
        work(shares)

    puller = Puller(bring_it, Usage(quotas or PullQuotas()))
    try:
        yield Pulls(behind, puller, seconds=seconds)
    finally:
        puller.stop()


async def post(app: Pulls, body: bytes = BODY, *, client: str = "192.0.2.1") -> tuple[int, dict[str, str], list[Any]]:
    left, sent = [body], list[Any]()

    async def receive() -> dict[str, Any]:
        if left:
            return {"type": "http.request", "body": left.pop()}
        await asyncio.sleep(3600)
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "method": "POST", "path": f"/{URL_PATH}", "headers": headers, "client": (client, 1)}
    await app(scope, receive, send)
    found = {name.decode(): text.decode() for name, text in sent[0]["headers"]}
    lines = b"".join(message.get("body", b"") for message in sent[1:]).splitlines()
    return sent[0]["status"], found, [json.loads(line) for line in lines]


def found_it(shares: Sequence[Share]) -> None:
    for share in shares:
        share.end = PullEnd(published=("leaf@1.0.0",), snapshot=7)


# --- over HTTP ---


def test_an_honest_ask_is_answered_line_by_line() -> None:
    with taking(found_it) as app:
        status, headers, lines = asyncio.run(post(app))
    assert (status, headers["content-type"], headers["cache-control"]) == (200, LINES, "no-store")
    assert lines[-1]["published"] == ["leaf@1.0.0"]
    assert lines[-1]["snapshot"] == 7


def test_a_network_that_asks_too_often_is_told_when_to_come_again_and_others_are_served() -> None:
    served: list[int] = []

    def work(shares: Sequence[Share]) -> None:
        served.append(len(shares))
        found_it(shares)

    with taking(work, PullQuotas(asks_per_hour=2)) as app:
        statuses = [asyncio.run(post(app, client=f"192.0.2.{last}"))[0] for last in range(1, 7)]
        status, headers, (line,) = asyncio.run(post(app, client="192.0.2.200"))
        assert asyncio.run(post(app, client="198.51.100.1"))[0] == 200
    assert statuses == [200, 200, 429, 429, 429, 429]
    assert (status, 3590 <= int(headers["retry-after"]) <= 3601) == (429, True)
    assert "asks of this hour" in line["errors"][0]["detail"]
    assert sum(served) == 3


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"asked": [{"name": "../../etc/passwd", "requirement": "*"}]}', 400),
        (b'{"asked": [{"name": "a\\u001b]0;x\\u0007", "requirement": "*"}]}', 400),
        (b'{"asked": [{"name": "aux", "requirement": "*"}]}', 400),
        (b'{"asked": [{"name": "a", "requirement": "' + b">=1," * 5000 + b'<2"}]}', 400),
        (b'{"asked": ' + b"[" * 100_000, 400),
        (b" " * (MAX_ASK + 1), 413),
    ],
)
def test_hostile_bodies_reach_nobody_who_works(body: bytes, status: int) -> None:
    def never(shares: Sequence[Share]) -> None:
        raise AssertionError

    with taking(never) as app:
        found, _, (line,) = asyncio.run(post(app, body))
    assert found == status
    assert line["errors"][0]["detail"].isprintable()


def test_an_answer_ends_in_time_though_the_work_goes_on() -> None:
    go = threading.Event()

    def work(shares: Sequence[Share]) -> None:
        assert go.wait(20)

    with taking(work, seconds=0.3) as app:
        status, _, lines = asyncio.run(post(app))
        go.set()
    assert status == 200
    assert not any(line.get("done") is True for line in lines)


# --- what is brought ---


@pytest.fixture
def registry() -> Iterator[SparseRegistry]:
    with sparse_registry() as running:
        yield running


def brought(mirror: MirrorDirectory | World, registry: SparseRegistry, *asked: str, locked: bool = False) -> PullEnd:
    share = Share(PullAsk(tuple(map(AskedFor.parse, asked)), locked), 1000, 1000)
    upstream = SparseUpstream(registry.index_url, patience=Patience(tries=1), remembered={})
    bounded = BoundedUpstream(upstream, 10**9, 60.0, 32)
    if isinstance(mirror, World):
        bring(mirror.store, mirror.online, bounded, [share], ALL, now=mirror.now, progress=quiet)
    else:
        with mirror.open(write=True) as store:
            bring(store, mirror.signer, bounded, [share], ALL, now=mirror.now, progress=quiet)
    return share.end


@pytest.mark.parametrize("locked", [False, True])
def test_a_claimed_crate_is_never_looked_for_upstream(tmp_path: Path, registry: SparseRegistry, locked: bool) -> None:
    """Neither by its name nor by another spelling of it; the positive control is `other`."""
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), "1.0.0"))
    world.claim()
    for name in (str(NAME), "demo_lib"):
        registry.add(honest_crate(name, "1.9.0"))
    registry.add(honest_crate("other", "1.0.0"))
    end = brought(world, registry, f"{NAME}@=1.9.0", "demo_lib@=1.9.0", "other@=1.0.0", locked=locked)
    assert end.published == ("other@1.0.0",)
    assert {one.what for one in end.missing} == {f"{NAME}@=1.9.0", "demo_lib@=1.9.0"}
    assert not [path for path in registry.requests if "demo" in path]


def test_an_upstream_that_changes_what_is_here_changes_nothing(tmp_path: Path, registry: SparseRegistry) -> None:
    mirror = make_mirror(tmp_path / "mirror", [honest_crate("leaf", "1.0.0")])
    registry.add(honest_crate("leaf", "1.0.0", source="pub fn evil() {}\n"))
    registry.add(honest_crate("leaf", "1.1.0"))
    with mirror.open() as store:
        (before,) = store.crates.versions(AskedFor.parse("leaf").name)
    end = brought(mirror, registry, "leaf@=1.0.0", "leaf@=1.1.0")
    assert end.published == ("leaf@1.1.0",)
    with mirror.open() as store:
        first, _ = store.crates.versions(AskedFor.parse("leaf").name)
    assert first.line.cksum == before.line.cksum


def test_an_upstream_that_lies_about_a_tarball_is_refused_and_stops_nobody(
    tmp_path: Path, registry: SparseRegistry
) -> None:
    registry.add(honest_crate("liar", "1.0.0"), cksum="00" * 32)
    registry.add(honest_crate("other", "1.0.0"))
    registry.add(honest_crate("swapped", "1.0.0"))
    registry.tarballs["swapped-1.0.0"] = honest_crate("another", "1.0.0")
    mirror = make_mirror(tmp_path / "mirror")
    end = brought(mirror, registry, "liar", "other", "swapped")
    assert end.published == ("other@1.0.0",)
    assert {one.what for one in end.refused} == {"liar@1.0.0", "swapped@1.0.0"}


# --- one ask that takes long ---


class Clock:
    """Seconds that pass at each look."""

    def __init__(self, step: float) -> None:
        self.step, self.now, self.looks = step, 0.0, 0

    def monotonic(self) -> float:
        self.now += self.step
        self.looks += 1
        return self.now


@pytest.fixture
def mirror_directory(tmp_path: Path) -> MirrorDirectory:
    return make_mirror(tmp_path / "mirror")


def test_one_ask_that_is_looked_up_for_long_leaves_time_for_the_others(
    mirror_directory: MirrorDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a program that is run once for each name that there is not: it goes on until it is ended."""
    clock = Clock(0.0)
    monkeypatch.setattr(bounds, "time", clock)
    with sparse_registry() as registry:
        registry.add(honest_crate("leaf"))
        registry.add(honest_crate("slow"))
        real = SparseUpstream(registry.index_url, patience=Patience(tries=1), remembered={})

        class Program:
            name = "program"

            def index(self, names: Sequence[CrateName], scratch: Path) -> Any:
                while CrateName("endless") in names and not upstream.is_over():
                    clock.now += 10
                found = real.index(names, scratch)
                return {
                    name: UpstreamIndex((), "it was cut off") if upstream.is_over() else found[name] for name in names
                }

            fetch = real.fetch

        upstream = BoundedUpstream(Program(), 10**9, 600.0, 32, _begun=0.0)
        shares = [
            Share(PullAsk(tuple(map(AskedFor.parse, names))), 1000, 1000)
            for names in (("endless", "slow"), ("slow",), ("leaf",))
        ]
        with mirror_directory.open(write=True) as store:
            bring(store, mirror_directory.signer, upstream, shares, ALL, now=mirror_directory.now, progress=quiet)
    assert clock.now < 300
    assert [one.what for one in shares[0].end.undecided] == ["endless@*", "slow@*"]
    assert [one.end.published for one in shares[1:]] == [("slow@0.1.0",), ("leaf@0.1.0",)]


def test_one_crate_that_is_asked_for_a_thousand_times_is_looked_through_for_a_bounded_time(
    mirror_directory: MirrorDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(1.0)
    monkeypatch.setattr(bounds, "time", clock)
    with sparse_registry() as registry, mirror_directory.open(write=True) as store:
        registry.add(honest_crate("leaf"))
        upstream = BoundedUpstream(SparseUpstream(registry.index_url, remembered={}), 10**9, 60.0, 32, _begun=0.0)
        ask = PullAsk(tuple(AskedFor.of("leaf", f">=0.0.{number}") for number in range(1000)))
        one = Share(ask, 1000, 1000)
        bring(store, mirror_directory.signer, upstream, [one], ALL, now=mirror_directory.now, progress=quiet)
    assert clock.looks < 100
    assert len(one.end.undecided) == 1000


def test_each_version_is_judged_once_however_many_ask_for_it(mirror_directory: MirrorDirectory) -> None:
    judged: list[str] = []

    def why_not(line: IndexLine) -> str:
        judged.append(str(line.id))
        return "no" if line.id.version.text == "2.0.0" else ""

    with sparse_registry() as registry, mirror_directory.open() as store:
        for version in ("1.0.0", "1.1.0", "2.0.0"):
            registry.add(honest_crate("leaf", version))
        asked = [AskedFor.of("leaf", f">={number}.0.0") for number in (1, 0, 2)] + [AskedFor.of("leaf", "^1")]
        closed = close(store, SparseUpstream(registry.index_url), asked, taking=Taking(why_no_version=why_not))
    assert sorted(judged) == ["leaf@1.0.0", "leaf@1.1.0", "leaf@2.0.0"]
    assert [str(one.id) for one in closed.packages] == ["leaf@1.1.0"]


def test_whoever_asks_while_it_is_counted_what_was_done_for_it_loses_no_count() -> None:
    usage = Usage(PullQuotas(names_per_day=10), lambda: 0.0)
    usage.ask("net")
    counting = threading.Thread(target=lambda: usage.count("net", names=7))

    def count_meanwhile() -> None:
        counting.start()
        counting.join(0.2)

    looks: list[Callable[[], None]] = [lambda: None, count_meanwhile]  # between taking up what it used and putting it

    class Name(str):
        """The same name; whoever looks it up is interrupted."""

        __slots__ = ()

        def __hash__(self) -> int:
            if looks:
                looks.pop(0)()
            return str.__hash__(self)

    usage.ask(Name("net"))
    counting.join()
    assert usage.names_left("net") == 3
