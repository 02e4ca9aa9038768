"""`carnet mirror status` and `fsck`: looking at a mirror, changing nothing."""

from __future__ import annotations

from pathlib import Path

import click

from carnet_cli.config import home
from carnet_cli.report.mirror import StatusReport, checked_as_json, checked_as_text, status_as_json, status_as_text
from carnet_cli.terminal import output

DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))


@click.command()
@DIRECTORY
@output.message_format
def status(directory: Path, message_format: output.MessageFormat) -> int:
    """Show what is published and when it expires.

    Exit status 1 when something has expired, or this machine's clock cannot be right.

    \b
    Example:
      carnet mirror status /srv/carnet
    """
    from carnet_mirror.clock import clock_problem
    from carnet_mirror.schedule import claims_that_end, expiries
    from carnet_mirror.state.store import Store
    from carnet_mirror.writing import wants_second_opinion

    now = home.now()
    with Store.open(directory) as store:
        crates, versions = store.crates.count()
        report = StatusReport(
            directory,
            crates,
            versions,
            tuple(expiries(store)),
            tuple(claims_that_end(store, now=now)),
            now,
            second_opinion=wants_second_opinion(store),
        )
        wrong = clock_problem(store, now=now)
    output.show(report, message_format, status_as_text, status_as_json)
    warn_without_second_opinion(report.second_opinion)
    if wrong is not None:
        output.report(wrong)
    return 1 if report.expired or wrong is not None else 0


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
        report = check(store, now=home.now(), progress=output.counting, signed=signed, second_opinion=second_opinion)
    output.show(report, message_format, checked_as_text, checked_as_json)
    return 1 if report.problems else 0
