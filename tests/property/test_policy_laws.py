"""Laws of the policy: taking trust away never lets more in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from carnet.cargo.names import CrateId
from carnet.level import Level
from carnet_verifier.policy.policy import Action, Ban, Demand, Excuse, Facts, Pattern, Policy, Rule, evaluate

NOW = datetime(2026, 6, 1, tzinfo=UTC)

crates = st.sampled_from([CrateId.of("serde", "1.0.0"), CrateId.of("serde_json", "1.0.0"), CrateId.of("Libc", "0.2.1")])
patterns = st.sampled_from(["*", "serde", "serde*", "libc@0.*", "serde@1.0.0", "other"]).map(Pattern)
levels = st.sampled_from(list(Level))
times = st.integers(-400, 400).map(lambda days: NOW + timedelta(days=days))
demands = st.builds(Demand, patterns, levels)
bans = st.builds(Ban, patterns, st.just("banned by a test"))
excuses = st.builds(Excuse, patterns, st.sampled_from(list(Rule)), st.just("a test"), times)
actions = st.dictionaries(st.sampled_from(list(Rule)), st.sampled_from(list(Action)))
policies = st.builds(
    Policy,
    levels,
    st.lists(demands, max_size=2).map(tuple),
    actions,
    st.lists(bans, max_size=2).map(tuple),
    st.lists(excuses, max_size=3).map(tuple),
    st.integers(0, 30).map(lambda days: timedelta(days=days)),
)
facts = st.builds(
    Facts,
    crates,
    levels,
    st.none() | levels,
    st.none() | levels,
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, "the registry", "its maintainers"]),
    st.none() | times,
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


@given(facts, policies, st.sampled_from(list(Rule)))
def test_a_rule_that_denies_never_admits_more(fact: Facts, policy: Policy, rule: Rule) -> None:
    stricter = replace(policy, rules={**policy.rules, rule: Action.DENY})
    assert admitted(fact, policy) or not admitted(fact, stricter)


@given(facts, policies, levels)
def test_a_higher_least_level_never_admits_more(fact: Facts, policy: Policy, level: Level) -> None:
    stricter = replace(policy, least_level=max(level, policy.least_level))
    assert admitted(fact, policy) or not admitted(fact, stricter)


@given(facts, policies, levels)
def test_less_evidence_never_admits_more(fact: Facts, policy: Policy, level: Level) -> None:
    weaker = replace(fact, level=min(level, fact.level))
    assert admitted(fact, policy) or not admitted(weaker, policy)


@given(facts, policies)
def test_without_exceptions_never_more_is_admitted_and_time_only_takes_them_away(fact: Facts, policy: Policy) -> None:
    assert admitted(fact, policy) or not admitted(fact, replace(policy, excuses=()))
    young = replace(policy, least_age=timedelta(0))  # the one rule that time loosens
    later = evaluate(fact, young, now=NOW + timedelta(days=1000))
    assert admitted(fact, young) or later.denials
