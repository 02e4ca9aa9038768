"""Somebody who drafts what others sign, and has them read something that is true and misleads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.ceremony import make_key, sign_role
from tests.support.worlds.claims import NAME, World, people, person, sign
from tests.support.worlds.release import synthetic

from carnet import strictjson
from carnet.cargo.names import CrateId
from carnet.errors import CarnetError
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import RoleFile, Root, Signed, Targets
from carnet.tuf.tree import roles_of
from carnet_signer.ceremony import lint, words
from carnet_signer.ceremony.ceremony import Ceremony, Holder, advance, plan_of
from carnet_signer.metadata import role_files
from carnet_signer.own_view import OwnView
from carnet_signer.proposals import review, state_before
from carnet_signer.proposals.ownership import NewLayout, OwnerChanges
from carnet_signer.proposals.proposal import Proposal, draft
from carnet_signer.steps.layouts import compile_layout, fill_template

SHARD, OWNER, CRATE = roles_of(NAME)
OTHERS = OwnerChanges(releasers=people(("rita", "tara"), 2))
STRONG = synthetic(crate=CrateId.of(str(NAME), "0.1.0"))


def read(world: World, proposal: Proposal) -> str:
    """What an honest signer reads; whatever is refused is refused here."""
    repository = world.fresh()
    compared = state_before.compare(proposal, OwnView(repository.trusted.root, "compared", "test", repository))
    review.lint(compared.proposal, now=world.now)
    words = (review.opening(compared), *review.describe(compared.proposal, now=world.now))
    return "\n".join(f"{'!!! ' if one.alarm else ''}{line}" for one in words for line in (one.title, *one.lines))


def edited(proposal: Proposal, role: str, edit: Callable[[Any], None]) -> Proposal:
    signed = strictjson.parse_object(proposal.drafts[role].message, role, max_bytes=10**8)
    edit(signed)
    return replace(proposal, drafts={**proposal.drafts, role: draft(role, signed)})


# --- a layout that is published already ---


def weak_layout(world: World) -> NewLayout:
    """One person tags, a robot packages, nobody reviews."""
    keys = {f"{name}.pub": make_key(name).public_key for name in ("alice", "robot")}
    steps = {"tag": ("alice",), "package": ("robot",)}
    text = fill_template("minimal", {path.removesuffix(".pub"): (path,) for path in keys}, steps)
    files = {path: strictjson.canonical(key.to_object()) for path, key in keys.items()}
    made = compile_layout(text.encode(), files.__getitem__, now=world.now, what="layout")
    return NewLayout(made.unsigned().to_bytes(), made.terms)


def custom(signed: Any, path: str = "1.layout.json") -> Any:
    return next(entry for name, entry in signed["targets"].items() if name.endswith(path))["custom"]


def _no_duties(signed: Any) -> None:
    custom(signed)["separate_duties"] = []


def _lower(signed: Any) -> None:
    custom(signed)["least_level"] = "maintainer"


def _nameless(signed: Any) -> None:
    custom(signed)["people"] = {}


def _two_people_of_one(signed: Any) -> None:
    terms = custom(signed)["people"]
    terms[next(keyid for keyid, who in terms.items() if who == "dave")] = "dave2"


def _generated(signed: Any) -> None:
    custom(signed)["generated"] = ["src/backdoor.rs"]


SAID: dict[Callable[[Any], None], str] = {
    _no_duties: "ONE PERSON MAY DO BOTH FROM NOW ON: review and tag",
    _lower: "new releases reach at least: maintainer; IT WAS provenance",
    _nameless: "A PERSON OF ITS OWN, WITHOUT A NAME: ed25519 key",
    _two_people_of_one: "(the key was called dave)",
    _generated: "PACKAGED WITHOUT BEING IN ANY COMMIT: src/backdoor.rs  (new)",
}


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A claimed crate with a layout in force."""
    world = World.make(tmp_path_factory.mktemp("governed"))
    world.claim(layout=NewLayout(STRONG.layout_file, STRONG.terms))
    return world


@pytest.mark.parametrize("edit", SAID)
def test_other_terms_of_the_layout_in_force_come_with_its_file_and_are_marked(
    governed: World, edit: Callable[[Any], None]
) -> None:
    """A change of release keys, and the layout that everybody knows asks for less from then on."""
    world = governed
    honest = world.owner_proposal(OTHERS)
    assert "its steps stay as they are" in read(world, honest)
    lying = edited(honest, OWNER, edit)
    with pytest.raises(CarnetError, match=r"the folder lacks layouts/.*or other terms of one"):
        read(world, lying)
    file = {paths.layout_path(NAME, 1): STRONG.layout_file}
    text = read(world, replace(lying, targets=file))
    assert SAID[edit] in text, text
    assert SAID[edit] not in read(world, replace(honest, targets=file))
    assert "step review: 2 of" in text


def test_an_older_layout_does_not_come_back_unseen(tmp_path: Path) -> None:
    """Its file was signed once, so nothing had to be looked at: neither that nobody reviews, nor that it is another."""
    world = World.make(tmp_path)
    weak = weak_layout(world)
    world.claim(layout=weak)
    strong = world.owner_proposal(OwnerChanges(layout=NewLayout(STRONG.layout_file, STRONG.terms)))
    text = read(world, strong)
    assert f"IT REPLACES {paths.layout_path(NAME, 1)}, sha256 " in text, text
    keeps_both = edited(strong, OWNER, lambda signed: signed["targets"].update(_listed(world)))
    world.publish_roles({OWNER: _signed(keeps_both)}, targets=dict(keeps_both.targets))
    honest = world.owner_proposal(OTHERS)

    def back(signed: Any) -> None:
        del custom(signed, "/1.layout.json")["releases"]
        custom(signed, "/2.layout.json")["releases"] = []

    assert "IT REPLACES" not in read(world, honest)
    lying = edited(honest, OWNER, back)
    with pytest.raises(CarnetError, match=r"the folder lacks layouts/.*/1\.layout\.json"):
        read(world, lying)
    text = read(world, replace(lying, targets={paths.layout_path(NAME, 1): weak.data}))
    assert f"IT REPLACES {paths.layout_path(NAME, 2)}, sha256 " in text, text
    assert "step package: 1 of robot" in text


def test_who_needs_no_steps_from_now_on_is_marked(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.claim()
    world.release("1.0.0")
    world.release("1.0.1")
    with_layout = world.owner_proposal(OwnerChanges(layout=NewLayout(STRONG.layout_file, STRONG.terms)))
    assert read(world, with_layout).count("no steps: demo-lib@1.0.") == 2
    adopted = exempt(with_layout)
    fewer = edited(with_layout, OWNER, lambda signed: signed["carnet"].update(adopted=adopted[:1]))
    world.publish_roles({OWNER: _signed(fewer)}, targets=dict(fewer.targets))
    honest = world.owner_proposal(OTHERS)
    more = edited(honest, OWNER, lambda signed: signed["carnet"].update(adopted=adopted))
    marked = [line for line in read(world, more).splitlines() if line.startswith("no steps: ")]
    assert sorted(line.endswith("(new)") for line in marked) == [False, True], marked


def exempt(proposal: Proposal) -> list[str]:
    signed: Any = proposal.drafts[OWNER].body
    return list(signed["carnet"]["adopted"])


def _listed(world: World) -> dict[str, Any]:
    """A layout that was replaced, as its owners go on listing it."""
    body = world.published().owner
    assert body is not None
    entry: Any = strictjson.parse_object(body.message, OWNER, max_bytes=10**8)["targets"]
    return {path: {**one, "custom": {**one["custom"], "releases": []}} for path, one in entry.items()}


def _signed(proposal: Proposal) -> bytes:
    return sign(proposal, [person("alice"), person("bob")]).drafts[OWNER].raw


def test_a_claim_that_takes_its_layout_out_of_force_says_so(governed: World) -> None:
    gone = edited(governed.owner_proposal(OTHERS), OWNER, lambda signed: signed.update(targets={}))
    assert f"THE LAYOUT {paths.layout_path(NAME, 1)} IS NO LONGER IN FORCE" in read(governed, gone)


# --- what is true to Python, and what the registry's holders are called ---


def test_true_is_not_shown_as_the_one_that_stood_there(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.claim()
    listed = edited(
        world.release_proposal("1.0.0"), CRATE, lambda signed: signed.update({"x-strict": [True], "x-n": 1})
    )
    world.submit(sign(listed, [person("rita"), person("sven")]))
    honest = world.release_proposal("1.0.1")
    lying = edited(honest, CRATE, lambda signed: signed.update({"x-strict": [1], "x-n": True}))
    text = read(world, lying)
    assert '"x-strict" is [1]; it was [true]' in text, text
    assert '"x-n" is true; it was 1' in text, text


def holders(world: World, people: Callable[[dict[str, Any]], None], *, leaves: bool = False) -> str:
    """What holders read of a next root, in which somebody drafted what the holders are called."""
    files = {role: {1: _parsed(role, data)} for role, data in world.ceremony.files.items()}
    names = {key.public_key.keyid: key.name for key in (*world.ceremony.holders, world.ceremony.online)}
    named: Any = {**files[paths.ROOT][1].body, "carnet": {"people": names, "waiting": {"claim": 0, "takeover": 0}}}
    files[paths.ROOT] = {1: _parsed(paths.ROOT, sign_role(named, world.ceremony.holders[:2]))}
    begun = Ceremony(files)
    plan = plan_of(begun)
    if leaves:
        mallory = Holder(plan.holders[1].name, make_key("person mallory").public_key)
        plan = replace(plan, holders=(plan.holders[0], mallory, plan.holders[2]))
    made = advance(begun, plan, world.now, new_root=True)[paths.metadata_name(paths.ROOT, 2)]
    signed: Any = strictjson.parse_object(made, paths.ROOT, max_bytes=10**7)["signed"]
    people(signed["carnet"]["people"])
    next_root = _parsed(paths.ROOT, role_files.file_bytes(strictjson.canonical(signed), []))
    ceremony = Ceremony({**files, paths.ROOT: {1: files[paths.ROOT][1], 2: next_root}})
    if not leaves:  # it would miss the roles that such a root comes with
        lint.refuse(lint.lint(ceremony, world.now))
    return "\n".join(words.describe(ceremony, [paths.ROOT], world.now))


def _parsed(role: str, data: bytes) -> RoleFile[Signed]:
    return parse_role(data, Root if role == paths.ROOT else Targets, max_bytes=10**7)


def test_holders_who_are_called_otherwise_are_no_change_of_the_expiry(governed: World) -> None:
    first, second = (key.public_key for key in governed.ceremony.holders[:2])

    def swap(people: dict[str, Any]) -> None:
        people[first.keyid], people[second.keyid] = people[second.keyid], people[first.keyid]

    assert "change     none but the expiry" in holders(governed, lambda _: None)
    text = holders(governed, swap)
    assert "none but the expiry" not in text
    for key, now, was in ((first, "holder-1", "holder-0"), (second, "holder-0", "holder-1")):
        assert f"CHANGE     {now}: the holder of key {key.keyid} was {was}" in text, text


def test_who_leaves_is_not_renamed_on_the_way_out(governed: World) -> None:
    """Mallory comes in by the name of a holder, whose own key leaves by a name that nobody minds."""
    gone, mallory = governed.ceremony.holders[1].public_key, make_key("person mallory").public_key

    def rename(people: dict[str, Any]) -> None:
        people[gone.keyid] = "old-laptop"

    for text in (holders(governed, lambda _: None, leaves=True), holders(governed, rename, leaves=True)):
        assert f"root: holder-1 joins, with key {mallory.keyid}" in text, text
        assert f"root: holder-1 leaves, with key {gone.keyid}" in text, text
    assert "ALSO IN WHAT YOU SIGN: root: carnet.people" in text
