"""The true maintainer, later malicious: what is defended is time, company, and builds that are locked.

Not defended: enough maintainers who agree, and people who take what they publish after the minimum age.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.worlds.claims import NAME, World, refusal
from tests.support.worlds.release import synthetic

from carnet.cargo.names import CrateId
from carnet.errors import PolicyRefused, ProvenanceError, ThresholdNotMet
from carnet.level import Level
from carnet_signer.proposals import ownership
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rules.young import LEAST_AGE

OLD = synthetic(crate=CrateId.of(str(NAME), "1.0.0"))
EVIL = synthetic(
    {"Cargo.toml": OLD.crate.file("Cargo.toml.orig") or b"", "src/lib.rs": b"pub fn hello() { steal() }\n"},
    crate=CrateId.of(str(NAME), "1.0.0"),
)
NEW = synthetic(crate=CrateId.of(str(NAME), "1.0.1"))
CAUTIOUS = Policy({LEAST_AGE: timedelta(days=7)})


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.claim(layout=ownership.NewLayout(OLD.layout_file, OLD.terms))
    world.release(tarball=OLD.tarball, bundle=OLD.bundle())
    return world


def test_an_honest_next_version_is_admitted_after_the_minimum_age(world: World) -> None:
    world.later(days=8)
    world.publish_roles({})
    world.release(tarball=NEW.tarball, bundle=NEW.bundle())
    assert world.admit("1.0.0", policy=CAUTIOUS).level is Level.REPRODUCED
    error = refusal(lambda: world.admit("1.0.1", policy=CAUTIOUS))
    assert isinstance(error, PolicyRefused)
    assert "[young]" in str(error)
    world.later(days=8)
    world.publish_roles({})
    assert world.admit("1.0.1", policy=CAUTIOUS).level is Level.REPRODUCED


def test_alone_a_maintainer_releases_nothing(world: World) -> None:
    assert isinstance(
        refusal(lambda: world.release(tarball=NEW.tarball, bundle=NEW.bundle(), by=("rita",))), ThresholdNotMet
    )


def test_a_maintainer_does_not_review_what_they_tagged(world: World) -> None:
    alone = NEW.signed_by("review", "alice", "carol")
    assert isinstance(refusal(lambda: world.release(tarball=NEW.tarball, bundle=alone.bundle())), ProvenanceError)


def test_a_locked_build_never_gets_other_bytes(world: World) -> None:
    """The version that a lock pins stays what it was, whoever signs."""
    assert OLD.crate.sha256 != EVIL.crate.sha256
    error = refusal(lambda: world.release(tarball=EVIL.tarball, bundle=EVIL.bundle()))
    assert "released already" in str(error)
    assert world.admit("1.0.0").sha256 == OLD.crate.sha256
