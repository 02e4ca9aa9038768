"""Publishes are gathered: at once where it is calm, several in one where it is not, and each judged by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import quiet
from tests.support.worlds.claims import NAME, World, body, person, sign

from carnet.cargo.asked import AskedFor
from carnet.cargo.crate import read_crate
from carnet.cargo.names import CrateName
from carnet.cargo.pull import PullAsk
from carnet.errors import CarnetError, FormatError, OpinionsDiffer, RollbackDetected, StorageError
from carnet.tuf import paths
from carnet_mirror import writing
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.gathering import Gathering
from carnet_mirror.intake import Receipt, published_already, take_submissions
from carnet_mirror.pace import APART, GATHERED_FOR, SAVED, SAVED_IN, TOGETHER, Pace, Who
from carnet_mirror.pull.puller import Puller
from carnet_mirror.pull.quotas import PullQuotas, Usage
from carnet_mirror.state.published import UnverifiedView
from carnet_signer.proposals import release

OTHER = CrateName("other-lib")
KEYS = ("alice", "bob", "rita", "sven")


# --- when ---


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def spend(pace: Pace, clock: Clock, count: int) -> None:
    for _ in range(count):
        clock.now += APART
        pace.published()


def test_where_it_is_calm_nobody_waits_and_two_publishes_are_a_second_apart(clock: Clock) -> None:
    pace = Pace(clock)
    assert pace.wait(1, "signed") == 0
    pace.published()
    assert pace.wait(1, "signed") == pytest.approx(APART)
    clock.now += 0.75
    assert pace.wait(1, "signed") == pytest.approx(0.25)
    for _ in range(200):  # one a minute, for hours: it stays calm
        clock.now += SAVED_IN
        assert pace.wait(1, "signed") == 0
        pace.published()


def test_what_comes_faster_is_gathered_for_half_a_minute_and_less_the_more_waits(clock: Clock) -> None:
    pace = Pace(clock)
    spend(pace, clock, SAVED)
    waits = [pace.wait(waiting, "signed") for waiting in (1, 4, TOGETHER - 1, TOGETHER, 100)]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] == pytest.approx(GATHERED_FOR["signed"], abs=3)
    assert waits[-2:] == [pytest.approx(APART)] * 2
    publishes = 0
    for _ in range(24 * 3600):  # something comes each second of a day
        clock.now += 1.0
        if pace.wait(1, "signed") == 0:
            pace.published()
            publishes += 1
    assert publishes <= 24 * 3600 / GATHERED_FOR["signed"] * 1.1


def test_whoever_publishes_often_keeps_nobody_waiting_who_publishes_at_another_pace(clock: Clock) -> None:
    """Strangers whose downloads are brought one after another, and a maintainer who hands in one release."""
    pace = Pace(clock)
    spend(pace, clock, SAVED)
    begun = {"signed": pace.now(), "anybody": pace.now()}
    longest = dict.fromkeys(begun, 0.0)
    for second in range(1800):
        clock.now += 1.0
        if second % 3 == 0:
            pace.published()
        for who, since in begun.items():
            longest[who] = max(longest[who], pace.now() - since)
            if pace.wait(1, who, since) == 0:  # type: ignore[arg-type]
                pace.published()
                begun[who] = pace.now()
    assert longest["signed"] <= GATHERED_FOR["signed"] + 3
    assert longest["anybody"] <= GATHERED_FOR["anybody"] + 3


def test_of_those_who_wait_the_first_one_counts(clock: Clock) -> None:
    pace = Pace(clock)
    asked: list[tuple[int, str, float | None]] = []

    def wait(waiting: int, who: Who, since: float | None = None) -> float:
        asked.append((waiting, who, since))
        return 0.0 if waiting == 3 or who == "anybody" else 60.0

    pace.wait = wait  # type: ignore[method-assign]
    begun = pace.now()
    gathering = Gathering[str](lambda bodies: [one.decode() for one in bodies], lambda _: True, pace)

    async def hand_in() -> None:
        joining = []
        for name in ("a", "b", "a"):
            joining.append(asyncio.ensure_future(gathering.join(lambda: b"x", 1, name)))
            await asyncio.sleep(0)
            clock.now += 1.0
        await asyncio.wait_for(asyncio.gather(*joining), 20)

    asyncio.run(hand_in())
    served = threading.Event()
    puller = Puller(lambda *_: served.set(), Usage(PullQuotas()), pace)
    puller.join(PullAsk((AskedFor.parse("serde"),)), "10.0.0.0/24")
    assert served.wait(20)
    puller.stop()
    assert asked[-2:] == [(3, "signed", begun), (1, "anybody", begun + 3.0)]


# --- what ---


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    for name in (NAME, OTHER):
        world.add(honest_crate(str(name), "0.9.0"))
        proposal = sign(world.claim_proposal(name=name), [*map(person, KEYS), *world.ceremony.holders[:2]])
        world.submit(proposal)
    return world


def released(world: World, name: CrateName, version: str = "1.0.0", by: Sequence[str] = ("rita", "sven")) -> bytes:
    published = world.published(name)
    crate = read_crate(honest_crate(str(name), version), strict=True)
    proposal = release.propose(published, release.assemble_release(published, name, crate, None), now=world.now)
    return body(sign(proposal, map(person, by)))


def take(world: World, *bodies: bytes) -> list[Receipt | CarnetError]:
    return take_submissions(world.store, world.online, bodies, now=world.now)


def versions(world: World, name: CrateName) -> list[str]:
    return [str(line.id.version) for line in world.index(name).lines]


def snapshot(world: World) -> int:
    return UnverifiedView(world.store).snapshot.version


def test_several_end_in_one_publish_and_what_is_refused_of_one_is_nothing_to_the_others(world: World) -> None:
    before = snapshot(world)
    good, signed_by_one = released(world, NAME), released(world, OTHER, by=("rita",))
    outcomes = take(world, b"nonsense", good, signed_by_one, released(world, OTHER), good)
    assert isinstance(outcomes[0], FormatError)
    assert isinstance(outcomes[2], CarnetError)
    assert [one.snapshot for one in outcomes if isinstance(one, Receipt)] == [before + 1, before + 1, None]
    assert snapshot(world) == before + 1
    assert versions(world, NAME) == versions(world, OTHER) == ["0.9.0", "1.0.0"]
    assert fsck(world.store, now=world.now, progress=quiet).problems == []
    assert published_already(world.store, good, now=world.now) is not None


def test_two_of_one_crate_follow_one_another(world: World) -> None:
    first, second = released(world, NAME, "1.0.0"), released(world, NAME, "1.1.0")
    taken, refused = take(world, first, second)
    assert isinstance(taken, Receipt)
    assert isinstance(refused, RollbackDetected)
    assert versions(world, NAME) == ["0.9.0", "1.0.0"]


def test_what_brings_a_shard_stands_beside_releases_of_other_shards(world: World) -> None:
    names = [CrateName("new-one"), CrateName("new-two")]
    claims = []
    for name in names:
        world.add(honest_crate(str(name), "0.1.0"))
    for name in names:
        keys = [*map(person, KEYS), *world.ceremony.holders[:2]]
        claims.append(body(sign(world.claim_proposal(name=name), keys)))
    before = snapshot(world)
    outcomes = take(world, *claims, released(world, NAME))
    assert all(isinstance(one, Receipt) for one in outcomes), outcomes
    assert snapshot(world) == before + 2
    assert {name.canonical for name in names} <= UnverifiedView(world.store).claimed(names)


def test_where_the_opinions_differ_on_one_the_others_are_published(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can make them differ has a key, and stops nobody else."""
    bad = paths.crate_role(OTHER)

    def judge(accepted: object, *_: object, **__: object) -> None:
        if bad in accepted.new:  # type: ignore[attr-defined]
            raise OpinionsDiffer(bad, "field", ours="a", theirs="b", library="python-tuf")

    monkeypatch.setattr(writing, "judge", judge)
    refused, taken = take(world, released(world, OTHER), released(world, NAME))
    assert isinstance(refused, OpinionsDiffer)
    assert isinstance(taken, Receipt)
    assert versions(world, OTHER) == ["0.9.0"]
    assert versions(world, NAME) == ["0.9.0", "1.0.0"]
    assert fsck(world.store, now=world.now, progress=quiet).problems == []


def test_who_was_published_or_refused_is_told_so_where_the_disk_fails_for_the_next_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = paths.crate_role(OTHER)

    def judge(accepted: object, *_: object, **__: object) -> None:
        if bad in accepted.new:  # type: ignore[attr-defined]
            if paths.crate_role(NAME) not in accepted.new:  # type: ignore[attr-defined]
                raise StorageError("the disk failed")
            raise OpinionsDiffer(bad, "field", ours="a", theirs="b", library="python-tuf")

    monkeypatch.setattr(writing, "judge", judge)
    taken, undecided = take(world, released(world, NAME), released(world, OTHER))
    assert isinstance(taken, Receipt)
    assert isinstance(undecided, StorageError)
    assert (versions(world, NAME), versions(world, OTHER)) == (["0.9.0", "1.0.0"], ["0.9.0"])


# --- who waits ---


class Taker:
    """Judges nothing, and says what it was given together."""

    def __init__(self, clock: Clock) -> None:
        self.batches: list[list[bytes]] = []
        self.pace = Pace(clock)
        self.gathering = Gathering[str](self._take, lambda outcome: True, self.pace)

    def _take(self, bodies: Sequence[bytes]) -> list[str | CarnetError]:
        self.batches.append(list(bodies))
        if b"poison" in bodies:
            raise RuntimeError("a mistake of ours")
        return [one.decode() if one != b"bad" else FormatError("it is bad") for one in bodies]

    def hand_in(self, *bodies: tuple[bytes, str]) -> list[object]:
        async def all_of_them() -> list[object]:
            joining = [self.gathering.join(lambda data=data: data, len(data), network) for data, network in bodies]  # type: ignore[misc]
            return list(await asyncio.wait_for(asyncio.gather(*joining, return_exceptions=True), 20))

        return asyncio.run(all_of_them())


def test_what_waits_is_published_together_one_of_each_network_and_again(clock: Clock) -> None:
    taker = Taker(clock)
    many = [(b"a%d" % number, "a") for number in range(TOGETHER - 1)]
    assert taker.hand_in(*many, (b"b", "b"))[-1] == "b"
    assert taker.batches[0][:2] == [b"a0", b"b"]
    assert len(taker.batches[0]) == TOGETHER


def test_a_refusal_and_a_mistake_of_ours_are_of_one_alone(clock: Clock) -> None:
    taker = Taker(clock)
    good, bad, poison, other = taker.hand_in((b"good", "a"), (b"bad", "b"), (b"poison", "c"), (b"other", "d"))
    assert (good, other) == ("good", "other")
    assert isinstance(bad, FormatError)
    assert isinstance(poison, RuntimeError)


def test_pulls_are_gathered_and_leave_half_of_what_is_saved_to_who_has_signed(clock: Clock) -> None:
    pace = Pace(clock)
    spend(pace, clock, SAVED // 2)
    assert pace.wait(1, "anybody") > GATHERED_FOR["anybody"] - 3
    clock.now += APART
    assert pace.wait(1, "signed") == 0
    rounds: list[int] = []
    puller = Puller(lambda shares, *_: rounds.append(len(shares)), Usage(PullQuotas()), pace)
    waiting = [puller.join(PullAsk((AskedFor.parse("serde"),)), f"10.0.{number}.0/24") for number in range(TOGETHER)]
    assert puller._thread is not None
    puller._thread.join(20)
    assert all(one.end is not None for one in waiting)
    assert rounds == [TOGETHER]
