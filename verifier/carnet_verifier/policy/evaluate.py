"""The verdict: facts and a policy to everything that is wrong with a crate, as far as its evidence is there.

Pure: nothing here fetches, reads a clock or a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from carnet.cargo.lockfile import SourceKind
from carnet.errors import FormatError
from carnet.made import maker
from carnet_verifier.policy import rules
from carnet_verifier.policy.rule import Action
from carnet_verifier.policy.verdict import Finding, Verdict

if TYPE_CHECKING:
    from carnet_verifier.policy.policy import Excuse, Policy
    from carnet_verifier.policy.rule import Breach, Facts, Rule

_verdict = maker(Verdict)


def in_force(
    policy: Policy, origin: SourceKind = SourceKind.CRATES_IO, among: Iterable[Rule] = rules.ALL
) -> tuple[Rule, ...]:
    """The rules that judge packages of one origin: they lead to something, and the policy asks something with them.

    Args:
        policy: The build's.
        origin: Where the packages come from.
        among: Which rules there are.
    """
    return tuple(
        rule
        for rule in among
        if origin in rule.origins and policy.action(rule) is not Action.ALLOW and rule.in_force(policy)
    )


def evaluate(facts: Facts, policy: Policy, *, now: datetime, judging: Sequence[Rule] | None = None) -> Verdict:
    """Judge one package of a lock by what was established about it.

    A rule whose evidence was not gathered is not judged: the verdict names it as waiting, and admits nothing.

    Args:
        facts: What was established.
        policy: The build's.
        now: The time of the check.
        judging: What `in_force` says for the policy and the package's origin, when somebody has asked already: for a
            whole lock it is worked out once. The order of the rules makes no difference.

    Raises:
        FormatError: What was found of the crate is past what a rule can reckon with.
    """
    findings: list[Finding] = []
    waiting: list[Rule] = []
    for rule in in_force(policy, facts.origin) if judging is None else judging:
        if rule.needs and not all(map(facts.has, rule.needs)):
            waiting.append(rule)
            continue
        breaches = _judge(rule, facts, policy, now)
        if breaches:
            findings.extend(_findings(rule, breaches, facts, policy, now))
    if len(findings) > 1:
        findings.sort(key=lambda finding: (-finding.action, finding.rule.name, finding.message))
    return _verdict(facts.crate, facts.level, tuple(findings), tuple(waiting))


def _judge(rule: Rule, facts: Facts, policy: Policy, now: datetime) -> list[Breach]:
    """Every way in which a crate breaks a rule.

    Raises:
        FormatError: What was found of the crate is past what the rule can reckon with: nothing is decided by default.
    """
    try:
        return list(rule.judge(facts, policy, now))
    except (ArithmeticError, ValueError) as error:
        raise FormatError(f"{facts.crate} cannot be judged by the rule {rule.name}: {error}") from error


def _findings(rule: Rule, breaches: Sequence[Breach], facts: Facts, policy: Policy, now: datetime) -> Iterator[Finding]:
    action, excuse, withheld = policy.action(rule), None, ""
    if action is Action.DENY:
        excuse = policy.excuse_for(rule, facts.crate, now)
        if excuse is None and policy.floor is not None:
            excuse, withheld = _projects_excuse(rule, facts, policy, policy.floor, now)
    for breach in breaches:
        yield Finding(
            rule,
            Action.WARN if excuse is not None else action,
            breach.message,
            "; ".join(filter(None, (breach.hint, withheld))),
            excuse,
            policy.who_says(rule) if breach.source is None else breach.source,
        )


def _projects_excuse(
    rule: Rule, facts: Facts, policy: Policy, floor: Policy, now: datetime
) -> tuple[Excuse | None, str]:
    """A project's exception to what only the project asks; where the floor denies as well, a hint that says so."""
    excuse = next((one for one in policy.projects_excuses if one.holds(rule, facts.crate, now)), None)
    if excuse is None:
        return None, ""
    if floor.action(rule) is Action.DENY and _judge(rule, facts, floor, now):
        return None, (
            f"the exception in {excuse.source or 'the project'} does not hold: make it in your own carnet.toml, or let "
            f'projects except it there: `[project] may-except = ["{rule.name}"]`'
        )
    return excuse, ""
