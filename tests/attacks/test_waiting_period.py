"""Attacker: whoever wants a name before anybody looks: a claimant, a thief of the online key, the mirror itself.

What must hold: a first claim and a takeover count only when exactly what is signed was public for as long as the root
says. The mirror goes by its own record, holders by a receipt of the online key that their root names.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.ceremony import NOW, make_key
from tests.support.worlds.claims import NAME, World, body, facts, people, person, refusal, sign
from tests.support.worlds.waiting import claimed, compared, edited, later, root_of, seen, signed

from carnet.cargo.names import CrateName
from carnet.claims.receipt import ClaimReceipt, Proposed, SignedReceipt, message
from carnet.claims.waiting import CLAIM, TAKEOVER, Waiting
from carnet.errors import (
    FormatError,
    MetadataMismatch,
    RollbackDetected,
    StorageError,
    ThresholdNotMet,
    VerificationError,
)
from carnet.tuf import paths
from carnet_mirror.state.store import Store
from carnet_mirror.upkeep import sign_again
from carnet_mirror.waiting import take_proposal
from carnet_signer.proposals import ownership, review, waiting
from carnet_signer.proposals.proposal import Proposal
from carnet_verifier.policy.policy import Excuse, Pattern, Policy
from carnet_verifier.policy.rules import takeover

WEEK = Waiting(claim=7, takeover=30)
OWNER = paths.owner_role(NAME)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A registry where claims wait a week and takeovers a month."""
    made = World.make(tmp_path, waits=WEEK)
    made.add(honest_crate(str(NAME), "0.9.0"))
    return made


def test_a_claim_that_waited_is_signed_and_published(world: World) -> None:
    proposal = world.claim_proposal()
    public = world.propose(proposal)
    assert public.ends == NOW + timedelta(days=7)
    assert world.propose(proposal).receipt == public.receipt  # handed in twice, it is public since the first time
    (entry,) = world.store.pending.entries(world.now)
    assert (entry.said["crate"], entry.said["kind"]) == (NAME.canonical, CLAIM)
    early = seen(world, proposal, public.receipt)
    assert early.words.alarm
    assert "has to be until 2026-11-30" in str(early.problem)
    assert "has to be until" in str(refusal(lambda: world.submit(signed(world, proposal))))
    later(world, days=7)
    late = seen(world, proposal, public.receipt)
    assert late.problem is None
    assert not late.words.alarm
    assert world.submit(signed(world, proposal)).snapshot is not None
    assert world.store.pending.entries(world.now) == []
    world.release()  # what its release keys sign waits for nothing
    assert world.admit("1.0.0")


def test_a_claim_that_nobody_could_see_is_not_taken(world: World) -> None:
    proposal = signed(world, world.claim_proposal())
    assert "never public here" in str(refusal(lambda: world.submit(proposal)))
    later(world, days=8)
    assert "never public here" in str(refusal(lambda: world.submit(proposal)))
    assert "no receipt" in str(seen(world, proposal, None).problem)


@pytest.mark.parametrize("asked", ["2026-10-01T00:00:00Z", "0001-01-01T00:00:00Z", "whenever"])
def test_what_a_folder_says_about_time_counts_for_nothing(world: World, asked: str) -> None:
    honest = world.claim_proposal()
    backdated = replace(honest, request=replace(honest.request, asked=asked))
    words = "\n".join(line for one in review.describe(backdated, now=world.now) for line in one.lines)
    assert "nobody vouches for that" in words
    assert "ended" not in words
    assert seen(world, backdated, None).problem is not None
    public = world.propose(backdated)
    assert public.said.time == world.now
    assert "has to be until" in str(refusal(lambda: world.submit(signed(world, backdated))))


def drops_an_owner(signed: dict[str, object]) -> None:
    field = signed["carnet"]
    assert isinstance(field, dict)
    field["registry"] = "another"


CHANGES: dict[str, Callable[[World, Proposal], Proposal]] = {
    "other owners": lambda world, _: world.claim_proposal(who=facts(owners=("mallory", "bob", "carol"))),
    "other release keys": lambda world, _: world.claim_proposal(who=facts(releasers=("mallory", "sven", "tara"))),
    "another threshold": lambda world, _: world.claim_proposal(who=facts(threshold=1)),
    "a field of the owner role": lambda _, proposal: edited(proposal, OWNER, drops_an_owner),
    "fewer versions": lambda _, proposal: edited(
        proposal, paths.crate_role(NAME), lambda signed: signed.update(targets={})
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_claim_that_was_changed_after_its_receipt_waits_anew(world: World, change: str) -> None:
    shown = world.claim_proposal()
    public = world.propose(shown)
    other = CHANGES[change](world, shown)
    later(world, days=8)
    if (
        change == "fewer versions"
    ):  # they are not decided, they follow: from the index, which mirror and holders hold to
        unheard = refusal(lambda: compared(world, other))
        assert "which the claim does not adopt" in str(unheard)
        assert "which the claim does not adopt" in str(refusal(lambda: world.submit(signed(world, other))))
    else:
        assert "is for another" in str(seen(world, other, public.receipt).problem)
        assert "never public" in str(refusal(lambda: world.submit(signed(world, other, "mallory"))))
    assert world.submit(signed(world, shown)).snapshot is not None


def test_the_shard_may_be_drafted_anew_without_waiting_again(world: World) -> None:
    """It changes with every other claim in it, and says of this crate only what its owner role says too."""
    names = (CrateName(f"a{number}") for number in range(100_000))
    neighbour = next(name for name in names if name.shard == NAME.shard)
    shown, other = world.claim_proposal(), world.claim_proposal(name=neighbour)
    public = world.propose(shown)
    world.propose(other)
    later(world, days=7)
    world.submit(signed(world, other))
    assert isinstance(refusal(lambda: world.submit(signed(world, shown))), RollbackDetected)
    again = waiting.renew(shown, world.published(), adopted=world.adopted(), now=world.now)
    assert again.drafts[OWNER] is shown.drafts[OWNER]
    review.lint(again, now=world.now)
    assert seen(world, again, public.receipt).problem is None
    assert world.submit(signed(world, again)).snapshot is not None
    later(world, days=1)
    taking = world.owner_proposal(ownership.OwnerChanges(owners=people(("mallory",), 1)), takeover=True)
    again = waiting.renew(taking, world.published(), now=world.now + timedelta(hours=1))
    review.lint(again, now=world.now)
    shard = paths.claims_shard_role(NAME.shard)
    assert again.drafts[shard].message != taking.drafts[shard].message


def test_a_receipt_by_another_key_or_of_another_form_is_none(world: World) -> None:
    proposal = world.claim_proposal()
    public = world.propose(proposal)
    later(world, days=8)
    payload = public.receipt.payload
    foreign = make_key("mallory")
    online = world.ceremony.online
    for signature in (foreign.sign(message(payload)), online.sign(payload), online.sign(b"{}" + message(payload))):
        bad = SignedReceipt(payload, (signature,))
        assert isinstance(refusal(partial(bad.verified, root_of(world))), ThresholdNotMet)
        assert seen(world, proposal, bad).problem is not None
    with pytest.raises(FormatError):
        SignedReceipt(payload + b" ", (online.sign(message(payload + b" ")),)).verified(root_of(world))
    assert seen(world, proposal, public.receipt).problem is None


def test_a_receipt_brought_along_is_no_record_of_the_mirrors(world: World) -> None:
    """Whoever stole the online key can sign a receipt for any day; the mirror looks at what it listed itself."""
    proposal = world.claim_proposal()
    wanted = waiting.proposed(proposal)
    assert wanted is not None
    payload = ClaimReceipt(wanted, NOW - timedelta(days=30)).payload
    stolen = SignedReceipt(payload, (world.ceremony.online.sign(message(payload)),))
    assert seen(world, proposal, stolen).problem is None  # the residual of the threat model: the public list tells
    assert any("carnet watch" in line for line in seen(world, proposal, stolen).words.lines)
    assert "never public here" in str(refusal(lambda: world.submit(signed(world, proposal))))


def test_an_insider_cannot_backdate_the_record(world: World) -> None:
    proposal = signed(world, world.claim_proposal())
    public = world.propose(proposal)
    early = ClaimReceipt(public.said.proposed, NOW - timedelta(days=30)).payload
    with world.store.change():
        entry = world.store.pending.entry(public.said.proposed.digest)
        assert entry is not None
        world.store.pending.forget(NAME)
        forged = SignedReceipt(early, public.receipt.signatures)
        world.store.pending.add(
            replace(entry, asked=NOW - timedelta(days=30), receipt=forged.to_bytes()), now=world.now
        )
    assert isinstance(refusal(lambda: world.submit(proposal)), ThresholdNotMet)


def test_two_claims_for_a_name_stand_side_by_side_until_one_is_taken(world: World) -> None:
    honest, rival = world.claim_proposal(), world.claim_proposal(who=facts(owners=("mallory", "bob", "carol")))
    world.propose(rival)
    later(world, days=1)
    world.propose(honest)
    assert len(world.store.pending.entries(world.now)) == 2
    later(world, days=7)
    world.submit(signed(world, honest))
    assert isinstance(refusal(lambda: world.submit(signed(world, rival, "mallory"))), RollbackDetected)
    assert world.store.pending.entries(world.now) == []


def test_the_record_outlives_a_restart_and_a_lost_one_waits_anew(world: World, tmp_path: Path) -> None:
    before = tmp_path / "backup"
    shutil.copytree(world.folder / "mirror", before)
    proposal = signed(world, world.claim_proposal())
    world.propose(proposal)
    world.store.close()
    world.store = Store.open(world.folder / "mirror", write=True)
    later(world, days=7)
    kept, world.store = world.store, Store.open(before, write=True)
    try:
        sign_again(world.store, world.online, now=world.now)
        assert "never public here" in str(refusal(lambda: world.submit(proposal)))
    finally:
        world.store.close()
    world.store = kept
    assert world.submit(proposal).snapshot is not None


def test_a_receipt_is_not_used_twice_after_a_give_up(world: World) -> None:
    first = signed(world, world.claim_proposal())
    world.propose(first)
    later(world, days=7)
    world.submit(first)
    given = ownership.give_up(world.published(), world.claim_request("give-up"), now=world.now)
    world.submit(sign(given, world.ceremony.holders[:2]))
    assert isinstance(refusal(lambda: world.submit(first)), VerificationError)
    assert "given up" in str(refusal(lambda: world.propose(first)))
    shard, crate = paths.claims_shard_role(NAME.shard), paths.crate_role(NAME)
    again = edited(
        edited(first, OWNER, lambda role: role.update(version=2)), crate, lambda role: role.update(version=2)
    )
    again = edited(again, shard, lambda role: role.update(version=world.fresh().role(shard).signed.version + 1))
    assert "given up" in str(refusal(lambda: world.propose(again)))
    assert "nobody delegates" in str(refusal(lambda: world.submit(signed(world, again))))


def test_an_online_key_that_the_root_no_longer_names_gives_no_receipts(world: World) -> None:
    proposal = world.claim_proposal()
    public = world.propose(proposal)
    later(world, days=8)
    root = root_of(world)
    other = replace(root.roles["timestamp"], keys=(make_key("online-2").public_key,))
    after = replace(root, roles={**root.roles, "timestamp": other})
    found = waiting.look(proposal, public.receipt, after, now=world.now)
    assert found is not None
    assert isinstance(found.problem, ThresholdNotMet)


# --- takeovers ---


def taken_over(world: World, days: int = 30) -> None:
    later(world, days=1)
    proposal = world.owner_proposal(ownership.OwnerChanges(owners=people(("mallory",), 1)), takeover=True)
    world.propose(proposal)
    later(world, days=days)
    world.submit(sign(proposal, [person("mallory"), *world.ceremony.holders[:2]]))


def test_a_takeover_waits_and_a_handover_does_not(world: World) -> None:
    claimed(world)
    both = world.owner_proposal(ownership.OwnerChanges(owners=people(("alice", "bob", "dora"), 2)))
    assert "waits" in str(refusal(lambda: world.propose(both)))
    assert "waits for nothing" in str(refusal(lambda: propose_owner_role(world, both)))
    world.submit(sign(both, [person("alice"), person("bob"), *world.ceremony.holders[:2]]))
    taking = world.owner_proposal(ownership.OwnerChanges(owners=people(("mallory",), 1)), takeover=True)
    taking = sign(taking, [person("mallory"), *world.ceremony.holders[:2]])
    assert "never public here" in str(refusal(lambda: world.submit(taking)))
    assert world.propose(taking).said.proposed.kind == TAKEOVER
    later(world, days=29)
    assert "has to be until" in str(refusal(lambda: world.submit(taking)))
    later(world, days=1)
    assert world.submit(taking).takeover


def test_what_the_present_release_keys_publish_does_not_make_a_takeover_wait_anew(world: World) -> None:
    claimed(world)
    taking = world.owner_proposal(ownership.OwnerChanges(owners=people(("mallory",), 1)), takeover=True)
    taking = sign(taking, [person("mallory"), *world.ceremony.holders[:2]])
    world.propose(taking)
    later(world, days=29)
    world.release("1.0.1")
    later(world, days=1)
    assert world.submit(taking).takeover


def test_a_takeover_is_told_to_clients_that_never_saw_the_owners_before(world: World) -> None:
    claimed(world)
    world.release()
    assert world.admit("1.0.0")
    taken_over(world)
    assert "on 2026-12-01 [takeover]" in str(refusal(lambda: world.admit("1.0.0")))
    assert world.admit(
        "1.0.0",
        policy=Policy(excuses=(Excuse(Pattern(str(NAME)), takeover.RULE, "known", world.now + timedelta(days=1)),)),
    )


def without_mark(signed: dict[str, object]) -> None:
    field = signed["carnet"]
    assert isinstance(field, dict)
    del field["takeover"]


def test_nobody_signs_or_publishes_a_takeover_that_does_not_say_so(world: World) -> None:
    claimed(world)
    later(world, days=1)
    proposal = world.owner_proposal(ownership.OwnerChanges(owners=people(("mallory",), 1)), takeover=True)
    review.lint(proposal, now=world.now)
    silent = edited(proposal, OWNER, without_mark)
    assert isinstance(refusal(lambda: review.lint(silent, now=world.now)), MetadataMismatch)
    assert "waits for nothing" in str(refusal(lambda: propose_owner_role(world, silent)))
    silent = sign(silent, [person("mallory"), *world.ceremony.holders[:2]])
    assert "does not say that this is a takeover" in str(refusal(lambda: world.submit(silent)))


def test_new_owners_do_not_shake_the_mark_off(world: World) -> None:
    claimed(world)
    taken_over(world)
    changes = ownership.OwnerChanges(owners=people(("mallory", "eve"), 1))
    honest = world.owner_proposal(changes)
    review.lint(honest, now=world.now)
    bare = edited(honest, OWNER, without_mark)
    assert isinstance(refusal(lambda: review.lint(bare, now=world.now)), MetadataMismatch)
    bare = sign(bare, [person("mallory"), *world.ceremony.holders[:2]])
    assert isinstance(refusal(lambda: world.submit(bare)), MetadataMismatch)
    world.submit(sign(honest, [person("mallory"), *world.ceremony.holders[:2]]))
    claim = world.fresh().claim(NAME)
    assert claim is not None
    assert claim.taken_over(world.now) == datetime(2026, 12, 1, 12, tzinfo=NOW.tzinfo)
    assert claim.taken_over(world.now + timedelta(days=400)) is None
    assert claim.taken_over(NOW - timedelta(days=10_000)) is not None  # a clock that lags shows it all the same


def test_a_claim_cannot_be_marked_and_a_handover_cannot_be_made_one(world: World) -> None:
    marked = edited(
        world.claim_proposal(),
        OWNER,
        lambda role: role["carnet"].update(takeover="2026-11-23T12:00:00Z"),  # type: ignore[attr-defined]
    )
    assert isinstance(refusal(lambda: world.propose(marked)), MetadataMismatch)
    assert isinstance(refusal(lambda: review.lint(marked, now=world.now)), MetadataMismatch)


# --- a flood ---


def test_a_flood_from_one_network_neither_removes_honest_claims_nor_keeps_them_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carnet_mirror.state.pending.MAX_OF_CRATE", 4)
    first = world.propose(world.claim_proposal(), source="198.51.100.0/24")
    for number in range(10):
        junk = world.claim_proposal(who=facts(owners=(f"junk{number}", "bob", "carol")))
        if number < 3:
            world.propose(junk)
        else:
            assert "too many" in str(refusal(partial(world.propose, junk)))
    second = world.propose(world.claim_proposal(who=facts(owners=("dora", "bob", "carol"))), source="203.0.113.0/24")
    listed = {entry.digest for entry in world.store.pending.entries(world.now)}
    assert {first.said.proposed.digest, second.said.proposed.digest} <= listed
    assert len(listed) == 4


def claim_of(world: World, *who: str) -> Proposal:
    return world.claim_proposal(who=facts(owners=(*who, "bob", "carol")))


def listed(world: World) -> set[str]:
    return {entry.digest for entry in world.store.pending.entries(world.now)}


@pytest.mark.parametrize("bound", ["MAX_OF_CRATE", "MAX_ENTRIES"])
def test_what_stood_for_a_day_is_never_removed(world: World, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    """Whoever claims much from one network is the heaviest; its receipts are not lost in the middle of their period."""
    monkeypatch.setattr(f"carnet_mirror.state.pending.{bound}", 4)
    mine = {world.propose(claim_of(world, f"mine{n}"), source="192.0.2.0/24").said.proposed.digest for n in range(3)}
    later(world, days=2)
    for number in range(8):
        with suppress(StorageError):
            world.propose(claim_of(world, f"junk{number}"), source=f"10.0.{number}.0/24")
    assert mine < listed(world)
    assert len(listed(world)) == 3 + 4


def test_as_many_networks_as_the_list_has_places_close_it_for_a_day_and_no_longer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carnet_mirror.state.pending.MAX_ENTRIES", 4)
    honest = partial(world.propose, claim_of(world, "dora"), source="203.0.113.0/24")

    def flood(day: int) -> None:
        for number in range(4):
            world.propose(claim_of(world, f"junk{day}-{number}"), source=f"10.{number}.0.0/24")

    flood(0)
    assert "too many" in str(refusal(honest))
    later(world, days=1)
    flood(1)  # from the same networks, before anybody else: they have the most now
    assert honest().said.proposed.digest in listed(world)
    later(world, days=1)
    flood(2)
    assert honest().said.time == world.now - timedelta(days=1), "the receipt of yesterday"


def test_one_network_has_so_many_entries_and_few_once_there_are_very_many(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carnet_mirror.state.pending.MAX_OF_NETWORK", 2)
    monkeypatch.setattr("carnet_mirror.state.pending.MAX_BEFORE_FEW", 3)
    for day in range(2):
        world.propose(claim_of(world, f"a{day}"), source="10.0.0.0/24")
        later(world, days=2)
    assert "one network" in str(refusal(partial(world.propose, claim_of(world, "a2"), source="10.0.0.0/24")))
    world.propose(claim_of(world, "b0"), source="10.0.1.0/24")
    assert "one network" in str(refusal(partial(world.propose, claim_of(world, "b1"), source="10.0.1.0/24")))
    world.propose(claim_of(world, "dora"), source="203.0.113.0/24")
    assert len(listed(world)) == 4


@pytest.mark.parametrize("size", [64, 65, 7000])
def test_what_is_listed_of_a_claim_has_no_room_for_a_strangers_text(world: World, size: int) -> None:
    def name_registry(role: dict[str, object]) -> None:
        role["carnet"].update(registry="&" * size)  # type: ignore[attr-defined]

    proposal = edited(world.claim_proposal(), OWNER, name_registry)
    if size == 64:
        assert world.propose(proposal).said.proposed.digest in listed(world)
    else:
        assert "more than 64 characters" in str(refusal(partial(world.propose, proposal)))
        assert not listed(world)


def test_what_nobody_signs_is_forgotten(world: World) -> None:
    """Otherwise a claim could be brought along years after everybody saw it last."""
    proposal = world.claim_proposal()
    public = world.propose(proposal)
    later(world, days=66)
    assert len(world.store.pending.entries(world.now)) == 1
    assert seen(world, proposal, public.receipt).problem is None
    later(world, days=2)
    assert world.store.pending.entries(world.now) == []
    assert "nobody sees it any more" in str(seen(world, proposal, public.receipt).problem)
    assert "nobody sees it any more" in str(refusal(lambda: world.submit(signed(world, proposal))))


def test_a_proposal_of_something_else_is_refused(world: World) -> None:
    shown = world.claim_proposal()
    crate = paths.crate_role(NAME)
    for drafts in ({crate: shown.drafts[crate]}, shown.drafts, {OWNER: shown.drafts[OWNER]}):
        other = replace(shown, drafts=drafts)
        assert isinstance(refusal(partial(propose_all, world, other)), FormatError | VerificationError)
    with pytest.raises(FormatError):
        Proposed(NAME, CLAIM, "0" * 64)


def propose_all(world: World, proposal: Proposal) -> object:
    return take_proposal(world.store, world.online, body(proposal), source="x", now=world.now)


def propose_owner_role(world: World, proposal: Proposal) -> object:
    """Hand in what `carnet claim propose` would not."""
    return propose_all(world, replace(proposal, drafts={OWNER: proposal.drafts[OWNER]}))
