"""Admission has two phases: metadata first, then bytes where somebody asks for them, and no tarball is read twice."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.admissions import attributed_of, unchecked_evidence, unchecked_verdict
from tests.support.worlds.claims import NAME, World, refusal
from tests.support.worlds.release import synthetic

from carnet.cargo import crate as crates
from carnet.cargo.names import CrateId, CrateName
from carnet.errors import FormatError, MetadataMismatch, PolicyRefused
from carnet.level import Level
from carnet.tuf import paths
from carnet_evidence.kind import Kind, Material
from carnet_signer.proposals import ownership
from carnet_verifier import admit as admitting
from carnet_verifier import line, tarballs
from carnet_verifier.admit import Wanted, admit_all, admit_one, admit_tarball
from carnet_verifier.explain import explain
from carnet_verifier.line import admit, attribute, download, find_target, inspect, judge, needed, open_index, vouch
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.outcomes import Attributed
from carnet_verifier.policy import rules
from carnet_verifier.policy.evaluate import in_force
from carnet_verifier.policy.policy import Ban, Pattern, Policy
from carnet_verifier.policy.rule import Action, Breach, Rule
from carnet_verifier.policy.rules.young import LEAST_AGE
from carnet_verifier.provenance.kind import PROVENANCE
from carnet_verifier.tuf.refresh import read_repository
from carnet_verifier.tuf.repository import TrustedRepository

PROVEN = [synthetic(crate=CrateId.of(str(NAME), f"1.0.{number}")) for number in range(3)]
PLAIN = honest_crate("plain", "1.0.0")
PLAIN_PATH = paths.download_path(CrateId.of("plain", "1.0.0"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.add(PLAIN)
    world.claim(layout=ownership.NewLayout(PROVEN[0].layout_file, PROVEN[0].terms))
    for release in PROVEN:
        world.release(tarball=release.tarball, bundle=release.bundle())
    return world


class Log:
    """A view that knows what was read through it, and how often a tarball was unpacked."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[str] = []
        self.unpacked: list[str] = []
        self.alive: list[weakref.ref[crates.CrateFile]] = []
        self._world = world

        def read_crate(data: bytes, *args: object, **named: object) -> crates.CrateFile:
            found = crates.read_crate(data, *args, **named)  # type: ignore[arg-type]
            gc.collect()
            assert sum(one() is not None for one in self.alive) <= 1, "at most the one before is still held"
            self.unpacked.append(str(found.id))
            self.alive.append(weakref.ref(found))
            return found

        monkeypatch.setattr(tarballs, "read_crate", read_crate)

    def view(self) -> TrustedRepository:
        def read(path: str) -> bytes | None:
            self.read.append(path)
            return PLAIN if path == PLAIN_PATH else self._world.store.read(path)  # the web server knows this path

        return read_repository(self._world.ceremony.root, ReadFetcher(read), now=self._world.now)

    @property
    def tarballs(self) -> list[str]:
        return [path for path in self.read if path.endswith(".crate") or path.endswith("/download")]


@pytest.fixture
def log(world: World, monkeypatch: pytest.MonkeyPatch) -> Log:
    return Log(world, monkeypatch)


def wanted(version: str = "1.0.0", name: str = str(NAME)) -> Wanted:
    return Wanted(CrateId.of(name, version))


# --- two phases ---


def test_an_unclaimed_crate_is_admitted_without_its_tarball(world: World, log: Log) -> None:
    assert admit_one(log.view(), wanted(name="plain"), Policy(), None, now=world.now).level is Level.REGISTRY
    assert log.tarballs == []


def test_what_metadata_denies_is_never_fetched(world: World, log: Log) -> None:
    banned = Policy(bans=(Ban(Pattern(str(NAME)), "a test"),))
    assert admit_one(log.view(), wanted(), Policy(), None, now=world.now).level is Level.REPRODUCED
    assert len(log.tarballs) == 1
    log.read.clear()
    for call in (
        lambda: admit_one(log.view(), wanted(), banned, None, now=world.now),
        lambda: admit_tarball(log.view(), wanted(), banned, None, now=world.now),
        lambda: next(admit_all(log.view(), [wanted()], banned, None, now=world.now)).error,
    ):
        error = refusal(lambda call=call: _raised(call))  # type: ignore[misc]
        assert isinstance(error, PolicyRefused)
        assert "[banned]" in str(error)
    assert log.tarballs == []


def _raised(call: Callable[[], object]) -> None:
    found = call()
    if isinstance(found, Exception):
        raise found


@pytest.mark.parametrize("claimed", [True, False])
def test_who_needs_the_tarball_gets_the_one_that_was_inspected(world: World, log: Log, claimed: bool) -> None:
    asked = wanted() if claimed else wanted(name="plain")
    admission, crate = admit_tarball(log.view(), asked, Policy(), None, now=world.now)
    assert crate.data == (PROVEN[0].tarball if claimed else PLAIN)
    assert crate.file.sha256 == admission.sha256
    assert (len(log.tarballs), len(log.unpacked)) == (1, 1)


def test_a_tarball_that_somebody_has_read_is_neither_fetched_nor_read_again(world: World, log: Log) -> None:
    data = PROVEN[0].tarball
    file = crates.read_crate(data)
    _, crate = admit_tarball(log.view(), wanted(), Policy(), None, now=world.now, read=(data, file))
    assert crate.file is file
    assert (log.tarballs, log.unpacked) == ([], [])
    other = PROVEN[1].tarball
    with pytest.raises(MetadataMismatch, match="admitted was"):
        admit_tarball(log.view(), wanted(), Policy(), None, now=world.now, read=(other, file))


# --- many ---


class Kept:
    def __init__(self, **files: bytes) -> None:
        self.files = files

    def read(self, crate: CrateId, sha256: str) -> bytes | None:
        return self.files.get(str(crate))


def test_of_a_lock_each_tarball_is_handed_out_once_and_one_is_unpacked(
    world: World, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admitting, "AT_ONCE", 2)
    lock = [wanted("1.0.0"), wanted(name="plain"), wanted("1.0.1"), wanted("1.0.2")]
    handed = []
    for outcome in admit_all(log.view(), lock, Policy(), None, now=world.now):
        assert outcome.admission is not None
        handed.append(None if outcome.tarball is None else outcome.tarball.data)
        del outcome
    assert handed == [PROVEN[0].tarball, None, PROVEN[1].tarball, PROVEN[2].tarball]
    assert len(log.tarballs) == len(log.unpacked) == 3
    gc.collect()
    assert all(one() is None for one in log.alive[:-1]), "an admission does not hold its tarball"


def test_a_tarball_that_is_kept_is_inspected_and_not_fetched(world: World, log: Log) -> None:
    kept = Kept(**{f"{NAME}@1.0.0": PROVEN[0].tarball})
    (outcome,) = admit_all(log.view(), [wanted()], Policy(), None, now=world.now, kept=kept)
    assert outcome.admission is not None
    assert outcome.admission.level is Level.REPRODUCED
    assert log.tarballs == []
    changed = Kept(**{f"{NAME}@1.0.0": PROVEN[1].tarball})
    (outcome,) = admit_all(log.view(), [wanted()], Policy(), None, now=world.now, kept=changed)
    assert isinstance(outcome.error, MetadataMismatch)


def test_one_tarball_that_is_refused_spoils_no_other(world: World) -> None:
    paths_of = {str(item.id): paths.crate_path(item.id) for item in (wanted("1.0.0"), wanted("1.0.1"))}
    place = paths.TARGETS_PREFIX + paths.hashed_path(paths_of[f"{NAME}@1.0.0"], PROVEN[0].crate.sha256)

    def read(path: str) -> bytes | None:
        data = world.store.read(path)
        return b"x" * len(data or b"") if path == place else data

    view = read_repository(world.ceremony.root, ReadFetcher(read), now=world.now)
    bad, good = admit_all(view, [wanted("1.0.0"), wanted("1.0.1")], Policy(), None, now=world.now)
    assert isinstance(bad.error, MetadataMismatch)
    assert good.admission is not None


# --- a rule that reads bytes ---


def _count(material: Material) -> int:
    assert material.tarball is not None
    return len(material.tarball.entries)


COUNT: Kind[int | None] = Kind("count", frozenset(("tarball",)), _count)
MANY = Rule(
    "many",
    Action.DENY,
    "It has files.",
    lambda facts, _, __: [Breach(f"{facts.of(COUNT)} files")] if facts.of(COUNT) else [],
    needs=(COUNT,),
)


def test_a_rule_that_reads_bytes_waits_for_them_also_of_unclaimed_crates(world: World, log: Log) -> None:
    view, judging = log.view(), (*in_force(Policy()), MANY)
    attributed = attributed_in(view, "plain")
    first = inspect(attributed, needed(judging), now=world.now)
    assert COUNT not in first
    judged = judge(attributed, first, Policy(), {}, now=world.now, judging=judging)
    assert judged.verdict.waiting == (MANY,)
    with pytest.raises(PolicyRefused, match="was not judged by its tarball: many"):
        admit(judged)
    crate = download(view, attributed)
    second = inspect(attributed, needed(judging), now=world.now, crate=crate)
    verdict = judge(attributed, second, Policy(), {}, now=world.now, judging=judging).verdict
    assert [finding.message for finding in verdict.denials] == [f"{len(crate.file.entries)} files"]


def attributed_in(view: TrustedRepository, name: str) -> Attributed:
    crate = CrateId.of(name, "1.0.0")
    indexed = open_index(view, crate.name, find_target(view, crate.name))
    return attribute(vouch(indexed, Wanted(crate)), view.claim(crate.name))


def test_what_a_kind_does_not_concern_is_nothing_and_is_not_waited_for(world: World) -> None:
    never = Kind("never", frozenset(("tarball",)), _count, lambda _: False)
    found = inspect(attributed_of(PLAIN), (never,), now=world.now)
    assert found.of(never) is None


# --- bound to a digest, made by one step ---


def test_evidence_of_one_version_says_nothing_of_another(world: World) -> None:
    one, other = attributed_of(PLAIN), attributed_of(honest_crate("plain", "1.1.0"))
    evidence = inspect(one, (PROVENANCE,), now=world.now)
    assert judge(one, evidence, Policy(), {}, now=world.now, judging=()).verdict.crate == one.crate
    with pytest.raises(MetadataMismatch, match="evidence about other bytes"):
        judge(other, evidence, Policy(), {}, now=world.now)
    crate = tarballs.verify_tarball(one, PLAIN)
    with pytest.raises(MetadataMismatch, match="about other bytes"):
        inspect(other, (PROVENANCE,), now=world.now, crate=crate)


def test_files_beside_a_tarball_are_the_ones_that_were_signed(world: World) -> None:
    view = world.fresh()
    vouched = vouch(open_index(view, NAME, find_target(view, NAME)), wanted())
    crate = attribute(vouched, view.claim(NAME))
    fetched = tarballs.fetch_files(view, [crate])[0]
    assert len(fetched.beside) == 2
    tarballs.verify_tarball(crate, fetched.data, beside=fetched.beside)
    for path, data in fetched.beside.items():
        others = [
            {**fetched.beside, path: data + b" "},
            {one: fetched.beside[one] for one in fetched.beside if one != path},
        ]
        for beside in others:
            with pytest.raises(MetadataMismatch, match="not the file that was signed"):
                tarballs.verify_tarball(crate, fetched.data, beside=beside)


def test_a_signed_tarball_waits_on_the_disk_until_it_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen of a batch are no sixteen in memory: each is read when its turn comes, and compared then."""
    view = world.fresh()
    crate = attribute(vouch(open_index(view, NAME, find_target(view, NAME)), wanted()), view.claim(NAME))
    whole, change, read = view._fetcher.get_many, b"", []

    class Waiting(list[bytes]):
        def __getitem__(self, number: Any) -> Any:
            read.append(number)
            return super().__getitem__(number) + change

    def get_many(requests: Any, *, large: bool = False) -> Any:
        answers = whole(requests, large=large)
        return Waiting(cast("list[bytes]", answers)) if large else answers

    monkeypatch.setattr(view._fetcher, "get_many", get_many)
    fetched = tarballs.fetch_files(view, [crate])[0]
    assert read == []
    assert tarballs.verify_tarball(crate, fetched.data, beside=fetched.beside).file.id == crate.crate
    assert read == [0]
    change = b"x"
    with pytest.raises(MetadataMismatch):
        _ = fetched.data


def test_an_index_file_is_the_crates_own(world: World) -> None:
    view = world.fresh()
    target = find_target(view, CrateId.of("plain", "1.0.0").name)
    with pytest.raises(MetadataMismatch, match="was offered as the index file of demo-lib"):
        open_index(view, NAME, target)


def test_a_verdict_without_a_level_admits_nothing() -> None:
    attributed = attributed_of(PLAIN)
    evidence = unchecked_evidence({}, attributed.sha256)
    with pytest.raises(PolicyRefused, match="level had to wait"):
        admit(line._judged(attributed, evidence, unchecked_verdict(attributed.crate, None, ())))


def test_a_changed_admission_is_none(world: World) -> None:
    admission = world.admit("1.0.0")
    with pytest.raises(TypeError, match="only admit makes"):
        replace(admission, level=Level.REPRODUCED)


@pytest.mark.parametrize("action", [Action.ALLOW, Action.WARN])
def test_the_level_is_established_also_when_no_rule_asks_for_it(world: World, action: Action) -> None:
    lenient = Policy(rules={rules.named(name): action for name in ("level", "downgrade")})
    assert admit_one(world.fresh(), wanted(), lenient, None, now=world.now).level is Level.REPRODUCED
    (outcome,) = admit_all(world.fresh(), [wanted()], lenient, None, now=world.now)
    assert outcome.admission is not None
    assert outcome.admission.level is Level.REPRODUCED
    chain = explain(world.fresh(), wanted(), lenient, None, now=world.now)
    assert chain.admission is not None


def test_a_crate_that_is_wanted_twice_is_admitted_twice(world: World) -> None:
    outcomes = list(admit_all(world.fresh(), [wanted(), wanted()], Policy(), None, now=world.now))
    assert [outcome.error for outcome in outcomes] == [None, None]


# --- what a line says that nobody can reckon with ---


def test_an_odd_time_of_one_crate_never_ends_the_look_at_a_lock(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.add(PLAIN, honest_crate("odd", "1.0.0"))

    def publish(name: str, pubtime: str) -> None:
        world.publish_index(lambda index: [said.with_(pubtime=pubtime) for said in index.lines], CrateName(name))

    publish("plain", "2010-01-01T00:00:00Z")
    wanted = [Wanted(CrateId.of(name, "1.0.0")) for name in ("odd", "plain")]
    for pubtime, refused_at in (
        ("9999-12-31T23:59:59Z", {7, 3650}),
        ("9999-12-20T00:00:00Z", {7, 3650}),
        ("0001-01-01T00:00:00Z", set[int]()),
        ("2026-02-30T00:00:00Z", {0, 7, 3650}),
        ("2026-11-23T25:00:00Z", {0, 7, 3650}),
        ("2026-06-30T23:59:60Z", {0, 7, 3650}),
    ):
        publish("odd", pubtime)
        view = world.fresh()
        for days in (0, 7, 3650):
            policy = Policy({LEAST_AGE: timedelta(days=days)})
            odd, plain = admit_all(view, wanted, policy, None, now=world.now)
            assert plain.admission is not None, (pubtime, days)
            assert (odd.admission is None) is (days in refused_at), (pubtime, days)
            chain = explain(view, wanted[0], policy, None, now=world.now)
            assert (chain.admission is None) is (days in refused_at), (pubtime, days)


def test_what_a_kind_cannot_reckon_with_refuses_one_crate(world: World) -> None:
    def overflow(material: Material) -> None:
        if str(material.line.id.name) == "plain":
            raise OverflowError("date value out of range")

    odd: Kind[None] = Kind("odd", frozenset(("line",)), overflow)
    with pytest.raises(FormatError, match=r"plain@1\.0\.0: its odd cannot be reckoned with: date value out of range"):
        inspect(attributed_of(PLAIN), [odd], now=world.now)
    assert odd in inspect(attributed_of(honest_crate("other", "1.0.0")), [odd], now=world.now)
