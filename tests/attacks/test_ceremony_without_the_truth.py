"""Stolen online keys, and whoever prepares a ceremony's folder: holders are to sign for 90 days more what is long past.

The shards that people sign say below which version nobody believes a claim's roles. So a ceremony counts the files of
owners and release keys, of the last seven days, and never the numbers of a snapshot (docs/formats.md, "Least
versions"); and no holder's machine signs a shard that would let more in than the one before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.support.worlds.ceremony import TestKey, sign_role
from tests.support.worlds.claims import NAME, World, people, person, refusal, sign

from carnet.digests import sha256_hex
from carnet.errors import CarnetError, MetadataMismatch, RollbackDetected, SigningError, ThresholdNotMet
from carnet.tuf import paths
from carnet.tuf.least import Least, read_least
from carnet.tuf.roles import Targets
from carnet_signer.ceremony import ceremony as ceremonies
from carnet_signer.ceremony import claim_files, lint, words
from carnet_signer.ceremony.ceremony import Ceremony, as_targets
from carnet_signer.ceremony.claim_files import MAX_AGE, ClaimFiles
from carnet_signer.ceremony.folder import overlay
from carnet_signer.ceremony.published import take_published
from carnet_signer.metadata import role_files
from carnet_signer.proposals import ownership
from carnet_signer.proposals.proposal import draft

SHARD, OWNER, CRATE = paths.claims_shard_role(NAME.shard), paths.owner_role(NAME), paths.crate_role(NAME)


def updated(world: World) -> Ceremony:
    """The holders' folder, as `carnet root update` leaves it."""
    view = world.fresh()
    first = overlay(Ceremony({}), {paths.metadata_name(role, 1): file for role, file in world.ceremony.files.items()})
    published = {role: view.role(role) for role in ceremonies.OFFLINE_ROLES[1:]}
    claims = ClaimFiles(view.claimed_files([SHARD]), view.trusted.timestamp, view.trusted.snapshot)
    return overlay(first, take_published(first, view.trusted.root, published, claims))


def rotated(found: Ceremony, now: datetime) -> Ceremony:
    return overlay(found, ceremonies.advance(found, ceremonies.plan_of(found), now, new_root=False))


def stopping(found: Ceremony, now: datetime) -> list[str]:
    return [finding.text for finding in lint.lint(found, now) if finding.stops]


def least_of(found: Ceremony) -> dict[str, Least]:
    return read_least(as_targets(found.latest(SHARD)))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A claim whose release keys were replaced, and a release since."""
    world = World.make(tmp_path_factory.mktemp("world"))
    world.claim()
    changes = ownership.OwnerChanges(releasers=people(("uma", "vic"), 2))
    world.submit(sign(world.owner_proposal(changes), map(person, ("alice", "bob", "uma", "vic"))))
    world.release("1.0.0", by=("uma", "vic"))
    return world


@pytest.fixture(scope="module")
def folder(world: World) -> Ceremony:
    return updated(world)


def with_claims(found: Ceremony, **changes: Any) -> Ceremony:
    return replace(found, claims=replace(found.claims, **changes))


def with_role(found: Ceremony, role: str, file: Any) -> Ceremony:
    return with_claims(found, roles={**found.claims.roles, role: file})


def test_an_honest_ceremony_demands_what_there_is_and_is_published(world: World, folder: Ceremony) -> None:
    assert least_of(folder) == {NAME.canonical: Least(1, 1)}
    made = rotated(folder, world.now)
    assert stopping(made, world.now) == []
    assert least_of(made) == {NAME.canonical: Least(2, 3)}
    text = "\n".join(words.describe(made, [SHARD], world.now))
    assert "demand newer files than before of the owners or release keys of 1 crates" in text
    for key in world.ceremony.holders[:2]:
        made = overlay(made, ceremonies.sign(made, ceremonies.to_sign(made, key.public_key), key))
    assert made.pending() == []
    assert stopping(made, world.now) == []
    assert ceremonies.advance(made, ceremonies.plan_of(made), world.now, new_root=False), "and again, a minute later"


def test_without_the_owners_files(world: World, folder: Ceremony) -> None:
    now = world.now
    cases: dict[str, Ceremony] = {
        "are not in the ceremony": replace(folder, claims=ClaimFiles()),
        f"the file of {OWNER} is missing": with_claims(folder, roles={}),
        f"the file of {CRATE} is missing": with_claims(folder, roles={OWNER: folder.claims.roles[OWNER]}),
        "the snapshot that the owners' files were published with is missing": with_claims(folder, snapshot=None),
    }
    for why, found in cases.items():
        error = refusal(lambda found=found: rotated(found, now))  # type: ignore[misc]
        assert why in str(error)
        assert "root update" in error.hint
        drafted = replace(rotated(folder, now), claims=found.claims)
        assert why in "".join(stopping(drafted, now)), "and nobody signs what was drafted elsewhere"


def test_what_cannot_be_had_prolongs_nothing(world: World, folder: Ceremony) -> None:
    """The online key is lost, and with it every timestamp: root and index are renewed, the shards live no longer."""
    bare = replace(folder, claims=ClaimFiles())
    plan = ceremonies.plan_of(bare)
    new = replace(plan, online=(ceremonies.Holder("new", person("new online").public_key),))
    made = ceremonies.advance(bare, new, world.now, new_root=True, keep_shards=True)
    assert sorted(made) == ["2.claims.json", "2.index.json", "2.root.json", "2.targets.json"]
    after = overlay(bare, made)
    assert stopping(after, world.now) == []
    assert after.latest(SHARD) == folder.latest(SHARD)
    others = replace(plan, threshold=3)
    error = refusal(lambda: ceremonies.advance(bare, others, world.now, new_root=True, keep_shards=True))
    assert "cannot stay as they are" in str(error)


def test_files_of_more_than_seven_days_ago(world: World, folder: Ceremony) -> None:
    assert rotated(folder, world.now + MAX_AGE)
    error = refusal(lambda: rotated(folder, world.now + MAX_AGE + timedelta(hours=1)))
    assert isinstance(error, SigningError)
    assert "7 are the most" in str(error)
    late = rotated(folder, world.now + MAX_AGE)
    assert stopping(late, world.now + timedelta(days=20)) == [], "people may take their time: the draft's moment counts"


def online(world: World, found: Ceremony, edit: Callable[[dict[str, Any], dict[str, Any]], object]) -> Ceremony:
    """The folder with a timestamp and a snapshot that a thief of the online keys made."""
    timestamp, snapshot = found.claims.timestamp, found.claims.snapshot
    assert timestamp is not None
    assert snapshot is not None
    when, what = (dict(json.loads(file.raw)["signed"]) for file in (timestamp, snapshot))
    edit(when, what)
    made = sign_role(what, [world.ceremony.online])
    when["meta"]["snapshot.json"] |= {"length": len(made), "hashes": {"sha256": sha256_hex(made)}}
    files = {"timestamp.json": sign_role(when, [world.ceremony.online]), f"{what['version']}.snapshot.json": made}
    told = ClaimFiles.of(files)
    return with_claims(found, timestamp=told.timestamp, snapshot=told.snapshot)


def test_a_snapshot_that_inflates_versions(world: World, folder: Ceremony) -> None:
    def inflate(_: dict[str, Any], snapshot: dict[str, Any]) -> None:
        snapshot["meta"][f"{CRATE}.json"]["version"] = 9_000

    found = online(world, folder, inflate)
    assert "9000 was published with the others" in str(refusal(lambda: rotated(found, world.now)))
    crate = folder.claims.roles[CRATE]
    forged = draft(CRATE, dict(json.loads(crate.raw)["signed"]) | {"version": 9_000})
    signed = ClaimFiles.of({f"9000.{CRATE}.json": sign_role(dict(forged.body), [world.ceremony.online])})
    error = refusal(lambda: rotated(with_role(found, CRATE, signed.roles[CRATE]), world.now))
    assert isinstance(error, ThresholdNotMet), "its number is nothing: who signed the file counts"


def test_an_old_timestamp_that_was_made_new_by_somebody_else(world: World, folder: Ceremony) -> None:
    thief = replace(world, ceremony=replace(world.ceremony, online=person("mallory")))
    found = online(thief, folder, lambda when, _: when.update(expires=role_files.at(world.now + timedelta(days=90))))
    assert isinstance(refusal(lambda: rotated(found, world.now + timedelta(days=89))), ThresholdNotMet)
    future = online(world, folder, lambda when, _: when.update(expires=role_files.at(world.now + timedelta(days=900))))
    assert "of the future" in str(refusal(lambda: rotated(future, world.now)))
    other = with_claims(folder, snapshot=online(world, folder, lambda _, what: what.update(version=7)).claims.snapshot)
    assert isinstance(refusal(lambda: rotated(other, world.now)), MetadataMismatch)


def test_files_of_before_the_last_ceremony(world: World, folder: Ceremony) -> None:
    """A thief shows the holders the past: what the shards demand already is not believed again."""
    made = rotated(folder, world.now)
    for key in world.ceremony.holders[:2]:
        made = overlay(made, ceremonies.sign(made, ceremonies.to_sign(made, key.public_key), key))
    first = world.store.read(f"metadata/1.{OWNER}.json") or b""
    crate = world.store.read(f"metadata/1.{CRATE}.json") or b""
    old = ClaimFiles.of({f"1.{OWNER}.json": first, f"1.{CRATE}.json": crate})

    def hide(_: dict[str, Any], snapshot: dict[str, Any]) -> None:
        for role in (OWNER, CRATE):
            snapshot["meta"][f"{role}.json"]["version"] = 1

    shown = with_claims(online(world, made, hide), roles=old.roles)
    assert isinstance(refusal(lambda: rotated(shown, world.now)), RollbackDetected)
    assert least_of(rotated(with_claims(online(world, folder, hide), roles=old.roles), world.now)) == {
        NAME.canonical: Least(1, 1)
    }, "before a ceremony saw the truth, the past can be drafted from: the residual"


def edited(found: Ceremony, edit: Callable[[dict[str, Any]], object]) -> Ceremony:
    """The folder with a draft of the shard that somebody changed on the way."""
    file = found.latest(SHARD)
    signed = dict(json.loads(file.raw)["signed"])
    edit(signed)
    return overlay(found, {paths.metadata_name(SHARD, file.signed.version): sign_role(signed, [])})


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda signed: signed["carnet"].pop("least"), "of an older form"),
        (lambda signed: (signed["carnet"].pop("least"), signed.pop("delegations")), "would lose its owners"),
        (lambda signed: signed["carnet"]["least"][NAME.canonical].update(crate=4), "demands version 4"),
        (lambda signed: signed["carnet"]["least"][NAME.canonical].update(owner=0), "does not give"),
        (lambda signed: signed["delegations"]["roles"][0].update(threshold=1), "which it is not about"),
        (lambda signed: signed.update(expires="0001-01-02T00:00:00Z"), "of the future"),
    ],
)
def test_a_draft_that_was_changed_on_the_way(
    world: World, folder: Ceremony, edit: Callable[[dict[str, Any]], object], why: str
) -> None:
    assert any(why in text for text in stopping(edited(rotated(folder, world.now), edit), world.now))


def test_a_draft_that_demands_no_more_than_before_is_shown(world: World, folder: Ceremony) -> None:
    """It is no older than before, and so it may be signed; but whoever is to sign is told what it leaves out."""
    made = edited(
        rotated(folder, world.now), lambda signed: signed["carnet"]["least"][NAME.canonical].update(owner=1, crate=1)
    )
    told = [finding.text for finding in lint.lint(made, world.now) if not finding.stops]
    assert any(f"demands version 1 of {OWNER}, and version 2 is here" in text for text in told)


def test_owners_hand_in_what_a_mirror_holds_back(world: World, folder: Ceremony) -> None:
    shards = {SHARD: as_targets(folder.latest(SHARD))}
    role = folder.claims.roles[OWNER]
    newer = dict(json.loads(role.raw)["signed"]) | {"version": 3}
    file = sign_role(newer, [person("alice"), person("bob")])
    taken = claim_files.handed_in(folder.claims, [file], shards)
    found = replace(folder, claims=taken)
    made = rotated(found, world.now)
    assert least_of(made) == {NAME.canonical: Least(3, 3)}
    assert folder.claims.missing_from(taken) == {f"3.{OWNER}.json": file}
    for key in world.ceremony.holders[:2]:
        made = overlay(made, ceremonies.sign(made, ceremonies.to_sign(made, key.public_key), key))
    error = refusal(lambda: world.publish_roles({SHARD: made.latest(SHARD).raw}))
    assert "demands version 3" in str(error), "a mirror publishes it only when it has that file"
    shard = as_targets(made.latest(SHARD))
    assert isinstance(shard, Targets)
    for bad, why in (
        (sign_role(newer, [person("alice")]), ThresholdNotMet),
        (sign_role(newer | {"version": 1}, [person("alice"), person("bob")]), MetadataMismatch),
        (sign_role(newer | {"carnet": {}}, [person("alice"), person("bob")]), CarnetError),
        (b"{}", CarnetError),
    ):
        assert isinstance(refusal(lambda bad=bad: claim_files.handed_in(folder.claims, [bad], shards)), why)  # type: ignore[misc]


@pytest.mark.parametrize("role", [OWNER, CRATE])
def test_a_version_that_no_mirror_can_publish_is_not_demanded(folder: Ceremony, role: str) -> None:
    """It would be the least of a shard that nobody can publish: one crate's people hold all its neighbours up."""
    shards = {SHARD: as_targets(folder.latest(SHARD))}
    known = folder.claims.roles[role]
    keys = [person(name) for name in (("alice", "bob") if role == OWNER else ("uma", "vic"))]
    version = known.signed.version

    def later(number: int) -> bytes:
        return sign_role(dict(json.loads(known.raw)["signed"]) | {"version": version + number}, keys)

    for files in ([later(1000)], [later(2)], [later(1), later(3)]):
        why = refusal(lambda files=files: claim_files.handed_in(folder.claims, files, shards))  # type: ignore[misc]
        assert isinstance(why, MetadataMismatch)
        assert "does not follow" in str(why)
        assert why.hint is not None
        assert "publish it first" in why.hint
    taken = claim_files.handed_in(folder.claims, [later(3), later(1), later(2)], shards)
    assert taken.roles[role].signed.version == version + 3


@pytest.mark.parametrize("role", [OWNER, CRATE])
def test_each_version_of_a_chain_is_one_that_a_mirror_could_have_published(folder: Ceremony, role: str) -> None:
    """A stuffed chain would let the shard demand a version that follows on one that never was."""
    shards = {SHARD: as_targets(folder.latest(SHARD))}
    known = folder.claims.roles[role]
    keys = [person(name) for name in (("alice", "bob") if role == OWNER else ("uma", "vic"))]
    body, version = dict(json.loads(known.raw)["signed"]), known.signed.version

    def later(number: int, signers: Sequence[TestKey] = keys, **more: object) -> bytes:
        return sign_role(body | {"version": version + number} | more, signers)

    unsigned, alone, strangers = later(1, []), later(1, keys[:1]), later(1, [person("eve"), person("mallory")])
    for stuffed in (unsigned, alone, strangers):
        why = refusal(lambda stuffed=stuffed: claim_files.handed_in(folder.claims, [stuffed, later(2)], shards))  # type: ignore[misc]
        assert isinstance(why, ThresholdNotMet)
        assert f"version {version + 1} of {role}" in str(why)
    if role == OWNER:
        empty = later(1, delegations={"keys": {}, "roles": []})
        assert isinstance(refusal(lambda: claim_files.handed_in(folder.claims, [empty, later(2)], shards)), CarnetError)
    twice = [later(1), later(1, expires="2027-01-01T00:00:00Z"), later(2)]
    assert "two different files" in str(refusal(lambda: claim_files.handed_in(folder.claims, twice, shards)))
    taken = claim_files.handed_in(folder.claims, [later(2), later(1)], shards)
    assert taken.roles[role].signed.version == version + 2
