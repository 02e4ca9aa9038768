"""`carnet mirror`: publish crates with signed metadata."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from carnet_cli import output

if TYPE_CHECKING:
    from carnet_mirror.fsck import FsckReport
    from carnet_mirror.schedule import Expiry

_DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))


@click.group()
def command() -> None:
    """Publish crates with signed metadata.

    A mirror is one directory: a database and files. It starts from the files that the holders of the offline keys have
    signed; from then on it signs timestamp, snapshot and index with one online key.

    \b
    Example:
      carnet mirror init /srv/carnet --ceremony ceremony/ --online-key online.key
      carnet mirror sync /srv/carnet --lockfile Cargo.lock
      carnet mirror serve /srv/carnet
    """


def _now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def _counting(label: str, length: int) -> Iterator[Callable[[int], None]]:
    with output.progress(label, length) as bar:
        yield bar.update


# --- serve ---


@command.command()
@_DIRECTORY
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8790, show_default=True, help="0 lets the system choose one."
)
@click.option("--url", help="The base URL that clients use, when a proxy or TLS stands before this server.")
@click.option(
    "--access-log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that gets a line for each request; without it they go to stderr.",
)
@click.option("--read-only", is_flag=True, help="Sign nothing: no key is opened, and metadata expires in its time.")
@output.message_format
def serve(
    directory: Path,
    host: str,
    port: int,
    url: str | None,
    access_log: Path | None,
    read_only: bool,
    message_format: output.MessageFormat,
) -> None:
    """Serve a mirror over HTTP until it is interrupted.

    While it serves, metadata is signed again before it expires. Syncing into the same directory meanwhile is fine:
    a publish becomes visible all at once.

    \b
    Example:
      carnet mirror serve /srv/carnet --port 8790 --access-log /var/log/carnet.log
    """
    from carnet_mirror.serve import Address
    from carnet_mirror.serve import serve as run

    def ready(base: str) -> None:
        if message_format == "json":
            output.emit_json({"event": "listening", "url": base})
        else:
            click.echo(f"listening on {base}")
        sys.stdout.flush()

    run(directory, Address(host, port, url), access_log=access_log, ready=ready)


# --- status ---


@command.command()
@_DIRECTORY
@output.message_format
def status(directory: Path, message_format: output.MessageFormat) -> int:
    """Show what is published and when it expires.

    Exit status 1 when something has expired.

    \b
    Example:
      carnet mirror status /srv/carnet
    """
    from carnet_mirror.schedule import expiries
    from carnet_mirror.store import Store

    now = _now()
    with Store.open(directory) as store:
        crates, versions = store.count()
        roles = expiries(store)
    if message_format == "json":
        listed = [_expiry(one, now) for one in roles]
        output.emit_json({"directory": str(directory), "crates": crates, "versions": versions, "roles": listed})
    else:
        click.echo(f"{crates} crates, {versions} versions")
        for one in roles:
            who = "online" if one.online else "offline"
            note = one.warning(now)
            when = one.expires.strftime("%Y-%m-%d %H:%M UTC")
            click.echo(f"{one.role:<10} {who:<8} version {one.version:<5} until {when}{'   ' + note if note else ''}")
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


# --- fsck ---


@command.command()
@_DIRECTORY
@output.message_format
def fsck(directory: Path, message_format: output.MessageFormat) -> int:
    """Check every signature, file and row of a mirror; repair nothing.

    It looks at the mirror as a client does, from the first root on, and then compares database, files and signed
    metadata with one another. The mirror may be serving meanwhile. Exit status 1 when anything is not as it was
    published.

    \b
    Example:
      carnet mirror fsck /srv/carnet
    """
    from carnet_mirror.fsck import fsck as check
    from carnet_mirror.store import Store

    with Store.open(directory) as store:
        report = check(store, now=_now(), progress=_counting)
    if message_format == "json":
        output.emit_json(_fsck_result(report))
    else:
        for note in report.notes:
            output.note(f"note: {note}")
        for problem in report.problems:
            click.echo(output.plain(f"{problem.where}: {problem.what}"))
        found = f"{len(report.problems)} problems" if report.problems else "no problem"
        click.echo(f"checked {report.files} files, {report.roles} roles, {report.versions} versions: {found}")
    return 1 if report.problems else 0


def _fsck_result(report: FsckReport) -> dict[str, Any]:
    return {
        "files": report.files,
        "roles": report.roles,
        "versions": report.versions,
        "problems": [{"where": one.where, "what": one.what} for one in report.problems],
        "notes": report.notes,
    }
