"""Claims as a state machine: whoever signs whatever, versions never fall, and too few signatures change nothing."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.worlds.claims import NAME, OWNERS, RELEASERS, World, people, person, sign

from carnet.cargo.names import Version
from carnet.errors import CarnetError
from carnet.tuf import paths
from carnet.tuf.tree import roles_of
from carnet_signer.metadata import role_files
from carnet_signer.proposals import ownership, release
from carnet_signer.proposals.proposal import Proposal
from carnet_verifier.claims.owners import Handover

EVERYBODY = ("alice", "bob", "carol", "dora", "rita", "sven", "tara", "uma", "mallory")
some = st.lists(st.sampled_from(EVERYBODY), unique=True, max_size=6)
owner_teams = st.sampled_from((("alice", "bob", "carol"), ("bob", "carol", "dora"), ("carol", "dora")))
release_teams = st.sampled_from((("rita", "sven", "tara"), ("sven", "tara", "uma"), ("tara", "uma")))


class Claims(RuleBasedStateMachine):
    """What should be so is kept beside what is."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="carnet-machine-"))
        self.world = World.make(self.folder)
        self.owners: tuple[str, ...] = OWNERS
        self.releasers: tuple[str, ...] = RELEASERS
        self.yanked: dict[str, bool] = {}
        self.versions: dict[str, int] = {}

    @initialize()
    def claim(self) -> None:
        self.world.claim()

    def teardown(self) -> None:
        self.world.store.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _submit(self, proposal: Proposal, signers: list[str], holders: int = 2) -> bool:
        """Sign as far as these people can, and hand it in."""
        for key in (*map(person, signers), *self.world.ceremony.holders[:holders]):
            try:
                proposal = sign(proposal, [key])
            except CarnetError:
                continue  # not theirs to sign
        try:
            self.world.submit(proposal)
        except CarnetError:
            return False
        return True

    @rule(signers=some)
    def release(self, signers: list[str]) -> None:
        version = f"1.{len(self.yanked)}.0"
        taken = self._submit(self.world.release_proposal(version), signers)
        assert taken == (len(set(signers) & set(self.releasers)) >= 2)
        if taken:
            self.yanked[version] = False

    @rule(signers=some, number=st.integers(0, 5))
    def yank_or_not(self, signers: list[str], number: int) -> None:
        version = f"1.{number}.0"
        if version not in self.yanked:
            return
        yanked = not self.yanked[version]
        proposal = release.yank(self.world.published(), NAME, [Version(version)], yanked=yanked, now=self.world.now)
        taken = self._submit(proposal, signers)
        assert taken == (len(set(signers) & set(self.releasers)) >= 2)
        if taken:
            self.yanked[version] = yanked

    @rule(team=release_teams, signers=some)
    def appoint(self, team: tuple[str, ...], signers: list[str]) -> None:
        if set(team) == set(self.releasers):
            return
        proposal = self.world.owner_proposal(ownership.OwnerChanges(releasers=people(team, 2)))
        needs_releasers = paths.crate_role(NAME) in proposal.drafts
        taken = self._submit(proposal, signers)
        enough = len(set(signers) & set(self.owners)) >= 2
        assert taken == (enough and (not needs_releasers or len(set(signers) & set(team)) >= 2))
        if taken:
            self.releasers = team

    @rule(team=owner_teams, signers=some, holders=st.integers(0, 2))
    def hand_over(self, team: tuple[str, ...], signers: list[str], holders: int) -> None:
        if set(team) == set(self.owners):
            return
        proposal = self.world.owner_proposal(ownership.OwnerChanges(owners=people(team, 2)))
        # The mirror takes what clients take: a change without the owners before is a takeover, not a handover. The
        # people here submit folders that say that they are complete.
        for key in (*map(person, signers), *self.world.ceremony.holders[:holders]):
            try:
                proposal = sign(proposal, [key])
            except CarnetError:
                continue
        both = all(len(set(signers) & set(side)) >= 2 for side in (team, self.owners))
        assert proposal.final == (both and holders == 2)
        if proposal.final:
            self.world.submit(proposal)
            self.owners = team

    @rule()
    def tamper_with_the_index(self) -> None:
        """Online keys turn every yank round; nobody who reads the claim notices a difference."""
        if self.yanked:
            self.world.publish_index(lambda index: [line.with_(yanked=not line.yanked) for line in index.lines])

    @rule()
    def hand_in_again(self) -> None:
        """Resubmitting what is published changes nothing."""
        published = self.world.published()
        assert published.crate is not None
        proposal = Proposal(
            self.world.claim_request(), {paths.crate_role(NAME): published.crate}, published.by_role(NAME)
        )
        assert self.world.submit(proposal).snapshot is None

    @invariant()
    def versions_never_fall(self) -> None:
        view = self.world.client()
        for role in roles_of(NAME):
            version = view.version(role) or 0
            assert version >= self.versions.get(role, 0)
            self.versions[role] = version

    @invariant()
    def clients_see_what_was_signed(self) -> None:
        claim = self.world.client().claim(NAME)
        if claim is None:
            assert not self.yanked
            return
        assert claim.handover is not Handover.TAKEOVER
        assert set(claim.facts.owners.people.values()) == set(self.owners)
        assert set(claim.facts.releasers.people.values()) == set(self.releasers)
        for version, yanked in self.yanked.items():
            admission = self.world.admit(version, client="client")
            assert admission.line.yanked == yanked
            assert str(admission.level) == "maintainer"


Claims.TestCase.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)
TestClaims = Claims.TestCase


def test_taking_signatures_away_never_admits_more(tmp_path: Path) -> None:
    """Of every set of signatures below the threshold, and of every one that meets it."""
    world = World.make(tmp_path)
    world.claim()
    complete = sign(world.release_proposal("1.0.0"), map(person, RELEASERS))
    role = paths.crate_role(NAME)
    draft = complete.drafts[role]
    for count in (0, 1):
        for kept in combinations(draft.signatures, count):
            fewer = replace(draft, raw=role_files.file_bytes(draft.message, kept), signatures=kept)
            less = replace(complete, drafts={role: fewer})
            assert not less.final
            try:
                world.submit(less)
            except CarnetError:
                continue
            raise AssertionError(f"{count} signatures were enough")
    kept = draft.signatures[1:]
    enough = replace(draft, raw=role_files.file_bytes(draft.message, kept), signatures=kept)
    assert world.submit(replace(complete, drafts={role: enough})).added == ("1.0.0",)
