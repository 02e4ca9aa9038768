"""`carnet policy`: what is asked of crates, and who decided it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet_cli.commands.build.locked_project import LockedProject
from carnet_cli.commands.build.verify import policy_options
from carnet_cli.commands.network import network_for
from carnet_cli.config import home
from carnet_cli.config.repository import judging_repository
from carnet_cli.report.policy import PolicyReport, policy_as_json, policy_as_text
from carnet_cli.terminal import output
from carnet_cli.terminal.output import MessageFormat
from carnet_cli.terminal.typed import typed

if TYPE_CHECKING:
    from carnet_verifier.explain import Chain


@click.group()
def command() -> None:
    """Say what is asked of crates, and who decided it.

    A flag, the environment, the machine's carnet.toml and the user's decide, in this order; a project's can only ask
    for more.
    """


@command.command()
@click.argument("crate", metavar="NAME[@VERSION]")
@policy_options
@output.message_format
def explain(
    crate: str,
    asked: Mapping[str, str],
    repository: str | None,
    config_file: Path | None,
    message_format: MessageFormat,
) -> int:
    """Show each rule and setting for one crate, which file decided it, and what it found.

    With a name alone nobody is asked, and what would be asked of any version is shown. A version that the project's
    Cargo.lock names is judged as the lock takes it, from git too. Exit status 1 means that the version is refused. For
    example:

    \b
        carnet policy explain serde@1.0.219
        carnet policy explain serde
    """
    from carnet.cargo.names import CrateId
    from carnet_verifier.explain import chains_of
    from carnet_verifier.tuf.view import open_view

    now = home.now()
    is_version = "@" in crate
    crate_id = typed(CrateId.parse, crate if is_version else f"{crate}@0.0.0")
    project = LockedProject.around(Path())
    settings = project.settings(asked, config_file=config_file, repository=repository)
    chains: tuple[Chain | None, ...] = (None,)
    if is_version:
        packages = project.packages(crate_id)
        trusted = judging_repository(settings, project.folder)
        with open_view(
            trusted.directory, now=now, bounds=settings.run, network=network_for(*project.folders), remark=output.warn
        ) as view:
            chains = chains_of(crate_id, packages, view.repository, settings.policy, trusted.directory, now=now)
    for chain in chains:
        report = PolicyReport(crate_id, settings.policy, now, chain)
        output.show(report, message_format, policy_as_text, policy_as_json)
    return max(0 if chain is None else chain.exit_code for chain in chains)


@command.command()
@click.argument("target", required=False, metavar="[Cargo.lock]")
@click.option(
    "--output",
    "target_file",
    metavar="FILE",
    help="Where to; else carnet.toml beside the lock. - is stdout.",
)
@click.option("--repository", help="URL or fingerprint, when several repositories are trusted.")
def init(target: str | None, target_file: str | None, repository: str | None) -> None:
    """Write a commented carnet.toml from a lock as it is today.

    It asks for what the lock fulfils: the lowest level of its crates from all of them, and more of those that have
    more. Packages from git and other registries get an exception each, which counts in a file of your own. A file that
    is there is never overwritten. For example:

    \b
        carnet policy init
        carnet policy init --output ~/.config/carnet/carnet.toml
        carnet policy init --output - path/to/Cargo.lock
    """
    from carnet_cli.commands.build.drafting import init_policy  # reads locks and judges them

    init_policy(target, target_file, repository)
