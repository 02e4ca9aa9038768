"""The offline ceremony: who must sign what, how copies are merged, and what stops a signature."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.ceremony import NOW, DirectOnlineSigner, TestKey, make_key
from tests.support.worlds.changes import TwoOnlineKeys
from tests.support.worlds.publication import MemoryPublication

from carnet import strictjson
from carnet.cargo.names import CrateName
from carnet.errors import CarnetError, ConfigError, FormatError, SigningError
from carnet.tuf import paths
from carnet.tuf.least import Least
from carnet.tuf.roles import MetaFile, RoleKeys
from carnet.tuf.structure import role_field, shard_field
from carnet_signer.ceremony import ceremony
from carnet_signer.ceremony import folder as ceremony_folder
from carnet_signer.ceremony import lint as ceremony_lint
from carnet_signer.ceremony import words as ceremony_words
from carnet_signer.ceremony.ceremony import Ceremony, Holder, Plan
from carnet_signer.ceremony.claim_files import ClaimFiles
from carnet_signer.metadata import role_files
from carnet_signer.metadata.publish import Change, publish

ALICE, BOB, CAROL, DAVE, ONLINE = (make_key(name) for name in ("alice", "bob", "carol", "dave", "online"))
LATER = NOW + timedelta(days=80)


def holder(key: TestKey) -> Holder:
    return Holder(key.name, key.public_key)


def plan(*people: TestKey, threshold: int = 2, online: TestKey = ONLINE, bit_length: int = 4) -> Plan:
    return Plan(tuple(map(holder, people or (ALICE, BOB, CAROL))), threshold, (holder(online),), bit_length)


@cache
def started(chosen: Plan | None = None) -> Ceremony:
    return ceremony_folder.overlay(Ceremony({}), ceremony.start(chosen or plan(), NOW))


@cache
def final() -> Ceremony:
    return signed(started(), ALICE, BOB)


def owners_files(name: str = "serde") -> dict[str, bytes]:
    """What a ceremony's folder has of a claimed crate: signed by Alice and Bob, and published now."""
    owner, crate = f"owner.{name}", f"crate.{name}"
    life, shard = NOW + role_files.CLAIM_LIFE, CrateName(name).shard
    entry = role_files.delegation(crate, plan().offline_keys, (f"crates/{shard}/{name}/*",), terminating=True)
    delegations = role_files.delegate_by_name([entry])
    snapshot = sign(role_files.snapshot(1, NOW + role_files.SNAPSHOT_LIFE, {crate: MetaFile(2)}), ONLINE)
    meta = MetaFile(1, len(snapshot), {"sha256": hashlib.sha256(snapshot).hexdigest()})
    return {
        f"1.{owner}.json": sign(
            role_files.targets(1, life, delegations=delegations, extra=role_field(owner)), ALICE, BOB
        ),
        f"2.{crate}.json": sign(role_files.targets(2, life, extra=role_field(crate)), ALICE, BOB),
        "timestamp.json": sign(role_files.timestamp(1, NOW + role_files.TIMESTAMP_LIFE, meta), ONLINE),
        "1.snapshot.json": snapshot,
    }


def signed(found: Ceremony, *people: TestKey) -> Ceremony:
    for key in people:
        wanted = ceremony.to_sign(found, key.public_key)
        found = ceremony_folder.overlay(found, ceremony.sign(found, wanted, key))
    return found


def stopping(found: Ceremony, now: Any = NOW) -> list[str]:
    return [finding.text for finding in ceremony_lint.lint(found, now) if finding.stops]


# --- who may decide ---


def test_a_plan_that_cannot_work_is_refused() -> None:
    plan()
    with pytest.raises(ConfigError, match="cannot be met by 3 holders"):
        plan(threshold=4)
    with pytest.raises(ConfigError, match="same key is given twice"):
        plan(ALICE, BOB, ALICE)
    with pytest.raises(ConfigError, match="same key is given twice"):
        plan(ALICE, BOB, online=BOB)
    with pytest.raises(ConfigError, match="same name"):
        Plan((holder(ALICE), Holder("Alice", BOB.public_key)), 2, (holder(ONLINE),), 4)
    with pytest.raises(ConfigError, match="cannot name a holder"):
        Holder("ali ce\x1b[2J", ALICE.public_key)
    with pytest.raises(ConfigError, match="bins"):
        plan(bit_length=17)
    with pytest.raises(ConfigError, match="needs an online key"):
        Plan((holder(ALICE),), 1, (), 4)


# --- signing one after another, and at the same time ---


def test_the_threshold_makes_it_final() -> None:
    found = started()
    assert stopping(found) == []
    assert len(found.pending()) == 260
    found = signed(found, ALICE)
    assert len(found.pending()) == 260
    assert ceremony.to_sign(found, ALICE.public_key) == []
    found = signed(found, BOB)
    assert found.pending() == []
    assert ceremony.to_sign(found, CAROL.public_key) == []
    assert not ceremony.takes_part(found, DAVE.public_key)


def test_what_is_final_is_accepted_by_a_publish() -> None:
    found = signed(started(), ALICE, CAROL)
    files = {role: found.latest(role).raw for role in ceremony.OFFLINE_ROLES}
    publish(MemoryPublication(), DirectOnlineSigner(ONLINE), Change(roles=files), now=NOW)


def test_copies_signed_at_the_same_time_are_merged_into_the_same_bytes() -> None:
    start = started()
    by_alice, by_bob = signed(start, ALICE), signed(start, BOB)
    one = ceremony.merge(by_alice, by_bob)
    two = ceremony.merge(by_bob, by_alice)
    assert one == two
    assert len(one) == 260
    merged = ceremony_folder.overlay(by_alice, one)
    assert merged.pending() == []
    assert ceremony.merge(merged, by_bob) == {}


def test_different_files_of_one_version_are_not_merged() -> None:
    with pytest.raises(SigningError, match="different files of version 1 of root"):
        ceremony.merge(started(), started(plan(ALICE, BOB, DAVE)))


def test_a_signature_that_is_not_a_holders_counts_for_nothing_and_is_dropped() -> None:
    found = signed(started(), ALICE)
    envelope = found.latest(paths.ROOT)
    forged = role_files.file_bytes(envelope.message, [DAVE.sign(envelope.message), BOB.sign(b"something else")])
    copy = ceremony_folder.overlay(found, {"1.root.json": forged})
    assert not copy.final(paths.ROOT)
    merged = ceremony_folder.overlay(found, ceremony.merge(found, copy))
    assert [one.keyid for one in merged.latest(paths.ROOT).signatures] == [ALICE.public_key.keyid]
    # A copy with a spoiled signature of hers does not take her good one away, nor keep a good one out.
    spoiled = ceremony_folder.overlay(
        found, {"1.root.json": envelope.raw.replace(envelope.signatures[0].sig.hex()[:8].encode(), b"00000000")}
    )
    assert ceremony.merge(found, spoiled) == {}
    mended = ceremony_folder.overlay(spoiled, ceremony.merge(spoiled, found))
    assert len(mended.quorums(paths.ROOT)[0].signed) == 1


# --- the next version ---


def test_expiring_roles_are_renewed_and_claims_keep_what_they_say() -> None:
    found = final()
    claimed = dict(strictjson.parse_object(found.latest("claims-0a").raw, "shard", max_bytes=10**6)["signed"])  # type: ignore[arg-type]
    claimed |= {"version": 2, "x-note": "kept"}
    found = ceremony_folder.overlay(found, {"2.claims-0a.json": sign(claimed, ALICE, BOB)})
    made = ceremony.advance(found, plan(), LATER, new_root=False)
    assert len(made) == 259
    after = ceremony_folder.overlay(found, made)
    assert stopping(after, LATER) == []
    assert after.latest("claims-0a").signed.version == 3
    assert after.latest("claims-0a").signed.extra == {"x-note": "kept"} | shard_field(["0a"])
    assert {after.latest(role).signed.expires for role in after.pending()} == {LATER + role_files.OFFLINE_LIFE}
    after = signed(after, CAROL)
    with pytest.raises(SigningError, match="still waits for signatures"):
        ceremony.advance(after, plan(), LATER, new_root=False)
    assert signed(after, BOB).pending() == []


@pytest.mark.parametrize("caught_up", [False, True])
def test_a_shard_that_had_a_claim_is_never_signed_together_with_the_empty_ones_again(caught_up: bool) -> None:
    found = final()

    def change(shard: str, version: int, **fields: Any) -> dict[str, bytes]:
        last = found.latest(f"claims-{shard}")
        signed = dict(strictjson.parse_object(last.raw, "shard", max_bytes=10**6)["signed"])  # type: ignore[arg-type]
        return {f"{version}.claims-{shard}.json": sign(signed | {"version": version} | fields, ALICE, BOB)}

    entry = role_files.delegation("owner.x", plan().offline_keys, ("crates/0b/x/*",), terminating=True)
    for files in (
        change("0a", 2, **shard_field(["0a"])),  # given up
        change("0b", 2, delegations=role_files.delegate_by_name([entry]), **shard_field(["0b"])),  # claimed
        change("0c", 2),  # further than the others, and says nothing of it
        change("0d", 2, delegations=role_files.delegate_by_name([entry]), carnet={}),  # of an older form
    ):
        found = ceremony_folder.overlay(found, files)
    if caught_up:  # the other shards have the same version: what the files say still decides
        for shard in sorted(set(paths.SHARDS) - {"0a", "0b", "0c", "0d"}):
            found = ceremony_folder.overlay(found, change(shard, 2))
    with pytest.raises(SigningError, match="are not in the ceremony"):
        ceremony.advance(found, plan(), NOW, new_root=False)
    found = ceremony_folder.overlay(found, owners_files("x"))
    made = ceremony.advance(found, plan(), NOW, new_root=False)
    after = ceremony_folder.overlay(found, made)
    alone = {"0a", "0b", "0d"} if caught_up else {"0a", "0b", "0c", "0d"}
    others = sorted(set(paths.SHARDS) - alone)
    for shard in paths.SHARDS:
        said = after.latest(f"claims-{shard}").signed.extra
        least = {"x": Least(1, 2)} if shard in ("0b", "0d") else {}
        assert said == shard_field([shard] if shard in alone else others, least), shard
    assert len({made[f"{3 if caught_up else 2}.claims-{shard}.json"] for shard in others}) == 1


def test_new_holders_are_appointed_by_the_old_ones_and_accept() -> None:
    found = final()
    rotated = ceremony_folder.overlay(found, ceremony.advance(found, plan(ALICE, DAVE, CAROL), LATER, new_root=True))
    assert stopping(rotated, LATER) == []
    two_new = signed(rotated, DAVE, CAROL)
    assert two_new.pending() == [paths.ROOT, paths.TARGETS]  # carol is one of the old two; another is missing
    assert ceremony.to_sign(two_new, DAVE.public_key) == []
    assert signed(two_new, BOB).pending() == []
    two_old = signed(rotated, BOB, CAROL)
    assert paths.ROOT in two_old.pending()
    # The old holders have no say in the version after the next.
    after = signed(two_new, BOB)
    renewed = ceremony_folder.overlay(
        after, ceremony.advance(after, plan(ALICE, DAVE, CAROL), LATER + timedelta(days=80), new_root=False)
    )
    assert ceremony.to_sign(renewed, BOB.public_key) == []
    assert signed(renewed, DAVE, ALICE).pending() == []


def test_a_rotation_of_holders_and_online_key_is_published_without_a_gap() -> None:
    found = final()
    publication, online = MemoryPublication(), TwoOnlineKeys(ONLINE, make_key("online-2"))
    publish(publication, online, Change(roles=latest(found)), now=NOW)
    chosen = plan(ALICE, DAVE, CAROL, online=make_key("online-2"))
    rotated = ceremony_folder.overlay(found, ceremony.advance(found, chosen, LATER, new_root=True))
    rotated = signed(rotated, ALICE, CAROL, DAVE)
    assert rotated.pending() == []
    publication.log.clear()
    result = publish(publication, online, Change(roles=latest(rotated)), now=LATER)
    assert result.warnings == ()
    assert publication.log[-2:] == ["metadata/timestamp.json", "metadata/2.root.json"]


def latest(found: Ceremony) -> dict[str, bytes]:
    return {role: found.latest(role).raw for role in ceremony.OFFLINE_ROLES}


def test_next_versions_that_nobody_has_signed_are_made_anew() -> None:
    found = final()
    once = ceremony_folder.overlay(found, ceremony.advance(found, plan(), LATER, new_root=False))
    again = ceremony.advance(once, plan(), LATER + timedelta(hours=1), new_root=False)
    assert set(again) == set(ceremony.advance(found, plan(), LATER, new_root=False))


# --- what is looked for before anybody signs ---


def sign(signed_part: dict[str, Any], *people: TestKey) -> bytes:
    message = strictjson.canonical(signed_part)
    return role_files.file_bytes(message, [key.sign(message) for key in people])


def edited(role: str, change: Callable[[dict[str, Any]], Any]) -> Ceremony:
    """A ceremony in which somebody edited a file before anybody signed."""
    found = started()
    part: Any = strictjson.parse_object(found.latest(role).raw, role, max_bytes=10**6)["signed"]
    change(part)
    return ceremony_folder.overlay(found, {f"1.{role}.json": sign(part)})


def swap_key(quorum: RoleKeys) -> Callable[[dict[str, Any]], None]:
    def change(part: dict[str, Any]) -> None:
        delegations = part["delegations"]
        delegations["keys"] = {key.keyid: key.to_object() for key in quorum.keys}
        delegations["succinct_roles"] |= {"keyids": list(delegations["keys"]), "threshold": quorum.threshold}

    return change


@pytest.mark.parametrize(
    ("role", "change", "reason"),
    [
        ("root", lambda part: part.update(expires="2036-01-01T00:00:00Z"), "longer than 365 days"),
        ("targets", lambda part: part.update(expires="2036-01-01T00:00:00Z"), "longer than 90 days"),
        ("claims-0a", lambda part: part.update(expires="2026-01-01T00:00:00Z"), "expired on"),
        ("targets", lambda part: part["targets"].update({"x": role_files.target(0, "0" * 64)}), "must list none"),
        ("targets", lambda part: part["delegations"]["roles"].reverse(), "in this order"),
        ("targets", lambda part: part["delegations"]["roles"][0].update(paths=["*/*"]), "their paths"),
        ("targets", lambda part: part["delegations"]["roles"][1].update(terminating=True), "terminating"),
        ("claims", lambda part: part["delegations"]["roles"].pop(), "255 shards"),
        ("claims", lambda part: part["delegations"]["roles"][3].update(paths=["crates/*/*/*"]), "not its own"),
        ("claims-0a", lambda part: part.update(delegations={"keys": {}, "roles": [{"name": "evil", "keyids": [],
            "threshold": 1, "terminating": False, "paths": ["crates/0a/*/*"]}]}), "threshold of 1 cannot be met"),
        ("index", lambda part: part["delegations"]["succinct_roles"].update(bit_length=20), "2.20 bins"),
        ("index", lambda part: part["delegations"]["succinct_roles"].update(name_prefix="bins"), "bins called index"),
        ("index", swap_key(RoleKeys((ALICE.public_key,), 1)), "alice is an online key"),
        ("root", lambda part: part["carnet"]["people"].update({ALICE.public_key.keyid: "bob"}), "same name"),
    ],
)  # fmt: skip
def test_what_would_make_signatures_worthless_stops_the_signing(
    role: str, change: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    try:
        texts = stopping(edited(role, change))
    except FormatError as error:  # the strict parser was faster
        texts = [str(error)]
    assert any(re.search(reason, text) for text in texts), texts


def test_one_key_under_two_ids_is_refused() -> None:
    """Trap 1: it would meet a threshold of two."""

    def twice(part: dict[str, Any]) -> None:
        copy = ALICE.public_key.to_object() | {"x-note": "another id"}
        keyid = hashlib.sha256(strictjson.canonical(copy)).hexdigest()
        part["keys"][keyid] = copy
        part["roles"]["root"]["keyids"] = [ALICE.public_key.keyid, keyid]

    with pytest.raises(FormatError, match="one key under two ids"):
        edited("root", twice)


def test_one_key_under_different_ids_in_different_roles_is_found() -> None:
    def other_id(part: dict[str, Any]) -> None:
        copy = ALICE.public_key.to_object() | {"x-note": "another id"}
        keyid = hashlib.sha256(strictjson.canonical(copy)).hexdigest()
        part["keys"][keyid] = copy
        keyids = part["roles"]["targets"]["keyids"]
        keyids[keyids.index(ALICE.public_key.keyid)] = keyid

    assert any("one key goes by two ids" in text for text in stopping(edited("root", other_id)))


def test_a_low_order_key_is_refused() -> None:
    """Trap 2: anybody signs for it."""

    def low_order(part: dict[str, Any]) -> None:
        key = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "01" + "00" * 31}}
        keyid = hashlib.sha256(strictjson.canonical(key)).hexdigest()
        part["keys"][keyid] = key
        part["roles"]["root"]["keyids"].append(keyid)

    with pytest.raises(FormatError, match="low-order"):
        edited("root", low_order)


def test_a_missing_role_and_a_broken_chain_of_roots_are_found() -> None:
    files = dict(started().files)
    del files["claims-7f"]
    assert stopping(Ceremony(files)) == ["the ceremony has no claims-7f"]
    found = final()
    rotated = ceremony_folder.overlay(found, ceremony.advance(found, plan(ALICE, DAVE), LATER, new_root=True))
    without = {
        role: {v: e for v, e in versions.items() if v == max(versions)} for role, versions in rotated.files.items()
    }
    assert any("is not here to compare" in text for text in stopping(Ceremony(without), LATER))
    stranger = ceremony.start(plan(DAVE, CAROL), NOW)["1.root.json"]
    swapped = {role: dict(versions) for role, versions in rotated.files.items()}
    swapped["root"] |= dict(ceremony_folder.overlay(Ceremony({}), {"1.root.json": stranger}).files["root"])
    assert stopping(Ceremony(swapped), LATER)


def test_risky_thresholds_warn() -> None:
    for chosen, words in ((plan(ALICE, threshold=1), "alone decides"), (plan(ALICE, BOB), "if one key is lost")):
        findings = ceremony_lint.lint(started(chosen), NOW)
        assert [finding for finding in findings if words in finding.text and not finding.stops]


# --- in words ---


def test_what_is_to_be_signed_is_said_in_words() -> None:
    found = final()
    rotated = ceremony_folder.overlay(
        found, ceremony.advance(found, plan(ALICE, DAVE, CAROL, threshold=3), LATER, new_root=True)
    )
    text = "\n".join(ceremony_words.describe(rotated, rotated.pending(), LATER))
    assert "root, version 2, until 2028-02-11T12:00:00Z (365 days)" in text
    assert "3 of 3: alice, dave, carol" in text
    assert "change     root: dave joins" in text
    assert "change     root: bob leaves" in text
    assert "change     root: threshold 2 becomes 3" in text
    assert "claims-00 to claims-ff (256 files), version 2" in text
    assert DAVE.public_key.keyid in text
    assert "16 bins of index files, signed by 1 of 1: online" in text


# --- the folder ---


def test_a_folder_is_made_whole_and_read_again(tmp_path: Path) -> None:
    ceremony_folder.create(tmp_path / "new" / "ceremony", ceremony.start(plan(), NOW))
    found = ceremony_folder.read(tmp_path / "new" / "ceremony")
    assert set(found.files) == set(ceremony.OFFLINE_ROLES)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["ceremony"]
    with pytest.raises(ConfigError, match="exists already"):
        ceremony_folder.create(tmp_path / "new" / "ceremony", ceremony.start(plan(), NOW))
    with pytest.raises(SigningError, match="still need signatures"):
        ceremony_folder.finished(tmp_path / "new" / "ceremony")


@pytest.mark.parametrize(
    "damage",
    [b"", b"{}", b"[]", b"\xff", b'{"signatures":[],"signed":{}}', b"[" * 100_000, b'{"signed":{"_type":"targets"}}'],
)
def test_a_hostile_file_in_a_folder_is_one_error(tmp_path: Path, damage: bytes) -> None:
    ceremony_folder.create(tmp_path / "ceremony", ceremony.start(plan(), NOW))
    (tmp_path / "ceremony" / "1.claims-0a.json").write_bytes(damage)
    with pytest.raises(CarnetError) as caught:
        ceremony_folder.read(tmp_path / "ceremony")
    assert "\n" not in str(caught.value)


def test_a_file_of_another_version_than_its_name_is_refused(tmp_path: Path) -> None:
    ceremony_folder.create(tmp_path / "ceremony", ceremony.start(plan(), NOW))
    (tmp_path / "ceremony" / "1.root.json").rename(tmp_path / "ceremony" / "2.root.json")
    with pytest.raises(FormatError, match="says that it is of version 1"):
        ceremony_folder.read(tmp_path / "ceremony")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="there is no root"):
        ceremony_folder.read(tmp_path / "empty")


def test_other_files_in_a_folder_are_passed_over(tmp_path: Path) -> None:
    ceremony_folder.create(tmp_path / "ceremony", ceremony.start(plan(), NOW))
    for name in (
        "1.index-00.json",
        "README",
        ".carnet-0123",
        "1.owner.Serde.json",
        "0.owner.serde.json",
        "1.mirrors.json",
    ):
        (tmp_path / "ceremony" / name).write_bytes(b"whatever")
    found = ceremony_folder.read(tmp_path / "ceremony")
    assert len(found.files) == 260
    assert found.claims == ClaimFiles()


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.owner.serde.json", "2.crate.serde.json"])
def test_owners_files_in_a_folder_are_read_strictly_and_the_newest_count(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "ceremony"
    ceremony_folder.create(folder, ceremony.start(plan(), NOW))
    for file, data in owners_files().items():
        (folder / file).write_bytes(data)
    good = ceremony_folder.read(folder).claims
    assert good.files() == owners_files()
    (folder / "1.crate.serde.json").write_bytes(b"superseded, and not looked at")
    assert ceremony_folder.read(folder).claims.files() == owners_files()
    ceremony_folder.remove_superseded(folder)
    assert not (folder / "1.crate.serde.json").exists()
    assert len([*folder.iterdir()]) == 264
    (folder / name).write_bytes(b"whatever")
    with pytest.raises(FormatError, match="is not JSON"):
        ceremony_folder.read(folder)
