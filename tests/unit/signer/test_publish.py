"""A publish: what is written in which order, what is taken over, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from tests.support.worlds import changes
from tests.support.worlds.ceremony import NOW, Ceremony, DirectOnlineSigner, TestKey, make_ceremony, make_key, sign_role
from tests.support.worlds.changes import NAME, TARBALL, TARBALL_PATH, TwoOnlineKeys
from tests.support.worlds.publication import MemoryPublication

from carnet.errors import (
    ExpiredMetadata,
    MetadataError,
    MetadataMismatch,
    RollbackDetected,
    SigningError,
    ThresholdNotMet,
)
from carnet.tuf import paths
from carnet.tuf.least import Least
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Snapshot, Targets, Timestamp
from carnet.tuf.structure import shard_field
from carnet_signer.metadata import role_files
from carnet_signer.metadata.publish import Change, publish, refresh_due
from carnet_signer.metadata.published_state import read_published_state

SERDE = {"index/se/rd/serde": b'{"name":"serde"}\n'}
MAX = 10_000_000


@cache
def ceremony() -> Ceremony:
    return make_ceremony()


@cache
def _first() -> tuple[dict[str, bytes], dict[str, int]]:
    publication, online = MemoryPublication(), ceremony().signer()
    publish(publication, online, replace(ceremony().change, index_files=SERDE), now=NOW)
    return publication.files, online.versions


def published() -> tuple[MemoryPublication, DirectOnlineSigner]:
    """The ceremony and one index file, published; a copy of its own for each test."""
    files, versions = _first()
    online = ceremony().signer()
    online.versions = dict(versions)
    return MemoryPublication(dict(files)), online


def timestamp(publication: MemoryPublication) -> Timestamp:
    return parse_role(publication.files["metadata/timestamp.json"], Timestamp, max_bytes=MAX).signed


def snapshot(publication: MemoryPublication) -> Snapshot:
    version = timestamp(publication).snapshot.version
    return parse_role(publication.files[f"metadata/{version}.snapshot.json"], Snapshot, max_bytes=MAX).signed


# --- what a publish makes ---


def test_the_first_publish_makes_every_delegated_role_exist() -> None:
    publication, _ = published()
    meta = snapshot(publication).meta
    assert set(meta) == {*ceremony().files, *(f"index-{number:x}" for number in range(16))} - {paths.ROOT}
    for role, file in meta.items():
        data = publication.files[f"metadata/{file.version}.{role}.json"]
        if role.startswith("index-"):
            assert (file.length, dict(file.hashes)) == (None, {})  # versions only: 16,384 bins stay below 2 MB
        else:
            assert (file.length, file.hashes) == (len(data), {"sha256": hashlib.sha256(data).hexdigest()})
    named = timestamp(publication).snapshot
    data = publication.files["metadata/1.snapshot.json"]
    assert (named.length, named.hashes) == (len(data), {"sha256": hashlib.sha256(data).hexdigest()})


def test_one_more_index_file_touches_its_bin_snapshot_and_timestamp_only() -> None:
    publication, online = published()
    before = dict(publication.files)
    bin_ = read_published_state(publication).bins().bin_of("index/an/yh/anyhow")  # type: ignore[union-attr]
    result = publish(publication, online, Change({"index/an/yh/anyhow": b"line\n"}), now=NOW)
    digest = hashlib.sha256(b"line\n").hexdigest()
    assert set(publication.files) - set(before) == {
        f"targets/index/an/yh/{digest}.anyhow",
        f"metadata/2.{bin_}.json",
        "metadata/2.snapshot.json",
    }
    assert {path for path in before if publication.files[path] != before[path]} == {"metadata/timestamp.json"}
    assert result.roles == {bin_: 2, paths.SNAPSHOT: 2, paths.TIMESTAMP: 2}
    assert snapshot(publication).meta[bin_].version == 2


def test_everything_is_written_before_what_names_it_and_the_timestamp_last() -> None:
    publication, online = MemoryPublication(), ceremony().signer()
    publish(publication, online, replace(ceremony().change, index_files=SERDE), now=NOW)
    log = publication.log
    assert log[-1] == "metadata/timestamp.json"
    assert log.index("metadata/1.snapshot.json") > max(
        log.index(path) for path in log if path.startswith(("targets/", "metadata/1.index", "metadata/1.claims"))
    )
    publication.log.clear()
    publish(publication, online, Change({"index/an/yh/anyhow": b"line\n"}), now=NOW)
    assert [path.split("/")[0] for path in publication.log] == ["targets", "metadata", "metadata", "metadata"]
    assert publication.log[-2:] == ["metadata/2.snapshot.json", "metadata/timestamp.json"]


def test_an_unchanged_index_file_rolls_the_timestamp_only() -> None:
    publication, online = published()
    result = publish(publication, online, Change(SERDE), now=NOW)
    assert result.roles == {paths.TIMESTAMP: 2}
    assert timestamp(publication).snapshot.version == 1


def test_equal_state_time_and_keys_give_equal_bytes() -> None:
    one, two = published(), published()
    for publication, online in (one, two):
        publish(publication, online, Change({"index/an/yh/anyhow": b"line\n"}), now=NOW)
    assert one[0].files == two[0].files


# --- what was left behind by a crash ---


def test_a_number_that_was_signed_for_a_lost_state_is_never_used_again() -> None:
    publication, online = published()
    bin_ = read_published_state(publication).bins().bin_of("index/an/yh/anyhow")  # type: ignore[union-attr]
    online.versions |= {bin_: 7, paths.SNAPSHOT: 4, paths.TIMESTAMP: 9}
    result = publish(publication, online, Change({"index/an/yh/anyhow": b"line\n"}), now=NOW)
    assert result.roles == {bin_: 8, paths.SNAPSHOT: 5, paths.TIMESTAMP: 10}


def test_an_orphan_file_is_neither_replaced_nor_named() -> None:
    publication, online = published()
    bin_ = read_published_state(publication).bins().bin_of("index/an/yh/anyhow")  # type: ignore[union-attr]
    orphan = f"metadata/2.{bin_}.json"
    publication.files[orphan] = b"left by a crash, perhaps cached somewhere"
    publish(publication, online, Change({"index/an/yh/anyhow": b"line\n"}), now=NOW)
    assert publication.files[orphan].startswith(b"left by")
    assert snapshot(publication).meta[bin_].version == 3


def test_a_signed_timestamp_that_was_never_written_is_completed() -> None:
    publication, online = published()
    old = publication.files["metadata/timestamp.json"]
    publish(publication, online, Change({"index/an/yh/anyhow": b"line\n"}), now=NOW)
    publication.files["metadata/timestamp.json"] = old  # killed between signing it and writing it
    result = publish(publication, online, Change(), now=NOW)
    assert (result.snapshot, result.timestamp) == (2, 3)
    digest = hashlib.sha256(b"line\n").hexdigest()
    bin_ = read_published_state(publication).bins().bin_of("index/an/yh/anyhow")  # type: ignore[union-attr]
    file = parse_role(publication.files[f"metadata/2.{bin_}.json"], Targets, max_bytes=MAX)
    assert file.signed.targets["index/an/yh/anyhow"].sha256 == digest


# --- an insider edits what is published ---


def test_an_edited_bin_is_not_signed_again() -> None:
    publication, online = published()
    bin_ = read_published_state(publication).bins().bin_of("index/se/rd/serde")  # type: ignore[union-attr]
    path = f"metadata/1.{bin_}.json"
    publish(publication, online, Change({"index/se/rd/serde": b"control\n"}), now=NOW)
    publication, online = published()
    publication.files[path] = publication.files[path].replace(b'"length":17', b'"length":18')
    with pytest.raises(ThresholdNotMet):
        publish(publication, online, Change({"index/se/rd/serde": b"new\n"}), now=NOW)


@pytest.mark.parametrize("role", ["timestamp", "1.snapshot", "1.index", "1.targets"])
def test_what_is_built_upon_must_be_what_was_signed(role: str) -> None:
    publication, online = published()
    path = f"metadata/{role}.json"
    damaged = publication.files[path].replace(b'"spec_version":"1.0.31"', b'"spec_version":"1.0.32"')
    assert damaged != publication.files[path]
    if role == "1.targets":  # read when something of it changes
        change = Change(roles={paths.TARGETS: next_version(paths.TARGETS)})
    else:
        change = Change({"index/se/rd/serde": b"new\n"})
    publish(*published(), change, now=NOW)
    publication.files[path] = damaged
    with pytest.raises((MetadataMismatch, ThresholdNotMet)):
        publish(publication, online, change, now=NOW)


def test_another_snapshot_of_the_same_version_is_noticed_though_the_online_key_signed_it() -> None:
    publication, online = published()
    other = changes.signed_of(publication.files["metadata/1.snapshot.json"]) | {"expires": "2026-11-24T00:00:00Z"}
    publish(*published(), Change(), now=NOW)
    publication.files["metadata/1.snapshot.json"] = sign_role(other, [ceremony().online])
    with pytest.raises(MetadataMismatch, match="not the file that the timestamp names"):
        publish(publication, online, Change(), now=NOW)


# --- role files that are handed in ---


def next_version(role: str, change: Callable[[dict[str, Any]], object] | None = None, signers: int = 2) -> bytes:
    return changes.next_version(ceremony(), role, change, signers)


def refused(change: Change, error: type[Exception], match: str | None) -> None:
    publication, online = published()
    before = dict(publication.files)
    with pytest.raises(error, match=match):
        publish(publication, online, change, now=NOW)
    assert publication.files == before


@pytest.mark.parametrize("role", [paths.ROOT, paths.TARGETS, paths.CLAIMS, "claims-0a", paths.INDEX])
def test_the_next_version_is_published(role: str) -> None:
    publication, online = published()
    file = next_version(role)
    result = publish(publication, online, Change(roles={role: file}), now=NOW)
    assert result.roles[role] == 2
    assert publication.files[f"metadata/2.{role}.json"] == file
    if role != paths.ROOT:
        assert snapshot(publication).meta[role].version == 2
    again = publish(publication, online, Change(roles={role: file}), now=NOW)
    assert role not in again.roles


@pytest.mark.parametrize("role", [paths.ROOT, paths.TARGETS, paths.CLAIMS, "claims-0a", paths.INDEX])
def test_a_role_below_its_threshold_is_refused(role: str) -> None:
    refused(Change(roles={role: next_version(role, signers=1)}), ThresholdNotMet, "1 of its 3 keys, 2 are needed")


def test_a_skipped_a_repeated_and_an_expired_version_are_refused() -> None:
    skipped = next_version("claims-0a", lambda signed: signed.update(version=3))
    refused(Change(roles={"claims-0a": skipped}), MetadataMismatch, "version 3, and 2 is next")
    other = next_version("claims-0a", lambda signed: signed.update(version=1, expires="2027-01-01T00:00:00Z"))
    refused(Change(roles={"claims-0a": other}), RollbackDetected, "version 1, and 2 is next")
    expired = next_version("claims-0a", lambda signed: signed.update(expires=role_files.at(NOW)))
    refused(Change(roles={"claims-0a": expired}), ExpiredMetadata, "expired")
    root = next_version(paths.ROOT, lambda signed: signed.update(version=3))
    refused(Change(roles={paths.ROOT: root}), MetadataMismatch, "version 3, and 2 is next")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "index-0", "owner.", "owner.Serde", "crate.a b", "evil"])
def test_what_holders_do_not_sign_is_refused(role: str) -> None:
    refused(Change(roles={role: next_version("claims-0a")}), MetadataError, None)


def test_a_role_outside_the_trust_model_is_refused() -> None:
    file = next_version(
        "claims-0a", lambda signed: signed["targets"].update({"crates/0a/b/c": role_files.target(0, "0" * 64)})
    )
    refused(Change(roles={"claims-0a": file}), MetadataMismatch, "must list none")


def test_the_number_of_bins_is_fixed() -> None:
    def more_bins(signed: dict[str, Any]) -> None:
        signed["delegations"]["succinct_roles"]["bit_length"] = 5

    refused(Change(roles={paths.INDEX: next_version(paths.INDEX, more_bins)}), MetadataMismatch, "number is fixed")


def test_a_first_publish_without_the_ceremony_is_refused() -> None:
    with pytest.raises(MetadataMismatch, match="there is no root"):
        publish(MemoryPublication(), ceremony().signer(), Change(SERDE), now=NOW)
    roles_but_one = {role: file for role, file in ceremony().files.items() if role != "claims-7f"}
    with pytest.raises(MetadataMismatch, match="delegates to claims-7f, and there is no such file"):
        publish(MemoryPublication(), ceremony().signer(), Change(roles=roles_but_one), now=NOW)


def test_an_index_file_elsewhere_than_in_the_index_is_refused() -> None:
    refused(Change({"crates/00/a/a-1.0.0.crate": b""}), MetadataMismatch, "not the path of an index file")


def test_another_online_key_is_refused_before_anything_is_written() -> None:
    publication, _ = published()
    before = dict(publication.files)
    with pytest.raises(SigningError, match="online key is not one"):
        publish(publication, DirectOnlineSigner(make_key("other")), Change(), now=NOW)
    assert publication.files == before


# --- claims: owner and crate roles ---


def claim(**options: Any) -> Change:
    return changes.claim(ceremony(), **options)


def test_a_claim_is_published_in_one_snapshot_and_never_leaves_it() -> None:
    publication, online = published()
    publish(publication, online, claim(), now=NOW)
    assert {"owner.serde", "crate.serde"} <= set(snapshot(publication).meta)
    assert (
        publication.files[f"targets/{paths.hashed_path(TARBALL_PATH, hashlib.sha256(TARBALL).hexdigest())}"] == TARBALL
    )
    shard = paths.claims_shard_role(NAME.shard)
    released = changes.signed_of(ceremony().files[shard]) | {"version": 3}
    with pytest.raises(MetadataError, match="stays for ever"):
        publish(publication, online, Change(roles={shard: ceremony().sign(released)}, about=NAME), now=NOW)
    released |= shard_field([NAME.shard], {NAME.canonical: Least(1, 1)})
    publish(publication, online, Change(roles={shard: ceremony().sign(released)}, about=NAME), now=NOW)
    assert {"owner.serde", "crate.serde"} <= set(snapshot(publication).meta)  # a tombstone


def test_a_claim_without_its_owner_or_crate_role_is_refused() -> None:
    change = claim()
    for role in ("owner.serde", "crate.serde"):
        rest = {name: file for name, file in change.roles.items() if name != role}
        refused(replace(change, roles=rest), MetadataError, role)


def test_a_crate_role_signed_by_other_keys_is_refused() -> None:
    refused(claim(crate_keys=(make_key("thief"),)), ThresholdNotMet, "crate.serde")


def test_new_release_keys_refuse_the_crate_role_that_the_old_ones_signed() -> None:
    publication, online = published()
    publish(publication, online, claim(), now=NOW)
    before = dict(publication.files)
    owner = claim(version=2, releasers=(make_key("new releaser"),)).roles["owner.serde"]
    with pytest.raises(ThresholdNotMet, match=r"as owner\.serde now delegates"):
        publish(publication, online, Change(roles={"owner.serde": owner}), now=NOW)
    assert publication.files == before


def test_a_named_target_that_is_missing_or_different_is_refused() -> None:
    change = claim()
    refused(replace(change, targets={}), MetadataMismatch, "no such file")
    refused(replace(change, targets={TARBALL_PATH: b"other bytes"}), MetadataMismatch, "is not the file that")
    refused(Change(targets={TARBALL_PATH: TARBALL}), MetadataMismatch, "named by no new role")


# --- roots and online keys change ---


def rotated(online: TestKey, signers: tuple[TestKey, ...]) -> Change:
    return changes.new_online_key(ceremony(), online, signers)


def test_an_online_key_that_is_handed_over_leaves_one_valid_state_throughout() -> None:
    publication, online = published()
    both = TwoOnlineKeys(ceremony().online, make_key("online-2"))
    both.versions = online.versions
    publication.log.clear()
    result = publish(publication, both, rotated(make_key("online-2"), ceremony().holders[:2]), now=NOW)
    assert publication.log[-2:] == ["metadata/timestamp.json", "metadata/2.root.json"]
    assert result.warnings == ()
    assert sum(role.startswith("index-") for role in result.roles) == 16  # every bin, by the new key
    after = DirectOnlineSigner(make_key("online-2"))
    after.versions = both.versions
    publish(publication, after, Change({"index/se/rd/serde": b"new\n"}), now=NOW)


def test_a_lost_online_key_is_replaced_with_a_warning() -> None:
    publication, online = published()
    after = DirectOnlineSigner(make_key("online-2"))
    after.versions = online.versions
    publication.log.clear()
    result = publish(publication, after, rotated(make_key("online-2"), ceremony().holders[:2]), now=NOW)
    assert publication.log[-2:] == ["metadata/timestamp.json", "metadata/2.root.json"]
    assert "refused for a moment" in result.warnings[0]


def test_a_crash_before_the_new_root_is_mended_by_publishing_it_again() -> None:
    publication, online = published()
    after = DirectOnlineSigner(make_key("online-2"))
    after.versions = online.versions
    change = rotated(make_key("online-2"), ceremony().holders[:2])
    publish(publication, after, change, now=NOW)
    del publication.files["metadata/2.root.json"]  # killed just before it was written
    with pytest.raises(ThresholdNotMet) as caught:
        publish(publication, after, Change(), now=NOW)
    assert "publish the ceremony with the new root again" in caught.value.hint
    assert publish(publication, after, change, now=NOW).roles[paths.ROOT] == 2
    publish(publication, after, Change(), now=NOW)


def test_a_replaced_online_key_is_no_base_for_anything_any_more() -> None:
    """It may have been stolen: what it signed must not be signed anew by its successor."""
    publication, online = published()
    both = TwoOnlineKeys(ceremony().online, make_key("online-2"))
    both.versions = online.versions
    publish(publication, both, rotated(make_key("online-2"), ceremony().holders[:2]), now=NOW)
    publish(MemoryPublication(dict(publication.files)), both, Change(), now=NOW)
    stolen = changes.signed_of(publication.files["metadata/timestamp.json"])
    publication.files["metadata/timestamp.json"] = sign_role(stolen, [ceremony().online])
    with pytest.raises(ThresholdNotMet):
        publish(publication, both, Change(), now=NOW)


def test_a_root_that_the_holders_before_did_not_sign_is_refused() -> None:
    strangers = (make_key("stranger-1"), make_key("stranger-2"))
    refused(rotated(ceremony().online, strangers), ThresholdNotMet, "by the holders before")


# --- signing again before expiry ---


def test_a_refresh_signs_the_timestamp_always_and_the_snapshot_from_half_life_on() -> None:
    publication, online = published()
    assert refresh_due(publication, online, now=NOW + timedelta(days=3)).roles == {paths.TIMESTAMP: 2}
    assert refresh_due(publication, online, now=NOW + timedelta(days=4)).roles == {
        paths.TIMESTAMP: 3,
        paths.SNAPSHOT: 2,
    }
    assert timestamp(publication).expires == NOW + timedelta(days=5)
    assert snapshot(publication).expires == NOW + timedelta(days=11)


def test_bins_that_missed_their_turn_are_signed_again_some_at_a_time_those_first_that_end_first() -> None:
    publication, online = published()
    publish(publication, online, Change({"index/se/rd/serde": b"new\n"}), now=NOW + timedelta(hours=1))
    young = read_published_state(publication).bins().bin_of("index/se/rd/serde")  # type: ignore[union-attr]
    later = NOW + timedelta(days=80)
    # The timestamp was signed yesterday, so that hardly any has its turn: as after a wrong clock.
    signed = changes.signed_of(publication.files["metadata/timestamp.json"])
    signed["expires"] = role_files.at(later - timedelta(minutes=1) + role_files.TIMESTAMP_LIFE)
    publication.files["metadata/timestamp.json"] = sign_role(signed, [ceremony().online])
    done: list[str] = []
    missed = []
    for _ in range(4):
        result = refresh_due(publication, online, now=later, most=5)
        done += [role for role in result.roles if role.startswith("index-")]
        missed.append(len(result.left))
    assert len(done) == len(set(done)) == 16
    assert done[-1] == young
    assert missed == sorted(missed, reverse=True)
    assert (missed[0] >= 9, missed[-1]) == (True, 0)
    assert not any(role.startswith("index-") for role in refresh_due(publication, online, now=later).roles)
