"""`carnet mirror status` and `fsck`: looking at a mirror, changing nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from carnet_cli.config import home
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet_mirror.fsck.fsck import FsckReport
    from carnet_mirror.schedule import Expiry

DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))


@contextmanager
def counting(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """A progress bar, as the function that moves it on."""
    with output.progress(label, length) as bar:
        yield bar.update


@click.command()
@DIRECTORY
@output.message_format
def status(directory: Path, message_format: output.MessageFormat) -> int:
    """Show what is published and when it expires.

    Exit status 1 when something has expired.

    \b
    Example:
      carnet mirror status /srv/carnet
    """
    from carnet_mirror.schedule import expiries
    from carnet_mirror.state.store import Store
    from carnet_mirror.writing import wants_second_opinion

    now = home.now()
    with Store.open(directory) as store:
        crates, versions = store.count()
        roles = expiries(store)
        second_opinion = wants_second_opinion(store)
    if message_format == "json":
        listed = [_expiry(one, now) for one in roles]
        output.emit_json(
            {
                "directory": str(directory),
                "crates": crates,
                "versions": versions,
                "second-opinion": second_opinion,
                "roles": listed,
            }
        )
    else:
        output.echo(f"{crates} crates, {versions} versions")
        for one in roles:
            who = "online" if one.online else "offline"
            note = one.warning(now)
            when = one.expires.strftime("%Y-%m-%d %H:%M UTC")
            output.echo(f"{one.role:<10} {who:<8} version {one.version:<5} until {when}{'   ' + note if note else ''}")
        output.echo(f"second opinion: {'on' if second_opinion else 'OFF'}")
    warn_without_second_opinion(second_opinion)
    for one in roles:
        if one.warning(now) and not one.online:
            output.warn(
                f"{one.role} {one.warning(now)}", hint="its holders sign the next version: `carnet root --help`"
            )
        elif one.warning(now):
            output.warn(f"{one.role} has expired", hint="`carnet mirror refresh` signs it again")
    return 1 if any(one.expires <= now for one in roles) else 0


def _expiry(one: Expiry, now: datetime) -> dict[str, Any]:
    return {
        "role": one.role,
        "version": one.version,
        "expires": one.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "online": one.online,
        "warning": one.warning(now) or None,
    }


def warn_without_second_opinion(wanted: bool) -> None:
    """Say what a mirror goes without, each time somebody looks at it or starts it."""
    if not wanted:
        output.warn(
            "the second opinion is off: what this mirror publishes is judged by carnet alone",
            hint="`carnet mirror refresh DIR --second-opinion` switches it on again",
        )


@click.command()
@DIRECTORY
@click.option(
    "--second-opinion",
    is_flag=True,
    help="Let python-tuf and in-toto judge all of it as well, and python-tuf's client fetch every target.",
)
@output.message_format
def fsck(directory: Path, second_opinion: bool, message_format: output.MessageFormat) -> int:
    """Check every signature, file and row of a mirror; repair nothing.

    It looks at the mirror as a client does, from the first root on, and then compares database, files and signed
    metadata with one another. The mirror may be serving meanwhile. Exit status 1 when anything is not as it was
    published.

    \b
    Example:
      carnet mirror fsck /srv/carnet
      carnet mirror fsck /srv/carnet --second-opinion
    """
    from carnet_cli.commands.registry.online_signer import signed_last
    from carnet_mirror.fsck.fsck import fsck as check
    from carnet_mirror.state.store import Store

    with Store.open(directory) as store:
        signed = signed_last(directory, store)
        report = check(store, now=home.now(), progress=counting, signed=signed, second_opinion=second_opinion)
    if message_format == "json":
        output.emit_json(_fsck_result(report))
    else:
        for note in report.notes:
            output.note(f"note: {note}")
        for problem in report.problems:
            output.echo(output.plain(f"{problem.where}: {problem.what}"))
        count = len(report.problems)
        found = f"{count or 'no'} problem{'s' if count > 1 else ''}"
        output.echo(f"checked {report.files} files, {report.roles} roles, {report.versions} versions: {found}")
    return 1 if report.problems else 0


def _fsck_result(report: FsckReport) -> dict[str, Any]:
    return {
        "files": report.files,
        "roles": report.roles,
        "versions": report.versions,
        "problems": [{"where": one.where, "what": one.what} for one in report.problems],
        "notes": report.notes,
    }
