"""`carnet mirror revoke`: taking back that a version is let in although its index line is not its manifest's."""

from __future__ import annotations

from pathlib import Path

import click

from carnet_cli.commands.registry.mirror.checks import DIRECTORY
from carnet_cli.config import home
from carnet_cli.report.registry.mirror import RevokedReport, revoked_as_json, revoked_as_text
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options


@click.command()
@DIRECTORY
@click.argument("crate", metavar="NAME@VERSION")
@click.option("--sha256", required=True, help="Of its tarball, in hex; `carnet mirror status` shows it.")
@click.option("--reason", required=True, help="Why: one line, which everybody can read.")
@passphrase_options
@output.message_format
def revoke(
    directory: Path,
    crate: str,
    sha256: str,
    reason: str,
    passphrase: PassphraseSource,
    message_format: output.MessageFormat,
) -> None:
    """Take back that a version is let in (`sync --let-in`), before its day.

    Clients refuse it, with the reason, from their next look at the mirror on. To let it in again, sync with a file that
    says so.

    \b
    Example:
      carnet mirror revoke /srv/carnet number_prefix@0.2.5 --sha256 SHA256 --reason "its line hides a dependency"
    """
    from carnet.cargo.names import CrateId
    from carnet.errors import ConfigError, FormatError
    from carnet_cli.commands.registry.online_signer import OnlineSettings, online
    from carnet_cli.config.mirror_file import open_for_upkeep
    from carnet_mirror.sync.revoke import revoke as take_back

    try:
        wanted = CrateId.parse(crate)
    except FormatError as error:
        raise ConfigError(str(error), hint="such as number_prefix@0.2.5") from None
    with open_for_upkeep(directory) as store, online(directory, OnlineSettings.of(store), passphrase) as signer:
        try:
            said, published = take_back(store, signer, wanted, sha256, reason, now=home.now())
        except FormatError as error:
            raise ConfigError(str(error), hint='such as --reason "its line hides a dependency"') from None
    output.show(RevokedReport(wanted, said, published), message_format, revoked_as_text, revoked_as_json)
