"""Results as JSON: the shapes that `docs/cli-json.md` documents. Fields are added, never renamed or removed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from carnet.errors import CarnetError, PolicyRefused

if TYPE_CHECKING:
    from carnet.cargo.names import CrateId
    from carnet_verifier.admit import Admission, Outcome
    from carnet_verifier.policy.verdict import Verdict


def time(moment: datetime) -> str:
    """A time of day in UTC, as RFC 3339 writes it: `2027-01-31T12:00:00Z`."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def error_object(error: CarnetError) -> dict[str, Any]:
    """An error: its kind in kebab-case (`policy-refused`), its message, its hint; of a refusal, who decided it."""
    said: dict[str, Any] = {"kind": error.kind, "message": str(error), "hint": error.hint or None}
    return said | {"decided_by": error.decided_by or None} if isinstance(error, PolicyRefused) else said


def verdict_findings(verdict: Verdict) -> list[dict[str, Any]]:
    """What the policy remarked."""
    return [
        {
            "rule": finding.rule.name,
            "action": str(finding.action),
            "message": finding.message,
            "excused": None
            if finding.excuse is None
            else {
                "reason": finding.excuse.reason,
                "expires": time(finding.excuse.expires),
                "decided_by": finding.excuse.source or None,
            },
            "decided_by": finding.source or None,
        }
        for finding in verdict.findings
    ]


def admission_object(admission: Admission) -> dict[str, Any]:
    """A crate that was let in."""
    return {
        "reason": "crate",
        "name": str(admission.crate.name),
        "version": str(admission.crate.version),
        "source": "crates-io",
        "allowed": True,
        "level": str(admission.level),
        "sha256": admission.sha256,
        "findings": verdict_findings(admission.verdict),
        "error": None,
    }


def outcome_object(outcome: Outcome) -> dict[str, Any]:
    """What became of one crate of the lock."""
    if outcome.admission is not None:
        return admission_object(outcome.admission)
    wanted = outcome.wanted
    return {
        "reason": "crate",
        "name": str(wanted.id.name),
        "version": str(wanted.id.version),
        "source": "crates-io",
        "allowed": False,
        "level": None,
        "sha256": wanted.checksum,
        "findings": [],
        "error": None if outcome.error is None else error_object(outcome.error),
    }


def foreign_object(verdict: Verdict) -> dict[str, Any]:
    """A package from git or from another registry."""
    denied = verdict.denials
    return {
        "reason": "crate",
        "name": str(verdict.crate.name),
        "version": str(verdict.crate.version),
        "source": "foreign",
        "allowed": not denied,
        "level": None,
        "sha256": None,
        "findings": verdict_findings(verdict),
        "error": None
        if not denied
        else {
            "kind": "policy-refused",
            "message": denied[0].message,
            "hint": denied[0].hint,
            "decided_by": denied[0].source or None,
        },
    }


def own_object(crate: CrateId) -> dict[str, Any]:
    """A package of the project's own, or a path dependency."""
    return {
        "reason": "crate",
        "name": str(crate.name),
        "version": str(crate.version),
        "source": "path",
        "allowed": True,
        "level": None,
        "sha256": None,
        "findings": [],
        "error": None,
    }
