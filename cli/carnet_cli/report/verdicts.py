"""What the policy remarks of crates, in words."""

from __future__ import annotations

from carnet_cli.terminal import output
from carnet_verifier.policy.policy import Verdict


def warn_of(verdict: Verdict) -> None:
    """Print what the policy remarks of a crate and does not deny."""
    for finding in verdict.findings:
        if finding not in verdict.denials:
            excuse = finding.excuse
            because = f"; excused until {excuse.expires.date()}: {excuse.reason}" if excuse is not None else ""
            output.warn(f"{finding.message} [{finding.rule.value}]{because}")
