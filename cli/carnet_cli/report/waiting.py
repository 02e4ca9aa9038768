"""What waits, as `carnet claim propose` and `carnet watch` show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carnet_cli.report import as_json
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet.claims.receipt import Proposed


# --- handed in ---


@dataclass(frozen=True)
class ProposedReport:
    """A claim or takeover that everybody can see from now on.

    Attributes:
        proposed: What it is.
        time: Since when.
        ends: When its period is over.
        folder: Where its receipt lies now.
    """

    proposed: Proposed
    time: datetime
    ends: datetime
    folder: Path


def proposed_as_text(report: ProposedReport) -> None:
    """For people."""
    one = report.proposed
    output.echo(
        f"this {one.kind} of {one.crate} is public since {as_json.time(report.time)}: sha256 {one.digest}\n"
        f"it counts from {as_json.time(report.ends)} on; the receipt lies in {report.folder}"
    )
    output.note(f"next: sign {report.folder}; the registry's holders sign when the period is over")


def proposed_as_json(report: ProposedReport) -> Iterator[Any]:
    """For machines."""
    yield {
        "reason": "proposed",
        "crate": str(report.proposed.crate),
        "kind": report.proposed.kind,
        "digest": report.proposed.digest,
        "since": as_json.time(report.time),
        "ends": as_json.time(report.ends),
    }


# --- looked at ---


@dataclass(frozen=True)
class WatchReport:
    """What waits, as a mirror lists it; nothing of it is verified.

    Attributes:
        mirror: Who was asked.
        entries: What it listed of the names that were asked for.
    """

    mirror: str
    entries: Sequence[Any]


def entry_words(one: Any) -> str:
    """What a mirror lists of one entry, a paragraph, safe for a terminal."""
    lines = [f"{one['kind']} of {one['crate']}, public since {one['asked']}, sha256 {one['digest']}"]
    for title in ("owners", "releasers", "replaces"):
        if one.get(title) is not None:
            people = ", ".join(f"{name} ({keyid[:16]})" for keyid, name in one[title]["people"].items())
            lines.append(f"    {title}: {one[title]['threshold']} of {people}")
    if one.get("dropped") is not None:
        dropped = one["dropped"]
        lines.append(f"    dropped by the operator on {dropped['time']}, and waits still: {dropped['reason']}")
    # A line break in what others wrote would let them write lines of ours.
    return "".join(output.plain(line.replace("\n", "\\n")) + "\n" for line in lines)


def watch_as_text(report: WatchReport) -> None:
    """For people: a paragraph for each."""
    for one in report.entries:
        output.echo(entry_words(one), end="")
    if not report.entries:
        output.echo("nothing waits")
    else:
        output.note(
            "if one of these names is yours, tell the registry's holders now: they sign when the period is over"
        )


def watch_as_json(report: WatchReport) -> Iterator[Any]:
    """For machines: a line for each."""
    for one in report.entries:
        yield {"reason": "pending", "mirror": report.mirror, **one}
