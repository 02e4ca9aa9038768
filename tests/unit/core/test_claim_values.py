"""What claims say, as it is read: who the owners are, what they handed in, and which versions there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.support.worlds.simulator import key

from carnet import strictjson
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.claims.holders import ClaimFacts, Holders, SeenOwners
from carnet.claims.releases import Digest, Releases, SignedRelease
from carnet.claims.submission import MAX_SUBMISSION, Submission
from carnet.errors import CarnetError, FormatError
from carnet.tuf import paths
from carnet.tuf.keys import PublicKey
from carnet.tuf.read import parse_role
from carnet.tuf.roles import RoleKeys, Targets

DEMO = CrateName("demo")
ANN, BEN, RITA = (PublicKey.from_object(key(name).public_key.to_dict()) for name in ("ann", "ben", "rita"))
PEOPLE = {ANN.keyid: "ann", BEN.keyid: "ben"}
OWNERS = RoleKeys(tuple(sorted((ANN, BEN), key=lambda owner: owner.keyid)), 2)  # as JSON is written
FACTS = ClaimFacts(Holders(OWNERS, PEOPLE), Holders(RoleKeys((RITA,), 1), {RITA.keyid: "rita"}), "crates-io")


def owner_role(change: Callable[[dict[str, Any]], object] = lambda signed: None) -> Targets:
    signed: dict[str, Any] = {
        "_type": "targets",
        "version": 1,
        "spec_version": "1.0.31",
        "expires": "2030-01-01T00:00:00Z",
        "targets": {},
        "carnet": FACTS.to_object(),
        "delegations": {
            "keys": {RITA.keyid: RITA.to_object()},
            "roles": [
                {
                    "name": paths.crate_role(DEMO),
                    "keyids": [RITA.keyid],
                    "threshold": 1,
                    "terminating": True,
                    "paths": list(paths.crate_patterns(DEMO)),
                }
            ],
        },
    }
    change(signed)
    return parse_role(strictjson.encode({"signed": signed, "signatures": []}), Targets).signed


def owners(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda signed: signed["carnet"]["owners"].update(fields)


TWIN = ANN.to_object() | {"x-note": "the same key, another id"}
TWIN_ID = PublicKey.from_object(TWIN).keyid

WRONG_FACTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "none": (lambda signed: signed.pop("carnet"), "needs carnet.owners"),
    "no registry": (lambda signed: signed["carnet"].pop("registry"), "needs carnet.owners"),
    "no releasers": (lambda signed: signed["carnet"].pop("releasers"), "needs carnet.owners"),
    "a threshold true": (owners(threshold=True), "needs carnet.owners"),
    "a threshold that is a text": (owners(threshold="2"), "needs carnet.owners"),
    "a threshold past the keys": (owners(threshold=3), "cannot meet its threshold"),
    "one key under two ids": (
        owners(
            keys={ANN.keyid: ANN.to_object(), TWIN_ID: TWIN},
            people={ANN.keyid: "ann", TWIN_ID: "ben"},
        ),
        "cannot meet its threshold with distinct keys",
    ),
    "a person who is a number": (owners(people=PEOPLE | {ANN.keyid: 1}), "people is not an object"),
    "a person by name": (owners(people=PEOPLE | {"ann": "ann"}), "people is not an object"),
    "nobody for a key": (owners(people={ANN.keyid: "ann"}), "the holder of exactly each key"),
    "somebody without a key": (owners(people=PEOPLE | {RITA.keyid: "rita"}), "the holder of exactly each key"),
    "one person with two keys": (owners(people=PEOPLE | {BEN.keyid: "Ann"}), "has two keys in one role"),
    "a person without a name": (owners(people=PEOPLE | {BEN.keyid: ""}), "is not an owner id"),
    "a person who looks alike": (owners(people=PEOPLE | {BEN.keyid: "\uff41nn"}), "is not an owner id"),
    "a person of two lines": (owners(people=PEOPLE | {BEN.keyid: "ben\nann"}), "is not an owner id"),
    "no delegation": (lambda signed: signed.pop("delegations"), "to its crate role and nobody else"),
    "two delegations": (
        lambda signed: signed["delegations"]["roles"].append(signed["delegations"]["roles"][0] | {"name": "crate.x"}),
        "to its crate role and nobody else",
    ),
}


@pytest.mark.parametrize("name", WRONG_FACTS)
def test_an_owner_role_says_who_its_owners_are(name: str) -> None:
    assert ClaimFacts.of(owner_role()).to_object() == FACTS.to_object()
    change, why = WRONG_FACTS[name]
    with pytest.raises(FormatError, match=why):
        ClaimFacts.of(owner_role(change))


@pytest.mark.parametrize(
    "value", [None, [], {}, {"version": 1, "threshold": 2}, {"version": "1", "threshold": 2, "keys": {}}], ids=str
)
def test_owners_are_remembered_as_they_were_written(value: Any) -> None:
    seen = SeenOwners(3, OWNERS)
    assert SeenOwners.from_object(seen.to_object()).to_object() == seen.to_object()
    with pytest.raises(FormatError, match="remembered owners need version, threshold and keys"):
        SeenOwners.from_object(value)


def release(version: str, name: str = "demo") -> SignedRelease:
    return SignedRelease(CrateId.of(name, version), Digest(1, "0" * 64), "0" * 64, False, "crates-io")


@pytest.mark.parametrize("odd", [release("1.0.1"), release("1.0.0", "Demo"), release("1.0.0", "other")], ids=str)
def test_a_version_stands_under_its_own_number_and_name(odd: SignedRelease) -> None:
    assert Releases(DEMO, {Version("1.0.0"): release("1.0.0")})
    with pytest.raises(FormatError, match="stands among the versions of demo"):
        Releases(DEMO, {Version("1.0.0"): odd})


# --- submissions ---

SUBMISSION = Submission(DEMO, {paths.crate_role(DEMO): b"{}"}, {}, {"demo-1.0.0": b"{}"})


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"roles": {"root": b""}}, "the role 'root' has no place"),
        ({"roles": {"crate.other": b""}}, "the role 'crate.other' has no place"),
        ({"targets": {"../x": b""}}, "x"),
        ({"targets": {"index/de/mo/demo": b""}}, "has no place in a submission"),
        ({"targets": {"crates/00/other/other-1.0.0.crate": b""}}, "has no place in a submission"),
        ({"lines": {"other-1.0.0": b""}}, "is not a version of demo"),
        ({"lines": {"demo": b""}}, "is not a version of demo"),
        ({"lines": {"demo_1.0.0": b""}}, "is not a version of demo"),
    ],
    ids=str,
)
def test_a_submission_holds_what_is_its_crates(parts: dict[str, Any], why: str) -> None:
    with pytest.raises(FormatError, match=why):
        Submission(DEMO, **parts)


def body(header: Any, data: bytes = b"{}{}") -> bytes:
    written = strictjson.encode(header)
    magic = SUBMISSION.to_bytes().partition(b"{")[0][:-4]
    return magic + len(written).to_bytes(4, "little") + written + data


FILES = [{"name": "roles/crate.demo", "length": 2}, {"name": "lines/demo-1.0.0", "length": 2}]

WRONG_BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is not a submission"),
    "something else": (b"PK\x03\x04" * 10, "is not a submission"),
    "its start": (SUBMISSION.to_bytes()[:9], "is not a submission|too large or cut off"),
    "half a header": (SUBMISSION.to_bytes()[:40], "too large or cut off"),
    "a huge header": (SUBMISSION.to_bytes().partition(b"{")[0][:-4] + b"\xff" * 40, "too large or cut off"),
    "no crate": (body({"files": FILES}), "needs crate and at most"),
    "files as an object": (body({"crate": "demo", "files": {}}), "needs crate and at most"),
    "files without end": (body({"crate": "demo", "files": [1] * 10_000}), "needs crate and at most"),
    "a file that is a text": (body({"crate": "demo", "files": ["roles/crate.demo"]}), "a name and a length"),
    "a length true": (body({"crate": "demo", "files": [FILES[0] | {"length": True}]}), "a name and a length"),
    "a length below zero": (body({"crate": "demo", "files": [FILES[0] | {"length": -1}]}), "a name and a length"),
    "a file twice": (body({"crate": "demo", "files": [FILES[0], FILES[0]]}), "twice, or it has no place there"),
    "another folder": (body({"crate": "demo", "files": [{"name": "keys/x", "length": 4}]}), "no place there"),
    "bytes to spare": (SUBMISSION.to_bytes() + b"x", "cut off, or has bytes to spare"),
    "cut off": (SUBMISSION.to_bytes()[:-1], "cut off, or has bytes to spare"),
    "no name of a crate": (body({"crate": "", "files": FILES}), "crate"),
}


@pytest.mark.parametrize("name", WRONG_BODIES)
def test_what_is_no_submission_is_refused(name: str) -> None:
    assert Submission.from_bytes(SUBMISSION.to_bytes()) == SUBMISSION
    assert Submission.from_bytes(body({"crate": "demo", "files": FILES})) == SUBMISSION
    data, why = WRONG_BODIES[name]
    with pytest.raises(CarnetError, match=why):
        Submission.from_bytes(data)


def test_a_submission_has_a_size() -> None:
    with pytest.raises(FormatError, match=f"larger than {MAX_SUBMISSION} bytes"):
        Submission.from_bytes(bytes(MAX_SUBMISSION + 1))


@pytest.mark.parametrize("name", ["..", ".", "a b", "a\0b"])
def test_a_target_of_a_submission_is_a_path(name: str) -> None:
    """A pattern's `*` takes any name, `..` as well."""
    for pattern in paths.owner_patterns(DEMO):
        path = pattern.replace("*", name)
        assert paths.matches(pattern, path)
        with pytest.raises(FormatError, match="target path"):
            Submission(DEMO, {}, {path: b""})


def crate_role(*listed: str) -> Targets:
    custom = {"index": "0" * 64, "yanked": False, "registry": "crates-io"}
    target = {"length": 1, "hashes": {"sha256": "0" * 64}}
    signed = {
        "_type": "targets",
        "version": 1,
        "spec_version": "1.0.31",
        "expires": "2030-01-01T00:00:00Z",
        "targets": {path: target | ({"custom": custom} if path.endswith(".crate") else {}) for path in listed},
    }
    return parse_role(strictjson.encode({"signed": signed, "signatures": []}), Targets).signed


def test_versions_have_one_spelling() -> None:
    plain, other = (paths.crate_path(CrateId.of(*crate)) for crate in (("demo", "1.0.0"), ("Demo", "1.1.0")))
    assert list(Releases.of(DEMO, crate_role(plain)).versions) == [Version("1.0.0")]
    with pytest.raises(FormatError, match=r"crate\.demo spells its crate (demo and Demo|Demo and demo)"):
        Releases.of(DEMO, crate_role(plain, other))
