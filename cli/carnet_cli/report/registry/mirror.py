"""What a mirror did and how it stands, as `carnet mirror` shows it: published, checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carnet_cli.report import as_json
from carnet_cli.report.registry.status import let_in_object, taken_down_object
from carnet_cli.report.waiting import entry_words
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet.cargo.let_in import LetIn
    from carnet.cargo.names import CrateId
    from carnet.cargo.takedown import Takedown
    from carnet_mirror.export import Exported
    from carnet_mirror.fsck.fsck import FsckReport
    from carnet_mirror.fsck.rebuild import Rebuilt
    from carnet_mirror.state.pending import PendingEntry
    from carnet_signer.metadata.publish import PublishResult


# --- published ---


@dataclass(frozen=True)
class PublishReport:
    """What a publish did.

    Attributes:
        published: The versions that clients see now.
        directory: The mirror.
        headline: What it was for, in words.
    """

    published: PublishResult
    directory: Path
    headline: str


def published_as_text(report: PublishReport) -> None:
    """For people: one line; warnings on stderr."""
    published = report.published
    _warn(published)
    until = f"{published.expires:%Y-%m-%d %H:%M} UTC"
    versions = f"snapshot {published.snapshot}, timestamp {published.timestamp}"
    output.echo(f"{report.headline}: {versions}, fresh until {until}")


def published_as_json(report: PublishReport) -> Iterator[Any]:
    """For machines; warnings are for people, on stderr."""
    _warn(report.published)
    yield {"directory": str(report.directory)} | publication_as_json(report.published)


def _warn(published: PublishResult) -> None:
    for warning in published.warnings:
        output.warn(warning)


def publication_as_json(published: PublishResult) -> dict[str, Any]:
    """What is published now, in the fields that every report has for it."""
    return {
        "snapshot": published.snapshot,
        "timestamp": published.timestamp,
        "expires": as_json.time(published.expires),
        "roles": dict(published.roles),
        "bytes-written": published.bytes_written,
    }


# --- checked ---


def checked_as_text(report: FsckReport) -> None:
    """For people: every problem and a sum on stdout, notes on stderr."""
    for note in report.notes:
        output.note(f"note: {note}")
    for problem in report.problems:
        output.echo(output.plain(f"{problem.where}: {problem.what}"))
    count = len(report.problems)
    found = f"{count or 'no'} problem{'s' if count > 1 else ''}"
    output.echo(f"checked {report.files} files, {report.roles} roles, {report.versions} versions: {found}")


def checked_as_json(report: FsckReport) -> Iterator[Any]:
    """For machines."""
    yield {
        "files": report.files,
        "roles": report.roles,
        "versions": report.versions,
        "problems": [{"where": one.where, "what": one.what} for one in report.problems],
        "notes": report.notes,
    }


# --- exported ---


def exported_as_text(report: Exported) -> None:
    """For people: one line."""
    removed = f", {report.removed:,} removed" if report.removed else ""
    output.echo(f"snapshot {report.snapshot}: {report.files:,} files, {report.written:,} written{removed}")


def exported_as_json(report: Exported) -> Iterator[Any]:
    """For machines."""
    yield {
        "snapshot": report.snapshot,
        "files": report.files,
        "written": report.written,
        "removed": report.removed,
    }


# --- taken back ---


@dataclass(frozen=True)
class RevokedReport:
    """What came of taking back that a version is let in.

    Attributes:
        crate: The version.
        said: What is said of it now.
        published: What the publish did; None when it was taken back before.
    """

    crate: CrateId
    said: LetIn
    published: PublishResult | None


def revoked_as_text(report: RevokedReport) -> None:
    """For people: one line; warnings on stderr."""
    if report.published is None:
        output.echo(f"nothing to take back: {report.crate}: {report.said}")
        return
    _warn(report.published)
    output.echo(f"{report.crate}: {report.said}; snapshot {report.published.snapshot}")


def revoked_as_json(report: RevokedReport) -> Iterator[Any]:
    """For machines."""
    snapshot = None if report.published is None else report.published.snapshot
    yield {"reason": "revoked", "snapshot": snapshot} | let_in_object(report.crate, report.said)


@dataclass(frozen=True)
class TakedownReport:
    """A version that was taken down, or is not any longer.

    Attributes:
        crate: Which one.
        said: What is said of it, or was.
        published: What the publish did; None when the same was said before.
        undone: Whether the takedown was taken back.
    """

    crate: CrateId
    said: Takedown
    published: PublishResult | None
    undone: bool


def takedown_as_text(report: TakedownReport) -> None:
    """For people: one line; what it means on stderr."""
    if report.published is None:
        output.echo(f"{report.crate} is taken down already: {report.said}")
        return
    what = "is served again" if report.undone else f"is taken down ({report.said.reason})"
    output.echo(f"{report.crate} {what}, as snapshot {report.published.snapshot} says")
    if not report.undone:
        output.note("its tarball stays on the disk and is not served; clients refuse it from their next look on")


def takedown_as_json(report: TakedownReport) -> Iterator[Any]:
    """For machines."""
    snapshot = None if report.published is None else report.published.snapshot
    reason = "takedown-undone" if report.undone else "taken-down"
    yield {"reason": reason, "snapshot": snapshot} | taken_down_object(report.crate, report.said)


# --- a database made anew ---


@dataclass(frozen=True)
class RebuiltReport:
    """What came of making a mirror's database anew.

    Attributes:
        made: What was done.
        directory: The mirror.
    """

    made: Rebuilt
    directory: Path


def rebuilt_as_text(report: RebuiltReport) -> None:
    """For people: what is published now on stdout; what was lost, and what comes next, on stderr."""
    made = report.made
    published = f"snapshot {made.snapshot}, timestamp {made.timestamp}"
    for note in made.report.notes:
        output.note(f"note: {note}")
    if not made.made:
        output.echo(f"the database in {report.directory} is sound: nothing to make anew ({published})")
        return
    for text in made.lost:
        output.note(f"lost: {text}")
    if made.aside is not None:
        output.note(f"the database before is kept as {made.aside}")
    checked = made.report
    output.echo(
        f"the database in {report.directory} was made anew from {checked.files} files, all of them signed: "
        f"{published}, {checked.versions} versions"
    )
    output.note("next: `carnet mirror refresh` signs what is due, then `carnet mirror serve`")


def rebuilt_as_json(report: RebuiltReport) -> Iterator[Any]:
    """For machines."""
    made = report.made
    yield {
        "reason": "rebuilt" if made.made else "nothing-to-rebuild",
        "directory": str(report.directory),
        "snapshot": made.snapshot,
        "timestamp": made.timestamp,
        "files": made.report.files,
        "versions": made.report.versions,
        "lost": list(made.lost),
        "before": None if made.aside is None else str(made.aside),
        "notes": made.report.notes,
    }


# --- what waits ---


@dataclass(frozen=True)
class PendingReport:
    """What waits at a mirror, for its operator.

    Attributes:
        directory: The mirror.
        entries: What waits, or what was dropped now.
        dropping: Whether it was dropped now.
    """

    directory: Path
    entries: Sequence[PendingEntry]
    dropping: bool


def pending_as_text(report: PendingReport) -> None:
    """For people: a paragraph for each, and how many."""
    for entry in report.entries:
        output.echo(entry_words(_listed(entry)) + f"    from {entry.source}\n", end="")
    if report.dropping:
        output.note("these hold no place any more; everybody sees the reason, and the registry's holders still decide")
    elif not report.entries:
        output.echo("nothing waits")


def pending_as_json(report: PendingReport) -> Iterator[Any]:
    """For machines: a line for each."""
    for entry in report.entries:
        yield {"reason": "pending", "directory": str(report.directory), "network": entry.source} | _listed(entry)


def _listed(entry: PendingEntry) -> dict[str, Any]:
    dropped = None
    if entry.dropped is not None:
        dropped = {"time": as_json.time(entry.dropped.time), "reason": entry.dropped.reason}
    return dict(entry.said) | {"asked": as_json.time(entry.asked), "dropped": dropped}
