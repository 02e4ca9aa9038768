"""What a crate was let in by, in one digest: whatever the judgement followed from changes it."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.signed import SignedRegistry
from tests.support.worlds.admissions import admission_of

import carnet
from carnet.cargo.crate import read_crate
from carnet.cargo.names import CrateId, CrateName
from carnet.level import Level
from carnet_verifier.judgements import is_settled, keys_of
from carnet_verifier.memory.carried import Carried, TopRoles
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.outcomes import Wanted
from carnet_verifier.policy.policy import Ban, Demand, Excuse, Pattern, Policy
from carnet_verifier.policy.rule import Action
from carnet_verifier.policy.rules import level, young
from carnet_verifier.policy.rules.yanked import RULE as YANKED
from carnet_verifier.tuf.refresh import refresh
from carnet_verifier.tuf.repository import TrustedRepository

LEAF, OTHER = honest_crate("leaf", "1.0.0"), honest_crate("other", "1.0.0")
CRATE = read_crate(LEAF)
WANTED = Wanted(CRATE.id, CRATE.sha256, locked=True)


class World:
    def __init__(self, folder: Path) -> None:
        self.registry = SignedRegistry()
        self.registry.add(LEAF)
        self.trust = TrustDirectory.create(folder / "trust", self.registry.root, "http://localhost/")

    def view(self) -> TrustedRepository:
        return refresh(self.trust, ReadFetcher(self.registry.answer), now=datetime.now(UTC))

    def key(self, policy: Policy | None = None, wanted: Wanted = WANTED) -> str | None:
        return keys_of(self.view(), [wanted], policy or Policy(), self.trust).get(wanted.id)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_publish_of_another_crate_asks_nothing_new(world: World) -> None:
    first = world.key()
    assert first is not None
    world.registry.add(OTHER)
    assert world.key() == first


class _Carried(Carried):
    """A project's `carnet.lock` that has seen any crate at a level that nobody else saw."""

    def __init__(self) -> None:
        pass

    def hold(self, trusted: TopRoles, pinned: bytes) -> None:
        pass

    def level(self, name: CrateName) -> Level | None:
        return Level.PROVENANCE


def test_whatever_decides_asks_anew(world: World) -> None:
    keys = [world.key(), world.key(wanted=Wanted(CRATE.id, None, locked=True)), world.key(wanted=Wanted(CRATE.id))]
    keys += [world.key(policy) for policy in POLICIES]
    world.trust.remember_levels({CRATE.id.name: int(Level.MAINTAINER)})
    keys.append(world.key())
    world.trust.carried = _Carried()
    keys.append(world.key())
    world.registry.add(honest_crate("leaf", "1.1.0"))
    keys.append(world.key())
    world.registry.yank("leaf", "1.0.0")
    keys.append(world.key())
    assert None not in keys
    assert len({*keys}) == len(keys)


POLICIES = [
    Policy(rules={YANKED: Action.DENY}),
    Policy(settings={level.LEAST_LEVEL: Level.PROVENANCE}),
    Policy(demands=(Demand(Pattern("leaf"), {level.LEAST_LEVEL: Level.PROVENANCE}),)),
    Policy(bans=(Ban(Pattern("leaf"), "no"),)),
    Policy(excuses=(Excuse(Pattern("leaf"), YANKED, "so", datetime(2027, 1, 1, tzinfo=UTC)),)),
    Policy(floor=Policy()),
]


def test_an_age_is_judged_in_every_run(world: World) -> None:
    assert world.key(Policy(settings={young.LEAST_AGE: timedelta(days=1)})) is None
    demand = Demand(Pattern("else"), {young.LEAST_AGE: timedelta(days=1)})
    assert world.key(Policy(demands=(demand,))) is None


def test_what_cannot_be_looked_up_is_left_to_who_says_why(world: World) -> None:
    missing = Wanted(CrateId.of("missing", "1.0.0"), "00" * 32, locked=True)
    assert world.key(wanted=missing) is None


@pytest.mark.parametrize("about", ["", "claim", "released", "let_in", "level", "findings"])
def test_only_what_has_nothing_to_remark_is_settled(about: str) -> None:
    there = {about: Level.MAINTAINER}  # anything
    attributed = SimpleNamespace(**{"claim": None, "released": False, "let_in": None, **there})
    verdict = SimpleNamespace(**{"findings": (), **there})
    level = there.get("level", Level.REGISTRY)
    admission: Any = SimpleNamespace(attributed=attributed, verdict=verdict, level=level)
    assert is_settled(admission) is (about == "")
    assert is_settled(admission_of(LEAF))


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert project["project"]["version"] == carnet.VERSION
