"""What appeared upstream of a claimed crate, as `carnet claim adopt` shows it to its owners."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet.cargo.names import CrateName
    from carnet.claims.history import ListedVersion


@dataclass(frozen=True)
class AppearedReport:
    """What nobody signed.

    Attributes:
        name: The crate.
        appeared: The versions, oldest first.
    """

    name: CrateName
    appeared: Sequence[ListedVersion]


def appeared_as_text(report: AppearedReport) -> None:
    """For people: a line for each version."""
    for one in report.appeared:
        output.echo(f"{one.id}, sha256 {one.cksum}{', yanked' if one.yanked else ''}")
    if not report.appeared:
        output.echo(f"everything that the mirror knows of {report.name} at its upstream is signed")
        return
    output.note(
        "the mirror's upstream lists these, and the owners have not signed them: nobody gets them from here. Where "
        "they are yours,"
    )
    output.note(f"next: carnet claim adopt {report.appeared[-1].id} -o DIR")


def appeared_as_json(report: AppearedReport) -> Iterator[Any]:
    """For machines."""
    yield {
        "reason": "appeared",
        "crate": str(report.name),
        "appeared": [
            {"version": str(one.id.version), "cksum": one.cksum, "yanked": one.yanked} for one in report.appeared
        ],
    }
