"""`carnet proxy`: a cargo registry on loopback that serves only what was verified."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from carnet_cli.commands.build.locked_project import LockedProject
from carnet_cli.commands.build.verify import policy_options
from carnet_cli.commands.network import network_for
from carnet_cli.config import home
from carnet_cli.config.repository import judging_repository
from carnet_cli.terminal import output


@click.command()
@click.option("--port", default=8791, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free one.")
@click.option(
    "--host-name", "hosts", multiple=True, help="A name by which it is asked, beside those of loopback. Repeatable."
)
@policy_options
def command(
    port: int, hosts: tuple[str, ...], asked: Mapping[str, str], repository: str | None, config_file: Path | None
) -> int:
    """Serve a cargo registry on loopback that has only what was verified.

    For tools that cannot be started through `cargo carnet`. cargo checks what it downloads from here, and never looks
    at its own cache again: only `cargo carnet` compares what is compiled. Put this into cargo's configuration:

    \b
        [source.crates-io]
        replace-with = "carnet"
        [source.carnet]
        registry = "sparse+http://127.0.0.1:8791/index/"

    It runs until it is interrupted. For example:

    \b
        carnet proxy --port 8791
    """
    from carnet_gate.loopback import bind, server
    from carnet_verifier.cargo.proxy import Gatekeeper
    from carnet_verifier.tuf.view import open_renewed_view

    project = LockedProject.around(Path())
    settings = project.settings(asked, config_file=config_file, repository=repository)
    trusted, network = judging_repository(settings, project.folder), network_for(*project.folders)
    with bind(port) as listener, open_renewed_view(trusted.directory, home.now, network=network) as view:
        keeper = Gatekeeper(view, settings.policy, trusted.directory, home.now)
        serving, url = server(keeper, listener, hosts)
        output.note(f"serving verified crates of {trusted.directory.url} at sparse+{url}/index/")
        serving.run(sockets=[listener])
    return 0
