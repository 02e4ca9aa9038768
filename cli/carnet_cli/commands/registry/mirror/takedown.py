"""`carnet mirror takedown`: a version that nobody gets any more, with the reason, and back again."""

from __future__ import annotations

from pathlib import Path

import click

from carnet_cli.commands.registry.mirror.checks import DIRECTORY
from carnet_cli.config import home
from carnet_cli.report.registry.mirror import TakedownReport, takedown_as_json, takedown_as_text
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options


@click.command()
@DIRECTORY
@click.argument("crate", metavar="NAME@VERSION")
@click.option("--reason", help="Why: one line, which everybody can read.")
@click.option("--undo", is_flag=True, help="Serve it again.")
@passphrase_options
@output.message_format
def takedown(
    directory: Path,
    crate: str,
    reason: str | None,
    undo: bool,
    passphrase: PassphraseSource,
    message_format: output.MessageFormat,
) -> None:
    """Take a version down: clients refuse it, with the reason, from their next look at the mirror on.

    That is signed, and no policy lets the version in all the same. Its tarball stays on the disk and is not served;
    neither a sync nor its maintainers bring it back, `--undo` does. Other versions stay as they are.

    \b
    Example:
      carnet mirror takedown /srv/carnet evil@1.0.1 --reason "its build script sends keys away"
      carnet mirror takedown /srv/carnet evil@1.0.1 --undo
    """
    from carnet.cargo.names import CrateId
    from carnet.errors import ConfigError, FormatError
    from carnet_cli.commands.registry.online_signer import OnlineSettings, online
    from carnet_cli.config.mirror_file import open_for_upkeep
    from carnet_mirror.sync.takedown import take_down

    if undo == (reason is not None):
        raise ConfigError("say why, or --undo", hint='such as --reason "its build script sends keys away"')
    try:
        wanted = CrateId.parse(crate)
    except FormatError as error:
        raise ConfigError(str(error), hint="such as number_prefix@0.2.5") from None
    with open_for_upkeep(directory) as store, online(directory, OnlineSettings.of(store), passphrase) as signer:
        try:
            said, published = take_down(store, signer, wanted, reason, now=home.now())
        except FormatError as error:
            raise ConfigError(str(error), hint='such as --reason "its build script sends keys away"') from None
    report = TakedownReport(wanted, said, published, undo)
    output.show(report, message_format, takedown_as_text, takedown_as_json)
