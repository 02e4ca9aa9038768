"""The packages of a lock that no trusted registry vouches for: the policy alone says whether they may be used."""

from __future__ import annotations

from datetime import datetime

from carnet.cargo.lockfile import Lockfile, SourceKind
from carnet_verifier.policy.policy import Policy, Rule, Verdict, evaluate_foreign

_RULES = {SourceKind.GIT: Rule.GIT, SourceKind.REGISTRY: Rule.OTHER_REGISTRY}


def foreign_verdicts(lock: Lockfile, policy: Policy, *, now: datetime) -> tuple[Verdict, ...]:
    """What the policy says of each package from git or from another registry.

    Args:
        lock: Cargo's.
        policy: The build's.
        now: The time of the check.

    Returns:
        A verdict for each, in the order of the lock; `Verdict.require` raises where one is denied.
    """
    return tuple(
        evaluate_foreign(package.id, _RULES[package.kind], package.source or "", policy, now=now)
        for package in lock.packages
        if package.kind in _RULES
    )
