"""Metadata of repositories that others run, which the general profile reads: what the specification refuses, and what
carnet's own repositories do not use."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.worlds.simulator import Simulator, key, sign

from carnet import strictjson
from carnet.errors import FormatError, MetadataMismatch, RollbackDetected, ThresholdNotMet
from carnet.tuf import structure
from carnet.tuf.keys import Profile
from carnet.tuf.next_version import check_root
from carnet.tuf.read import check_read_as, parse_role
from carnet.tuf.roles import RoleFile, Root, Signed, TargetFile, Targets


@pytest.fixture(scope="module")
def files() -> dict[str, dict[str, Any]]:
    sim = Simulator()
    return {role: json.loads(sim.files[sim.path(role)]) for role in ("root", "targets", "index")}


TYPES: dict[str, type[Signed]] = {"root": Root, "targets": Targets, "index": Targets}
Change = Callable[[dict[str, Any]], object]


def read(document: dict[str, Any], role: str, profile: Profile = Profile.GENERAL) -> Signed:
    return parse_role(strictjson.encode(document), TYPES[role], profile=profile).signed


def by_hashes(*prefixes: Any) -> Change:
    """The first delegation goes by the hashes of paths."""

    def change(signed: dict[str, Any]) -> None:
        role = signed["delegations"]["roles"][0]
        del role["paths"]
        role["path_hash_prefixes"] = list(prefixes)

    return change


def ends(text: str) -> Change:
    return lambda signed: signed.update(expires=text)


FRACTIONS = ["2030-01-01T00:00:00.5Z", "2030-01-01T00:00:00.000Z", "2030-01-01T00:00:00.999999999Z"]


@pytest.mark.parametrize("role", TYPES)
@pytest.mark.parametrize("text", FRACTIONS)
def test_fractions_of_a_second_are_read_in_the_general_profile_alone(
    files: dict[str, dict[str, Any]], role: str, text: str
) -> None:
    document = copy.deepcopy(files[role])
    ends(text)(document["signed"])
    assert read(document, role).expires == datetime(2030, 1, 1, tzinfo=UTC)
    with pytest.raises(FormatError, match="is not a time"):
        read(document, role, Profile.PRODUCT)


REFUSED: dict[str, tuple[str, Change, str]] = {
    "a fraction without digits": ("root", ends("2030-01-01T00:00:00.Z"), "is not a time"),
    "a fraction of ten digits": ("root", ends("2030-01-01T00:00:00.0000000000Z"), "is not a time"),
    "a fraction of a minute": ("root", ends("2030-01-01T00:00.5Z"), "is not a time"),
    "a fraction in other digits": ("root", ends("2030-01-01T00:00:00.\u0665Z"), "is not a time"),
    "two fractions": ("root", ends("2030-01-01T00:00:00.5.5Z"), "is not a time"),
    "a fraction and an offset": ("root", ends("2030-01-01T00:00:00.5+00:00"), "is not a time"),
    "no keys for targets": ("root", lambda signed: signed["roles"].pop("targets"), "names no keys for targets"),
    "consistent snapshots 1": ("root", lambda signed: signed.update(consistent_snapshot=1), "not true or false"),
    "consistent snapshots null": ("root", lambda signed: signed.update(consistent_snapshot=None), "not true or false"),
    "a prefix in capitals": ("targets", by_hashes("AB"), "prefix that is not hex"),
    "an empty prefix": ("targets", by_hashes("ab", ""), "prefix that is not hex"),
    "a prefix longer than a hash": ("targets", by_hashes("0" * 65), "prefix that is not hex"),
    "a prefix that is a pattern": ("targets", by_hashes("*"), "prefix that is not hex"),
    "a prefix that is a number": ("targets", by_hashes(1), "not a list of strings"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_specification_does_not_know_is_refused(files: dict[str, Any], name: str) -> None:
    role, change, why = REFUSED[name]
    document = copy.deepcopy(files[role])
    assert read(document, role)
    change(document["signed"])
    with pytest.raises(FormatError, match=why):
        read(document, role)


def listed(*keyids: str, threshold: int = 1) -> Change:
    """The root's keys for targets."""
    return lambda signed: signed["roles"]["targets"].update(keyids=list(keyids), threshold=threshold)


FIRST_KEY, SECOND_KEY = (key(f"targets {number}").public_key.keyid for number in range(2))


@pytest.mark.parametrize("profile", Profile)
def test_a_role_lists_a_key_id_once(files: dict[str, Any], profile: Profile) -> None:
    document = copy.deepcopy(files["root"])
    listed(FIRST_KEY, SECOND_KEY)(document["signed"])
    assert read(document, "root", profile)
    listed(FIRST_KEY, SECOND_KEY, FIRST_KEY)(document["signed"])
    with pytest.raises(FormatError, match="a role lists a key id twice"):
        read(document, "root", profile)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (listed(FIRST_KEY, "0" * 64), "a role lists a key id that has no key"),
        (listed(FIRST_KEY, SECOND_KEY, threshold=3), "a threshold of 3 cannot be met by 2 keys"),
    ],
    ids=["nobody", "too few"],
)
def test_our_own_roles_have_their_keys(files: dict[str, Any], change: Change, why: str) -> None:
    """What others may leave out counts for nothing there, and is a mistake or a trick here."""
    document = copy.deepcopy(files["root"])
    change(document["signed"])
    assert read(document, "root")
    with pytest.raises(FormatError, match=why):
        read(document, "root", Profile.PRODUCT)


def test_our_own_delegations_go_by_paths(files: dict[str, Any]) -> None:
    document = copy.deepcopy(files["targets"])
    by_hashes("ab", "0" * 64)(document["signed"])
    assert read(document, "targets")
    with pytest.raises(FormatError, match="by path_hash_prefixes, which carnet does not use"):
        read(document, "targets", Profile.PRODUCT)


@pytest.mark.parametrize("profile", Profile)
def test_a_key_id_signs_once(files: dict[str, Any], profile: Profile) -> None:
    """TUF 4.2; of two, one reader would take the first and another the last."""
    document = copy.deepcopy(files["targets"])
    document["signatures"].append(document["signatures"][0] | {"sig": "00"})
    with pytest.raises(FormatError, match=r"has two signatures for key id .* \(TUF 4\.2\)"):
        read(document, "targets", profile)


def test_a_target_without_sha256_has_none_to_give() -> None:
    target = TargetFile(3, {"sha512": "00" * 64}, {})
    with pytest.raises(FormatError, match="listed without sha256"):
        _ = target.sha256


def test_what_was_read_as_anothers_is_not_read_as_ours(files: dict[str, Any]) -> None:
    data = strictjson.encode(files["targets"])
    ours = parse_role(data, Targets)
    assert check_read_as(ours, "it") is ours
    with pytest.raises(FormatError, match="it was read with the general profile"):
        check_read_as(parse_role(data, Targets, profile=Profile.GENERAL), "it")
    with pytest.raises(FormatError, match="it was read with the product profile"):
        check_read_as(ours, "it", profile=Profile.GENERAL)


def test_what_was_read_elsewhere_is_not_larger_than_what_is_read_here(files: dict[str, Any]) -> None:
    room = Targets.MAX_BYTES - len(strictjson.encode(files["targets"] | {"note": ""}))
    for more, fits in ((0, True), (1, False)):
        data = strictjson.encode(files["targets"] | {"note": "x" * (room + more)})
        parsed = parse_role(data, Targets, max_bytes=2 * Targets.MAX_BYTES)
        if fits:
            assert check_read_as(parsed, "it") is parsed
        else:
            with pytest.raises(FormatError, match=f"it is larger than {Targets.MAX_BYTES} bytes"):
                check_read_as(parsed, "it")


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot"])
def test_only_a_targets_role_has_the_structure_of_one(files: dict[str, Any], role: str) -> None:
    signed = parse_role(strictjson.encode(files["targets"]), Targets).signed
    structure.check_structure("targets", signed)
    with pytest.raises(MetadataMismatch, match=f"{role} is no targets role"):
        structure.check_structure(role, signed)


# --- root after root ---


def root(version: int, holders: str = "root", signing: tuple[str, ...] = ("root 0", "root 1")) -> RoleFile[Root]:
    """A root for three holders, two of whom are needed, signed by whoever is named."""
    public = [key(f"{holders} {number}").public_key for number in range(3)]
    keyids = [one.keyid for one in public]
    signed = {
        "_type": "root",
        "version": version,
        "spec_version": "1.0.31",
        "expires": "2030-01-01T00:00:00Z",
        "consistent_snapshot": True,
        "keys": {one.keyid: one.to_dict() for one in public},
        "roles": {name: {"keyids": keyids, "threshold": 2} for name in ("root", "timestamp", "snapshot", "targets")},
    }
    return parse_role(sign(signed, [key(label) for label in signing]), Root)


FIRST = root(1)
BOTH = ("root 0", "root 1", "new 0", "new 1")


def test_a_root_follows_the_one_before_it() -> None:
    check_root(None, FIRST)
    check_root(FIRST.signed, root(2))
    check_root(FIRST.signed, root(2, "new", BOTH))


@pytest.mark.parametrize(
    ("after", "error"),
    [
        (root(1), RollbackDetected),
        (root(3), MetadataMismatch),
        (root(2, signing=("root 0",)), ThresholdNotMet),
        (root(2, "new", BOTH[:3]), ThresholdNotMet),
        (root(2, "new", BOTH[1:]), ThresholdNotMet),
        (root(2, "new", BOTH[2:]), ThresholdNotMet),
        (root(2, "new", BOTH[:2]), ThresholdNotMet),
    ],
    ids=["the same", "one is missing", "one holder", "one new", "one old", "no old", "no new"],
)
def test_a_root_that_does_not_follow_is_refused(after: RoleFile[Root], error: type[Exception]) -> None:
    with pytest.raises(error):
        check_root(FIRST.signed, after)


@pytest.mark.parametrize("first", [root(2), root(1, signing=("root 0", "new 1"))], ids=["version 2", "one holder"])
def test_a_first_root_is_the_first_and_its_own_holders_signed_it(first: RoleFile[Root]) -> None:
    with pytest.raises((MetadataMismatch, ThresholdNotMet)):
        check_root(None, first)
