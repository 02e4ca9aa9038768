"""`carnet explain`: the whole chain behind one crate, and why it is let in or not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from carnet_cli.commands.build.locked_project import LockedProject
from carnet_cli.commands.build.verify import policy_options
from carnet_cli.commands.network import network_for
from carnet_cli.config import home
from carnet_cli.config.repository import judging_repository
from carnet_cli.report.chain import ChainReport, chain_as_json, chain_as_text
from carnet_cli.terminal import output
from carnet_cli.terminal.output import MessageFormat


@click.command()
@click.argument("crate", metavar="NAME[@VERSION]")
@policy_options
@output.message_format
def command(
    crate: str,
    asked: Mapping[str, str],
    repository: str | None,
    config_file: Path | None,
    message_format: MessageFormat,
) -> int:
    """Show the whole chain behind one crate, and why it is let in or not.

    Roles, versions, signers, thresholds and expiry, from the root to the tarball. For a refused crate: which check
    failed, what was expected, what was found, and who can mend it. When the project's Cargo.lock names the version, it
    is explained as the lock takes it: with its checksum, from git or from another registry, and each where there are
    several. The version may be left out where the lock has just one. For example:

    \b
        carnet explain serde@1.0.219
        carnet explain serde
    """
    from carnet_verifier.explain import chains_of
    from carnet_verifier.tuf.view import open_view

    project = LockedProject.around(Path())
    crate_id = project.meant(crate)
    now = home.now()
    settings = project.settings(asked, config_file=config_file, repository=repository)
    packages = project.packages(crate_id)
    trusted = judging_repository(settings, project.folder)
    with open_view(
        trusted.directory, now=now, bounds=settings.run, network=network_for(*project.folders), remark=output.warn
    ) as view:
        chains = chains_of(crate_id, packages, view.repository, settings.policy, trusted.directory, now=now)
    for chain in chains:
        output.show(ChainReport(chain, view.url), message_format, chain_as_text, chain_as_json)
    return max(chain.exit_code for chain in chains)
