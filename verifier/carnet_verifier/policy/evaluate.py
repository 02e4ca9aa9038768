"""The verdict: facts and a policy to everything that is wrong with a crate, as far as its evidence is there.

Pure: nothing here fetches, reads a clock or a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from carnet.cargo.lockfile import SourceKind
from carnet.made import maker
from carnet_verifier.policy import rules
from carnet_verifier.policy.rule import Action
from carnet_verifier.policy.verdict import Finding, Verdict

if TYPE_CHECKING:
    from carnet_verifier.policy.policy import Policy
    from carnet_verifier.policy.rule import Facts, Rule

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
    """
    findings: list[Finding] = []
    waiting: list[Rule] = []
    for rule in in_force(policy, facts.origin) if judging is None else judging:
        if rule.needs and not all(map(facts.has, rule.needs)):
            waiting.append(rule)
            continue
        for breach in rule.judge(facts, policy, now):
            action = policy.action(rule)
            excuse = policy.excuse_for(rule, facts.crate, now) if action is Action.DENY else None
            if excuse is not None:
                action = Action.WARN
            findings.append(Finding(rule, action, breach.message, breach.hint, excuse))
    if len(findings) > 1:
        findings.sort(key=lambda finding: (-finding.action, finding.rule.name, finding.message))
    return _verdict(facts.crate, facts.level, tuple(findings), tuple(waiting))
