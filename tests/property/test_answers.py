"""A client that keeps answers finds, after whatever was published, what one finds that starts from nothing."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from functools import cache
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from tests.support.worlds.simulator import NOW, Simulator, Who, keys

from carnet.cargo.names import CrateName
from carnet.errors import CarnetError
from carnet.tuf import paths
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.tuf.refresh import TrustedRepository, read_repository, refresh

NAMES = ("serde", "serde-json", "rand", "libc")
names = st.sampled_from(NAMES)


@cache
def _first() -> Simulator:
    made = Simulator(bit_length=1)
    for name in NAMES:
        made.add_index(name, b"first\n")
    made.publish()
    return made


def findings(repository: TrustedRepository) -> dict[str, object]:
    """What each look-up comes to, or the error that it ends with."""
    found: dict[str, object] = {}
    for name in NAMES:
        path = paths.index_path(CrateName(name))
        try:
            found[path] = repository.find_targets([path])
        except CarnetError as error:
            found[path] = str(error)
        try:
            claim = repository.claim(CrateName(name))
            found[name] = None if claim is None else (claim.owner.version, claim.crate.version)
        except CarnetError as error:
            found[name] = str(error)
    return found


class Publications(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.sim = _first().copy()
        self.folder = Path(tempfile.mkdtemp(prefix="carnet-answers-"))
        self.root = self.sim.root_file()
        TrustDirectory.create(self.folder / "trust", self.root, "https://mirror.example/")
        self.now = NOW
        self.claimed: set[str] = set()
        self.number = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @rule(name=names)
    def release(self, name: str) -> None:
        self.number += 1
        self.sim.add_index(name, b"release %d\n" % self.number)

    @rule(name=names)
    def remove(self, name: str) -> None:
        path = paths.index_path(CrateName(name))
        self.sim.targets(self.sim.bin_of(path)).targets.pop(path, None)
        self.sim.change(self.sim.bin_of(path))

    @rule(name=names)
    def claim(self, name: str) -> None:
        if name not in self.claimed:
            self.claimed.add(name)
            self.sim.claim(name)

    @rule(name=names)
    def give_up(self, name: str) -> None:
        if name in self.claimed and paths.owner_role(CrateName(name)) in self.sim.roles:
            shard = self.sim.targets(paths.claims_shard_role(CrateName(name).shard))
            if shard.delegations and paths.owner_role(CrateName(name)) in (shard.delegations.roles or {}):
                self.sim.release_name(CrateName(name))

    @rule(role=st.sampled_from(["targets", "index", "claims", "claims-8b"]))
    def other_keys(self, role: str) -> None:
        self.number += 1
        self.sim.set_keys(role, Who(keys(f"{role} {self.number}", 2), 1))

    @rule(role=st.sampled_from(["root", "targets", "index", "claims"]))
    def sign_again(self, role: str) -> None:
        self.sim.change(role)

    @rule(role=st.sampled_from(["index-0", "index-1", "claims-8b"]), days=st.integers(1, 3))
    def expires_soon(self, role: str, days: int) -> None:
        self.sim.roles[role].expires = self.now + timedelta(days=days)
        self.sim.change(role)

    @rule(days=st.integers(0, 2))
    def publish(self, days: int) -> None:
        self.now += timedelta(days=days)
        self.sim.publish(now=self.now)
        # A folder that is opened anew: nothing but what is on the disk is remembered.
        warm = refresh(TrustDirectory.open(self.folder / "trust"), self.sim, now=self.now)
        assert findings(warm) == findings(read_repository(self.root, self.sim, now=self.now))


Publications.TestCase.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)
test_answers_change_nothing = Publications.TestCase
