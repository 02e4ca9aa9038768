"""Attacker: whoever would keep a takeover or a claim from coming about, or bring another one about than was public.

What must hold: what waits is what holders decide about. Nothing that present owners, release keys or an upstream
publish meanwhile lets it wait anew, and holders see it against what is published then; anything else waits.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.ceremony import NOW
from tests.support.worlds.claims import NAME, World, people, person, refusal, sign
from tests.support.worlds.release import synthetic
from tests.support.worlds.waiting import claimed, compared, edited, later, seen, signed

from carnet.cargo.names import CrateId
from carnet.claims.waiting import Waiting
from carnet.errors import ConfigError, MetadataMismatch, RollbackDetected, VerificationError
from carnet.tuf import paths
from carnet_mirror.waiting import Public
from carnet_signer.proposals import ownership, review, waiting
from carnet_signer.proposals.ownership import OwnerChanges
from carnet_signer.proposals.proposal import Proposal, load, save, save_again

OWNER, CRATE, SHARD = paths.owner_role(NAME), paths.crate_role(NAME), paths.claims_shard_role(NAME.shard)
MADE = synthetic(crate=CrateId.of(str(NAME), "0.1.0"))
LAYOUT = ownership.NewLayout(MADE.layout_file, MADE.terms)
NEW_OWNERS = people(("nora", "olaf"), 2)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A registry where claims wait a week and takeovers a month, with one crate that is published and nobody's."""
    made = World.make(tmp_path, waits=Waiting(claim=7, takeover=30))
    made.add(honest_crate(str(NAME), "0.9.0"))
    return made


def taking(world: World, **changes: object) -> tuple[Proposal, Public]:
    """A takeover that was handed in."""
    later(world, days=1)
    made = world.owner_proposal(OwnerChanges(owners=NEW_OWNERS, **changes), takeover=True)  # type: ignore[arg-type]
    return made, world.propose(made)


def by(world: World, proposal: Proposal, *names: str) -> Proposal:
    return sign(proposal, [*map(person, names), *world.ceremony.holders[:2]])


def renewed(world: World, proposal: Proposal) -> Proposal:
    again = waiting.renew(proposal, world.published(), now=world.now)
    review.lint(again, now=world.now)
    return again


def own_change(world: World, changes: OwnerChanges, *more: str) -> None:
    """What present owners sign among themselves."""
    world.submit(signed(world, world.owner_proposal(changes), *more))


def test_present_owners_who_go_on_signing_put_no_takeover_off(world: World) -> None:
    claimed(world)
    proposal, public = taking(world)
    for day in range(0, 40, 2):
        match day // 2 % 4:
            case 0:  # a new version with a new expiry, and other release keys
                own_change(world, OwnerChanges(releasers=people(("rita", "sven", "tara"), 1 + day % 16 // 8)))
            case 1 if day == 34:
                own_change(world, OwnerChanges(layout=LAYOUT))
            case 2 if day < 34:
                world.release(f"1.0.{day}")
            case 3:  # a new owner key, for which the holders sign as well
                third = "carol" if day % 16 == 14 else "dora"
                own_change(world, OwnerChanges(owners=people(("alice", "bob", third), 2)))
        later(world, days=2)
        if day == 26:
            early = by(world, renewed(world, proposal), "nora", "olaf")
            assert "has to be until" in str(refusal(partial(world.submit, early)))
    assert isinstance(refusal(lambda: world.submit(by(world, proposal, "nora", "olaf"))), RollbackDetected)
    again = renewed(world, proposal)
    assert world.propose(again).receipt == public.receipt
    shown = seen(world, compared(world, again), public.receipt)
    assert shown.problem is None
    words = "\n".join(line for one in review.describe(compared(world, again), now=world.now) for line in one.lines)
    assert "alice" in words, "whom it replaces, as they are now"
    assert world.submit(by(world, again, "nora", "olaf")).takeover
    assert not world.store.pending.entries(world.now)


def test_owners_who_sign_every_minute_keep_nobody_waiting_for_the_holders(world: World) -> None:
    """Only the new owners sign anew: what the holders signed of the shard stands while nobody publishes another."""
    claimed(world)
    proposal, _ = taking(world)
    later(world, days=30)
    ready = by(world, renewed(world, proposal), "nora", "olaf")
    own_change(world, OwnerChanges(releasers=people(("rita", "sven"), 2)))
    assert isinstance(refusal(lambda: world.submit(ready)), RollbackDetected)
    again = renewed(world, ready)
    assert again.drafts[SHARD] is ready.drafts[SHARD]
    assert not again.drafts[OWNER].signatures
    assert world.submit(sign(again, [person("nora"), person("olaf")])).takeover


def test_what_the_new_owners_bring_is_kept_as_it_was_public(world: World) -> None:
    claimed(world)
    proposal, public = taking(world, layout=LAYOUT, releasers=people(("nora", "olaf", "pia"), 2))
    own_change(world, OwnerChanges(releasers=people(("rita", "sven"), 2)))
    world.release("1.0.1")
    later(world, days=30)
    again = renewed(world, proposal)
    (path,) = again.targets
    assert path == paths.layout_path(NAME, world.published().owner.signed.version + 1)  # type: ignore[union-attr]
    assert again.targets[path] == LAYOUT.data
    assert world.propose(again).receipt == public.receipt
    assert seen(world, compared(world, again), public.receipt).problem is None
    assert world.submit(by(world, again, "nora", "olaf", "pia")).takeover


def other_owner(world: World, _: Proposal) -> Proposal:
    return world.owner_proposal(OwnerChanges(owners=people(("nora", "eve"), 2)), takeover=True)


def other_threshold(world: World, _: Proposal) -> Proposal:
    return world.owner_proposal(OwnerChanges(owners=people(("nora", "olaf"), 1)), takeover=True)


def other_releasers(world: World, _: Proposal) -> Proposal:
    changes = OwnerChanges(owners=NEW_OWNERS, releasers=people(("eve", "nora"), 1))
    return world.owner_proposal(changes, takeover=True)


def a_layout(world: World, _: Proposal) -> Proposal:
    return world.owner_proposal(OwnerChanges(owners=NEW_OWNERS, layout=LAYOUT), takeover=True)


def another_field(_: World, proposal: Proposal) -> Proposal:
    return edited(proposal, OWNER, lambda role: role.update(more="of it"))


SWAPPED: dict[str, Callable[[World, Proposal], Proposal]] = {
    "another owner": other_owner,
    "another threshold": other_threshold,
    "other release keys": other_releasers,
    "a layout": a_layout,
    "another field": another_field,
}


@pytest.mark.parametrize("swap", SWAPPED)
def test_other_content_than_was_public_waits_anew(world: World, swap: str) -> None:
    claimed(world)
    proposal, public = taking(world)
    later(world, days=30)
    other = SWAPPED[swap](world, proposal)
    assert isinstance(seen(world, compared(world, other), public.receipt).problem, VerificationError)
    everybody = by(world, other, *{"nora", *(["eve"] if swap in ("another owner", "other release keys") else ["olaf"])})
    if swap == "other release keys":
        everybody = sign(everybody, [person("olaf")])
    assert "never public here" in str(refusal(lambda: world.submit(everybody)))
    assert world.propose(other).said.time == world.now
    assert world.submit(by(world, proposal, "nora", "olaf")).takeover


def exempts(role: dict[str, object]) -> None:
    field = role["carnet"]
    assert isinstance(field, dict)
    field["adopted"] = ["0" * 64]


def drops_layouts(role: dict[str, object]) -> None:
    role["targets"] = {}


@pytest.mark.parametrize("edit", [exempts, drops_layouts])
def test_what_nobody_was_shown_follows_from_what_is_published(
    world: World, edit: Callable[[dict[str, object]], None]
) -> None:
    """The digest does not cover it, so it is no choice of the new owners."""
    claimed(world)
    own_change(world, OwnerChanges(layout=LAYOUT))
    proposal, public = taking(world)
    later(world, days=30)
    other = edited(proposal, OWNER, edit)
    assert isinstance(seen(world, compared(world, other), public.receipt).problem, MetadataMismatch)
    refused = refusal(lambda: world.submit(by(world, other, "nora", "olaf")))
    assert "other layouts before its own" in str(refused)
    assert world.submit(by(world, proposal, "nora", "olaf")).takeover


def test_a_takeover_changes_no_versions(world: World) -> None:
    claimed(world)
    proposal, public = taking(world, releasers=people(("nora", "olaf"), 2))
    later(world, days=30)

    def yanks(role: dict[str, object]) -> None:
        for target in role["targets"].values():  # type: ignore[attr-defined]
            target["custom"]["yanked"] = True

    other = edited(proposal, CRATE, yanks)
    assert isinstance(seen(world, compared(world, other), public.receipt).problem, MetadataMismatch)
    assert "none of its versions" in str(refusal(lambda: world.submit(by(world, other, "nora", "olaf"))))


def test_an_upstream_that_publishes_every_day_puts_no_claim_off(world: World) -> None:
    proposal = world.claim_proposal(layout=LAYOUT)
    public = world.propose(proposal)
    for day in range(7):
        world.add(honest_crate(str(NAME), f"0.9.{day + 1}"))
        later(world, days=1)
    assert "does not adopt" in str(refusal(lambda: compared(world, proposal)))
    again = waiting.renew(proposal, world.published(), adopted=world.adopted(), now=world.now)
    review.lint(again, now=world.now)
    assert public.said.time == NOW
    assert seen(world, compared(world, again), public.receipt).problem is None
    assert world.submit(signed(world, again)).snapshot is not None
    assert len(world.published().crate.signed.targets) == 8  # type: ignore[union-attr]


def test_a_folder_is_renewed_in_its_place(world: World, tmp_path: Path) -> None:
    claimed(world)
    proposal, _ = taking(world, layout=LAYOUT)
    save(proposal, tmp_path / "folder")
    own_change(world, OwnerChanges(releasers=people(("rita", "sven"), 2)))
    again = renewed(world, proposal)
    save_again(again, tmp_path / "folder")
    found = load(tmp_path / "folder")
    assert found.targets == again.targets
    for kept, made in ((found.drafts, again.drafts), (found.base, again.base)):
        assert {role: file.raw for role, file in kept.items()} == {role: file.raw for role, file in made.items()}


def test_whose_crate_it_is_already_takes_nothing_over(world: World) -> None:
    claimed(world)
    proposal, _ = taking(world)
    own_change(world, OwnerChanges(owners=NEW_OWNERS), "nora", "olaf")
    assert "has these owners already" in str(refusal(lambda: renewed(world, proposal)))
    given = ownership.give_up(world.published(), world.claim_request("give-up"), now=world.now + timedelta(hours=1))
    world.submit(sign(given, world.ceremony.holders[:2]))
    assert not world.store.pending.entries(world.now), "nobody gets that name any more"
    assert isinstance(refusal(lambda: renewed(world, proposal)), ConfigError)
