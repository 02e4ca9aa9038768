"""What a sync did, as `carnet mirror sync` and `approve` show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carnet.errors import TransportError, VerificationError
from carnet_cli.report.registry.mirror import publication_as_json
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet_mirror.sync.closure import Missing
    from carnet_mirror.sync.outcome import SyncReport
    from carnet_mirror.sync.whole_index import Listed


@dataclass(frozen=True)
class SyncedReport:
    """What a sync did.

    Attributes:
        sync: What was taken, left and refused.
        crates: How many crates the mirror has now.
        versions: And how many versions.
        missing: What was asked for by name and requirement, or is depended on, and is not to be had.
        dry_run: Whether it was only asked what a sync would do.
    """

    sync: SyncReport
    crates: int
    versions: int
    missing: Sequence[Missing] = ()
    dry_run: bool = False

    @property
    def refused(self) -> bool:
        """Whether something was not taken, or is not to be had."""
        return bool(self.sync.refused) or any(one.decided and one.by is None for one in self.missing)

    @property
    def undecided(self) -> bool:
        """Whether another sync may hear more."""
        return self.sync.undecided or any(not one.decided for one in self.missing)


def synced_as_text(report: SyncedReport) -> None:
    """For people: two lines, and with a dry run one for each version; findings and refusals on stderr."""
    sync = report.sync
    _tell_missing(report.missing)
    _tell_findings(sync)
    if report.dry_run:
        for what, crates in (("add", sync.added), ("update", sync.updated), ("take down", sync.taken_down)):
            for crate in crates:
                output.echo(f"would {what} {crate}")
    words = [f"{len(sync.added)} added", f"{len(sync.updated)} updated", f"{sync.unchanged} unchanged"]
    words += [f"{len(sync.refused)} refused"] if sync.refused else []
    words += [f"{len(sync.waiting)} waiting"] if sync.waiting else []
    words += [f"{len(sync.kept)} kept although the upstream says less"] if sync.kept else []
    words += [f"{len(sync.taken_down)} taken down, as upstream"] if sync.taken_down else []
    would = "would be: " if report.dry_run else ""
    output.echo(f"{would}{', '.join(words)}; the mirror has {report.versions} versions of {report.crates} crates")
    if report.dry_run:
        output.echo("this was a dry run: no tarball was fetched or looked at, nothing was changed")
    elif sync.published is None:
        output.echo("nothing had changed: nothing was published")
    else:
        output.echo(f"published snapshot {sync.published.snapshot}, timestamp {sync.published.timestamp}")


def synced_as_json(report: SyncedReport) -> Iterator[Any]:
    """For machines; findings and refusals stand on stderr as well."""
    sync = report.sync
    _tell_missing(report.missing)
    _tell_findings(sync)
    yield {
        "added": [str(crate) for crate in sync.added],
        "updated": [str(crate) for crate in sync.updated],
        "unchanged": sync.unchanged,
        "refused": [{"crate": str(one.crate), "reason": one.reason} for one in sync.refused],
        "kept": [{"crate": str(one.crate), "reason": one.reason, "heard": one.heard} for one in sync.kept],
        "waiting": [{"crate": str(one.crate), "reason": one.reason} for one in sync.waiting],
        "taken_down": [str(crate) for crate in sync.taken_down],
        "findings": [{"crate": str(one.crate), "text": one.text} for one in sync.findings],
        "missing": [
            {
                "asked": str(one.asked),
                "by": None if one.by is None else str(one.by),
                "reason": one.reason,
                "decided": one.decided,
            }
            for one in report.missing
        ],
        "appeared": [str(crate) for crate in sync.appeared],
        "published": None if sync.published is None else publication_as_json(sync.published),
        "dry_run": report.dry_run,
    }


# --- a whole index ---


@dataclass(frozen=True)
class ListedReport:
    """What listing a whole index did.

    Attributes:
        listed: What was read, listed and left.
        crates: How many crates the mirror has now.
        versions: And how many versions.
    """

    listed: Listed
    crates: int
    versions: int


def listed_as_text(report: ListedReport) -> None:
    """For people: two lines."""
    listed = report.listed
    words = [f"{listed.added:,} added", f"{listed.updated:,} updated"]
    words += [f"{listed.refused:,} refused"] if listed.refused else []
    words += [f"{listed.unread:,} lines that cannot be read"] if listed.unread else []
    words += [f"{listed.late:,} not listed yet, by the rules of mirror.toml"] if listed.late else []
    output.echo(f"read {listed.read:,} of {listed.files:,} files: {', '.join(words)}")
    published = "nothing was published" if listed.published is None else f"snapshot {listed.published.snapshot}"
    output.echo(f"the mirror has {report.versions:,} versions of {report.crates:,} crates; {published}")


def listed_as_json(report: ListedReport) -> Iterator[Any]:
    """For machines."""
    listed = report.listed
    counts = {
        name: getattr(listed, name) for name in ("files", "read", "added", "updated", "refused", "unread", "late")
    }
    published = None if listed.published is None else publication_as_json(listed.published)
    yield counts | {"crates": report.crates, "versions": report.versions, "published": published}


# --- what stands on stderr ---


def _tell_missing(missing: Iterable[Missing]) -> None:
    for one in missing:
        if one.by is not None:
            output.warn(f"{one.by} depends on {one.asked}, which is not to be had: {one.reason}")
        elif one.decided:
            output.report(VerificationError(f"{one.asked} is not to be had: {one.reason}"))
        else:
            output.report(TransportError(f"{one.asked}: nothing was decided: {one.reason}", hint="sync again later"))


def _tell_findings(sync: SyncReport) -> None:
    for crate in sync.taken_down:
        output.warn(f"{crate}: the upstream took it down, and so it is taken down here")
    for finding in sync.findings:
        output.warn(f"{finding.crate}: {finding.text}")
    for kept in sync.kept:
        output.warn(f"{kept.crate}: kept as it was: {kept.reason}")
    for waiting in sync.waiting:
        output.warn(f"{waiting.crate}: waits for another sync: {waiting.reason}")
    for crate in sync.appeared:
        output.warn(
            f"{crate} appeared upstream, and its owners have not signed it: `carnet claim adopt {crate}` is theirs"
        )
    for refused in sync.refused:
        output.report(VerificationError(f"{refused.crate}: {refused.reason}"))
    if sync.undecided:
        count = len(sync.waiting) + sum(not one.heard for one in sync.kept)
        output.report(
            TransportError(
                f"the upstream did not say enough about {count} of the lock's packages: nothing was decided about them",
                hint="what this mirror has stays as it is; sync again later, or look at the upstream",
            )
        )
