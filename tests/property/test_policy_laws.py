"""Laws of the policy: taking trust away never lets more in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.worlds.admissions import facts_of, unchecked_evidence

from carnet.cargo.names import CrateId
from carnet.level import Level
from carnet_evidence.history import MASS_YANK, PUBLISHED
from carnet_evidence.kind import Kind
from carnet_verifier.policy import rules
from carnet_verifier.policy.evaluate import evaluate, in_force
from carnet_verifier.policy.floor import over, tighten, with_user
from carnet_verifier.policy.policy import Ban, Demand, Excuse, Pattern, Policy
from carnet_verifier.policy.rule import Action, Facts, Rule
from carnet_verifier.policy.rules.level import LEAST_LEVEL
from carnet_verifier.policy.rules.young import LEAST_AGE
from carnet_verifier.provenance.kind import PROVENANCE

NOW = datetime(2026, 6, 1, tzinfo=UTC)

crates = st.sampled_from([CrateId.of("serde", "1.0.0"), CrateId.of("serde_json", "1.0.0"), CrateId.of("Libc", "0.2.1")])
patterns = st.sampled_from(["*", "serde", "serde*", "libc@0.*", "serde@1.0.0", "other"]).map(Pattern)
levels = st.sampled_from(list(Level))
times = st.integers(-400, 400).map(lambda days: NOW + timedelta(days=days))
least_levels = levels.map(lambda level: {LEAST_LEVEL: level})
least_ages = st.integers(0, 30).map(lambda days: {LEAST_AGE: timedelta(days=days)})
demands = st.builds(Demand, patterns, least_levels | least_ages)
bans = st.builds(Ban, patterns, st.just("banned by a test"))
excuses = st.builds(Excuse, patterns, st.sampled_from(rules.ALL), st.just("a test"), times)
actions = st.dictionaries(st.sampled_from(rules.ALL), st.sampled_from(list(Action)))
policies = st.builds(
    Policy,
    st.builds(lambda level, age: level | age, least_levels, least_ages),
    st.lists(demands, max_size=2).map(tuple),
    actions,
    st.lists(bans, max_size=2).map(tuple),
    st.lists(excuses, max_size=3).map(tuple),
)
facts = st.builds(
    facts_of,
    crates,
    levels,
    st.none() | levels,
    st.none() | levels,
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, "the registry", "its maintainers"]),
    st.none() | times,
    st.sampled_from([None, "yanks"]),
)


def admitted(fact: Facts, policy: Policy) -> bool:
    return not evaluate(fact, policy, now=NOW).denials


@given(facts, policies, bans | demands)
def test_another_ban_or_demand_never_admits_more(fact: Facts, policy: Policy, more: Ban | Demand) -> None:
    if isinstance(more, Ban):
        stricter = replace(policy, bans=(*policy.bans, more))
    else:
        stricter = replace(policy, demands=(*policy.demands, more))
    assert admitted(fact, policy) or not admitted(fact, stricter)


@given(facts, policies, st.sampled_from(rules.ALL))
def test_a_rule_that_denies_never_admits_more(fact: Facts, policy: Policy, rule: Rule) -> None:
    stricter = replace(policy, rules={**policy.rules, rule: Action.DENY})
    assert admitted(fact, policy) or not admitted(fact, stricter)


@given(facts, policies, levels)
def test_a_higher_least_level_never_admits_more(fact: Facts, policy: Policy, level: Level) -> None:
    stricter = replace(policy, settings={**policy.settings, LEAST_LEVEL: max(level, policy.settings[LEAST_LEVEL])})
    assert admitted(fact, policy) or not admitted(fact, stricter)


@given(facts, policies, levels)
def test_less_evidence_never_admits_more(fact: Facts, policy: Policy, level: Level) -> None:
    weaker = replace(fact, level=min(level, fact.level or level))
    assert admitted(fact, policy) or not admitted(weaker, policy)


@given(facts, policies)
def test_without_exceptions_never_more_is_admitted_and_time_only_takes_them_away(fact: Facts, policy: Policy) -> None:
    assert admitted(fact, policy) or not admitted(fact, replace(policy, excuses=()))
    young = replace(policy, settings={}, demands=())  # the one rule that time loosens
    later = evaluate(fact, young, now=NOW + timedelta(days=1000))
    assert admitted(fact, young) or later.denials


@given(facts, policies, st.permutations(rules.ALL))
def test_the_order_of_the_rules_makes_no_difference(fact: Facts, policy: Policy, order: list[Rule]) -> None:
    judging = in_force(policy, among=order)
    assert evaluate(fact, policy, now=NOW, judging=judging) == evaluate(fact, policy, now=NOW)


@given(facts, policies, st.sets(st.sampled_from(rules.ALL)))
def test_a_rule_only_takes_away(fact: Facts, policy: Policy, among: set[Rule]) -> None:
    """Whatever the others find: with one rule more, no finding goes, and nobody is let in who was not."""
    every = evaluate(fact, policy, now=NOW)
    some = evaluate(fact, policy, now=NOW, judging=in_force(policy, among=among))
    assert set(some.findings) <= set(every.findings)
    assert every.denials or not some.denials


@given(facts, policies, st.sets(st.sampled_from([PROVENANCE, PUBLISHED, MASS_YANK])))
def test_without_evidence_a_rule_waits_and_nothing_is_admitted_that_would_not_be(
    fact: Facts, policy: Policy, missing: set[Kind[Any]]
) -> None:
    assert fact.evidence is not None
    found = {kind: said for kind, said in fact.evidence.found.items() if kind not in missing}
    early = evaluate(replace(fact, evidence=unchecked_evidence(found)), policy, now=NOW)
    whole = evaluate(fact, policy, now=NOW)
    assert set(early.findings) <= set(whole.findings)
    assert bool(early.waiting) == any(missing & set(rule.needs) for rule in in_force(policy))


# --- a floor, and who may say less ---

let = st.none() | st.frozensets(st.sampled_from(rules.ALL), max_size=3)
floors = st.builds(lambda policy, rules: replace(policy, may_except=rules), policies, let)


@given(facts, floors, policies)
def test_what_the_floor_denies_no_project_lets_in(fact: Facts, floor: Policy, project: Policy) -> None:
    """Rule by rule, save those that the floor lets projects except."""
    together = evaluate(fact, tighten(floor, project).policy, now=NOW)
    denied = {finding.rule for finding in evaluate(fact, floor, now=NOW).denials}
    assert denied - {finding.rule for finding in together.denials} <= (floor.may_except or frozenset())


@settings(max_examples=50)
@given(facts, policies, policies)
def test_a_project_that_may_except_nothing_lets_nothing_in(fact: Facts, floor: Policy, project: Policy) -> None:
    together = tighten(floor, project).policy
    assert admitted(fact, floor) or not admitted(fact, together)
    said = replace(project, excuses=(), rules={rule: project.rules.get(rule, floor.action(rule)) for rule in rules.ALL})
    assert admitted(fact, said) or not admitted(fact, replace(together, excuses=(), floor=None)), (
        "what it asks is asked"
    )


@settings(max_examples=50)
@given(facts, policies, policies)
def test_a_project_that_says_again_what_the_floor_says_changes_nothing(
    fact: Facts, floor: Policy, project: Policy
) -> None:
    together = tighten(floor, project).policy
    assert admitted(fact, tighten(together, Policy()).policy) or not admitted(fact, together)
    assert admitted(fact, tighten(floor, Policy()).policy) == admitted(fact, floor)
    assert admitted(fact, tighten(floor, floor).policy) == admitted(fact, floor)


@settings(max_examples=50)
@given(facts, policies, policies)
def test_a_user_who_excepts_nothing_lets_in_nothing_that_the_machine_does_not(
    fact: Facts, machine: Policy, user: Policy
) -> None:
    """Of rules and settings that the machine says something of; elsewhere the user's word takes the default's place."""
    user = replace(user, excuses=(), rules={rule: said for rule, said in user.rules.items() if said >= rule.default})
    assert admitted(fact, machine) or not admitted(fact, with_user(machine, user))
    assert admitted(fact, over(machine, Policy())) == admitted(fact, over(Policy(), machine)) == admitted(fact, machine)
