"""Somebody who drafts what others sign, and has them read something that is true and misleads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.ceremony import make_key
from tests.support.worlds.claims import NAME, World, people, person, sign
from tests.support.worlds.release import synthetic

from carnet import strictjson
from carnet.cargo.names import CrateId
from carnet.errors import CarnetError
from carnet.tuf import paths
from carnet.tuf.tree import roles_of
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
