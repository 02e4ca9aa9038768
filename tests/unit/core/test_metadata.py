"""Metadata files to values: what the product profile refuses, each beside the file that it takes."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.worlds.simulator import Simulator, key, keys, sign
from tuf.api.metadata import SuccinctRoles as StockSuccinctRoles

from carnet import strictjson
from carnet.errors import FormatError, ThresholdNotMet
from carnet.tuf.keys import Profile, PublicKey
from carnet.tuf.read import MAX_KEYS, check_role_name, parse_role
from carnet.tuf.roles import (
    MetaFile,
    RoleKeys,
    Root,
    Signed,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from carnet.tuf.structure import role_field

TYPES: dict[str, type[Signed]] = {
    "root": Root,
    "timestamp": Timestamp,
    "snapshot": Snapshot,
    "targets": Targets,
    "index": Targets,
    "crate.serde": Targets,
}


@pytest.fixture(scope="module")
def files() -> dict[str, dict[str, Any]]:
    sim = Simulator()
    sim.claim("serde", releases={"serde-1.0.0.crate": b"tarball"})
    sim.publish()
    return {role: json.loads(sim.files[sim.path(role)]) for role in TYPES}


def read(role: str, document: Any, profile: Profile = Profile.PRODUCT) -> Signed:
    return parse_role(strictjson.encode(document), TYPES[role], profile=profile, max_bytes=1_000_000).signed


@pytest.mark.parametrize("role", TYPES)
@pytest.mark.parametrize("profile", Profile)
def test_each_role_is_read(files: dict[str, Any], role: str, profile: Profile) -> None:
    signed = read(role, files[role], profile)
    assert isinstance(signed, TYPES[role])
    assert signed.version == files[role]["signed"]["version"]


Change = Callable[[dict[str, Any]], object]
CRATE = "crates/8b/serde/serde-1.0.0.crate"


def put(*path: Any) -> Change:
    """Put the last value at the place that the others name."""
    *way, last, value = path

    def change(signed: dict[str, Any]) -> None:
        holder: Any = signed
        for step in way:
            holder = holder[step]
        holder[last] = value

    return change


def again(*way: str) -> Change:
    """The first entry of a list once more."""

    def change(signed: dict[str, Any]) -> None:
        found: Any = signed
        for step in way:
            found = found[step]
        found.append(found[0])

    return change


def also(path: str) -> Change:
    """A target under one more path."""
    return lambda signed: signed["targets"].update({path: signed["targets"][CRATE]})


def drop(name: str) -> Change:
    return lambda signed: signed.pop(name)


def twin(signed: dict[str, Any]) -> None:
    """One public key under two ids (trap 1)."""
    role = signed["roles"]["root"]
    again = signed["keys"][role["keyids"][0]] | {"x-note": "again"}
    keyid = PublicKey.from_object(again).keyid
    signed["keys"][keyid] = again
    role["keyids"].append(keyid)


WEAK = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "01" + "00" * 31}}
WEAK_ID = hashlib.sha256(strictjson.canonical(WEAK)).hexdigest()

REFUSED: dict[str, tuple[str, Change]] = {
    "no version": ("timestamp", drop("version")),
    "version 0": ("timestamp", put("version", 0)),
    "version -1": ("timestamp", put("version", -1)),
    "version true": ("timestamp", put("version", True)),
    "version as text": ("timestamp", put("version", "1")),
    "version past 63 bits": ("timestamp", put("version", 2**63)),
    "no expiry": ("snapshot", drop("expires")),
    "expiry with an offset": ("snapshot", put("expires", "2030-01-01T00:00:00+02:00")),
    "expiry with a fraction": ("snapshot", put("expires", "2030-01-01T00:00:00.5Z")),
    "expiry without a time": ("snapshot", put("expires", "2030-01-01")),
    "expiry in a 13th month": ("snapshot", put("expires", "2030-13-01T00:00:00Z")),
    "expiry with other digits": ("snapshot", put("expires", "203\u0660-01-01T00:00:00Z")),
    "expiry null": ("snapshot", put("expires", None)),
    "spec version 2": ("root", put("spec_version", "2.0.0")),
    "spec version 1": ("root", put("spec_version", "1")),
    "another type": ("root", put("_type", "targets")),
    "no type": ("root", drop("_type")),
    "no consistent snapshots": ("root", put("consistent_snapshot", False)),
    "a role missing": ("root", lambda signed: signed["roles"].pop("snapshot")),
    "a role too many": ("root", put("roles", "mirrors", {"keyids": [], "threshold": 1})),
    "threshold 0": ("root", put("roles", "root", "threshold", 0)),
    "threshold -1": ("root", put("roles", "root", "threshold", -1)),
    "threshold true": ("root", put("roles", "timestamp", "threshold", True)),
    "threshold past the keys": ("root", put("roles", "root", "threshold", 4)),
    "a key id twice": ("root", again("roles", "root", "keyids")),
    "a key under two ids": ("root", twin),
    "a key id without key": ("root", lambda signed: signed["roles"]["root"]["keyids"].append("0" * 64)),
    "a key under another id": ("root", put("keys", "0" * 64, key("anyone").public_key.to_dict())),
    "a low-order key": ("root", put("keys", WEAK_ID, WEAK)),
    "two metafiles in a timestamp": ("timestamp", put("meta", "targets.json", {"version": 1})),
    "no snapshot in a timestamp": ("timestamp", put("meta", {})),
    "a metafile without version": ("snapshot", put("meta", "index.json", {})),
    "a metafile with length null": ("snapshot", put("meta", "index.json", {"version": 1, "length": None})),
    "a metafile with hashes null": ("snapshot", put("meta", "index.json", {"version": 1, "hashes": None})),
    "a metafile without hashes": ("snapshot", put("meta", "index.json", {"version": 1, "hashes": {}})),
    "a metafile of length -1": ("snapshot", put("meta", "index.json", {"version": 1, "length": -1})),
    "a metafile that is none": ("snapshot", put("meta", "index.json", 1)),
    "a metafile of another name": ("snapshot", put("meta", "index", {"version": 1})),
    "a metafile without name": ("snapshot", put("meta", ".json", {"version": 1})),
    "a target without sha256": ("crate.serde", put("targets", CRATE, "hashes", {"sha512": "00" * 64})),
    "a target with a short sha256": ("crate.serde", put("targets", CRATE, "hashes", "sha256", "00")),
    "a target with a hash in capitals": ("crate.serde", put("targets", CRATE, "hashes", "sha256", "AA" * 32)),
    "a target of length -1": ("crate.serde", put("targets", CRATE, "length", -1)),
    "a target without length": ("crate.serde", lambda signed: signed["targets"][CRATE].pop("length")),
    "a target with custom null": ("crate.serde", put("targets", CRATE, "custom", None)),
    "a target that traverses": ("crate.serde", also("crates/../x")),
    "an absolute target": ("crate.serde", also("/x")),
    "a target with a backslash": ("crate.serde", also("a\\b")),
    "a target with NUL": ("crate.serde", also("a\0b")),
    "a target without name": ("crate.serde", also("")),
    "no targets": ("crate.serde", drop("targets")),
    "delegations null": ("crate.serde", put("delegations", None)),
    "delegations to nobody": ("targets", put("delegations", {"keys": {}})),
    "a delegation twice": ("targets", again("delegations", "roles")),
    "a delegation without name": ("targets", put("delegations", "roles", 0, "name", "")),
    "a delegation that traverses": ("targets", put("delegations", "roles", 0, "name", "../claims")),
    "a delegation with a slash": ("targets", put("delegations", "roles", 0, "name", "a/b")),
    "a delegation to root": ("targets", put("delegations", "roles", 0, "name", "root")),
    "a delegation with terminating 1": ("targets", put("delegations", "roles", 0, "terminating", 1)),
    "a delegation without paths": ("targets", lambda signed: signed["delegations"]["roles"][0].pop("paths")),
    "a delegation by hashes": (
        "targets",
        lambda signed: signed["delegations"]["roles"][0].update(
            path_hash_prefixes=["00"], **{"paths": signed["delegations"]["roles"][0].pop("paths")}
        ),
    ),
    "paths that are no texts": ("targets", put("delegations", "roles", 0, "paths", [1])),
    "bit_length 0": ("index", put("delegations", "succinct_roles", "bit_length", 0)),
    "bit_length 33": ("index", put("delegations", "succinct_roles", "bit_length", 33)),
    "bit_length true": ("index", put("delegations", "succinct_roles", "bit_length", True)),
    "bins and roles": ("index", put("delegations", "roles", [])),
    "a target that is a number": ("crate.serde", put("targets", CRATE, 1)),
    "a target that is null": ("crate.serde", put("targets", CRATE, None)),
    "a target that is a list": ("crate.serde", put("targets", CRATE, [])),
    "a target that is a text": ("crate.serde", put("targets", CRATE, "00" * 32)),
    "a target without hashes": ("crate.serde", lambda signed: signed["targets"][CRATE].pop("hashes")),
    "a target with hashes null": ("crate.serde", put("targets", CRATE, "hashes", None)),
    "a target with no hash": ("crate.serde", put("targets", CRATE, "hashes", {})),
    "a target with a list of hashes": ("crate.serde", put("targets", CRATE, "hashes", ["00" * 32])),
    "a target with a hash that is a number": ("crate.serde", put("targets", CRATE, "hashes", {"sha256": 1})),
    "a target with a hash of odd length": (
        "crate.serde",
        lambda signed: signed["targets"][CRATE]["hashes"].update(sha512="0"),
    ),
    "a target with an empty hash": (
        "crate.serde",
        lambda signed: signed["targets"][CRATE]["hashes"].update(sha512=""),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_a_role_of_ours_is_refused(files: dict[str, Any], name: str) -> None:
    role, change = REFUSED[name]
    document = copy.deepcopy(files[role])
    read(role, document)
    change(document["signed"])
    with pytest.raises(FormatError, match=f"^{TYPES[role].TYPE}: ") as refused:
        read(role, document)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "signatures",
    [None, {}, [1], [{}], [{"keyid": "a"}], [{"keyid": 1, "sig": ""}], [{"keyid": "a", "sig": None}]],
    ids=str,
)
def test_malformed_signatures_are_refused(files: dict[str, Any], signatures: Any) -> None:
    with pytest.raises(FormatError):
        read("timestamp", files["timestamp"] | {"signatures": signatures})


def test_a_signature_that_is_none_counts_for_nothing_and_spoils_nothing(files: dict[str, Any]) -> None:
    for sig in ("", "zz", "0", "AB", " "):
        document = files["timestamp"] | {"signatures": [*files["timestamp"]["signatures"], {"keyid": "x", "sig": sig}]}
        assert read("timestamp", document)


def test_too_many_signatures_are_refused(files: dict[str, Any]) -> None:
    many = [{"keyid": str(number), "sig": ""} for number in range(1025)]
    assert read("timestamp", files["timestamp"] | {"signatures": many[:1024]})
    with pytest.raises(FormatError, match="more than 1024"):
        read("timestamp", files["timestamp"] | {"signatures": many})


def test_unknown_fields_are_kept(files: dict[str, Any]) -> None:
    document = copy.deepcopy(files["crate.serde"])
    document["signed"]["x-new"] = {"a": [1]}
    assert read("crate.serde", document).extra == role_field("crate.serde") | {"x-new": {"a": [1]}}


# --- what was signed ---


def compact(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


WAYS: dict[str, Callable[[Any], bytes]] = {
    "canonical": strictjson.canonical,
    "indented": lambda document: json.dumps(document, indent=2).encode(),
    "another order": lambda document: compact(dict(reversed(document.items()))),
    "white space around": lambda document: b" " + strictjson.canonical(document) + b"\n",
    "a field beside": lambda document: strictjson.canonical(document | {"a": 1}),
    "a field after": lambda document: strictjson.canonical(document | {"z": 1}),
    "a field between": lambda document: strictjson.canonical(document | {"signature": 1, "signatures ": 2}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("note", ["", '\u0000\u001f\t\n"\\', "\u2028\U0001f980", '{"signatures":[],"signed":{}}'])
def test_the_message_is_the_canonical_form_however_the_file_is_written(
    files: dict[str, Any], way: str, note: str
) -> None:
    document = copy.deepcopy(files["timestamp"])
    document["signed"]["x-note"] = note
    document["signatures"][0]["x-note"] = note
    try:
        data = WAYS[way](document)
        json.loads(data)
    except json.JSONDecodeError:
        return  # control characters as they are: canonical, and not JSON
    envelope = parse_role(data, Timestamp, max_bytes=100_000)
    assert envelope.message == strictjson.canonical(document["signed"])
    assert envelope.raw == data


# --- thresholds ---


def role_keys(labels: list[str], threshold: int) -> RoleKeys:
    found = [PublicKey.from_object(key(label).public_key.to_dict()) for label in labels]
    return RoleKeys(tuple(found), threshold)


def test_a_threshold_counts_distinct_keys() -> None:
    """Trap 1: python-tuf counts a key for each id it is listed under."""
    plain = key("a").public_key.to_dict()
    twin = PublicKey.from_object(plain | {"x-note": "again"})
    first = PublicKey.from_object(plain)
    message = {"_type": "timestamp", "version": 1, "expires": "2030-01-01T00:00:00Z", "spec_version": "1.0.31"}
    message["meta"] = {"snapshot.json": {"version": 1}}
    document = json.loads(sign(message, [key("a")]))
    document["signatures"].append(document["signatures"][0] | {"keyid": twin.keyid})
    envelope = parse_role(strictjson.encode(document), Timestamp, max_bytes=10_000)
    RoleKeys((first, twin), 1).check(envelope, "it", "")
    with pytest.raises(ThresholdNotMet, match="signed by 1 of its 2 keys, 2 are needed"):
        RoleKeys((first, twin), 2).check(envelope, "it", "")


def test_a_role_has_keys_for_people_and_not_for_a_crowd() -> None:
    crowd = [PublicKey.ed25519(number.to_bytes(32, "little")) for number in range(5, 6 + MAX_KEYS)]
    for keys_of_role, fits in ((crowd[:-1], True), (crowd, False)):
        entry = {"name": "owner.x", "keyids": [one.keyid for one in keys_of_role], "threshold": 1, "paths": ["x"]}
        signed = {
            "_type": "targets",
            "version": 1,
            "expires": "2030-01-01T00:00:00Z",
            "spec_version": "1.0.31",
            "targets": {},
            "delegations": {
                "keys": {one.keyid: one.to_object() for one in keys_of_role},
                "roles": [entry | {"terminating": True}],
            },
        }
        data = strictjson.encode({"signatures": [], "signed": signed})
        parse_role(data, Targets, profile=Profile.GENERAL, max_bytes=1_000_000)
        if fits:
            parse_role(data, Targets, max_bytes=1_000_000)
        else:
            with pytest.raises(FormatError, match="more than 256 keys"):
                parse_role(data, Targets, max_bytes=1_000_000)


@given(st.lists(st.sampled_from("abcd"), unique=True), st.integers(1, 4))
def test_a_threshold_is_met_by_enough_of_its_own_keys_only(who: list[str], threshold: int) -> None:
    message = {"_type": "timestamp", "version": 1, "expires": "2030-01-01T00:00:00Z", "spec_version": "1.0.31"}
    message["meta"] = {"snapshot.json": {"version": 1}}
    envelope = parse_role(sign(message, [key(label) for label in who]), Timestamp, max_bytes=10_000)
    trusted = role_keys(["a", "b", "c"], threshold)
    if len(set(who) & set("abc")) >= threshold:
        trusted.check(envelope, "it", "")
    else:
        with pytest.raises(ThresholdNotMet):
            trusted.check(envelope, "it", "")


@pytest.mark.parametrize("middle", ["_", "-", ".", "a_", "-_", "a.-_"])
def test_a_hostile_role_name_takes_no_time(middle: str) -> None:
    """A role is read before its signatures are checked: what is in it is anybody's."""
    began = time.process_time()
    with pytest.raises(FormatError, match="is not one of carnet's"):
        check_role_name("a" + (middle * 200)[:198] + "!", Profile.PRODUCT)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("name", ["a", "index-1f", "owner.tokio_util", "crate.a_b", "claims-00", "a.b", "a__b"])
def test_names_of_the_products_roles(name: str) -> None:
    assert check_role_name(name, Profile.PRODUCT) == name


@pytest.mark.parametrize(
    "name", ["", "_a", "-a", ".a", "a-", "a.", "A", "a/b", "a b", "a\n", "\u00e4", "root", "a" * 201]
)
def test_names_that_are_none_of_the_products(name: str) -> None:
    with pytest.raises(FormatError):
        check_role_name(name, Profile.PRODUCT)


OLD = {
    "_type": "timestamp",
    "expires": "2030-01-01T00:00:00Z",
    "meta": {"snapshot.json": {"version": 1}},
    "spec_version": "1.0.31",
    "version": 1,
}
EVIL = OLD | {"version": 2}
PLACES = {
    "after": b'{"signatures":[%(sig)s],"signed":%(evil)s,"z":{"a":[],"signed":%(old)s}}',
    "before": b'{"a":{"a":[],"signed":%(old)s},"signatures":[%(sig)s],"signed":%(evil)s}',
    "in the signatures": b'{"signatures":[%(first)s,"a":[],"signed":%(old)s}],"signed":%(evil)s}',
    "in a string": b'{"signatures":[%(sig)s],"signed":%(evil)s,"z":"],\\"signed\\":{}"}',
    "inside": b'{"signatures":[%(sig)s],"signed":%(around)s}',
    "twice": b'{"signatures":[%(sig)s],"signed":%(evil)s,"a":[],"signed":%(old)s}',
    "twice, the other last": b'{"a":[],"signed":%(old)s,"signatures":[%(sig)s],"signed":%(evil)s}',
    "with the next brace": b'{"signatures":[%(sig)s],"signed":{"a":[],"signed":%(old)s}}',
}


@pytest.mark.parametrize("place", PLACES)
def test_what_was_signed_counts_only_where_the_signed_part_stands(place: str) -> None:
    genuine = sign(OLD, [key("a")])
    parse = partial(parse_role, role_type=Timestamp, profile=Profile.GENERAL, max_bytes=10_000)
    for same in (genuine, json.dumps(json.loads(genuine)).encode(), genuine[:-1] + b',"z":1}', genuine[:-1] + b" }"):
        role_keys(["a"], 1).check(parse(same), "it", "")
    signature = strictjson.encode(json.loads(genuine)["signatures"][0])
    parts = {
        b"sig": signature,
        b"first": signature[:-1],
        b"old": strictjson.encode(OLD),
        b"evil": strictjson.encode(EVIL),
        b"around": strictjson.encode(EVIL | {"x": [[], 1], "x-old": OLD}).replace(b'"x-old"', b'"signed"'),
    }
    data = PLACES[place] % parts
    json.loads(data)
    with pytest.raises((ThresholdNotMet, FormatError)):
        role_keys(["a"], 1).check(parse(data), "it", "")


OTHER_TEXTS = {
    "spaces": json.dumps(OLD).encode(),
    "another order": compact(dict(reversed(OLD.items()))),
    "an escape": strictjson.encode(OLD).replace(b"timestamp", b"\\u0074imestamp"),
    "another zero": strictjson.encode(OLD | {"x": 0}).replace(b'"x":0', b'"x":-0'),
    "more than the part": strictjson.encode(OLD) + b',"x":{"y":1}',
}


@pytest.mark.parametrize("text", OTHER_TEXTS)
def test_a_signature_over_anything_but_the_canonical_form_counts_for_nothing(text: str) -> None:
    """Even where those bytes stand in the file: other clients refuse it, and so do the tools of those who sign."""
    signature = key("a").sign(OTHER_TEXTS[text])
    listed = strictjson.encode({"keyid": signature.keyid, "sig": signature.signature})
    data = b'{"signatures":[' + listed + b'],"signed":' + OTHER_TEXTS[text] + b"}"
    envelope = parse_role(data, Timestamp, profile=Profile.GENERAL, max_bytes=10_000)
    with pytest.raises(ThresholdNotMet):
        role_keys(["a"], 1).check(envelope, "it", "")


def test_a_threshold_below_one_cannot_be_built() -> None:
    for threshold in (0, -1):
        with pytest.raises(FormatError):
            role_keys(["a"], threshold)


def test_a_fingerprint_tells_who_decides_apart() -> None:
    same = role_keys(["a", "b"], 2)
    assert role_keys(["b", "a"], 2).fingerprint == same.fingerprint
    others = [role_keys(["a", "b"], 1), role_keys(["a"], 2), role_keys(["a", "c"], 2), role_keys(["a", "b", "c"], 2)]
    assert len({other.fingerprint for other in others} | {same.fingerprint}) == 5


# --- bins (TAP 15) ---


@given(st.integers(1, 32), st.text())
def test_bins_are_the_ones_of_tap_15(bit_length: int, path: str) -> None:
    mine = SuccinctRoles(role_keys(["a"], 1), bit_length, "index")
    stock = StockSuccinctRoles([keys("x", 1)[0].public_key.keyid], 1, bit_length, "index")
    name = mine.bin_of(path)
    assert name == stock.get_role_for_target(path)
    assert mine.has(name)
    assert stock.is_delegated_role(name)


@pytest.mark.parametrize(
    "name", ["index", "index-", "index-4", "index-00", "index-g", "index--1", "other-0", "index-\u0660"]
)
def test_other_names_are_no_bins(name: str) -> None:
    bins = SuccinctRoles(role_keys(["a"], 1), 2, "index")
    assert list(bins.names()) == ["index-0", "index-1", "index-2", "index-3"]
    assert all(bins.has(own) for own in bins.names())
    assert not bins.has(name)


@pytest.mark.parametrize("entry", [MetaFile(3, 10, {"sha256": "00"}), TargetFile(3, {"sha256": "00"}, {"a": 1})])
def test_an_entry_is_copied_as_it_is_and_shows_its_parts(entry: MetaFile | TargetFile) -> None:
    for other in (copy.copy(entry), copy.deepcopy(entry), pickle.loads(pickle.dumps(entry))):
        assert other == entry
        assert type(other) is type(entry)
        assert other.length == entry.length
        assert other.hashes == entry.hashes
    assert "length=" in repr(entry)


@pytest.mark.parametrize("entry", [None, 1, "00", [], [{"length": 1}]], ids=str)
@pytest.mark.parametrize("profile", Profile)
def test_a_target_is_an_object(files: dict[str, Any], profile: Profile, entry: Any) -> None:
    document = copy.deepcopy(files["crate.serde"])
    document["signed"]["targets"][CRATE] = entry
    with pytest.raises(FormatError, match=r"target 'crates/8b/serde/serde-1\.0\.0\.crate' is not an object"):
        read("crate.serde", document, profile)


@pytest.mark.parametrize("hashes", [None, {}, [], "00", {"sha256": None}, {"sha512": ["00"]}], ids=str)
@pytest.mark.parametrize("profile", Profile)
def test_a_target_has_a_hash(files: dict[str, Any], profile: Profile, hashes: Any) -> None:
    """Without one, any bytes of that length would be the target: all that are listed are compared, and none is."""
    document = copy.deepcopy(files["crate.serde"])
    document["signed"]["targets"][CRATE]["hashes"] = hashes
    with pytest.raises(FormatError, match="are not an object of strings"):
        read("crate.serde", document, profile)
    del document["signed"]["targets"][CRATE]["hashes"]
    with pytest.raises(FormatError, match="are not an object of strings"):
        read("crate.serde", document, profile)
