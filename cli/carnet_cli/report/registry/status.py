"""How a mirror stands, as `carnet mirror status` shows it: what is published, when it ends, and its room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carnet.errors import NoRoom
from carnet_cli.report import as_json
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet.cargo.let_in import LetIn
    from carnet.cargo.names import CrateId
    from carnet.cargo.takedown import Takedown
    from carnet_mirror.schedule import Expiry


@dataclass(frozen=True)
class DiskReport:
    """How much room a mirror has.

    Attributes:
        free: Bytes that are free on its disk.
        reserve: Of these, what is kept for its upkeep.
        full: Why nothing is taken in; None while there is room.
    """

    free: int
    reserve: int
    full: NoRoom | None


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
        disk: How much room there is.
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
    disk: DiskReport

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
    paused = "" if report.disk.full is None else "   intake is PAUSED"
    output.echo(f"disk: {report.disk.free / 1e9:.1f} GB free, {report.disk.reserve / 1e9:.1f} kept for upkeep{paused}")
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
        "let-in": [let_in_object(crate, said) for crate, said in sorted(report.let_in.items())],
        "taken-down": [taken_down_object(crate, said) for crate, said in sorted(report.taken_down.items())],
        "disk": {
            "free-bytes": report.disk.free,
            "reserve-bytes": report.disk.reserve,
            "intake": "open" if report.disk.full is None else "paused",
        },
    }
    tell_what_ends(report.roles, report.claims, report.now)


def let_in_object(crate: CrateId, said: LetIn) -> dict[str, Any]:
    """For machines: what is said of a version that is let in."""
    return {
        "crate": str(crate),
        "sha256": said.sha256,
        "why": said.reason,
        "expires": as_json.time(said.expires),
        "revoked": None if said.revoked is None else as_json.time(said.revoked),
    }


def taken_down_object(crate: CrateId, said: Takedown) -> dict[str, Any]:
    """For machines: what is said of a version that was taken down."""
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
