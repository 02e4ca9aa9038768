"""`carnet explain`: the whole chain behind one crate, and why it is let in or not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet_cli.commands.build.repository import judging_repository
from carnet_cli.commands.build.verify import policy_options
from carnet_cli.config import home, places
from carnet_cli.config import settings as config
from carnet_cli.report.chain import ChainReport, chain_as_json, chain_as_text
from carnet_cli.terminal import output
from carnet_cli.terminal.output import MessageFormat

if TYPE_CHECKING:
    from carnet.cargo.names import CrateId


@click.command()
@click.argument("crate", metavar="NAME@VERSION")
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
    failed, what was expected, what was found, and who can mend it. When the project has a Cargo.lock that pins the
    version, its checksum is checked too. For example:

    \b
        carnet explain serde@1.0.219
    """
    from carnet.cargo.names import CrateId
    from carnet_verifier.admit import Wanted
    from carnet_verifier.explain import explain
    from carnet_verifier.tuf.view import open_view

    crate_id = CrateId.parse(crate)
    now = home.now()
    folder = places.project_folder(Path.cwd())
    settings = config.load(folder, now=now, file=config_file, repository=repository, asked=asked)
    output.warn_all(settings.remarks)
    trusted = judging_repository(settings)
    with open_view(trusted.directory, now=now) as view:
        wanted = Wanted(crate_id, _pinned(crate_id, folder))
        chain = explain(view.repository, wanted, settings.policy, trusted.directory, now=now)
    failure = chain.failure
    output.show(ChainReport(chain, view.url), message_format, chain_as_text, chain_as_json)
    return 0 if failure is None else failure.error.exit_code if failure.error is not None else 1


def _pinned(crate: CrateId, folder: Path) -> str | None:
    """The checksum in the lock of a folder, when it pins the version."""
    from carnet.cargo.lockfile import MAX_LOCK, read_lockfile
    from carnet.durable import read_file

    try:
        lock = read_lockfile(read_file(folder / "Cargo.lock", "the lock", max_bytes=MAX_LOCK))
    except FileNotFoundError:
        return None
    return next((package.checksum for package in lock.registry_packages if package.id == crate), None)
