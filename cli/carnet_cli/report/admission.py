"""What came of a lock, or of one crate: each report as a value, with its renderers beside each other.

On the path of `carnet verify`: shapes for machines are imported when machines asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from carnet.errors import CarnetError
from carnet.value import value
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from pathlib import Path

    from carnet.cargo.names import CrateId
    from carnet_verifier.admit import Admission, Outcome
    from carnet_verifier.policy.verdict import Verdict


@value
class LockReport:
    """What came of every package of a lock.

    Attributes:
        outcomes: The crates of crates-io, in the lock's order.
        foreign: Packages from elsewhere.
        own: The project's own packages.
        url: The repository that was asked.
        snapshot: Which version of it.
        expires: When that view ends.
        lock: The lock, absolute.
        remarks: What was said of the lock as a whole.
    """

    outcomes: tuple[Outcome, ...]
    foreign: tuple[Verdict, ...]
    own: tuple[CrateId, ...]
    url: str
    snapshot: int
    expires: datetime
    lock: Path
    remarks: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many packages are not the project's own."""
        return len(self.outcomes) + len(self.foreign)

    @property
    def refused(self) -> int:
        """How many of them are not let in."""
        crates = sum(outcome.error is not None for outcome in self.outcomes)
        return crates + sum(bool(verdict.denials) for verdict in self.foreign)


def lock_as_text(report: LockReport) -> None:
    """For people: a table and a sum on stdout, what is to be said of single crates on stderr between them."""
    rows = [(str(one.wanted.id), str(one.admission.level) if one.admission else "refused") for one in report.outcomes]
    rows += [(str(one.crate), "refused" if one.denials else "not vouched for") for one in report.foreign]
    rows += [(str(crate), "your own") for crate in report.own]
    width = max((len(name) for name, _ in rows), default=0)
    output.echo("\n".join(f"{name:<{width}}  {level}" for name, level in rows))
    for outcome in report.outcomes:
        if outcome.admission is not None:
            warn_of(outcome.admission.verdict)
        elif outcome.error is not None:
            output.report(outcome.error)
    for verdict in report.foreign:
        warn_of(verdict)
        _report_denials(verdict)
    crates, allowed = f"crate{'' if report.total == 1 else 's'}", report.total - report.refused
    output.echo(
        f"{report.total} {crates}: {allowed} allowed, {report.refused} refused "
        f"(snapshot {report.snapshot} of {report.url})"
    )


def lock_as_json(report: LockReport) -> Iterator[Any]:
    """For machines: an object for each package, and one for all of them (docs/cli-json.md)."""
    from carnet_cli.report import as_json

    yield from map(as_json.outcome_object, report.outcomes)
    yield from map(as_json.foreign_object, report.foreign)
    yield from map(as_json.own_object, report.own)
    yield {
        "reason": "summary",
        "allowed": report.refused == 0,
        "crates": report.total,
        "refused": report.refused,
        "own": len(report.own),
        "repository": report.url,
        "snapshot": report.snapshot,
        "expires": as_json.time(report.expires),
        "lock": str(report.lock),
        "remarks": list(report.remarks),
    }


def crate_as_text(admission: Admission) -> None:
    """For people: one crate that was let in, and on stderr what the policy remarks."""
    warn_of(admission.verdict)
    output.echo(f"{admission.crate} is allowed at level {admission.level} (sha256 {admission.sha256})")


def crate_as_json(admission: Admission) -> Iterator[Any]:
    """For machines: one crate that was let in."""
    from carnet_cli.report import as_json

    yield as_json.admission_object(admission)


def foreign_as_text(verdict: Verdict) -> None:
    """For people: one package from elsewhere that the policy allows."""
    warn_of(verdict)
    output.echo(f"{verdict.crate} is allowed by the policy, and nobody vouches for it")


def foreign_as_json(verdict: Verdict) -> Iterator[Any]:
    """For machines: one package from elsewhere."""
    from carnet_cli.report import as_json

    yield as_json.foreign_object(verdict)


def own_as_text(crate: CrateId) -> None:
    """For people: one package of the project's own."""
    output.echo(f"{crate} is your own, and was not looked at")


def own_as_json(crate: CrateId) -> Iterator[Any]:
    """For machines: one package of the project's own."""
    from carnet_cli.report import as_json

    yield as_json.own_object(crate)


def warn_of(verdict: Verdict) -> None:
    """Print what the policy remarks of a crate and does not deny."""
    for finding in verdict.findings:
        if finding not in verdict.denials:
            excuse = finding.excuse
            because = f"; excused until {excuse.expires.date()}: {excuse.reason}" if excuse is not None else ""
            by = f" ({excuse.source})" if excuse is not None and excuse.source else ""
            output.warn(f"{finding}{because}{by}")


def _report_denials(verdict: Verdict) -> None:
    try:
        verdict.require()
    except CarnetError as error:
        output.report(error)
