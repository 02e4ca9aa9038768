"""`carnet mirror pending`: what waits at a mirror, for its operator, and dropping what is only there to crowd."""

from __future__ import annotations

from pathlib import Path

import click

from carnet.errors import ConfigError
from carnet_cli.commands.registry.mirror.checks import DIRECTORY
from carnet_cli.config import home
from carnet_cli.report.registry.mirror import PendingReport, pending_as_json, pending_as_text
from carnet_cli.terminal import output


@click.command()
@DIRECTORY
@click.option("--drop", multiple=True, metavar="NAME|SHA256", help="What holds a place no longer; may be repeated.")
@click.option("--reason", help="Why it is dropped: one line, which everybody can read.")
@output.message_format
def pending(directory: Path, drop: tuple[str, ...], reason: str | None, message_format: output.MessageFormat) -> None:
    """Show the claims and takeovers that wait, and from which network each came; or drop some.

    What is dropped makes room for others and stays in the public list, with the reason. It goes on waiting: the
    registry's holders decide, and not whoever runs the mirror. A name drops everything that waits for it.

    \b
    Example:
      carnet mirror pending /srv/carnet
      carnet mirror pending /srv/carnet --drop serde --reason "300 names in one night, with the same owners"
    """
    from carnet_mirror.state.store import Store
    from carnet_mirror.waiting import drop_pending

    if bool(drop) != (reason is not None):
        raise ConfigError(
            "everybody is told why something was dropped: --drop and --reason belong together",
            hint='such as --drop serde --reason "300 names in one night"',
        )
    now = home.now()
    if reason is None:
        with Store.open(directory) as store:
            entries = store.pending.entries(now)
    else:
        with Store.open(directory, write=True) as store:
            entries = drop_pending(store, drop, reason, now=now)
    report = PendingReport(directory, entries, dropping=reason is not None)
    output.show(report, message_format, pending_as_text, pending_as_json)
