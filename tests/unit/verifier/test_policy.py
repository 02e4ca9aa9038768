"""The policy: which rules deny, warn or allow, and what excuses them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.worlds.admissions import facts_of

from carnet.cargo.lockfile import SourceKind, read_lockfile
from carnet.cargo.names import CrateId
from carnet.errors import FormatError, PolicyRefused
from carnet.level import Level
from carnet_verifier.policy.evaluate import evaluate
from carnet_verifier.policy.foreign import foreign_verdicts
from carnet_verifier.policy.policy import Ban, Demand, Excuse, Pattern, Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule
from carnet_verifier.policy.rules import banned, downgrade, git, level, released, takeover, yanked, young
from carnet_verifier.policy.rules.level import LEAST_LEVEL
from carnet_verifier.policy.rules.young import LEAST_AGE

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SERDE = CrateId.of("serde", "1.0.219")


def rules_broken(facts: Facts, policy: Policy) -> dict[Rule, Action]:
    return {finding.rule: finding.action for finding in evaluate(facts, policy, now=NOW).findings}


def foreign(origin: SourceKind, source: str) -> Facts:
    return Facts(SERDE, origin=origin, source=source)


def test_a_crate_at_the_least_level_breaks_nothing() -> None:
    evaluate(facts_of(SERDE, Level.REGISTRY), Policy(), now=NOW).require()
    assert rules_broken(facts_of(SERDE, Level.MAINTAINER), Policy({LEAST_LEVEL: Level.MAINTAINER})) == {}


def test_below_the_least_level_is_refused_with_words() -> None:
    verdict = evaluate(facts_of(SERDE, Level.REGISTRY), Policy({LEAST_LEVEL: Level.MAINTAINER}), now=NOW)
    with pytest.raises(PolicyRefused, match=r"serde@1\.0\.219 is at level registry, the policy asks for maintainer"):
        verdict.require()


def test_a_demand_for_a_pattern_raises_the_level_and_never_lowers_it() -> None:
    policy = Policy(
        {LEAST_LEVEL: Level.MAINTAINER},
        (
            Demand(Pattern("ser*"), {LEAST_LEVEL: Level.PROVENANCE}),
            Demand(Pattern("serde"), {LEAST_LEVEL: Level.REGISTRY}),
        ),
    )
    assert policy.asks(LEAST_LEVEL, SERDE) is Level.PROVENANCE
    assert policy.asks(LEAST_LEVEL, CrateId.of("libc", "0.2.0")) is Level.MAINTAINER


def test_what_the_owners_ask_counts_even_when_the_policy_asks_less() -> None:
    facts = facts_of(SERDE, Level.MAINTAINER, owner_least_level=Level.PROVENANCE)
    assert rules_broken(facts, Policy()) == {level.RULE: Action.DENY}


def test_less_than_was_seen_before_is_a_downgrade() -> None:
    assert rules_broken(facts_of(SERDE, Level.REGISTRY, highest_seen=Level.MAINTAINER), Policy()) == {
        downgrade.RULE: Action.DENY
    }
    assert rules_broken(facts_of(SERDE, Level.MAINTAINER, highest_seen=Level.MAINTAINER), Policy()) == {}


def test_takeover_and_released_names_are_refused() -> None:
    facts = facts_of(SERDE, Level.MAINTAINER, takeover=True, released=True)
    assert rules_broken(facts, Policy()) == {takeover.RULE: Action.DENY, released.RULE: Action.DENY}


def test_a_yanked_version_is_only_warned_of_and_nobody_is_told_to_update() -> None:
    verdict = evaluate(facts_of(SERDE, Level.REGISTRY, yanked="the registry"), Policy(), now=NOW)
    verdict.require()
    assert [finding.action for finding in verdict.findings] == [Action.WARN]
    assert "update" not in str(verdict)


@pytest.mark.parametrize(("age", "refused"), [(6, True), (8, False), (None, True)])
def test_the_least_age(age: int | None, refused: bool) -> None:
    published = None if age is None else NOW - timedelta(days=age)
    policy = Policy({LEAST_AGE: timedelta(days=7)})
    assert (young.RULE in rules_broken(facts_of(SERDE, Level.REGISTRY, published=published), policy)) is refused


def test_an_exception_turns_a_denial_into_a_warning_until_it_ends() -> None:
    excuse = Excuse(Pattern("serde"), downgrade.RULE, "agreed with its maintainers", NOW + timedelta(days=1))
    facts = facts_of(SERDE, Level.REGISTRY, highest_seen=Level.MAINTAINER)
    policy = Policy(excuses=(excuse,))
    assert rules_broken(facts, policy) == {downgrade.RULE: Action.WARN}
    later = evaluate(facts, policy, now=NOW + timedelta(days=1))
    assert [finding.action for finding in later.findings] == [Action.DENY]
    other = evaluate(
        facts_of(CrateId.of("libc", "1.0.0"), Level.REGISTRY, highest_seen=Level.MAINTAINER), policy, now=NOW
    )
    assert [finding.action for finding in other.findings] == [Action.DENY]


def test_an_exception_for_one_rule_does_not_excuse_another() -> None:
    excuse = Excuse(Pattern("serde"), takeover.RULE, "known", NOW + timedelta(days=1))
    facts = facts_of(SERDE, Level.REGISTRY, highest_seen=Level.MAINTAINER, takeover=True)
    assert rules_broken(facts, Policy(excuses=(excuse,))) == {downgrade.RULE: Action.DENY, takeover.RULE: Action.WARN}


def test_git_and_other_registries_need_the_policys_word() -> None:
    source = "git+https://example.com/x?rev=1#1"
    with pytest.raises(PolicyRefused, match="which no signed metadata vouches for"):
        evaluate(foreign(SourceKind.GIT, source), Policy(), now=NOW).require()
    allowed = Policy(excuses=(Excuse(Pattern("serde"), git.RULE, "a fork of ours", NOW + timedelta(days=1)),))
    evaluate(foreign(SourceKind.GIT, source), allowed, now=NOW).require()
    with pytest.raises(PolicyRefused):
        evaluate(foreign(SourceKind.REGISTRY, "registry+https://example.com"), allowed, now=NOW).require()


def test_a_ban_covers_what_its_pattern_says() -> None:
    policy = Policy(bans=(Ban(Pattern("left_pad@1.*"), "abandoned"),))
    assert rules_broken(facts_of(CrateId.of("left-pad", "1.2.0"), Level.REGISTRY), policy) == {banned.RULE: Action.DENY}
    assert rules_broken(facts_of(CrateId.of("left-pad", "2.0.0"), Level.REGISTRY), policy) == {}


def test_a_ban_and_a_demand_on_a_version_cover_its_builds_and_an_exception_does_not() -> None:
    """To cargo and to the registry 1.0.0 and 1.0.0+x are one version; an exception lets in what it spells out."""
    built = facts_of(CrateId.of("foo", "1.0.0+x"), Level.REGISTRY)
    assert rules_broken(built, Policy(bans=(Ban(Pattern("foo@1.0.0"), "bad"),))) == {banned.RULE: Action.DENY}
    demand = Demand(Pattern("FOO@1.0.?"), {LEAST_LEVEL: Level.MAINTAINER})
    assert rules_broken(built, Policy(demands=(demand,))) == {level.RULE: Action.DENY}
    ends = NOW + timedelta(days=1)
    for pattern, action in (("foo@1.0.0", Action.DENY), ("foo@1.0.0+x", Action.WARN), ("foo@1.*", Action.WARN)):
        excuse = Excuse(Pattern(pattern), level.RULE, "known", ends)
        assert rules_broken(built, Policy(demands=(demand,), excuses=(excuse,))) == {level.RULE: action}


@pytest.mark.parametrize(
    ("pattern", "version", "covered", "named"),
    [
        ("foo@1.0.0", "1.0.0", True, True),
        ("foo@1.0.0", "1.0.0+x", True, False),
        ("foo@1.0.0", "1.0.0-rc.1+x", False, False),
        ("foo@1.0.0-rc.1", "1.0.0-rc.1+x.y", True, False),
        ("foo@1.0.?", "1.0.0+x", True, False),
        ("foo@1.0.0+*", "1.0.0+x", True, True),
        ("foo@1.0.0+x", "1.0.0", False, False),
        ("foo@1.0.0+x", "1.0.0+y", False, False),
        ("foo", "1.0.0+x", True, True),
        ("bar@1.0.0", "1.0.0+x", False, False),
    ],
)
def test_which_versions_a_pattern_is_about(pattern: str, version: str, covered: bool, named: bool) -> None:
    crate = CrateId.of("foo", version)
    assert (Pattern(pattern).covers(crate), Pattern(pattern).names(crate)) == (covered, named)


@pytest.mark.parametrize("published", ["9999-12-31T23:59:59", "9999-12-20T00:00:00", "0001-01-01T00:00:00"])
@pytest.mark.parametrize("days", [0, 7, 3650])
def test_a_time_at_the_ends_of_time_is_old_or_yet_to_come(published: str, days: int) -> None:
    when = datetime.fromisoformat(published).replace(tzinfo=UTC)
    policy = Policy({LEAST_AGE: timedelta(days=days)})
    broken = rules_broken(facts_of(SERDE, Level.REGISTRY, published=when), policy)
    assert (young.RULE in broken) is (days > 0 and when.year == 9999)


def test_what_a_rule_cannot_reckon_with_refuses_the_crate(monkeypatch: pytest.MonkeyPatch) -> None:
    def overflowing(*_: object) -> list[Breach]:
        raise OverflowError("date value out of range")

    monkeypatch.setitem(vars(yanked.RULE), "judge", overflowing)
    with pytest.raises(FormatError, match=r"serde@1\.0\.219 cannot be judged by the rule yanked: date value"):
        evaluate(facts_of(SERDE, Level.REGISTRY), Policy(), now=NOW)


def test_what_is_said_by_whom_is_in_the_finding_and_in_the_refusal() -> None:
    policy = Policy({LEAST_LEVEL: Level.MAINTAINER}, sources={LEAST_LEVEL: "the flag"})
    verdict = evaluate(facts_of(SERDE, Level.REGISTRY), policy, now=NOW)
    with pytest.raises(PolicyRefused, match=r"\[level\], says the flag$") as caught:
        verdict.require()
    assert caught.value.decided_by == "the flag"
    demand = Demand(Pattern("serde"), {LEAST_LEVEL: Level.PROVENANCE}, "a file")
    (finding,) = evaluate(facts_of(SERDE, Level.REGISTRY), replace(policy, demands=(demand,)), now=NOW).findings
    assert finding.source == "a file"
    owners = facts_of(SERDE, Level.MAINTAINER, owner_least_level=Level.PROVENANCE)
    assert [finding.source for finding in evaluate(owners, policy, now=NOW).findings] == [""]


@pytest.mark.parametrize("text", ["", "a b", "[ab]c", "serde@", "serde@1@2", "x" * 65, "ä"])
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(FormatError):
        Pattern(text)


@pytest.mark.parametrize("version", ["1", "1.0", "v1.0.0", "01.0.0", "1.0.0.0", "1.0.0-", "1.0.0+"])
def test_a_pattern_that_covers_no_version_is_none(version: str) -> None:
    """A ban with a typing mistake would silently not be one."""
    with pytest.raises(FormatError, match=r"covers no version: .* is not one"):
        Pattern(f"serde@{version}")


def test_level_names_go_both_ways() -> None:
    assert [Level.parse(str(level)) for level in Level] == list(Level)
    with pytest.raises(FormatError, match="is not a level"):
        Level.parse("REGISTRY")


GIT = 'version = 4\n[[package]]\nname = "_größe"\nversion = "0.1.0"\nsource = "git+https://example.org/x?rev=1#{}"\n'


def test_a_package_from_git_whose_name_crates_io_would_not_take_is_judged_as_any_other() -> None:
    lock = read_lockfile(GIT.format("a" * 40).encode())
    (denied,) = foreign_verdicts(lock, Policy(), now=NOW)
    assert [finding.rule.name for finding in denied.denials] == ["git"]
    excuse = Excuse(Pattern("_gr?*e@0.1.0"), git.RULE, "we wrote it", NOW + timedelta(days=1))
    (let_in,) = foreign_verdicts(lock, Policy(excuses=(excuse,)), now=NOW)
    assert let_in.denials == ()
