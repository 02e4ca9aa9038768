"""What commands do with verdicts: foreign packages, warnings, and many refusals at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from carnet.cargo.lockfile import Lockfile, SourceKind
from carnet.errors import CarnetError, PolicyRefused, TransportError
from carnet_cli.terminal import output
from carnet_verifier.policy.policy import Policy, Rule, Verdict, evaluate_foreign

_RULES = {SourceKind.GIT: Rule.GIT, SourceKind.REGISTRY: Rule.OTHER_REGISTRY}


def foreign_verdicts(lock: Lockfile, policy: Policy, now: datetime) -> tuple[Verdict, ...]:
    """What the policy says of each package from git or from another registry."""
    return tuple(
        evaluate_foreign(package.id, _RULES[package.kind], package.source or "", policy, now=now)
        for package in lock.packages
        if package.kind in _RULES
    )


def warn_of(verdict: Verdict) -> None:
    """Print what the policy remarks of a crate and does not deny."""
    for finding in verdict.findings:
        if finding not in verdict.denials:
            excuse = finding.excuse
            because = f"; excused until {excuse.expires.date()}: {excuse.reason}" if excuse is not None else ""
            output.warn(f"{finding.message} [{finding.rule.value}]{because}")


def refuse_all(errors: Sequence[CarnetError], total: int, then: str) -> None:
    """Report every refusal; the last line says how many there were.

    Args:
        errors: Why crates were not admitted.
        total: How many were asked for.
        then: What follows, such as `nothing was compiled`.

    Raises:
        CarnetError: There was one.
    """
    if not errors:
        return
    if len(errors) == 1:
        raise errors[0]
    for error in errors:
        output.report(error)
    kind = TransportError if any(isinstance(error, TransportError) for error in errors) else PolicyRefused
    raise kind(f"{len(errors)} of {total} crates were not admitted; {then}")
