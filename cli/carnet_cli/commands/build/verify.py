"""`carnet verify`: check a lock file, a tarball or one crate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from carnet_cli.commands.build.verifying import LOCK, verify
from carnet_cli.terminal import output
from carnet_cli.terminal.output import MessageFormat


def policy_options(command: Any) -> Any:
    """Decorate a command with the flags that come before environment and `carnet.toml`."""
    for option in (
        click.option("--least-level", help="The least level that every crate must reach."),
        click.option("--repository", help="URL or fingerprint, when several repositories are trusted."),
        click.option(
            "--config",
            "config_file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Read this file instead of the carnet.toml beside the lock.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("target", default=LOCK, metavar="[Cargo.lock | FILE.crate | NAME@VERSION]")
@policy_options
@output.message_format
def command(
    target: str,
    least_level: str | None,
    repository: str | None,
    config_file: Path | None,
    message_format: MessageFormat,
) -> int:
    """Check a lock file, a tarball or one crate.

    Exit status 0 means that all of it is allowed; 1, that something is refused; 3, that nothing could be decided. For
    example:

    \b
        carnet verify
        carnet verify --least-level maintainer path/to/Cargo.lock
        carnet verify serde-1.0.219.crate
        carnet verify serde@1.0.219
    """
    return verify(
        target,
        least_level=least_level,
        repository=repository,
        config_file=config_file,
        message_format=message_format,
    )
