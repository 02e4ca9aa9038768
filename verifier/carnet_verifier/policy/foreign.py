"""The packages of a lock that no trusted registry vouches for: the policy alone says whether they may be used."""

from __future__ import annotations

from datetime import datetime

from carnet.cargo.lockfile import LockedPackage, Lockfile, SourceKind
from carnet_verifier.policy.evaluate import evaluate
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Facts
from carnet_verifier.policy.verdict import Verdict

FOREIGN = frozenset((SourceKind.GIT, SourceKind.REGISTRY))
"""Where such packages come from."""


def foreign_verdicts(lock: Lockfile, policy: Policy, *, now: datetime) -> tuple[Verdict, ...]:
    """What the policy says of each package from git or from another registry.

    Args:
        lock: Cargo's.
        policy: The build's.
        now: The time of the check.

    Returns:
        A verdict for each, in the order of the lock; `Verdict.require` raises where one is denied.
    """
    return tuple(foreign_verdict(package, policy, now=now) for package in lock.packages if package.kind in FOREIGN)


def foreign_verdict(package: LockedPackage, policy: Policy, *, now: datetime) -> Verdict:
    """What the policy says of one package from git or from another registry."""
    return evaluate(Facts(package.id, origin=package.kind, source=package.source or ""), policy, now=now)
