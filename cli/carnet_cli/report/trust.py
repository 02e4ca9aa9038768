"""What is trusted, and how it stands, as `carnet trust` shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from carnet.errors import CarnetError
from carnet_cli.report import as_json
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet.tuf.roles import Root
    from carnet_cli.config.trusting import Forgotten

WARN_BEFORE = timedelta(days=30)
"""How long before an offline role ends people are told: its holders have to meet for it."""


@dataclass(frozen=True)
class TrustAdded:
    """A repository that is trusted.

    Attributes:
        id: How carnet calls it.
        url: Where it is.
        fingerprint: The sha256 of the root file.
        root: What the root says.
        is_new: Whether it was not trusted before.
    """

    id: str
    url: str
    fingerprint: str
    root: Root
    is_new: bool


def added_as_text(report: TrustAdded) -> None:
    """For people: what they should compare before they rely on it."""
    if not report.is_new:
        output.echo(f"{report.url} is trusted already, from this root on; nothing was changed")
        return
    signers = report.root.roles["root"]
    output.echo(f"trusting {report.url}")
    output.echo(f"  root          version {report.root.version}, expires {report.root.expires:%Y-%m-%d}")
    output.echo(f"  fingerprint   {report.fingerprint}")
    output.echo(f"  signed by     {signers.threshold} of these {len(signers.keys)} keys:")
    for key in signers.keys:
        output.echo(f"                {key.keyid} ({key.scheme})")
    output.note("compare the fingerprint with the operator's before you build with it")


def added_as_json(report: TrustAdded) -> Iterator[Any]:
    """For machines."""
    yield {
        "reason": "trust-added",
        "id": report.id,
        "url": report.url,
        "fingerprint": report.fingerprint,
        "new": report.is_new,
        "root": {"version": report.root.version, "expires": as_json.time(report.root.expires)},
    }


@dataclass(frozen=True)
class TrustMoved:
    """A repository that is at another address now.

    Attributes:
        id: How carnet calls it.
        before: Where it was.
        url: Where it is.
    """

    id: str
    before: str
    url: str


def moved_as_text(report: TrustMoved) -> None:
    """For people."""
    output.echo(f"{report.before} is at {report.url} from now on; what was seen of it is kept")


def moved_as_json(report: TrustMoved) -> Iterator[Any]:
    """For machines."""
    yield {"reason": "trust-moved", "id": report.id, "before": report.before, "url": report.url}


@dataclass(frozen=True)
class TrustRemoved:
    """A repository that is forgotten, or would be.

    Attributes:
        forgotten: What goes with it.
        is_done: Whether it is gone.
    """

    forgotten: Forgotten
    is_done: bool


def removed_as_text(report: TrustRemoved) -> None:
    """For people: what is gone, and what that means."""
    gone, seen = report.forgotten, report.forgotten.refreshed
    output.echo(f"{gone.url}  [{gone.id}] {'is forgotten' if report.is_done else 'would be forgotten'}:")
    output.echo("  its root of trust")
    output.echo(
        f"  its newest metadata, {'never refreshed' if seen is None else f'refreshed on {seen:%Y-%m-%d %H:%M} UTC'}"
    )
    output.echo(f"  the highest level or the owners of {gone.crates} crates, as they were seen")
    output.echo(f"  {gone.bytes:,} bytes of tarballs and sources that were kept for cargo")
    output.echo("what you signed for it is still remembered")
    if not report.is_done:
        output.note("nothing was changed; `--yes` forgets it")


def removed_as_json(report: TrustRemoved) -> Iterator[Any]:
    """For machines."""
    gone = report.forgotten
    yield {
        "reason": "trust-removed",
        "id": gone.id,
        "url": gone.url,
        "refreshed": None if gone.refreshed is None else as_json.time(gone.refreshed),
        "crates": gone.crates,
        "bytes": gone.bytes,
        "done": report.is_done,
    }


@dataclass(frozen=True)
class TrustStatus:
    """How one trusted repository stands.

    Attributes:
        id: How carnet calls it.
        url: Where it is.
        now: When it was looked at.
        roles: Version and end of each top-level role; or
        error: why it cannot be looked at.
    """

    id: str
    url: str
    now: datetime
    roles: Mapping[str, tuple[int, datetime]]
    error: CarnetError | None = None


def status_as_text(report: TrustStatus) -> None:
    """For people: the roles on stdout, what ends soon or went wrong on stderr."""
    output.echo(f"{report.url}  [{report.id}]")
    if report.error is not None:
        output.report(report.error)
        return
    for name, (version, expires) in report.roles.items():
        output.echo(f"  {name:<10} version {version:<6} expires {expires:%Y-%m-%d %H:%M} UTC")
    for name in ("root", "targets"):
        expires = report.roles[name][1]
        if expires - report.now < WARN_BEFORE:
            output.warn(f"{name} expires on {expires:%Y-%m-%d}", "its holders must sign the next version")


def status_as_json(report: TrustStatus) -> Iterator[Any]:
    """For machines."""
    head = {"reason": "trust-status", "id": report.id, "url": report.url}
    if report.error is not None:
        yield head | {"error": as_json.error_object(report.error)}
        return
    listed = {
        name: {"version": version, "expires": as_json.time(expires)}
        for name, (version, expires) in report.roles.items()
    }
    yield head | {"roles": listed}
