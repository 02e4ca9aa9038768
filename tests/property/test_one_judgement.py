"""One judgement: the check of a lock (the gate's too), of one crate, the proxy's and `explain` agree on a package."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import NAME, World

from carnet.cargo.lockfile import CRATES_IO, LockedPackage
from carnet.cargo.names import CrateId
from carnet.errors import CarnetError
from carnet.level import Level
from carnet_verifier.admit import admit_all, admit_one, admit_tarball
from carnet_verifier.explain import explain_package
from carnet_verifier.policy import rules
from carnet_verifier.policy.foreign import FOREIGN, foreign_verdict
from carnet_verifier.policy.policy import Ban, Demand, Excuse, Pattern, Policy
from carnet_verifier.policy.rule import Action, Rule
from carnet_verifier.policy.rules.level import LEAST_LEVEL
from carnet_verifier.policy.rules.young import LEAST_AGE
from carnet_verifier.policy.verdict import Verdict
from carnet_verifier.whole_lock import wanted_as

PLAIN = honest_crate("plain", "1.0.0")
SOURCES = (CRATES_IO, "git+https://example.com/x?rev=1#0123", "registry+https://other.example/index")
CRATES = (CrateId.of("plain", "1.0.0"), CrateId.of(str(NAME), "1.0.0"), CrateId.of("plain", "9.0.0"))

Said = tuple[str, tuple[str, ...], str]
"""The kind of error or `allowed`, the rules that were broken with what each led to, and the first reason."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World.make(tmp_path_factory.mktemp("judged"))
    world.add(PLAIN)
    world.claim()
    world.release("1.0.0")
    return world


patterns = st.sampled_from(["*", "plain", f"{NAME}@1.0.0", "other"]).map(Pattern)
levels = st.sampled_from(list(Level)).map(lambda level: {LEAST_LEVEL: level})
ages = st.integers(0, 30).map(lambda days: {LEAST_AGE: timedelta(days=days)})
packages = st.builds(
    LockedPackage, st.sampled_from(CRATES), st.sampled_from(SOURCES), st.sampled_from([None, "00" * 32])
)


policies = st.builds(
    Policy,
    levels | ages,
    st.lists(st.builds(Demand, patterns, levels | ages), max_size=2).map(tuple),
    st.dictionaries(st.sampled_from(rules.ALL), st.sampled_from(list(Action)), max_size=3),
    st.lists(st.builds(Ban, patterns, st.just("banned")), max_size=1).map(tuple),
)
exceptions = st.lists(st.tuples(patterns, st.sampled_from(rules.ALL), st.sampled_from([-1, 30])), max_size=2)


def broken(verdict: Verdict) -> tuple[str, ...]:
    return tuple(f"{finding.rule.name} {finding.action} {finding.source}" for finding in verdict.findings)


def refused(error: CarnetError) -> Said:
    return type(error).__name__, (), str(error)


def of_verdict(verdict: Verdict) -> Said:
    try:
        verdict.require()
    except CarnetError as error:
        return refused(error)
    return "allowed", broken(verdict), ""


def by_lock(world: World, package: LockedPackage, policy: Policy) -> Said:
    if package.kind in FOREIGN:
        return of_verdict(foreign_verdict(package, policy, now=world.now))
    (outcome,) = admit_all(world.fresh(), [wanted_as(package)], policy, None, now=world.now)
    if outcome.error is not None:
        return refused(outcome.error)
    assert outcome.admission is not None
    return "allowed", broken(outcome.admission.verdict), ""


def by_name(world: World, package: LockedPackage, policy: Policy) -> Said:
    try:
        admission = admit_one(world.fresh(), wanted_as(package), policy, None, now=world.now)
    except CarnetError as error:
        return refused(error)
    return "allowed", broken(admission.verdict), ""


def by_tarball(world: World, package: LockedPackage, policy: Policy) -> Said:
    """As the proxy does, with what the lock says."""
    try:
        admission, _ = admit_tarball(world.fresh(), wanted_as(package), policy, None, now=world.now)
    except CarnetError as error:
        return refused(error)
    return "allowed", broken(admission.verdict), ""


def by_explanation(world: World, package: LockedPackage, policy: Policy) -> Said:
    chain = explain_package(world.fresh(), package, policy, None, now=world.now)
    if chain.failure is not None and chain.failure.error is not None:
        return refused(chain.failure.error)
    assert chain.verdict is not None
    return "allowed", broken(chain.verdict), ""


@settings(max_examples=30, deadline=None)
@given(package=packages, policy=policies, excepted=exceptions)
def test_everybody_says_the_same(
    world: World, package: LockedPackage, policy: Policy, excepted: list[tuple[Pattern, Rule, int]]
) -> None:
    excuses = (Excuse(crates, rule, "a test", world.now + timedelta(days=days)) for crates, rule, days in excepted)
    policy = replace(policy, excuses=tuple(excuses))
    said = by_lock(world, package, policy)
    assert by_explanation(world, package, policy) == said
    if package.kind not in FOREIGN:
        assert by_name(world, package, policy) == said
        if said[0] != "allowed":  # and else the tarball of an unclaimed crate would have to be served
            assert by_tarball(world, package, policy) == said
