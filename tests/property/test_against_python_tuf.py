"""The same bytes, judged by carnet and by python-tuf: carnet takes nothing that python-tuf refuses.

The other way round carnet may be stricter, and says in what: see `STRICTER`. What python-tuf's rules would call an
internal name is used here as an oracle only.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.worlds.simulator import NOW, Simulator, key, keys, sign
from tuf.api.exceptions import RepositoryError
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from carnet.errors import FormatError, MetadataError
from carnet.tuf.keys import Profile
from carnet_verifier.tuf.workflow import TrustedRoles

ORDER = ("1.root", "2.root", "timestamp", "1.snapshot", "1.targets", "1.index", "1.index-0")
SIGNERS = {
    "1.root": keys("root", 3)[:2],
    "2.root": keys("root", 3)[:2],
    "timestamp": keys("timestamp", 1),
    "1.snapshot": keys("snapshot", 1),
    "1.targets": keys("targets", 3)[:2],
    "1.index": keys("index", 2)[:1],
    "1.index-0": keys("bins", 1),
}

STRICTER = (
    "is not JSON",  # python's parser takes NaN and Infinity
    "the key ",  # ... and a key that is there twice
    "is not UTF-8",
    "surrogates",
    "64 bits",
    "only integers are allowed",  # ... and a float where an integer belongs
    "nested deeper",
    "two signatures",  # 4.2 forbids them; python-tuf too, but it counts them elsewhere
    "is not lower-case hex",  # python-tuf keeps any text as a hash until it compares
    "hashes of",
    "length is not a size",
    "unsafe",
    "bit_length",
    "1 to 200 characters",
    "a threshold is not an integer",  # true is 1 in Python
    "version is not an integer",  # here too
    "is not true or false",  # python-tuf never looks at the type of `terminating` and `consistent_snapshot`
    "is not a list of strings",
    "is not an object",
    "is not a string",
    "is not 1.x",
    "names no keys for",
    "needs keyid and sig",
    "unknown hash",
    "path hash prefix",
    "meta lists",
    "a key needs",
    "public key",  # trap 2, and a key that is none: python-tuf finds out when it verifies, if ever
    "is larger than",
    "is not a list",
    "expired at",  # carnet compares at each role; python-tuf lets an expired intermediate pass where it is replaced
)
"""Reasons that carnet may have where python-tuf has none."""


def files() -> dict[str, bytes]:
    sim = Simulator(bit_length=1)
    sim.add_index("serde", b"{}\n")
    names = {name: sim.files.get(f"metadata/{name}.json", b"") for name in ORDER}
    second = sim.root.to_dict() | {"version": 2}
    return names | {"2.root": sign(second, SIGNERS["2.root"])}


FILES = files()


def ours(data: Mapping[str, bytes]) -> str:
    """Empty when all files are taken; the reason otherwise."""
    try:
        trusted = TrustedRoles(data["1.root"], now=NOW, profile=Profile.GENERAL)
        trusted.next_root(data["2.root"])
        trusted.check_root()
        trusted.accept_timestamp(data["timestamp"])
        trusted.accept_snapshot(data["1.snapshot"])
        delegator = None
        for role in ("targets", "index", "index-0"):
            envelope = trusted.read_targets(role, data[f"1.{role}"], trusted.meta(role))
            trusted.check_targets(role, envelope, delegator)
            delegator = envelope.signed
    except (FormatError, MetadataError) as error:
        return str(error)
    return ""


def theirs(data: Mapping[str, bytes]) -> str:
    try:
        trusted = TrustedMetadataSet(data["1.root"], EnvelopeType.METADATA)
        trusted.reference_time = NOW
        trusted.update_root(data["2.root"])
        trusted.update_timestamp(data["timestamp"])
        trusted.update_snapshot(data["1.snapshot"])
        trusted.update_targets(data["1.targets"])
        trusted.update_delegated_targets(data["1.index"], "index", "targets")
        trusted.update_delegated_targets(data["1.index-0"], "index-0", "index")
    except (RepositoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def compare(data: Mapping[str, bytes]) -> None:
    we, they = ours(data), theirs(data)
    assert not (they and not we), f"carnet takes what python-tuf refuses: {they}"
    assert not we or they or any(reason in we for reason in STRICTER), f"carnet alone refuses: {we}"


def test_the_repository_itself_is_taken_by_both() -> None:
    assert ours(FILES) == theirs(FILES) == ""


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(ORDER), st.integers(0, 100_000), st.integers(1, 255))
def test_a_changed_byte_is_judged_alike(name: str, place: int, change: int) -> None:
    data = bytearray(FILES[name])
    data[place % len(data)] ^= change
    compare(FILES | {name: bytes(data)})


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ORDER), st.integers(0, 100_000), st.integers(0, 40), st.binary(max_size=8))
def test_a_changed_stretch_is_judged_alike(name: str, place: int, length: int, new: bytes) -> None:
    data = FILES[name]
    place %= len(data)
    compare(FILES | {name: data[:place] + new + data[place + length :]})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value below an object or list."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield (*path, name)
        yield from places(child, (*path, name))


SIGNED = {name: json.loads(data)["signed"] for name, data in FILES.items()}
PLACES = {name: list(places(signed)) for name, signed in SIGNED.items()}
VALUES = st.one_of(
    st.sampled_from([None, True, False, -1, 0, 1, 2, 3, 2**63, "", "root", "targets", "1.0", "2.0.0", "1", "x" * 300]),
    st.sampled_from(["2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "2030-01-01", "0" * 64, {}, [], [""], {"": ""}]),
    st.integers(-(2**63), 2**64 - 1),
    st.text(max_size=5),
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_changed_field_under_good_signatures_is_judged_alike(draw: st.DataObject) -> None:
    name = draw.draw(st.sampled_from(ORDER))
    signed = copy.deepcopy(SIGNED[name])
    *way, last = draw.draw(st.sampled_from(PLACES[name]))
    holder = signed
    for step in way:
        holder = holder[step]
    action = draw.draw(st.sampled_from(["replace", "remove", "double"]))
    if action == "remove":
        del holder[last]
    elif action == "double" and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[last]))
    else:
        holder[last] = draw.draw(VALUES)
    # Snapshot and timestamp name the lengths and hashes of what they were made for: they have to name the new ones.
    compare(renamed(FILES | {name: sign(signed, SIGNERS[name])}))


def renamed(data: Mapping[str, bytes]) -> dict[str, bytes]:
    """Snapshot and timestamp without lengths and hashes, unless they were themselves changed."""
    found = dict(data)
    for name in ("1.snapshot", "timestamp"):
        if data[name] == FILES[name]:
            signed = copy.deepcopy(SIGNED[name])
            for meta in signed["meta"].values():
                meta.pop("hashes", None)
                meta.pop("length", None)
            found[name] = sign(signed, SIGNERS[name])
    return found


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ORDER), st.lists(st.integers(0, 5), max_size=5))
def test_signatures_taken_away_or_added_are_judged_alike(name: str, who: list[int]) -> None:
    """And taking one away never admits more: whatever subset signs, only the threshold decides."""
    pool = [*keys("root", 3), key("timestamp 0"), key("snapshot 0"), key("targets 0")]
    signing = [pool[number] for number in dict.fromkeys(who)]
    data = renamed(FILES | {name: sign(SIGNED[name], signing)})
    compare(data)
    if not ours(data):
        for left_out in range(len(signing)):
            rest = signing[:left_out] + signing[left_out + 1 :]
            compare(renamed(FILES | {name: sign(SIGNED[name], rest)}))
        more = sign(SIGNED[name], [*signing, key("a stranger")])
        assert not ours(renamed(FILES | {name: more}))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)), min_size=2, max_size=6))
def test_trusted_versions_never_fall(views: list[tuple[int, int, int]]) -> None:
    """Whatever well-signed views a mirror shows one after another, what a client remembers never goes back."""
    timestamp: bytes | None = None
    snapshot: bytes | None = None
    highest = (0, 0, 0)
    for view in views:
        signed_snapshot = copy.deepcopy(SIGNED["1.snapshot"]) | {"version": view[1]}
        signed_snapshot["meta"] = {"targets.json": {"version": view[2]}}
        signed_timestamp = copy.deepcopy(SIGNED["timestamp"]) | {"version": view[0]}
        signed_timestamp["meta"] = {"snapshot.json": {"version": view[1]}}
        trusted = TrustedRoles(FILES["1.root"], now=NOW)
        trusted.recall(timestamp, snapshot)
        try:
            new = sign(signed_timestamp, SIGNERS["timestamp"])
            if trusted.accept_timestamp(new):
                timestamp = new
            if not trusted.reuse_snapshot():
                new = sign(signed_snapshot, SIGNERS["1.snapshot"])
                trusted.accept_snapshot(new)
                snapshot = new
        except MetadataError:
            pass
        now = (_version(timestamp), _version(snapshot), _targets(snapshot))
        assert all(after >= before for after, before in zip(now, highest, strict=True))
        highest = now


def _version(data: bytes | None) -> int:
    return int(json.loads(data)["signed"]["version"]) if data else 0


def _targets(data: bytes | None) -> int:
    return int(json.loads(data)["signed"]["meta"]["targets.json"]["version"]) if data else 0
