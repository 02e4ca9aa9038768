"""Claims: read from the tree, followed from owner to owner, and looked ahead at."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.simulator import NOW, Simulator, Who, keys

from carnet.cargo.names import CrateName
from carnet.claims.holders import ClaimFacts
from carnet.errors import FormatError, MetadataMismatch, RollbackDetected, ThresholdNotMet, TransportError
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Targets
from carnet_verifier.claims.owners import Claim, Handover
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.tuf.preview import preview as preview_parsed
from carnet_verifier.tuf.refresh import TrustedRepository, read_repository, refresh

OWNER = "owner.serde"


@pytest.fixture
def sim() -> Simulator:
    return Simulator()


@pytest.fixture
def serde(sim: Simulator) -> CrateName:
    name = sim.claim("serde", releases={"serde-1.0.0.crate": b"tarball"}, layout=b"{}")
    sim.publish()
    return name


@pytest.fixture
def trust(sim: Simulator, tmp_path: Path) -> TrustDirectory:
    return TrustDirectory.create(tmp_path / "trust", sim.root_file(), "https://mirror.example/")


def claim(trust: TrustDirectory, sim: Simulator, name: CrateName) -> Claim:
    found = refresh(trust, sim, now=NOW).claim(name)
    assert found is not None
    return found


def new_owners(label: str) -> Who:
    return Who(keys(label, 3), 2)


def test_a_claim_says_who_owns_and_who_releases(trust: TrustDirectory, sim: Simulator, serde: CrateName) -> None:
    found = claim(trust, sim, serde)
    assert found.owner_delegation.signers.threshold == 2
    assert sorted(found.facts.owners.people.values()) == ["owner 0", "owner 1", "owner 2"]
    assert found.crate_delegation.signers.threshold == 1
    assert found.facts.registry == "crates-io"
    assert list(found.owner.targets) == ["layouts/8b/serde/1.layout.json"]
    assert list(found.crate.targets) == ["crates/8b/serde/serde-1.0.0.crate"]


def test_a_claim_covers_every_spelling(trust: TrustDirectory, sim: Simulator) -> None:
    sim.claim("serde_json")
    sim.publish()
    repository = refresh(trust, sim, now=NOW)
    for spelling in ("serde_json", "serde-json", "Serde-JSON"):
        assert repository.claim(CrateName(spelling)) is not None
    assert repository.claim(CrateName("serde-json2")) is None


def test_many_claims_are_read_in_a_few_rounds(trust: TrustDirectory, sim: Simulator) -> None:
    for number in range(20):
        sim.claim(f"crate-{number}")
    sim.publish()
    repository = refresh(trust, sim, now=NOW)
    rounds = 0
    plain = sim.get_many

    def counting(requests: Any, *, large: bool = False) -> Any:
        nonlocal rounds
        rounds += 1
        return plain(requests, large=large)

    sim.get_many = counting  # type: ignore[method-assign]
    names = [CrateName(f"crate-{number}") for number in range(30)]
    found = repository.claims(names)
    assert [name for name in names if found[name] is None] == names[20:]
    assert rounds == 1


def test_a_person_with_two_keys_is_refused(trust: TrustDirectory, sim: Simulator, serde: CrateName) -> None:
    people = sim.roles[OWNER].unrecognized_fields["carnet"]["owners"]["people"]
    first, second, _ = people
    people[second] = people[first].upper()
    sim.publish(OWNER)
    with pytest.raises(FormatError, match="two keys in one role"):
        claim(trust, sim, serde)


def test_a_hostile_owner_id_takes_no_time(trust: TrustDirectory, sim: Simulator, serde: CrateName) -> None:
    """To normalize marks that are in no order takes time that grows with its square."""
    people = sim.roles[OWNER].unrecognized_fields["carnet"]["owners"]["people"]
    people[next(iter(people))] = "a" + "\u0301\u0323" * 40_000
    sim.publish(OWNER)
    began = time.process_time()
    with pytest.raises(FormatError, match="is not an owner id"):
        claim(trust, sim, serde)
    assert time.process_time() - began < 2


def test_an_earlier_owner_role_is_read_when_its_signatures_are_good(
    trust: TrustDirectory, sim: Simulator, serde: CrateName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but those says that it is one: the snapshot names the current version only."""
    version = claim(trust, sim, serde).owner.version
    for label in ("second", "third"):
        sim.hand_over(serde, new_owners(label))
        sim.publish()
        sim.who[OWNER].signing = sim.who[OWNER].signers[:2]
    place = f"metadata/{version + 1}.{OWNER}.json"
    honest = sim.files[place]
    sim.files[place] = honest.replace(b'"registry":"crates-io"', b'"registry":"crates-iO"')
    assert sim.files[place] != honest
    read: list[int] = []
    plain = ClaimFacts.of

    def noting(owner: Targets) -> ClaimFacts:
        read.append(owner.version)
        return plain(owner)

    monkeypatch.setattr(ClaimFacts, "of", noting)
    assert claim(trust, sim, serde).takeover
    assert read == [version + 2]
    sim.files[place] = honest
    assert claim(trust, sim, serde).handover is Handover.HANDED_OVER
    assert version + 1 in read


def test_owners_that_differ_from_the_shards_are_refused(
    trust: TrustDirectory, sim: Simulator, serde: CrateName
) -> None:
    sim.roles[OWNER].unrecognized_fields["carnet"]["owners"]["threshold"] = 1
    sim.publish(OWNER)
    with pytest.raises(MetadataMismatch, match="other owners"):
        claim(trust, sim, serde)


@pytest.mark.parametrize("damage", ["owners", "releasers", "registry", None])
def test_a_claim_that_does_not_describe_itself_is_refused(
    trust: TrustDirectory, sim: Simulator, serde: CrateName, damage: str | None
) -> None:
    fields = sim.roles[OWNER].unrecognized_fields
    if damage is None:
        fields["carnet"] = {"role": OWNER}
    else:
        del fields["carnet"][damage]
    sim.publish(OWNER)
    with pytest.raises(FormatError):
        claim(trust, sim, serde)


def test_one_owner_key_of_two_signs_nothing(trust: TrustDirectory, sim: Simulator, serde: CrateName) -> None:
    assert claim(trust, sim, serde)
    sim.who[OWNER].signing = sim.who[OWNER].signers[:1]
    sim.publish(OWNER)
    with pytest.raises(ThresholdNotMet, match=r"role owner\.serde is signed by 1 of its 3 keys"):
        claim(trust, sim, serde)


# --- owners who change ---


def test_owners_seen_before_are_the_same(trust: TrustDirectory, sim: Simulator, serde: CrateName) -> None:
    assert claim(trust, sim, serde).handover is Handover.FIRST_SEEN
    assert claim(TrustDirectory.open(trust.path), sim, serde).handover is Handover.SAME
    sim.publish(OWNER)
    assert claim(trust, sim, serde).handover is Handover.SAME


def test_a_handover_signed_by_the_previous_owners_is_one(
    trust: TrustDirectory, sim: Simulator, serde: CrateName
) -> None:
    claim(trust, sim, serde)
    sim.hand_over(serde, new_owners("new"))
    sim.publish()
    assert claim(trust, sim, serde).handover is Handover.HANDED_OVER
    assert claim(trust, sim, serde).handover is Handover.SAME


def test_owners_replaced_without_them_are_a_takeover(trust: TrustDirectory, sim: Simulator, serde: CrateName) -> None:
    before = claim(trust, sim, serde)
    sim.hand_over(serde, new_owners("thieves"), agreed=False)
    sim.publish()
    for _ in range(2):  # it stays one, until the user accepts it
        found = claim(trust, sim, serde)
        assert found.takeover
        remembered = trust.owners([serde])[serde]
        assert remembered is not None
        assert remembered.signers.same_as(before.owner_delegation.signers)
    trust.remember_owners({serde: found.seen})
    assert claim(trust, sim, serde).handover is Handover.SAME


def test_a_previous_owner_below_the_threshold_agrees_to_nothing(
    trust: TrustDirectory, sim: Simulator, serde: CrateName
) -> None:
    claim(trust, sim, serde)
    one = sim.who[OWNER].signers[:1]
    who = new_owners("new")
    who.signing = [*who.signing, *one]
    sim.hand_over(serde, who, agreed=False)
    sim.publish()
    assert claim(trust, sim, serde).takeover


def test_several_handovers_are_followed_one_by_one(trust: TrustDirectory, sim: Simulator, serde: CrateName) -> None:
    claim(trust, sim, serde)
    for generation in range(3):
        sim.hand_over(serde, new_owners(f"generation {generation}"))
        sim.publish()
        sim.publish(OWNER)  # the same owners sign once more
        sim.who[OWNER].signing = sim.who[OWNER].signers[:2]
    sim.publish(OWNER)
    missing = sim.copy()
    del missing.files["metadata/4.owner.serde.json"]
    copy = TrustDirectory.create(trust.path.parent / "copy", sim.root_file(), "")
    copy.remember_owners(trust.owners([serde]))
    assert claim(copy, missing, serde).takeover  # a chain that is not shown is no chain
    assert claim(trust, sim, serde).handover is Handover.HANDED_OVER


def test_a_chain_with_a_takeover_inside_is_a_takeover(trust: TrustDirectory, sim: Simulator, serde: CrateName) -> None:
    claim(trust, sim, serde)
    sim.hand_over(serde, new_owners("thieves"), agreed=False)
    sim.publish()
    sim.hand_over(serde, new_owners("their friends"))
    sim.publish()
    assert claim(trust, sim, serde).takeover


def test_a_handover_of_the_owners_other_crate_is_no_link(
    trust: TrustDirectory, sim: Simulator, serde: CrateName
) -> None:
    """The owners gave another crate of theirs away; the registry shows that as a handover of this one."""
    claim(trust, sim, serde)
    owners = sim.who[OWNER]
    other = sim.claim("tool", owners=Who(list(owners.signers), owners.threshold))
    sim.publish()
    assert claim(trust, sim, other).handover is Handover.FIRST_SEEN
    sim.hand_over(other, new_owners("buyer"))
    sim.publish()
    sim.hand_over(serde, new_owners("buyer"), agreed=False)
    sim.publish()
    sim.publish(OWNER)
    sim.files["metadata/2.owner.serde.json"] = sim.files["metadata/2.owner.tool.json"]
    assert claim(trust, sim, other).handover is Handover.HANDED_OVER
    assert claim(trust, sim, serde).takeover


def test_a_mirror_that_hides_the_chain_for_a_moment_decides_nothing(
    trust: TrustDirectory, sim: Simulator, serde: CrateName
) -> None:
    claim(trust, sim, serde)
    for generation in range(2):
        sim.hand_over(serde, new_owners(f"generation {generation}"))
        sim.publish()
        sim.who[OWNER].signing = sim.who[OWNER].signers[:2]
    sim.publish(OWNER)
    sim.served["metadata/2.owner.serde.json"] = TransportError("answered 503", status=503)
    with pytest.raises(TransportError):
        claim(trust, sim, serde)


# --- names that were given up ---


def test_a_released_name_is_unclaimed_and_shown_as_released(
    trust: TrustDirectory, sim: Simulator, serde: CrateName
) -> None:
    assert claim(trust, sim, serde)
    sim.release_name(serde)
    sim.publish()
    repository = refresh(trust, sim, now=NOW)
    assert repository.claim(serde) is None
    assert repository.released(serde)
    assert not repository.released(CrateName("rand"))


def test_a_tombstone_that_expired_hides_nothing(sim: Simulator, serde: CrateName) -> None:
    sim.release_name(serde)
    sim.publish()
    del sim.files["metadata/1.owner.serde.json"]
    assert read_repository(sim.root_file(), sim, now=NOW).claim(serde) is None


# --- what a mirror looks at before it publishes ---


def preview(
    current: TrustedRepository, roles: Mapping[str, bytes], targets: Mapping[str, bytes] | None = None
) -> TrustedRepository:
    """What clients would see with these role files on top."""
    return preview_parsed(current, {role: parse_role(data, Targets) for role, data in roles.items()}, targets)


def submitted(sim: Simulator, *roles: str) -> dict[str, bytes]:
    """The next versions of some roles, signed and not yet published."""
    ahead = sim.copy()
    ahead.publish(*roles)
    return {role: ahead.files[ahead.path(role)] for role in roles}


def test_a_submission_is_seen_as_clients_will_see_it(sim: Simulator, serde: CrateName) -> None:
    current = read_repository(sim.root_file(), sim, now=NOW)
    ahead = sim.copy()
    ahead.add_target("crate.serde", "crates/8b/serde/serde-1.0.1.crate", b"next")
    ahead.publish()
    proposed = preview(
        current,
        {"crate.serde": ahead.files["metadata/2.crate.serde.json"]},
        {"crates/8b/serde/serde-1.0.1.crate": b"next"},
    )
    found = proposed.find_target("crates/8b/serde/serde-1.0.1.crate")
    assert proposed.download(found) == b"next"
    assert found.role_version == 2
    after = proposed.claim(serde)
    assert after is not None
    assert after.handover is Handover.SAME
    assert current.version("crate.serde") == 1
    assert "crates/8b/serde/serde-1.0.1.crate" not in current.role("crate.serde").signed.targets


def test_a_new_claim_is_submitted_whole(sim: Simulator) -> None:
    current = read_repository(sim.root_file(), sim, now=NOW)
    ahead = sim.copy()
    name = ahead.claim("rand", releases={"rand-1.0.0.crate": b"tarball"})
    shard = f"claims-{name.shard}"
    ahead.publish()
    roles = {role: ahead.files[ahead.path(role)] for role in (shard, "owner.rand", "crate.rand")}
    proposed = preview(current, roles)
    assert proposed.claim(name) is not None
    for left_out in roles:
        part = {role: data for role, data in roles.items() if role != left_out}
        with pytest.raises((MetadataMismatch, TransportError)):
            preview(current, part)


def test_a_submission_must_be_the_next_version(sim: Simulator, serde: CrateName) -> None:
    current = read_repository(sim.root_file(), sim, now=NOW)
    assert preview(current, submitted(sim, "crate.serde"))
    with pytest.raises(RollbackDetected):
        preview(current, {"crate.serde": sim.files["metadata/1.crate.serde.json"]})
    sim.change("crate.serde")
    ahead = sim.copy()
    ahead.publish("crate.serde")
    ahead.publish("crate.serde")
    with pytest.raises(MetadataMismatch):
        preview(current, {"crate.serde": ahead.files["metadata/3.crate.serde.json"]})


def test_a_submission_below_the_threshold_is_refused(sim: Simulator, serde: CrateName) -> None:
    current = read_repository(sim.root_file(), sim, now=NOW)
    sim.who[OWNER].signing = sim.who[OWNER].signers[:1]
    with pytest.raises(ThresholdNotMet):
        preview(current, submitted(sim, OWNER))


def test_new_keys_for_a_role_that_nobody_signed_with_are_refused(sim: Simulator, serde: CrateName) -> None:
    """Owners who name other release keys and leave the crate role as it was would break every client."""
    current = read_repository(sim.root_file(), sim, now=NOW)
    ahead = sim.copy()
    ahead.set_keys("crate.serde", Who(keys("new releaser", 1), 1))
    ahead.describe_claim(serde)
    ahead.publish()
    both = {role: ahead.files[ahead.path(role)] for role in (OWNER, "crate.serde")}
    assert preview(current, both).claim(serde)
    with pytest.raises(ThresholdNotMet):
        preview(current, {OWNER: both[OWNER]})


def test_a_takeover_is_visible_before_it_is_published(sim: Simulator, serde: CrateName) -> None:
    current = read_repository(sim.root_file(), sim, now=NOW)
    for agreed, expected in ((True, Handover.HANDED_OVER), (False, Handover.TAKEOVER)):
        ahead = sim.copy()
        ahead.hand_over(serde, new_owners("new"), agreed=agreed)
        ahead.publish()
        found = preview(current, {role: ahead.files[ahead.path(role)] for role in ("claims-8b", OWNER)}).claim(serde)
        assert found is not None
        assert found.handover is expected
