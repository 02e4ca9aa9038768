"""The client workflow on bytes, step by step (TUF 5.3 to 5.7): each refusal beside what passes, and by its name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from hashlib import sha256, sha512
from typing import Any

import pytest
from tests.support.worlds.simulator import DAY, NOW, key, sign

from carnet.errors import (
    CarnetError,
    ExpiredMetadata,
    FormatError,
    MetadataMismatch,
    NotFound,
    RollbackDetected,
    ThresholdNotMet,
)
from carnet.tuf.keys import Profile
from carnet.tuf.read import parse_role
from carnet.tuf.roles import MetaFile, Targets
from carnet_verifier.tuf.workflow import TrustedRoles, check_promise, check_target

HOLDERS = ("root 0", "root 1")


def common(kind: str, version: int, expires: datetime) -> dict[str, Any]:
    return {
        "_type": kind,
        "version": version,
        "spec_version": "1.0.31",
        "expires": f"{expires:%Y-%m-%dT%H:%M:%SZ}",
    }


def root(
    version: int = 1,
    *,
    holders: str = "root",
    signing: tuple[str, ...] = HOLDERS,
    online: str = "online",
    expires: datetime = NOW + DAY,
) -> bytes:
    """Three holders, two of whom are needed; one online key for the rest."""
    own = [key(f"{holders} {number}").public_key for number in range(3)]
    other = key(online).public_key
    roles = {name: {"keyids": [other.keyid], "threshold": 1} for name in ("timestamp", "snapshot", "targets")}
    return sign(
        common("root", version, expires)
        | {
            "consistent_snapshot": True,
            "keys": {one.keyid: one.to_dict() for one in (*own, other)},
            "roles": roles | {"root": {"keyids": [one.keyid for one in own], "threshold": 2}},
        },
        [key(label) for label in signing],
    )


def timestamp(
    version: int = 1, snapshot: int = 1, *, expires: datetime = NOW + DAY, by: str = "online", **said: Any
) -> bytes:
    meta = {"snapshot.json": {"version": snapshot} | said}
    return sign(common("timestamp", version, expires) | {"meta": meta}, [key(by)])


def snapshot(version: int = 1, *, expires: datetime = NOW + DAY, by: str = "online", **roles: int) -> bytes:
    meta = {f"{role}.json": {"version": number} for role, number in ({"targets": 1} | roles).items()}
    return sign(common("snapshot", version, expires) | {"meta": meta}, [key(by)])


def targets(version: int = 1, *, expires: datetime = NOW + DAY, by: str = "online") -> bytes:
    return sign(common("targets", version, expires) | {"targets": {}}, [key(by)])


def trusted(data: bytes | None = None) -> TrustedRoles:
    return TrustedRoles(data or root(), now=NOW)


def refused(call: Callable[[], object], error: type[CarnetError], why: str) -> None:
    with pytest.raises(error, match=why):
        call()


# --- root ---


def test_what_is_pinned_is_signed_by_its_own_holders() -> None:
    assert trusted().root.signed.version == 1
    refused(lambda: trusted(root(signing=("root 0",))), ThresholdNotMet, r"5\.2")
    refused(lambda: trusted(root(signing=("root 0", "online"))), ThresholdNotMet, r"5\.2")
    refused(lambda: trusted(timestamp()), FormatError, "is of type")


BOTH = (*HOLDERS, "new 0", "new 1")

WRONG_ROOTS: dict[str, tuple[bytes, type[CarnetError], str]] = {
    "too few old holders": (root(2, holders="new", signing=BOTH[1:]), ThresholdNotMet, "by the keys before it"),
    "no old holder": (root(2, holders="new", signing=BOTH[2:]), ThresholdNotMet, "by the keys before it"),
    "too few new holders": (root(2, holders="new", signing=BOTH[:3]), ThresholdNotMet, r"root version 2 .*5\.3\.4"),
    "the same version": (root(1), MetadataMismatch, r"root has version 1, not 2 \(TUF 5\.3\.5\)"),
    "one left out": (root(3), MetadataMismatch, r"root has version 3, not 2 \(TUF 5\.3\.5\)"),
}


@pytest.mark.parametrize("name", WRONG_ROOTS)
def test_root_follows_root(name: str) -> None:
    roles = trusted()
    roles.next_root(root(2, holders="new", signing=BOTH))
    assert roles.root.signed.version == 2
    roles, (data, error, why) = trusted(), WRONG_ROOTS[name]
    refused(lambda: roles.next_root(data), error, why)
    assert roles.root.signed.version == 1


def test_only_the_newest_root_has_to_be_fresh() -> None:
    """TUF 5.3.10: a client that was away for years walks over roots that have expired."""
    roles = trusted(root(expires=NOW - DAY))
    refused(roles.check_root, ExpiredMetadata, r"root version 1 expired .*5\.3\.10")
    roles.next_root(root(2, expires=NOW - DAY))
    refused(roles.check_root, ExpiredMetadata, r"root version 2 expired .*5\.3\.10")
    roles.next_root(root(3))
    roles.check_root()


@pytest.mark.parametrize("late", [False, True])
def test_time_is_over_when_it_is_over(late: bool) -> None:
    roles = TrustedRoles(root(expires=NOW), now=NOW if late else NOW - DAY / 86_400)
    if late:
        refused(roles.check_root, ExpiredMetadata, "root version 1 expired")
    else:
        roles.check_root()


# --- timestamp and snapshot ---


def test_there_is_none_before_it_was_accepted() -> None:
    refused(lambda: trusted().timestamp, NotFound, "no timestamp has been accepted yet")
    refused(lambda: trusted().snapshot, NotFound, "no snapshot has been accepted yet")
    refused(lambda: trusted().snapshot_meta, NotFound, "no timestamp has been accepted yet")


def recalled(old_timestamp: bytes | None, old_snapshot: bytes | None = None, data: bytes | None = None) -> TrustedRoles:
    roles = trusted(data)
    roles.recall(old_timestamp, old_snapshot)
    return roles


WRONG_TIMESTAMPS: dict[str, tuple[bytes, type[CarnetError], str]] = {
    "signed by somebody": (timestamp(3, 3, by="somebody"), ThresholdNotMet, r"5\.4\.2"),
    "signed by a holder": (timestamp(3, 3, by="root 0"), ThresholdNotMet, r"5\.4\.2"),
    "older": (timestamp(1, 9), RollbackDetected, r"timestamp has version 1; version 2 was seen before \(TUF 5\.4\.3\)"),
    "an older snapshot": (timestamp(3, 1), RollbackDetected, r"names snapshot version 1; version 2 was seen before"),
    "over": (timestamp(3, 3, expires=NOW - DAY), ExpiredMetadata, r"timestamp version 3 expired .*5\.4\.4"),
}


@pytest.mark.parametrize("name", WRONG_TIMESTAMPS)
def test_timestamps_go_forward(name: str) -> None:
    before = timestamp(2, 2)
    assert recalled(before).accept_timestamp(timestamp(3, 2))
    data, error, why = WRONG_TIMESTAMPS[name]
    roles = recalled(before)
    refused(lambda: roles.accept_timestamp(data), error, why)
    refused(lambda: roles.timestamp, NotFound, "no timestamp")


def test_a_timestamp_of_the_same_version_changes_nothing() -> None:
    before = timestamp(2, 2)
    roles = recalled(before)
    assert not roles.accept_timestamp(timestamp(2, 9))
    assert roles.timestamp.raw == before
    refused(
        lambda: recalled(timestamp(2, 2, expires=NOW - DAY)).accept_timestamp(timestamp(2, 2)),
        ExpiredMetadata,
        "timestamp version 2 expired",
    )


def test_what_was_read_before_need_not_be_read_strictly_and_nothing_else() -> None:
    """A proof is made of a file that was read; the same file with a key twice has none, whoever signed it."""
    proofs: set[bytes] = set()
    TrustedRoles(root(), now=NOW, proofs=proofs).recall(None, snapshot(5))
    twice = snapshot(5).replace(b'"version":5', b'"version":4,"version":5')
    refused(lambda: trusted().recall(None, twice), FormatError, "the key 'version' twice")
    again = TrustedRoles(root(), now=NOW, proofs=proofs)
    again.recall(None, snapshot(5))
    refused(lambda: again.recall(None, twice), FormatError, "the key 'version' twice")


def test_what_the_newest_root_did_not_name_is_forgotten() -> None:
    """TUF 5.3.11: how a repository recovers from stolen online keys that signed an absurdly high version."""
    stolen = timestamp(1_000_000, 1_000_000, by="online")
    renewed = root(online="renewed")
    assert recalled(stolen, None, renewed).accept_timestamp(timestamp(1, 1, by="renewed"))
    refused(lambda: recalled(stolen).accept_timestamp(timestamp()), RollbackDetected, "1000000 was seen before")


WRONG_SNAPSHOTS: dict[str, tuple[bytes, type[CarnetError], str]] = {
    "another version": (snapshot(2), MetadataMismatch, r"has version 2, and the timestamp names 3 \(TUF 5\.5\.4\)"),
    "signed by somebody": (snapshot(3, by="somebody"), ThresholdNotMet, r"5\.5\.3"),
    "a role older": (snapshot(3, index=4), RollbackDetected, "lists version 4 of the role 'index'; version 5 was seen"),
    "a role lost": (snapshot(3), RollbackDetected, r"the snapshot has lost the role 'index' \(TUF 5\.5\.5\)"),
    "over": (snapshot(3, index=5, expires=NOW - DAY), ExpiredMetadata, r"snapshot version 3 expired .*5\.5\.6"),
}


@pytest.mark.parametrize("name", WRONG_SNAPSHOTS)
def test_snapshots_go_forward(name: str) -> None:
    def with_timestamp() -> TrustedRoles:
        roles = recalled(timestamp(2, 2), snapshot(2, index=5))
        roles.accept_timestamp(timestamp(3, 3))
        return roles

    roles = with_timestamp()
    roles.accept_snapshot(snapshot(3, index=5, claims=1))
    assert roles.meta("index").version == 5
    refused(lambda: roles.meta("owner.x"), MetadataMismatch, "does not list the role 'owner.x'")
    roles, (data, error, why) = with_timestamp(), WRONG_SNAPSHOTS[name]
    refused(lambda: roles.accept_snapshot(data), error, why)
    refused(lambda: roles.snapshot, NotFound, "no snapshot")


def test_a_snapshot_is_not_older_than_the_one_before_it() -> None:
    """What was recalled need not be what the timestamp before named: the two are two files."""
    roles = recalled(None, snapshot(5))
    roles.accept_timestamp(timestamp(3, 3))
    refused(lambda: roles.accept_snapshot(snapshot(3)), RollbackDetected, "snapshot has version 3; version 5 was seen")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"length": 1}, r"bytes, and 1 were promised \(TUF 5\.5\.2\)"),
        ({"hashes": {"sha256": "0" * 64}}, r"was promised \(TUF 5\.5\.2\)"),
        ({"hashes": {"md5": "0" * 32}}, r"the unknown hash 'md5' \(TUF 5\.5\.2\)"),
    ],
    ids=str,
)
def test_a_snapshot_is_the_one_that_was_promised(said: dict[str, Any], why: str) -> None:
    data = snapshot()
    roles = trusted()
    roles.accept_timestamp(timestamp(length=len(data), hashes={"sha256": sha256(data).hexdigest()}))
    roles.accept_snapshot(data)
    other = trusted()
    other.accept_timestamp(timestamp(**said))
    refused(lambda: other.accept_snapshot(data), MetadataMismatch, why)


def test_a_snapshot_that_is_still_the_one_is_not_fetched_again() -> None:
    data = snapshot(2)
    digest = {"sha256": sha256(data).hexdigest()}
    roles = recalled(timestamp(1, 2, hashes=digest), data)
    roles.accept_timestamp(timestamp(2, 2, hashes=digest))
    assert roles.reuse_snapshot()
    assert roles.snapshot.raw == data
    for names in (timestamp(2, 3), timestamp(2, 2, hashes={"sha256": "0" * 64})):
        roles = recalled(None, data)
        roles.accept_timestamp(names)
        assert not roles.reuse_snapshot()
    roles = recalled(None, snapshot(2, expires=NOW - DAY))
    roles.accept_timestamp(timestamp(2, 2))
    refused(roles.reuse_snapshot, ExpiredMetadata, r"snapshot version 2 expired .*5\.5\.6")


# --- targets roles ---

DATA = targets()
PROMISED = MetaFile(1, len(DATA), {"sha256": sha256(DATA).hexdigest()})


@pytest.mark.parametrize(
    ("data", "meta", "error", "why"),
    [
        (DATA, MetaFile(1, len(DATA) - 1), MetadataMismatch, r"were promised \(TUF 5\.6\.2\)"),
        (DATA, MetaFile(1, None, {"sha256": "0" * 64}), MetadataMismatch, r"was promised \(TUF 5\.6\.2\)"),
        (DATA, MetaFile(2), MetadataMismatch, r"has version 1, and the snapshot names 2 \(TUF 5\.6\.4\)"),
        (targets(expires=NOW - DAY), MetaFile(1), ExpiredMetadata, r"expired .*5\.6\.5"),
    ],
    ids=["length", "hash", "version", "time"],
)
def test_a_role_is_the_one_of_the_snapshot(data: bytes, meta: MetaFile, error: type[CarnetError], why: str) -> None:
    roles, parsed = trusted(), parse_role(data, Targets)
    assert roles.read_targets("targets", DATA, PROMISED).raw == DATA
    assert roles.check_parsed("targets", parse_role(DATA, Targets), PROMISED).raw == DATA
    refused(lambda: roles.read_targets("targets", data, meta), error, why)
    refused(lambda: roles.check_parsed("targets", parsed, meta), error, why)


def test_a_role_that_was_parsed_as_anothers_is_not_taken() -> None:
    parsed = parse_role(DATA, Targets, profile=Profile.GENERAL)
    refused(lambda: trusted().check_parsed("targets", parsed, PROMISED), FormatError, "read with the general profile")


def test_the_root_says_who_signs_targets() -> None:
    trusted().check_targets("targets", parse_role(DATA, Targets), None)
    other = parse_role(targets(by="root 0"), Targets)
    refused(lambda: trusted().check_targets("targets", other, None), ThresholdNotMet, r"5\.6\.3")
    nobody = parse_role(DATA, Targets).signed
    refused(lambda: trusted().check_targets("index", other, nobody), MetadataMismatch, "nobody delegates to the role")


# --- targets ---

FILE = b"tarball"
HASHES = {"sha256": sha256(FILE).hexdigest(), "sha512": sha512(FILE).hexdigest()}


@pytest.mark.parametrize(
    ("length", "hashes", "why"),
    [
        (6, HASHES, r"has 7 bytes, and 6 were signed \(TUF 5\.7\.2\)"),
        (8, HASHES, r"has 7 bytes, and 8 were signed \(TUF 5\.7\.2\)"),
        (7, {}, r"was signed without a hash \(TUF 5\.7\.3\)"),
        (7, {"sha256": "0" * 64}, r"was promised \(TUF 5\.7\.3\)"),
        (7, HASHES | {"sha512": "0" * 128}, r"has sha512 .* was promised \(TUF 5\.7\.3\)"),
        (7, HASHES | {"md5": "0" * 32}, r"the unknown hash 'md5' \(TUF 5\.7\.3\)"),
    ],
    ids=["longer", "shorter", "no hash", "another", "one of two", "unknown"],
)
def test_a_target_is_what_was_signed(length: int, hashes: dict[str, str], why: str) -> None:
    check_target(FILE, "x", 7, HASHES)
    refused(lambda: check_target(FILE, "x", length, hashes), MetadataMismatch, why)


def test_a_promise_may_be_of_a_length_or_a_hash_alone() -> None:
    check_promise(FILE, MetaFile(1), "it", "")
    check_promise(FILE, MetaFile(1, 7), "it", "")
    check_promise(FILE, MetaFile(1, None, HASHES), "it", "")
