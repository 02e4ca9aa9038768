"""The chain behind one crate, link by link, and where it stops."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import NAME, World, with_dependency

from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateId, CrateName
from carnet.level import Level
from carnet_verifier.admit import Wanted
from carnet_verifier.explain import Chain, State, explain, explain_package
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action
from carnet_verifier.policy.rules import git
from carnet_verifier.policy.rules.level import LEAST_LEVEL


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.add(honest_crate("plain", "1.0.0"))
    world.claim()
    world.release("1.0.0")
    return world


def chain_of(world: World, crate: str, policy: Policy | None = None, checksum: str | None = None) -> Chain:
    wanted = Wanted(CrateId.parse(crate), checksum)
    return explain(world.fresh(), wanted, policy or Policy(), None, now=world.now)


def test_every_link_of_a_claimed_crate_is_shown(world: World) -> None:
    chain = chain_of(world, f"{NAME}@1.0.0")
    assert chain.admission is not None
    assert chain.admission.level is Level.MAINTAINER
    assert {link.state for link in chain.links} == {State.OK}
    shown = {link.what: " ".join(link.facts) for link in chain.links}
    assert list(shown)[:4] == ["root", "timestamp", "snapshot", "targets"]
    assert "signed by 2 of 3 keys" in shown["root"]
    assert "owners: alice, bob, carol" in shown[f"owner.{NAME.canonical}"]
    assert "2 needed" in shown[f"crate.{NAME.canonical}"]
    assert "its maintainers signed this tarball and this index line" in shown[f"{NAME}@1.0.0"]
    assert shown["release steps"].startswith("level maintainer")


def test_an_unclaimed_crate_is_said_to_be_one(world: World) -> None:
    chain = chain_of(world, "plain@1.0.0")
    assert chain.admission is not None
    facts = [fact for link in chain.links for fact in link.facts]
    assert "nobody has claimed the name" in facts
    assert not any(link.what == "crate.plain" for link in chain.links)


def test_the_chain_agrees_with_the_line(world: World) -> None:
    for crate in (f"{NAME}@1.0.0", "plain@1.0.0"):
        admission = chain_of(world, crate).admission
        assert admission is not None
        name, _, version = crate.partition("@")
        direct = world.admit(version, name=CrateName(name))
        assert (direct.level, direct.sha256) == (admission.level, admission.sha256)


@pytest.mark.parametrize(
    ("crate", "checksum", "policy", "failed", "mender"),
    [
        ("absent@1.0.0", None, Policy(), "index/ab/se/absent", "the mirror's operator"),
        ("plain@2.0.0", None, Policy(), "index line 2.0.0", "the mirror's operator"),
        ("plain@1.0.0", "00" * 32, Policy(), "index line 1.0.0", "the mirror's operator"),
        ("plain@1.0.0", None, Policy({LEAST_LEVEL: Level.MAINTAINER}), "your policy", "you, in carnet.toml"),
    ],
)
def test_where_a_refused_crate_stops_and_who_can_mend_it(
    world: World, crate: str, checksum: str | None, policy: Policy, failed: str, mender: str
) -> None:
    chain = chain_of(world, crate, policy, checksum)
    assert chain.admission is None
    failure = chain.failure
    assert failure is not None
    assert failure.what == failed
    assert failure.mended_by.startswith(mender)
    after = chain.links[chain.links.index(failure) + 1 :]
    assert {link.state for link in after} <= {State.NOT_REACHED}


def test_a_line_that_the_maintainers_did_not_sign(world: World) -> None:
    bad = with_dependency(world.index().lines[0])
    world.publish_index(lambda _: [bad])
    chain = chain_of(world, f"{NAME}@1.0.0")
    assert chain.admission is None
    assert chain.failure is not None
    assert chain.failure.what == f"{NAME}@1.0.0"
    assert "maintainers" in chain.failure.mended_by


@pytest.mark.parametrize(("allowed", "state"), [(True, State.OK), (False, State.FAILED)])
def test_the_policy_alone_decides_over_what_comes_from_elsewhere(allowed: bool, state: State) -> None:
    package = LockedPackage(CrateId.of("leaf", "1.0.0"), "git+https://host.example/leaf#" + "0" * 40, None)
    policy = Policy(rules={git.RULE: Action.ALLOW if allowed else Action.DENY})
    nobody: Any = None  # no repository is asked
    chain = explain_package(nobody, package, policy, None, now=datetime.now(UTC))
    assert (chain.links[-1].state, chain.failure is None) == (state, allowed)
