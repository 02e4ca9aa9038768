"""Each file of a submission is parsed once on its whole way: intake, the verifier's view, its checks, the signer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.parses import counting
from tests.support.worlds.altered import altered
from tests.support.worlds.claims import NAME, World, body, facts, person, sign
from tests.support.worlds.release import synthetic

from carnet.cargo.names import CrateId
from carnet.claims.submission import Submission
from carnet.digests import sha256_hex
from carnet.errors import FormatError, MetadataMismatch
from carnet.tuf import paths
from carnet.tuf.keys import Profile
from carnet.tuf.read import check_read_as, parse_role
from carnet.tuf.roles import Targets
from carnet.tuf.tree import roles_of
from carnet_mirror.intake import take_submission
from carnet_signer.metadata.publish import Change, publish
from carnet_signer.proposals import ownership
from carnet_signer.proposals.proposal import Proposal
from carnet_verifier.releases.established import establish
from carnet_verifier.releases.signed_releases import read_signed_releases
from carnet_verifier.tuf.preview import preview

ONE, TWO = (synthetic(crate=CrateId.of(str(NAME), version)) for version in ("0.1.0", "0.2.0"))
LAYOUT = ownership.NewLayout(ONE.layout_file, ONE.terms)
EVERYBODY = ("alice", "bob", "rita", "sven")


def submit(world: World, proposal: Proposal) -> tuple[Counter[str], dict[str, int]]:
    """Hand a signed proposal in.

    Returns:
        All counts, and those of the submission's own files by name.
    """
    data = body(proposal)
    with counting() as counts:
        take_submission(world.store, world.online, data, now=world.now)
    submission = Submission.from_bytes(data)
    files = {**submission.roles, **submission.targets}
    files |= {stem: line.removesuffix(b"\n") for stem, line in submission.lines.items()}
    return counts, {name: counts[sha256_hex(file)] for name, file in files.items()}


def published_files(world: World) -> dict[str, str]:
    """Every role's file that the mirror serves, by name: its sha256."""
    files = [file for file in world.store.files.all_published() if file.path.startswith(paths.METADATA_PREFIX)]
    return {file.path: file.sha256 for file in files}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), "0.0.1"), honest_crate(str(NAME), "0.0.2"))
    return world


def test_a_claim_with_adopted_versions_and_a_layout(world: World) -> None:
    proposal = sign(world.claim_proposal(layout=LAYOUT), [*map(person, EVERYBODY), *world.ceremony.holders[:2]])
    lines = [version.line.to_bytes().removesuffix(b"\n") for version in world.store.crates.versions(NAME)]
    counts, own = submit(world, proposal)
    assert {role: own.pop(role) for role in roles_of(NAME)} == dict.fromkeys(roles_of(NAME), 1)
    assert own == {paths.layout_path(NAME, 1): 0}, "no release was made under it yet"
    assert [counts[sha256_hex(line)] for line in lines] == [1, 1]
    assert {version.line.cksum: counts[version.line.cksum] for version in world.store.crates.versions(NAME)} == {
        version.line.cksum: 0 for version in world.store.crates.versions(NAME)
    }, "adopted versions have no evidence to read"


def test_a_release_with_evidence(world: World) -> None:
    world.claim(layout=LAYOUT)
    proposal = sign(world.release_proposal(tarball=ONE.tarball, bundle=ONE.bundle()), map(person, ("rita", "sven")))
    counts, own = submit(world, proposal)
    names = [roles_of(NAME)[2], paths.crate_path(ONE.crate.id), paths.bundle_path(ONE.crate.id), ONE.crate.id.stem]
    assert own == dict.fromkeys(names, 1)
    assert counts[sha256_hex(ONE.layout_file)] == 1


def test_evidence_that_is_checked_again_when_owners_change(world: World) -> None:
    world.claim(layout=LAYOUT)
    for made in (ONE, TWO):
        world.release(tarball=made.tarball, bundle=made.bundle())
    changes = ownership.OwnerChanges(owners=facts(owners=("alice", "bob", "dave")).owners)
    proposal = world.owner_proposal(changes)
    keys = [*map(person, ("alice", "bob", "dave")), *world.ceremony.holders[:2]]
    counts, own = submit(world, sign(proposal, keys))
    assert set(own.values()) == {1}
    for made in (ONE, TWO):
        assert counts[made.crate.sha256] == 1
        assert counts[sha256_hex(made.bundle().to_bytes())] == 1
    assert counts[sha256_hex(ONE.layout_file)] == 1, "two releases were made under one layout"


def test_what_stands_already_is_read_once_by_the_verifier_and_once_by_the_signer(world: World) -> None:
    world.claim(layout=LAYOUT)
    before = published_files(world)
    served = world.store.served(paths.METADATA_PREFIX + paths.metadata_name(paths.TIMESTAMP, None))
    assert served is not None
    proposal = sign(world.release_proposal(tarball=ONE.tarball, bundle=ONE.bundle()), map(person, ("rita", "sven")))
    counts, _ = submit(world, proposal)
    assert {path: counts[sha256] for path, sha256 in before.items() if counts[sha256] > 2} == {}
    # The timestamp once more: by it mirror and signer see that neither of the two is an older copy.
    assert counts.pop(sha256_hex(served)) == 3
    assert max(counts.values()) == 2


# --- parsing once is no way around a check ---


def test_a_file_that_was_read_with_another_profile_is_refused(world: World) -> None:
    shard = roles_of(NAME)[0]
    proposal = sign(world.claim_proposal(), [*map(person, EVERYBODY), *world.ceremony.holders[:2]])
    data = proposal.drafts[shard].raw
    other = parse_role(data, Targets, profile=Profile.GENERAL)
    with pytest.raises(FormatError, match="general profile"):
        preview(world.fresh(), {shard: other})
    with pytest.raises(FormatError, match="general profile"), world.store.change():
        publish(world.store, world.online, Change(parsed={shard: other}, about=NAME), now=world.now)


def test_a_file_that_is_larger_than_what_is_read_here_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = roles_of(NAME)[0]
    role = world.fresh().role(shard)
    assert check_read_as(role, shard) is role
    monkeypatch.setattr(Targets, "MAX_BYTES", len(role.raw) - 1)
    with pytest.raises(FormatError, match="is larger than"):
        check_read_as(role, shard)


def test_another_tarball_than_the_signed_one_is_no_evidence(world: World) -> None:
    world.claim(layout=LAYOUT)
    world.release(tarball=ONE.tarball, bundle=ONE.bundle())
    view = world.fresh()
    claim = view.claim(NAME)
    assert claim is not None
    signed = read_signed_releases(claim)
    release = signed.releases.versions[ONE.crate.id.version]
    assert establish(view, signed, release, crate=ONE.crate).crate is ONE.crate
    for other in (TWO.crate, altered(ONE.crate, sha256=TWO.crate.sha256), altered(ONE.crate, length=1)):
        with pytest.raises(MetadataMismatch, match="not the one that its maintainers signed"):
            establish(view, signed, release, crate=other)


def test_a_role_is_given_once() -> None:
    with pytest.raises(FormatError, match="claims is given twice"):
        Change(roles={"claims": b""}, parsed={"claims": None})  # type: ignore[dict-item]
