"""Which versions a mirror has, as `carnet mirror list` shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet_mirror.state.records import StoredVersion


@dataclass(frozen=True)
class ListReport:
    """What a mirror has.

    Attributes:
        directory: The mirror.
        versions: Its versions, those first that came first.
    """

    directory: Path
    versions: Sequence[StoredVersion]


def listed_as_text(report: ListReport) -> None:
    """For people: a line for each version."""
    for one in report.versions:
        output.echo(f"{one.first_seen or 'unknown':<20}  {one.id}  {one.line.cksum}  from {output.plain(one.upstream)}")


def listed_as_json(report: ListReport) -> Iterator[Any]:
    """For machines: an object for each version."""
    for one in report.versions:
        yield {
            "directory": str(report.directory),
            "crate": str(one.id),
            "sha256": one.line.cksum,
            "first-seen": one.first_seen or None,
            "upstream": one.upstream,
        }
