"""Stolen online keys, and a client without a memory: it is shown what owners signed long ago, and replaced since.

Owner and crate roles live three years, and the online keys say which of their versions is the newest. The offline
shards say below which version none is believed (docs/formats.md, "Least versions"), so the past that can be shown is as
old as a shard may be: 90 days, counted from the last draft that saw the truth.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import quiet
from tests.support.worlds.ceremony import sign_role
from tests.support.worlds.claims import NAME, World, facts, people, person, refusal, sign

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import IndexFile, IndexLine, line_from_crate
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.claims.releases import Digest, Releases, SignedRelease
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, MetadataError, MetadataMismatch, RollbackDetected
from carnet.tuf import paths
from carnet.tuf.least import Least, read_least
from carnet.tuf.roles import Targets
from carnet.tuf.structure import shard_field
from carnet_mirror.fsck.fsck import FsckReport, _check_least, _Roles, fsck
from carnet_signer.metadata.publish import refresh_due
from carnet_signer.metadata.role_files import at
from carnet_signer.proposals import ownership, release, review
from carnet_signer.proposals.proposal import Proposal, draft
from carnet_verifier.admit import Admission, Wanted, admit_one
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.policy.policy import Policy
from carnet_verifier.tuf.refresh import read_repository
from carnet_verifier.tuf.repository import TrustedRepository

SHARD, OWNER, CRATE = paths.claims_shard_role(NAME.shard), paths.owner_role(NAME), paths.crate_role(NAME)


def files(world: World, *roles: str) -> dict[str, bytes]:
    """The published files of roles."""
    view = world.fresh()
    return {role: view.role(role).raw for role in roles}


def signed_of(file: bytes) -> dict[str, Any]:
    return dict(json.loads(file)["signed"])


def shown(world: World, roles: Mapping[str, bytes], lines: Iterable[IndexLine] | None = None) -> TrustedRepository:
    """What a client without a memory sees when the online keys say that these files, and this index, are the newest."""
    made: dict[str, bytes] = {}
    timestamp = signed_of(world.store.read("metadata/timestamp.json") or b"")
    version = timestamp["meta"]["snapshot.json"]["version"]
    snapshot = signed_of(world.store.read(f"metadata/{version}.snapshot.json") or b"") | {"version": version + 1}

    def name(role: str, file: bytes) -> None:
        number = signed_of(file)["version"]
        made[f"metadata/{number}.{role}.json"] = file
        snapshot["meta"][f"{role}.json"] = meta(file, number)

    for role, file in roles.items():
        name(role, file)
    if lines is not None:
        path, view = paths.index_path(NAME), world.fresh()
        delegations = view.role(paths.INDEX).signed.delegations
        assert delegations is not None
        assert delegations.succinct is not None
        role = delegations.succinct.bin_of(path)
        data = IndexFile(NAME, tuple(lines)).to_bytes()
        signed = signed_of(view.role(role).raw)
        signed |= {"version": signed["version"] + 1}
        signed["targets"][path] = {"length": len(data), "hashes": {"sha256": sha256_hex(data)}}
        made["targets/" + paths.hashed_path(path, sha256_hex(data))] = data
        made[f"metadata/{signed['version']}.{role}.json"] = sign_role(signed, [world.ceremony.online])
        snapshot["meta"][f"{role}.json"] = {"version": signed["version"]}
    made[f"metadata/{version + 1}.snapshot.json"] = file = sign_role(snapshot, [world.ceremony.online])
    timestamp |= {"version": timestamp["version"] + 1, "meta": {"snapshot.json": meta(file, version + 1)}}
    made["metadata/timestamp.json"] = sign_role(timestamp, [world.ceremony.online])
    return read_repository(
        world.ceremony.root, ReadFetcher(lambda path: made.get(path) or world.store.read(path)), now=world.now
    )


def meta(file: bytes, version: int) -> dict[str, Any]:
    return {"version": version, "length": len(file), "hashes": {"sha256": sha256_hex(file)}}


def admit(world: World, view: TrustedRepository, version: str) -> Admission:
    return admit_one(view, Wanted(CrateId(NAME, Version(version))), Policy(), None, now=world.now)


def submit_by(world: World, proposal: Proposal, *names: str) -> None:
    world.submit(sign(proposal, [*map(person, names), *world.ceremony.holders[:2]]))


def renew(world: World) -> None:
    """The holders sign the shard again, with what they see now."""
    published, standing = world.fresh().role(SHARD), world.fresh().claim(NAME)
    least = read_least(published.signed)
    if standing is not None:
        least[NAME.canonical] = Least(standing.owner.version, standing.crate.version)
    signed = signed_of(published.raw) | {
        "version": published.signed.version + 1,
        "expires": at(world.now + timedelta(days=90)),
    }
    world.publish_roles({SHARD: world.ceremony.sign(signed | shard_field([NAME.shard], least))})


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A crate whose 1.0.0 was found dangerous and yanked, and whose release keys were replaced."""
    world = World.make(tmp_path)
    world.claim()
    world.release("1.0.0")
    return world


@pytest.fixture
def old(world: World) -> dict[str, bytes]:
    """What its owners and release keys had signed before that."""
    found = files(world, OWNER, CRATE, SHARD)
    world.release("1.0.1")
    world.yank("1.0.0")
    changes = ownership.OwnerChanges(releasers=people(("uma", "vic", "wes"), 2))
    world.submit(sign(world.owner_proposal(changes), map(person, ("alice", "bob", "uma", "vic"))))
    return found


def only(roles: Mapping[str, bytes], *wanted: str) -> dict[str, bytes]:
    return {role: roles[role] for role in wanted}


def test_the_state_before_a_fix_and_a_yank(world: World, old: dict[str, bytes]) -> None:
    lines = [line for line in world.index().lines if str(line.id.version) == "1.0.0"]
    past = [replace(line) for line in lines]
    before = shown(world, only(old, OWNER, CRATE), past)
    assert not admit(world, before, "1.0.0").line.yanked, "the past of before the last ceremony can be shown"
    renew(world)
    view = shown(world, only(old, OWNER, CRATE), past)
    error = refusal(lambda: admit(world, view, "1.0.0"))
    assert isinstance(error, RollbackDetected)
    assert "holders saw" in str(error)
    error = refusal(lambda: admit(world, shown(world, only(old, OWNER, CRATE)), "1.0.1"))
    assert isinstance(error, RollbackDetected)
    assert admit(world, world.fresh(), "1.0.1")


@pytest.mark.parametrize("which", [(OWNER,), (CRATE,)])
def test_one_of_the_two_roles_is_enough(world: World, old: dict[str, bytes], which: tuple[str, ...]) -> None:
    renew(world)
    view = shown(world, only(old, *which))
    assert isinstance(refusal(lambda: view.claim(NAME)), RollbackDetected)
    assert isinstance(refusal(lambda: view.role(OWNER)), RollbackDetected), "nobody drafts from it either"
    assert isinstance(refusal(lambda: view.find_target(paths.crate_path(CrateId.of("demo-lib", "1.0.0")))), CarnetError)


def test_release_keys_that_were_revoked_long_ago(world: World, old: dict[str, bytes]) -> None:
    data = honest_crate(str(NAME), "1.0.2", source="pub fn f() { /* evil */ }\n")
    evil = read_crate(data)
    line = line_from_crate(evil, pubtime=at(world.now))
    signed = signed_of(old[CRATE])
    release = SignedRelease(evil.id, Digest(evil.length, evil.sha256), line.identity(), False, "crates-io")
    standing = Releases.of(NAME, draft(CRATE, signed).signed)
    signed |= {"version": signed["version"] + 50, "targets": standing.with_release(release).to_targets()}
    forged = {OWNER: old[OWNER], CRATE: sign_role(signed, [person("rita"), person("sven")])}
    lines = [*(one for one in world.index().lines if str(one.id.version) == "1.0.0"), line]
    assert admit(world, shown(world, forged, lines), "1.0.2"), "before a ceremony has seen the revocation"
    renew(world)
    error = refusal(lambda: admit(world, shown(world, forged, lines), "1.0.2"))
    assert isinstance(error, RollbackDetected)
    assert OWNER in str(error)


def test_a_crate_that_was_given_up_is_not_shown_as_claimed(world: World, old: dict[str, bytes]) -> None:
    submit_by(world, ownership.give_up(world.published(), world.claim_request("give-up"), now=world.now))
    honest = world.fresh()
    assert honest.claim(NAME) is None
    assert honest.released(NAME)
    view = shown(world, only(old, OWNER, CRATE))
    assert view.claim(NAME) is None
    assert view.released(NAME), "the tombstone is the shard's: no snapshot takes it away"
    assert shown(world, only(old, SHARD)).claim(NAME), "an old shard still shows it, until it expires"
    world.later(days=91)
    with pytest.raises(CarnetError):
        shown(world, only(old, SHARD))


def test_owners_of_whom_the_shard_knows_nothing(world: World) -> None:
    never = CrateName("never-claimed")
    assert world.fresh().claim(never) is None
    view = shown(world, {paths.owner_role(never): files(world, OWNER)[OWNER]})
    error = refusal(lambda: view.claim(never))
    assert isinstance(error, MetadataMismatch)
    assert "nobody ever claimed" in str(error)


def test_another_crates_role_of_the_same_people(world: World) -> None:
    """People own several crates with one key each: what they signed for one says nothing about another."""
    other = CrateName("demo-other")
    submit_by(world, world.claim_proposal(name=other), "alice", "bob", "rita", "sven")
    assert world.fresh().claim(other)
    view = shown(world, {paths.crate_role(other): files(world, CRATE)[CRATE]})
    error = refusal(lambda: view.claim(other))
    assert isinstance(error, (MetadataMismatch, RollbackDetected))
    assert "does not say that it is" in str(error)


def test_the_mirrors_own_check_finds_it(world: World, old: dict[str, bytes]) -> None:
    renew(world)
    assert fsck(world.store, now=world.now, progress=quiet).problems == []
    view = world.fresh()
    versions = {role: file.version for role, file in view.trusted.snapshot.signed.meta.items()}
    shards = {SHARD: view.role(SHARD).signed}

    def problems(changed: Mapping[str, int], shown: Mapping[str, Targets] = shards) -> str:
        report = FsckReport()
        _check_least(report, _Roles({**versions, **changed}, dict(shown)))
        return "; ".join(problem.what for problem in report.problems)

    assert problems({}) == ""
    assert "holders saw version" in problems({OWNER: 1})
    assert "holders saw version" in problems({CRATE: signed_of(old[CRATE])["version"]})
    assert "nobody ever claimed" in problems({paths.owner_role(NEIGHBOUR): 1})
    bare = replace(shards[SHARD], extra=shard_field([NAME.shard]))
    assert "of an older form" in problems({}, {SHARD: bare})


def edited(proposal: Proposal, edit: Callable[[dict[str, Any]], object]) -> Proposal:
    """A proposal whose draft of the shard was changed on the way."""
    signed = signed_of(proposal.drafts[SHARD].raw)
    edit(signed)
    return replace(proposal, drafts={**proposal.drafts, SHARD: draft(SHARD, signed)})


def _set_least(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda signed: signed["carnet"]["least"].__setitem__(name, value)


NEIGHBOUR = next(name for name in (CrateName(f"a{number}") for number in range(100_000)) if name.shard == NAME.shard)
DRAFTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a neighbour's name is dropped": (
        lambda signed: signed["carnet"]["least"].pop(NEIGHBOUR.canonical),
        "least version",
    ),
    "a neighbour's owners are believed of an older version": (
        _set_least(NEIGHBOUR.canonical, {"owner": 1, "crate": 1}),
        "again",
    ),
    "more is demanded than there is": (_set_least(NEIGHBOUR.canonical, {"owner": 2, "crate": 99}), "version 99"),
    "more is demanded than is drafted": (_set_least(NAME.canonical, {"owner": 2, "crate": 1}), "version 2"),
    "a name is made up": (
        _set_least(
            next(one.canonical for one in (CrateName(f"b{n}") for n in range(100_000)) if one.shard == NAME.shard),
            {"owner": 1, "crate": 1},
        ),
        "none is the newest",
    ),
    "a name of another shard": (_set_least("serde", {"owner": 1, "crate": 1}), "whose shard is another"),
    "half of it": (_set_least(NAME.canonical, {"owner": 1}), "does not give"),
    "no number": (_set_least(NAME.canonical, {"owner": 1, "crate": True}), "does not give"),
    "nothing at all": (lambda signed: signed["carnet"].pop("least"), "of an older form, and has to be signed again"),
}


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Proposal]:
    """A neighbour in the shard, whose owners have handed over once, and a claim that waits."""
    world = World.make(tmp_path_factory.mktemp("crowded"))
    submit_by(world, world.claim_proposal(name=NEIGHBOUR), "alice", "bob", "rita", "sven")
    published = world.published(NEIGHBOUR)
    request = replace(world.claim_request("owners"), crate=NEIGHBOUR)
    changes = ownership.OwnerChanges(owners=people(("alice", "bob"), 2))
    submit_by(world, ownership.next_owner(published, request, changes, now=world.now), "alice", "bob")
    return world, world.claim_proposal()


@pytest.mark.parametrize("what", DRAFTS)
def test_a_claim_that_lets_old_roles_in_is_signed_and_published_by_nobody(
    crowded: tuple[World, Proposal], what: str
) -> None:
    world, honest = crowded
    review.lint(honest, now=world.now)
    assert read_least(honest.drafts[SHARD].signed) == {
        NEIGHBOUR.canonical: Least(2, 1),
        NAME.canonical: Least(1, 1),
    }
    assert not any("OLDER" in words.title for words in review.describe(honest, now=world.now))
    edit, why = DRAFTS[what]
    bad = edited(honest, edit)
    assert why in str(refusal(lambda: review.lint(bad, now=world.now))), "whoever is asked to sign is told"
    error = refusal(lambda: submit_by(world, bad, "alice", "bob", "rita", "sven"))
    assert isinstance(error, MetadataError), "the mirror refuses it, whoever signed"


def test_a_draft_that_leaves_out_what_is_published_is_shown(world: World) -> None:
    """No lower than before, and so not refused: somebody was shown old files, or let the folder lie for long."""
    world.release("1.0.1")
    changes = ownership.OwnerChanges(owners=people(("alice", "bob"), 2))
    honest = world.owner_proposal(changes)
    bad = edited(honest, _set_least(NAME.canonical, {"owner": 1, "crate": 1}))
    review.lint(bad, now=world.now)
    alarms = [words for words in review.describe(bad, now=world.now) if words.alarm]
    assert any(f"version 1 of {OWNER} is demanded, and there is 2" in words.lines for words in alarms)


def test_a_snapshots_numbers_are_not_drafted_from(crowded: tuple[World, Proposal]) -> None:
    """A thief inflates the versions in a snapshot, so that a claim would demand what will never exist."""
    world, _ = crowded
    role = paths.crate_role(NEIGHBOUR)
    inflated = sign_role(signed_of(files(world, role)[role]) | {"version": 9_000}, [world.ceremony.online])
    view = shown(world, {role: inflated})
    assert view.version(role) == 9_000
    published = ownership.read_published(view, NAME, neighbours=True)
    assert published.neighbours[role].signed.version == 9_000, "the file is there, and nobody of them signed it"
    request = world.claim_request("claim")
    error = refusal(lambda: ownership.new_claim(published, request, facts(), adopted=None, layout=None, now=world.now))
    assert role in str(error)


def test_a_name_is_never_free_of_its_past(world: World, old: dict[str, bytes]) -> None:
    """Given up and claimed by others, if holders sign that: versions go on above the tombstone's."""
    submit_by(world, ownership.give_up(world.published(), world.claim_request("give-up"), now=world.now))
    tombstone = read_least(world.fresh().role(SHARD).signed)[NAME.canonical]
    assert tombstone.owner > 1
    assert "never free" in str(refusal(world.claim_proposal))
    free = replace(world.published(), given_up=False)
    request, who = world.claim_request("claim"), facts(("mallory",), ("mallory",), 1)
    error = refusal(lambda: ownership.new_claim(free, request, who, adopted=None, layout=None, now=world.now))
    assert isinstance(error, RollbackDetected), "no honest tool drafts it"
    blank = replace(free.shard, signed=replace(free.shard.signed, extra=shard_field([NAME.shard])))
    lying = replace(free, shard=blank)
    again = ownership.new_claim(lying, request, who, adopted=None, layout=None, now=world.now)
    again = replace(again, base=free.by_role(NAME))
    assert isinstance(refusal(lambda: review.lint(again, now=world.now)), RollbackDetected)
    assert isinstance(refusal(lambda: submit_by(world, again, "mallory")), MetadataError)
    above = {OWNER: tombstone.owner + 1, CRATE: tombstone.crate + 1}
    drafts = {role: draft(role, signed_of(again.drafts[role].raw) | {"version": above[role]}) for role in above}
    least = _set_least(NAME.canonical, {"owner": above[OWNER], "crate": above[CRATE]})
    higher = edited(replace(again, drafts={**again.drafts, **drafts}), least)
    world.publish_roles(
        {role: one.raw for role, one in sign(higher, [person("mallory"), *world.ceremony.holders[:2]]).drafts.items()}
    )
    assert world.fresh().claim(NAME)
    error = refusal(lambda: shown(world, only(old, OWNER, CRATE)).claim(NAME))
    assert isinstance(error, CarnetError)


def ten_days(world: World) -> None:
    for _ in range(10):
        world.later(days=1)
        with world.store.change():
            refresh_due(world.store, world.online, now=world.now)


def sign_again(world: World) -> None:
    """The shard with a later end, and nothing looked up: no holder's tool does it, and nobody is kept from it."""
    published = world.fresh().role(SHARD)
    later = {"version": published.signed.version + 1, "expires": at(world.now + timedelta(days=90))}
    world.publish_roles({SHARD: world.ceremony.sign(signed_of(published.raw) | later)})


def test_a_shard_that_was_only_given_more_time_is_not_published(world: World, old: dict[str, bytes]) -> None:
    ten_days(world)
    sign_again(world)  # the control: an owner role may have been signed slowly, and come after the shard's draft
    ten_days(world)
    error = refusal(lambda: sign_again(world))
    assert isinstance(error, MetadataMismatch)
    assert f"lets version {signed_of(old[OWNER])['version']} of {OWNER} be believed" in str(error)
    assert "root update" in error.hint
    renew(world)
    view = shown(world, only(old, OWNER, CRATE))
    assert isinstance(refusal(lambda: admit(world, view, "1.0.0")), RollbackDetected)


def test_the_same_where_the_first_snapshots_were_pruned(world: World, old: dict[str, bytes]) -> None:
    """What is not kept any more says nothing, and what is kept says enough: nobody is let through for it."""
    assert old
    versions = range(
        1, signed_of(world.store.read("metadata/timestamp.json") or b"")["meta"]["snapshot.json"]["version"]
    )
    ten_days(world)
    ten_days(world)
    with world.store.change():
        world.store.prune([f"metadata/{version}.snapshot.json" for version in versions])
    assert isinstance(refusal(lambda: sign_again(world)), MetadataMismatch)


def test_a_role_that_says_that_it_is_old_holds_no_shard_up(world: World) -> None:
    """When a role ends is its signers' word: what counts is since when it is published."""
    published = world.fresh().role(SHARD)
    later = {"version": published.signed.version + 1, "expires": at(world.now + timedelta(days=90))}
    drafted = world.ceremony.sign(signed_of(published.raw) | later)  # by holders, who are still signing it
    yank = release.yank(world.published(), NAME, [Version("1.0.0")], yanked=True, now=world.now)
    ends = signed_of(yank.drafts[CRATE].raw) | {"expires": at(world.now + timedelta(days=10))}
    world.submit(sign(replace(yank, drafts={CRATE: draft(CRATE, ends)}), map(person, ("rita", "sven"))))
    world.publish_roles({SHARD: drafted})
    assert world.fresh().role(SHARD).signed.version == published.signed.version + 1
