"""The policy: which rules deny, warn or allow, and what excuses them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from carnet.cargo.names import CrateId
from carnet.errors import FormatError, PolicyRefused
from carnet.level import Level
from carnet_verifier.policy.policy import (
    Action,
    Ban,
    Demand,
    Excuse,
    Facts,
    Pattern,
    Policy,
    Rule,
    evaluate,
    evaluate_foreign,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SERDE = CrateId.of("serde", "1.0.219")


def rules_broken(facts: Facts, policy: Policy) -> dict[Rule, Action]:
    return {finding.rule: finding.action for finding in evaluate(facts, policy, now=NOW).findings}


def test_a_crate_at_the_least_level_breaks_nothing() -> None:
    evaluate(Facts(SERDE, Level.REGISTRY), Policy(), now=NOW).require()
    assert rules_broken(Facts(SERDE, Level.MAINTAINER), Policy(least_level=Level.MAINTAINER)) == {}


def test_below_the_least_level_is_refused_with_words() -> None:
    verdict = evaluate(Facts(SERDE, Level.REGISTRY), Policy(least_level=Level.MAINTAINER), now=NOW)
    with pytest.raises(PolicyRefused, match=r"serde@1\.0\.219 is at level registry, the policy asks for maintainer"):
        verdict.require()


def test_a_demand_for_a_pattern_raises_the_level_and_never_lowers_it() -> None:
    policy = Policy(
        Level.MAINTAINER, (Demand(Pattern("ser*"), Level.PROVENANCE), Demand(Pattern("serde"), Level.REGISTRY))
    )
    assert policy.least_level_of(SERDE) is Level.PROVENANCE
    assert policy.least_level_of(CrateId.of("libc", "0.2.0")) is Level.MAINTAINER


def test_what_the_owners_ask_counts_even_when_the_policy_asks_less() -> None:
    facts = Facts(SERDE, Level.MAINTAINER, owner_least_level=Level.PROVENANCE)
    assert rules_broken(facts, Policy()) == {Rule.LEVEL: Action.DENY}


def test_less_than_was_seen_before_is_a_downgrade() -> None:
    assert rules_broken(Facts(SERDE, Level.REGISTRY, highest_seen=Level.MAINTAINER), Policy()) == {
        Rule.DOWNGRADE: Action.DENY
    }
    assert rules_broken(Facts(SERDE, Level.MAINTAINER, highest_seen=Level.MAINTAINER), Policy()) == {}


def test_takeover_and_released_names_are_refused() -> None:
    facts = Facts(SERDE, Level.MAINTAINER, takeover=True, released=True)
    assert rules_broken(facts, Policy()) == {Rule.TAKEOVER: Action.DENY, Rule.RELEASED: Action.DENY}


def test_a_yanked_version_is_only_warned_of_and_nobody_is_told_to_update() -> None:
    verdict = evaluate(Facts(SERDE, Level.REGISTRY, yanked="the registry"), Policy(), now=NOW)
    verdict.require()
    assert [finding.action for finding in verdict.findings] == [Action.WARN]
    assert "update" not in str(verdict)


@pytest.mark.parametrize(("age", "refused"), [(6, True), (8, False), (None, True)])
def test_the_least_age(age: int | None, refused: bool) -> None:
    published = None if age is None else NOW - timedelta(days=age)
    policy = Policy(least_age=timedelta(days=7))
    assert (Rule.YOUNG in rules_broken(Facts(SERDE, Level.REGISTRY, published=published), policy)) is refused


def test_an_exception_turns_a_denial_into_a_warning_until_it_ends() -> None:
    excuse = Excuse(Pattern("serde"), Rule.DOWNGRADE, "agreed with its maintainers", NOW + timedelta(days=1))
    facts = Facts(SERDE, Level.REGISTRY, highest_seen=Level.MAINTAINER)
    policy = Policy(excuses=(excuse,))
    assert rules_broken(facts, policy) == {Rule.DOWNGRADE: Action.WARN}
    later = evaluate(facts, policy, now=NOW + timedelta(days=1))
    assert [finding.action for finding in later.findings] == [Action.DENY]
    other = evaluate(Facts(CrateId.of("libc", "1.0.0"), Level.REGISTRY, highest_seen=Level.MAINTAINER), policy, now=NOW)
    assert [finding.action for finding in other.findings] == [Action.DENY]


def test_an_exception_for_one_rule_does_not_excuse_another() -> None:
    excuse = Excuse(Pattern("serde"), Rule.TAKEOVER, "known", NOW + timedelta(days=1))
    facts = Facts(SERDE, Level.REGISTRY, highest_seen=Level.MAINTAINER, takeover=True)
    assert rules_broken(facts, Policy(excuses=(excuse,))) == {Rule.DOWNGRADE: Action.DENY, Rule.TAKEOVER: Action.WARN}


def test_git_and_other_registries_need_the_policys_word() -> None:
    source = "git+https://example.com/x?rev=1#1"
    with pytest.raises(PolicyRefused, match="which no signed metadata vouches for"):
        evaluate_foreign(SERDE, Rule.GIT, source, Policy(), now=NOW).require()
    allowed = Policy(excuses=(Excuse(Pattern("serde"), Rule.GIT, "a fork of ours", NOW + timedelta(days=1)),))
    evaluate_foreign(SERDE, Rule.GIT, source, allowed, now=NOW).require()
    with pytest.raises(PolicyRefused):
        evaluate_foreign(SERDE, Rule.OTHER_REGISTRY, "registry+https://example.com", allowed, now=NOW).require()


def test_a_ban_covers_what_its_pattern_says() -> None:
    policy = Policy(bans=(Ban(Pattern("left_pad@1.*"), "abandoned"),))
    assert rules_broken(Facts(CrateId.of("left-pad", "1.2.0"), Level.REGISTRY), policy) == {Rule.BANNED: Action.DENY}
    assert rules_broken(Facts(CrateId.of("left-pad", "2.0.0"), Level.REGISTRY), policy) == {}


@pytest.mark.parametrize("text", ["", "a b", "[ab]c", "serde@", "serde@1@2", "x" * 65, "ä"])
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(FormatError):
        Pattern(text)


def test_level_names_go_both_ways() -> None:
    assert [Level.parse(str(level)) for level in Level] == list(Level)
    with pytest.raises(FormatError, match="is not a level"):
        Level.parse("REGISTRY")
