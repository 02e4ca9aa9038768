"""Whatever carnet takes of mutated role files and bundles, the second opinion takes too, or names what differs.

Differences that are known stand in `KNOWN_OF_LAYOUTS`; any other one is a bug of ours or of a library's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.worlds.ceremony import NOW, Ceremony, TestKey, make_ceremony, sign_role
from tests.support.worlds.changes import OWNERS, RELEASERS, claim, new_online_key, signed_of
from tests.support.worlds.publication import MemoryPublication
from tests.support.worlds.release import HonestRelease, key, synthetic

from carnet.errors import CarnetError, FormatError, OpinionsDiffer
from carnet.intoto.dsse import Envelope
from carnet_mirror.second_opinion.in_toto_steps import judge_release
from carnet_mirror.second_opinion.python_tuf import judge_roles
from carnet_signer.metadata.new_roles import Change, add_release
from carnet_signer.metadata.publish import publish
from carnet_signer.metadata.published_state import read_published_state
from carnet_verifier.provenance.provenance import check_provenance

SHARD = "claims-8b"


@cache
def world() -> tuple[Ceremony, MemoryPublication, dict[str, Any], dict[str, tuple[TestKey, ...]], Change]:
    """A published ceremony, and what comes next: a rotation and a claim, as signed parts and who signs them."""
    ceremony, publication = make_ceremony(bit_length=1), MemoryPublication()
    publish(publication, ceremony.signer(), ceremony.change, now=NOW)
    first = claim(ceremony)
    roles = dict(first.roles) | dict(new_online_key(ceremony, ceremony.online, ceremony.holders[:2]).roles)
    for role in ("targets", "claims"):
        roles[role] = ceremony.sign(signed_of(ceremony.files[role]) | {"version": 2})
    signers = dict.fromkeys(roles, ceremony.holders[:2]) | {"owner.serde": OWNERS, "crate.serde": RELEASERS}
    return ceremony, publication, {role: signed_of(data) for role, data in roles.items()}, signers, first


def judge(roles: dict[str, bytes]) -> str:
    """Empty when both take it or carnet refuses; what differs otherwise."""
    _, publication, _, _, first = world()
    targets = dict(first.targets) if "crate.serde" in roles else {}
    try:
        accepted = add_release(
            read_published_state(publication), Change(roles=roles, targets=targets, about=first.about), NOW
        )
    except CarnetError:
        return ""
    try:
        judge_roles(accepted, NOW)
    except OpinionsDiffer as error:
        return str(error)
    return ""


def files(**changed: Any) -> dict[str, bytes]:
    """A change with one role changed, and with it those that have to come along."""
    _, _, signed, signers, _ = world()
    together = {SHARD, "owner.serde", "crate.serde"}
    names = {name for role in changed for name in (together if role in together else {role})}
    return {name: sign_role(changed.get(name, signed[name]), signers[name]) for name in names}


def demand_agreement(roles: dict[str, bytes]) -> None:
    difference = judge(roles)
    assert not difference, difference


def test_the_honest_files_are_taken_by_both() -> None:
    _, publication, signed, _, first = world()
    for role in signed:
        roles = files(**{role: signed[role]})
        change = replace(first, roles=roles, targets=first.targets if "crate.serde" in roles else {})
        accepted = add_release(read_published_state(publication), change, NOW)
        judge_roles(accepted, NOW)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield (*path, name)
        yield from places(child, (*path, name))


_ROLES = st.sampled_from(["root", "targets", "claims", "index", SHARD, "owner.serde", "crate.serde"])
_NAMES = ["sha512", "sha384", "md5", "carnet", "paths", "path_hash_prefixes", "succinct_roles", "delegations", "x"]
_VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, True, False, 0, 1, 2, 2.0, 2**63, -(2**63), "", "1.0", "1.9.9", "1.0.31", {}, [], [""]]),
    st.sampled_from(["2030-01-01T00:00:00Z", "2030-1-1T0:0:0Z", "9999-12-31T23:59:59Z", "0" * 64, "0" * 128]),
    st.integers(-(2**63), 2**64 - 1),
    st.text(max_size=5),
    st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2),
)


def mutated(draw: st.DataObject, value: Any) -> Any:
    """One value replaced, removed, doubled or added, somewhere inside."""
    copied = copy.deepcopy(value)
    everywhere = list(places(copied))
    *way, last = draw.draw(st.sampled_from(everywhere))
    holder = copied
    for step in way:
        holder = holder[step]
    action = draw.draw(st.sampled_from(["replace", "remove", "double", "add"]))
    if action == "remove":
        del holder[last]
    elif action == "double" and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[last]))
    elif action == "add" and isinstance(holder, dict):
        holder[draw.draw(st.sampled_from(_NAMES))] = draw.draw(_VALUES)
    else:
        holder[last] = draw.draw(_VALUES)
    return copied


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), _ROLES)
def test_a_changed_field_under_good_signatures(draw: st.DataObject, role: str) -> None:
    changed = mutated(draw, world()[2][role])
    try:
        roles = files(**{role: changed})
    except FormatError:
        return  # nothing that can be written
    demand_agreement(roles)


@settings(max_examples=100, deadline=None)
@given(_ROLES, st.integers(0, 100_000), st.integers(0, 3), st.binary(max_size=3))
def test_changed_bytes(role: str, place: int, length: int, new: bytes) -> None:
    """Nearly all of them are refused by both; what is left are bytes that no signature covers."""
    roles = files(**{role: world()[2][role]})
    data = roles[role]
    # The end of a file holds its signatures, and what carnet lets pass there is least.
    place = len(data) - 1 - place % min(len(data), 2_000)
    demand_agreement(roles | {role: data[:place] + new + data[place + length :]})


@settings(max_examples=60, deadline=None)
@given(_ROLES, st.lists(st.integers(0, 6), max_size=5, unique=True), st.booleans())
def test_any_set_of_signatures(role: str, who: list[int], spoilt: bool) -> None:
    """Below the threshold carnet refuses; at it and above both take it, whatever other signatures say."""
    ceremony, _, signed, _, _ = world()
    pool = [*ceremony.holders, *OWNERS, *RELEASERS, key("a stranger")]
    data = json.loads(sign_role(signed[role], [pool[number] for number in who]))
    if spoilt and data["signatures"]:
        data["signatures"][0]["sig"] = "zz"
    raw = json.dumps(data).encode()
    demand_agreement(files(**{role: signed[role]}) | {role: raw})


# --- evidence ---


@cache
def honest() -> HonestRelease:
    return synthetic()


@settings(max_examples=120, deadline=None)
@given(st.data(), st.sampled_from(sorted(honest().links)))
def test_a_changed_link_under_a_good_signature(draw: st.DataObject, step: str) -> None:
    release = honest()
    people = [who for who, _ in release.links[step]]
    payload = mutated(draw, json.loads(release.link(step).to_payload()))
    try:
        envelope = Envelope(json.dumps(payload).encode())
    except UnicodeEncodeError:
        return
    signed = [envelope.with_signature(key(who).sign(envelope.message)) for who in people]
    changed = release.with_links(step).with_extra(step, *signed)
    try:
        found = changed.check()
    except CarnetError:
        return
    judge_release(found)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_changed_layout_of_the_owners(draw: st.DataObject) -> None:
    release = honest()
    payload = mutated(draw, json.loads(release.layout.to_payload()))
    try:
        envelope = Envelope(json.dumps(payload).encode())
    except UnicodeEncodeError:
        return
    data = envelope.with_signature(key("owner").sign(envelope.message)).to_bytes()
    try:
        found = check_provenance(
            release.crate, [replace(release.owned, data=data)], replace(release.bundle(), layout=data)
        )
    except CarnetError:
        return
    difference = ""
    try:
        judge_release(found)
    except OpinionsDiffer as error:
        difference = str(error)
    assert not difference or any(known in difference for known in KNOWN_OF_LAYOUTS), difference


KNOWN_OF_LAYOUTS = (
    "layout.expires",  # carnet reads `2030-1-1T0:0:0Z` as the time that it is
    "expected public key dict",  # ... and a key that does not repeat its id inside
)
"""Layouts that carnet never writes, and reads."""
