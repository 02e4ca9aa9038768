"""`cargo carnet`: the same cargo command, behind the verifying gate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from carnet.errors import ConfigError
from carnet_cli.config import home, places
from carnet_cli.config.shims.leaving import leave_any
from carnet_gate import args as cargo_args
from carnet_gate.commands.aliases import Aliases
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
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.version_option(package_name="carnet", message="%(prog)s %(version)s")
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND [ARGS]...")
def command(args: tuple[str, ...]) -> int:
    """Run a cargo command on verified crates only."""
    return run_behind_gate(args)


def run_behind_gate(args: Sequence[str]) -> int:
    """Run a cargo command behind the gate.

    Args:
        args: What stands after `cargo carnet`.

    Returns:
        cargo's exit status.

    Raises:
        CarnetError: Why it was not run, or why what it made is not to be trusted.
    """
    leave_any(os.environ)
    try:
        folder, environment = Path.cwd(), dict(os.environ)
    except FileNotFoundError:
        raise ConfigError("the folder in which this was called is gone", hint="`cd` to the project") from None
    invocation = cargo_args.parse(args, Aliases(folder, home.cargo_home(), environment))
    # Here, because a mistake in the arguments needs none of it.
    from carnet_cli.commands.build.gated import Gated
    from carnet_cli.report.gate import TerminalReporter
    from carnet_gate.confinement.protection import find_protection

    gated = Gated(
        invocation,
        folder,
        environment,
        own_home=home.cargo_home(),
        protection=find_protection(home.home(), environment),
        deciding=places.deciding(),
        reporter=TerminalReporter(),
    )
    return gated.run()
