"""What waits at a mirror for a person to approve of it, as `carnet mirror approve` shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet_mirror.state.approvals import Awaited


@dataclass(frozen=True)
class AwaitedReport:
    """What waits.

    Attributes:
        directory: The mirror.
        entries: What clients asked for.
    """

    directory: Path
    entries: Sequence[Awaited]


def awaited_as_text(report: AwaitedReport) -> None:
    """For people: a line for each."""
    for one in report.entries:
        output.echo(f"{one.asked}    asked for since {one.since}, first from {one.network}")
    if not report.entries:
        output.echo("nothing waits for approval")


def awaited_as_json(report: AwaitedReport) -> Iterator[Any]:
    """For machines: a line for each."""
    for one in report.entries:
        yield {
            "directory": str(report.directory),
            "name": str(one.asked.name),
            "requirement": one.asked.requirement,
            "since": one.since,
            "network": one.network,
        }
