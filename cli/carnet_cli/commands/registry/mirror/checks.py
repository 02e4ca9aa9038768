"""`carnet mirror status`, `list` and `fsck`: looking at a mirror, and making its database anew when asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from carnet.errors import ConfigError
from carnet_cli.config import home
from carnet_cli.report.registry.mirror import checked_as_json, checked_as_text
from carnet_cli.report.registry.status import DiskReport, StatusReport, status_as_json, status_as_text
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options

if TYPE_CHECKING:
    from carnet.cargo.lockfile import LockedPackage, Lockfile

DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))


def online_options(command: Any) -> Any:
    """Decorate a command with the flags that say where a mirror's online signer is."""
    for option in (
        click.option("--insecure-example-keys", is_flag=True, help="Also accept the keys in keys-example/."),
        click.option(
            "--memory",
            type=click.Path(path_type=Path, file_okay=False),
            help="Where the signer remembers what it signed.  [default: beside the key file]",
        ),
        click.option(
            "--online-socket", type=click.Path(path_type=Path), help="Or the socket of a running `carnet online`."
        ),
        click.option(
            "--online-key",
            metavar="KEY",
            help="The online private key, which signs by itself. A path, or a URI; `carnet key --help` says which.",
        ),
    ):
        command = option(command)
    return command


def locked_in(path: Path) -> tuple[LockedPackage, ...]:
    """The packages of a lock that a mirror stands for; what others are there is told.

    Raises:
        ConfigError: There is no such file.
        FormatError: It is no lock.
        StorageError: It cannot be read.
    """
    lock = _read_lockfile(path)
    for package in lock.packages:
        if package.kind.value in ("registry", "git"):
            output.warn(f"{package.id} comes from {package.source}, which this mirror does not stand for")
    return lock.registry_packages


def _read_lockfile(path: Path) -> Lockfile:
    from carnet import durable
    from carnet.cargo.lockfile import MAX_LOCK, read_lockfile

    with durable.users_file(path, "lock file"):
        try:
            data = durable.read_file(path, "lock file", max_bytes=MAX_LOCK)
        except FileNotFoundError:
            raise ConfigError(f"there is no {path}", hint="`cargo generate-lockfile` makes one") from None
        return read_lockfile(data, str(path))


@click.command()
@DIRECTORY
@output.message_format
def status(directory: Path, message_format: output.MessageFormat) -> int:
    """Show what is published and when it expires.

    Exit status 1 when something has expired, this machine's clock cannot be right, or the disk is full.

    \b
    Example:
      carnet mirror status /srv/carnet
    """
    from carnet_cli.config.mirror_file import open_mirror
    from carnet_mirror.clock import clock_problem
    from carnet_mirror.schedule import claims_that_end, expiries
    from carnet_mirror.state.published import UnverifiedView
    from carnet_mirror.writing import wants_second_opinion

    now = home.now()
    with open_mirror(directory) as store:
        crates, versions = store.crates.count()
        report = StatusReport(
            directory,
            crates,
            versions,
            tuple(expiries(store)),
            tuple(claims_that_end(store, now=now)),
            now,
            second_opinion=wants_second_opinion(store),
            let_in=UnverifiedView(store).all_let_in(),
            taken_down=UnverifiedView(store).all_taken_down(),
            disk=DiskReport(store.disk.free(), store.disk.rules.reserve, full=store.disk.shortage()),
        )
        wrong = clock_problem(store, now=now)
    output.show(report, message_format, status_as_text, status_as_json)
    warn_without_second_opinion(report.second_opinion)
    for problem in (wrong, report.disk.full):
        if problem is not None:
            output.report(problem)
    return 1 if report.expired or wrong is not None or report.disk.full is not None else 0


@click.command("list")
@DIRECTORY
@click.option("--since", metavar="DAY", help="Only what came on that day or later, such as 2026-11-20, in UTC.")
@click.option("--upstream", help="Only what came from there, as the list spells it.")
@output.message_format
def listed(directory: Path, since: str | None, upstream: str | None, message_format: output.MessageFormat) -> None:
    """List the versions that a mirror has, with when each came here and from where.

    What a rebuilt database knows of that is the time of publication alone, and `unknown`.

    \b
    Example:
      carnet mirror list /srv/carnet --since 2026-11-20 --upstream cargo
    """
    from carnet import times
    from carnet.errors import FormatError
    from carnet_cli.report.registry.listed import ListReport, listed_as_json, listed_as_text
    from carnet_mirror.state.store import Store

    try:
        first = None if since is None else times.written(times.read(f"{since}T00:00:00Z", "--since"))
    except FormatError:
        raise ConfigError(f"--since {(since or '')[:80]!a} is no day", hint="such as --since 2026-11-20") from None
    with Store.open(directory) as store:
        found = [one for one in store.crates.all_versions(first) if upstream in (None, one.upstream)]
    output.show(ListReport(directory, found), message_format, listed_as_text, listed_as_json)


def warn_without_second_opinion(wanted: bool, warn: Callable[[str, str], None] = output.warn) -> None:
    """Say what a mirror goes without, each time somebody looks at it or starts it."""
    if not wanted:
        warn(
            "the second opinion is off: what this mirror publishes is judged by carnet alone",
            "`carnet mirror refresh DIR --second-opinion` switches it on again",
        )


@click.command()
@DIRECTORY
@click.option(
    "--second-opinion",
    is_flag=True,
    help="Let python-tuf and in-toto judge all of it as well, and python-tuf's client fetch every target.",
)
@click.option(
    "--rebuild",
    "rebuilding",
    is_flag=True,
    help="Make a database that is lost, damaged or behind anew, from the files that are signed; needs --root, and "
    "--online-key or --online-socket.",
)
@click.option(
    "--root",
    "root_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --rebuild: the first root, 1.root.json, from where clients got it. All else is verified from it.",
)
@online_options
@click.option(
    "--seen",
    multiple=True,
    metavar="ROLE=VERSION",
    help="With --rebuild, when the signer's memory is lost too: the highest version of timestamp, snapshot or root "
    "that any client has seen. Repeatable.",
)
@passphrase_options
@output.message_format
def fsck(  # noqa: PLR0913  -- one parameter for each flag
    *,
    directory: Path,
    second_opinion: bool,
    rebuilding: bool,
    root_file: Path | None,
    online_key: str | None,
    online_socket: Path | None,
    memory: Path | None,
    insecure_example_keys: bool,
    seen: tuple[str, ...],
    passphrase: PassphraseSource,
    message_format: output.MessageFormat,
) -> int:
    """Check every signature, file and row of a mirror; repair nothing, unless `--rebuild` is given.

    It looks at the mirror as a client does, from the first root on, and then compares database, files and signed
    metadata with one another. The mirror may be serving meanwhile. Exit status 1 when anything is not as it was
    published.

    With --rebuild, a database that is lost, damaged or behind is made anew from the files, every one of them verified
    from the root on that you give; it says what only the database knew. Nothing may use the mirror meanwhile. A
    database that is sound stays as it is.

    \b
    Example:
      carnet mirror fsck /srv/carnet
      carnet mirror fsck /srv/carnet --second-opinion
      carnet mirror fsck /srv/carnet --rebuild --root 1.root.json --online-key keys/online
    """
    from carnet_cli.commands.registry.mirror.rebuild import RebuildFlags, rebuild
    from carnet_cli.commands.registry.online_signer import signed_last
    from carnet_mirror.fsck.fsck import fsck as check
    from carnet_mirror.state.store import Store

    flags = RebuildFlags(root_file, online_key, online_socket, memory, insecure_example_keys, seen)
    if rebuilding:
        return rebuild(directory, flags, passphrase, message_format)
    if flags.given:
        raise ConfigError(f"{flags.given[0]} is only for `--rebuild`", hint="add --rebuild, or leave it out")
    with Store.open(directory) as store:
        signed = signed_last(directory, store)
        report = check(store, now=home.now(), progress=output.counting, signed=signed, second_opinion=second_opinion)
    output.show(report, message_format, checked_as_text, checked_as_json)
    return 1 if report.problems else 0
