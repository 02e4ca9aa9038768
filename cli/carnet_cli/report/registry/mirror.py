"""What a mirror did and how it stands, as `carnet mirror` shows it: published, status, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carnet_cli.report import as_json
from carnet_cli.report.waiting import entry_words
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet.cargo.let_in import LetIn
    from carnet.cargo.names import CrateId
    from carnet.cargo.takedown import Takedown
    from carnet_mirror.export import Exported
    from carnet_mirror.fsck.fsck import FsckReport
    from carnet_mirror.fsck.rebuild import Rebuilt
    from carnet_mirror.schedule import Expiry
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


# --- status ---


@dataclass(frozen=True)
class StatusReport:
    """What a mirror has published and when it ends.

    Attributes:
        directory: The mirror.
        crates: How many crates it has.
        versions: And how many versions.
        roles: When each role ends.
        claims: What of claimed crates has ended or ends soon: owner and crate roles, and layouts.
        now: When it was looked at.
        second_opinion: Whether it publishes only what python-tuf and in-toto take as well.
        let_in: Versions whose index lines are not their manifests', and what is said of each.
        taken_down: Versions that were taken down, and why.
    """

    directory: Path
    crates: int
    versions: int
    roles: tuple[Expiry, ...]
    claims: tuple[Expiry, ...]
    now: datetime
    second_opinion: bool
    let_in: Mapping[CrateId, LetIn]
    taken_down: Mapping[CrateId, Takedown]

    @property
    def expired(self) -> bool:
        """Whether clients refuse what is published."""
        return any(one.expires <= self.now for one in self.roles)


def status_as_text(report: StatusReport) -> None:
    """For people: a line for each role; what is to be done on stderr."""
    output.echo(f"{report.crates} crates, {report.versions} versions")
    for one in (*report.roles, *report.claims):
        who = "online" if one.online else "offline"
        note = one.warning(report.now)
        when = f"{one.expires:%Y-%m-%d %H:%M} UTC"
        output.echo(f"{one.role:<10} {who:<8} version {one.version:<5} until {when}{'   ' + note if note else ''}")
    output.echo(f"second opinion: {'on' if report.second_opinion else 'OFF'}")
    for crate, said in sorted(report.let_in.items()):
        ended = "" if said.counts(report.now) or said.revoked is not None else " (ended)"
        output.echo(f"index differs: {crate} {said.sha256}: {said}{ended}")
    for crate, why in sorted(report.taken_down.items()):
        output.echo(f"taken down: {crate}: {why}")
    tell_what_ends(report.roles, report.claims, report.now)


def status_as_json(report: StatusReport) -> Iterator[Any]:
    """For machines; what is to be done stands on stderr as well."""
    yield {
        "directory": str(report.directory),
        "crates": report.crates,
        "versions": report.versions,
        "second-opinion": report.second_opinion,
        "roles": [
            {
                "role": one.role,
                "version": one.version,
                "expires": as_json.time(one.expires),
                "online": one.online,
                "warning": one.warning(report.now) or None,
            }
            for one in (*report.roles, *report.claims)
        ],
        "let-in": [_let_in(crate, said) for crate, said in sorted(report.let_in.items())],
        "taken-down": [_taken_down(crate, said) for crate, said in sorted(report.taken_down.items())],
    }
    tell_what_ends(report.roles, report.claims, report.now)


def _let_in(crate: CrateId, said: LetIn) -> dict[str, Any]:
    return {
        "crate": str(crate),
        "sha256": said.sha256,
        "why": said.reason,
        "expires": as_json.time(said.expires),
        "revoked": None if said.revoked is None else as_json.time(said.revoked),
    }


def _taken_down(crate: CrateId, said: Takedown) -> dict[str, Any]:
    return {"crate": str(crate), "why": said.reason, "since": as_json.time(said.since)}


def tell_what_ends(
    roles: Iterable[Expiry], claims: Iterable[Expiry], now: datetime, warn: Callable[[str, str], None] = output.warn
) -> None:
    """On stderr: what has ended or ends soon, and who can do something about it."""
    for one in claims:
        warn(
            f"{one.role} {one.warning(now)}",
            "its owners or maintainers sign the next version: `carnet claim --help`, `carnet release --help`",
        )
    for one in roles:
        warning = one.warning(now)
        if warning and not one.online:
            warn(f"{one.role} {warning}", "its holders sign the next version: `carnet root --help`")
        elif warning:
            told = "has expired" if one.expires <= now else warning
            warn(f"{one.role} {told}", "`carnet mirror refresh` signs it again")


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
    yield {"reason": "revoked", "snapshot": snapshot} | _let_in(report.crate, report.said)


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
    yield {"reason": reason, "snapshot": snapshot} | _taken_down(report.crate, report.said)


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
