"""Whatever is changed in what would be signed, or in what a folder calls published: signers see it, or it is refused.

Any leaf of the JSON of any draft and of any base is made another one. The digest of what is signed, which would differ
for every change, is taken out of the text first: it is for comparing with one another, nobody reads meaning in it.
`CARNET_EXAMPLES` asks for more examples than the default suite tries.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.crates.archives import honest_crate
from tests.support.worlds.ceremony import make_key
from tests.support.worlds.claims import NAME, World, people
from tests.support.worlds.release import synthetic

from carnet import strictjson
from carnet.cargo.names import CrateId, Version
from carnet.errors import CarnetError
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import RoleFile, Root, Signed, Targets
from carnet_signer.ceremony import lint, words
from carnet_signer.ceremony import state_before as before_ceremony
from carnet_signer.ceremony.ceremony import Ceremony, advance, plan_of
from carnet_signer.ceremony.folder import overlay
from carnet_signer.metadata import role_files
from carnet_signer.own_view import OwnView
from carnet_signer.proposals import ownership, release, review, state_before
from carnet_signer.proposals.proposal import Proposal, draft

EXAMPLES = int(os.environ.get("CARNET_EXAMPLES", "60"))
MALLORY = make_key("person mallory").public_key
Where = tuple[str, str, tuple[str | int, ...]]
"""Which proposal, which role, which leaf."""
_folder = TemporaryDirectory(prefix="carnet-test-")


@cache
def worlds() -> dict[str, tuple[Proposal, OwnView, World]]:
    """Every kind of proposal, each with the view of whoever signs it."""
    made = synthetic(crate=CrateId.of(str(NAME), "0.1.0"))
    layout = ownership.NewLayout(made.layout_file, made.terms)
    world = World.make(Path(_folder.name))
    world.add(honest_crate(str(NAME), "0.0.1"), honest_crate(str(NAME), "0.0.2"))
    found = {"claim": (world.claim_proposal(layout=layout), _view(world))}
    world.claim()
    world.release("1.0.0")
    changes = ownership.OwnerChanges(people(("alice", "bob"), 2), people(("rita", "tara"), 2), layout)
    found["owners"] = (world.owner_proposal(changes), _view(world))
    found["release"] = (world.release_proposal("1.0.1"), _view(world))
    versions = [Version("0.0.2")]
    found["yank"] = (release.yank(world.published(), NAME, versions, yanked=True, now=world.now), _view(world))
    given_up = ownership.give_up(world.published(), world.claim_request("give-up"), now=world.now)
    found["give-up"] = (given_up, _view(world))
    return {kind: (*both, world) for kind, both in found.items()}


def _view(world: World) -> OwnView:
    repository = world.fresh()
    return OwnView(repository.trusted.root, "compared", "test", repository)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if inside and value:
        for key, one in inside:
            yield from leaves(one, (*path, key))
    else:
        yield path


@cache
def places(of: str) -> list[Where]:
    return [
        (kind, role, path)
        for kind, (proposal, _, _) in worlds().items()
        for role, file in (proposal.drafts if of == "drafts" else proposal.base).items()
        for path in leaves(file.body)
    ]


def changed(body: Any, path: tuple[str | int, ...], data: st.DataObject) -> Any:
    """The same with another leaf, or with something beside it."""
    signed = strictjson.parse_object(strictjson.encode(body), "a role", max_bytes=10**8)
    at: Any = signed
    for key in path[:-1]:
        at = at[key]
    old = at[path[-1]]
    others: list[Any] = ["x", 0, None, True, False, [], {}, {"more": 1}, 7, "ab" * 32, MALLORY.keyid, "mallory"]
    if isinstance(old, str):
        others += [old + " ", old.upper(), old[:-1], old[::-1], old.replace("2026", "2027"), old.replace("0", "1")]
    if type(old) is int:
        others += [old + 1, old - 1, -old]
    new = data.draw(st.sampled_from([one for one in others if one != old or type(one) is not type(old)]))
    if isinstance(at, dict) and data.draw(st.booleans()):
        at["x-more"] = new
    else:
        at[path[-1]] = new
    return signed


def shown(proposal: Proposal, view: OwnView, world: World) -> str:
    """What a signer reads, after all that could be refused; without the digests of whole roles."""
    compared = state_before.compare(proposal, view)
    review.lint(compared.proposal, now=world.now)
    words = (review.opening(compared), *review.describe(compared.proposal, now=world.now))
    text = "\n".join(line for one in words for line in (one.title, *one.lines))
    return re.sub(r"what you sign has the sha256 [0-9a-f]{64}", "", text)


@cache
def honest(kind: str) -> str:
    return shown(*worlds()[kind])


def test_what_is_honest_is_shown_without_a_word_about_odd_fields() -> None:
    for kind in worlds():
        assert "ALSO IN WHAT YOU SIGN" not in honest(kind), honest(kind)
        assert "not the one that you verified" not in honest(kind)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_changed_draft_is_refused_or_reads_otherwise(data: st.DataObject) -> None:
    kind, role, path = data.draw(st.sampled_from(places("drafts")))
    proposal, view, world = worlds()[kind]
    try:
        other = draft(role, changed(proposal.drafts[role].body, path, data))
        text = shown(replace(proposal, drafts={**proposal.drafts, role: other}), view, world)
    except CarnetError:
        return
    if other.message != proposal.drafts[role].message:
        assert text != honest(kind), (kind, role, path)


@cache
def ceremony() -> tuple[Ceremony, OwnView]:
    """The next version of every offline role, and the view of a holder."""
    _, view, world = worlds()["claim"]
    files = {role: {1: parsed(role, data)} for role, data in world.ceremony.files.items()}
    begun = Ceremony(files)
    found = overlay(begun, advance(begun, plan_of(begun), world.now, new_root=True))
    return before_ceremony.compare(found, view).ceremony, view


def parsed(role: str, data: bytes) -> RoleFile[Signed]:
    root = role == paths.ROOT
    return parse_role(data, Root if root else Targets, max_bytes=10**7)


@cache
def offline_places() -> list[tuple[str, tuple[str | int, ...]]]:
    roles = (paths.ROOT, paths.TARGETS, paths.CLAIMS, paths.claims_shard_role("07"), paths.INDEX)
    found = [(role, [*leaves(ceremony()[0].latest(role).body)]) for role in roles]
    # Of 256 entries that are alike, and of 256 shards in a list, a few stand for all.
    return [(role, path) for role, all_of_it in found for path in [*all_of_it[:60], *all_of_it[-20:]]]


@settings(max_examples=max(EXAMPLES // 3, 1), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_changed_draft_of_a_ceremony_is_refused_or_reads_otherwise(data: st.DataObject) -> None:
    role, path = data.draw(st.sampled_from(offline_places()))
    found, view = ceremony()
    now = worlds()["claim"][2].now
    try:
        other = parsed(
            role, role_files.file_bytes(strictjson.canonical(changed(found.latest(role).body, path, data)), [])
        )
        if other.message == found.latest(role).message:
            return
        files = {**found.files, role: {1: found.files[role][1], other.signed.version: other}}
        changed_one = Ceremony(files)
        if words.describe(changed_one, [role], now) != words.describe(found, [role], now):
            return
        after = before_ceremony.compare(changed_one, view).ceremony
        lint.refuse(lint.lint(after, now))
    except CarnetError:
        return
    raise AssertionError(f"nobody sees that {role} has another {path}")


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_changed_base_is_refused_or_reads_otherwise(data: st.DataObject) -> None:
    kind, role, path = data.draw(st.sampled_from(places("base")))
    proposal, view, world = worlds()[kind]
    try:
        other = draft(role, changed(proposal.base[role].body, path, data))
        text = shown(replace(proposal, base={**proposal.base, role: other}), view, world)
    except CarnetError:
        return
    assert text != honest(kind), (kind, role, path)
