"""What a back-up holds, and what became of a mirror that was restored or moved, as `carnet mirror` shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carnet_cli.report import as_json
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet_mirror.backup.backup import BackedUp
    from carnet_mirror.backup.restore import Restored


@dataclass(frozen=True)
class BackupReport:
    """What was written.

    Attributes:
        done: What the back-up holds.
        directory: The mirror.
        file: The archive.
    """

    done: BackedUp
    directory: Path
    file: Path


def backed_up_as_text(report: BackupReport) -> None:
    """For people: what is in it on stdout; what is not, on stderr."""
    done, header = report.done, report.done.header
    output.echo(
        f"{report.file}: snapshot {header.snapshot}, timestamp {header.timestamp}, {done.versions} versions of "
        f"{done.crates} crates, {header.files} files, {done.size:,} bytes"
    )
    if header.memory:
        output.note("with what the online signer remembers; its key is not in it: keep a copy of that apart")
    else:
        output.note(
            "the online signer's memory and its key are kept apart: back both up with the machine that has them"
        )


def backed_up_as_json(report: BackupReport) -> Iterator[Any]:
    """For machines."""
    done, header = report.done, report.done.header
    yield {
        "reason": "backed-up",
        "directory": str(report.directory),
        "file": str(report.file),
        "snapshot": header.snapshot,
        "timestamp": header.timestamp,
        "crates": done.crates,
        "versions": done.versions,
        "files": header.files,
        "bytes": done.size,
        "memory": header.memory,
    }


@dataclass(frozen=True)
class RestoredReport:
    """What came of a restore.

    Attributes:
        restored: What was done.
        directory: The mirror.
    """

    restored: Restored
    directory: Path


def restored_as_text(report: RestoredReport) -> None:
    """For people: what is published now on stdout; what is not in it, on stderr."""
    header, published = report.restored.header, report.restored.published
    for note in report.restored.report.notes:
        output.note(f"note: {note}")
    for warning in published.warnings:
        output.warn(warning)
    output.echo(
        f"the mirror in {report.directory} is restored: snapshot {header.snapshot} of {header.made:%Y-%m-%d %H:%M} "
        f"UTC, signed again as snapshot {published.snapshot}, timestamp {published.timestamp}"
    )
    later, again = report.restored.later, "sync again what was synced, take down again what was taken down"
    if later is None:
        output.note(
            f"what came after {header.made:%Y-%m-%d %H:%M} UTC is not in it: {again}; a client that has seen a claim, "
            "a release or a ceremony of later refuses this mirror until that is handed in again; `--from` brings it "
            "from whoever shows it still"
        )
        return
    signed = "".join(f", {role} {version}" for role, version in sorted(later.roles.items()))
    output.echo(f"from the copy, up to snapshot {later.snapshot}: {later.versions} versions of crates{signed}")
    output.note(
        f"what came after snapshot {later.snapshot} is not in it: {again}, and let people hand in again what they "
        "signed since"
    )


def restored_as_json(report: RestoredReport) -> Iterator[Any]:
    """For machines."""
    header, published, later = report.restored.header, report.restored.published, report.restored.later
    yield {
        "reason": "restored",
        "directory": str(report.directory),
        "made": as_json.time(header.made),
        "from": {"snapshot": header.snapshot, "timestamp": header.timestamp},
        "snapshot": published.snapshot,
        "timestamp": published.timestamp,
        "later": None
        if later is None
        else {
            "snapshot": later.snapshot,
            "timestamp": later.timestamp,
            "versions": later.versions,
            "roles": later.roles,
        },
        "files": report.restored.report.files,
        "versions": report.restored.report.versions,
        "notes": report.restored.report.notes,
    }


@dataclass(frozen=True)
class RelocatedReport:
    """What a mirror remembers of its online signer.

    Attributes:
        directory: The mirror.
        before: Where the signer was, by flag.
        after: Where it is.
    """

    directory: Path
    before: Mapping[str, str]
    after: Mapping[str, str]


def relocated_as_text(report: RelocatedReport) -> None:
    """For people: what is remembered on stdout; what is left where it was, on stderr."""
    places = ", ".join(f"{flag.removeprefix('--')} {place}" for flag, place in report.after.items())
    same = "as before" if report.before == report.after else "from now on"
    output.echo(f"the mirror in {report.directory} remembers {same}: {places}")
    left = report.before.get("--memory")
    if left is not None and left != report.after.get("--memory") and Path(left).is_dir():
        output.warn(
            f"the memory that it remembered before still lies in {left}, and nothing keeps it up to date any more",
            "take it away, so that nobody puts it back one day",
        )


def relocated_as_json(report: RelocatedReport) -> Iterator[Any]:
    """For machines."""
    yield {
        "reason": "relocated",
        "directory": str(report.directory),
        **{flag.removeprefix("--"): report.after.get(flag) for flag in ("--online-key", "--memory", "--online-socket")},
        "changed": report.before != report.after,
    }
