"""`cargo carnet`: its help, and the arguments that are its own."""

from __future__ import annotations

import click

from carnet_cli.commands.build.gated import run_behind_gate
from carnet_gate.commands.table import SUBCOMMANDS

_HELP = f"""Run a cargo command on verified crates only.

Every package of Cargo.lock is admitted first: found in the signed index of the repository that you trust (`carnet trust
add`), and judged by carnet.toml. Then your own cargo runs from the admitted crates alone, locked and offline. Arguments
are cargo's own; they stand after the command, as in:

\b
    cargo carnet build --locked --release
    cargo carnet test -p mycrate
    cargo carnet add serde

In CI, and wherever a project is not trusted, call `cargo-carnet build`: a project's configuration can shadow what
`cargo carnet` means, and that name it cannot.

Commands: {", ".join(SUBCOMMANDS)}.
"""


@click.command(
    help=_HELP,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    },
)
@click.version_option(None, "-V", "--version", package_name="carnet", message="%(prog)s %(version)s")
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND [ARGS]...")
def command(args: tuple[str, ...]) -> int:
    """Run a cargo command on verified crates only."""
    return run_behind_gate(args)
