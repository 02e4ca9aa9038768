"""`cargo carnet`: the same cargo command, behind the verifying gate. Without the parser of `carnet`'s own arguments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from carnet.errors import ConfigError
from carnet_cli.commands.build.repository import judging_repository
from carnet_cli.config import home, places
from carnet_cli.config import settings as config
from carnet_cli.terminal import output
from carnet_gate import args as cargo_args


def gate(args: Sequence[str]) -> int:
    """Run a cargo command on verified crates only.

    Args:
        args: What stands after `cargo carnet`.

    Returns:
        The exit status.

    Raises:
        CarnetError: Why it was not run, or why what it made is not to be trusted.
    """
    invocation = cargo_args.parse(args)
    # Here, because `--help` and a mistake in the arguments need none of it.
    from carnet_cli.report.gate import TerminalReporter
    from carnet_gate.admission import Grounds
    from carnet_gate.cargo import find_cargo
    from carnet_gate.confinement.protection import confinement, find_protection
    from carnet_gate.gate import Gate
    from carnet_gate.project import open_project

    try:
        folder, environment = Path.cwd(), dict(os.environ)
    except FileNotFoundError:
        raise ConfigError("the folder in which this was called is gone", hint="`cd` to the project") from None
    deciding = places.deciding()
    protection = find_protection(home.home(), environment)
    confine = partial(confinement, protection, home.home(), deciding=deciding)
    if invocation.asks_help:
        # Away from the project, which nobody has looked at: its toolchain file could name another cargo.
        with confine((), environment) as within:
            return find_cargo(invocation.toolchain, Path("/"), environment).explain(invocation, within)
    project = open_project(invocation, folder, home.cargo_home(), environment, confine)
    named = invocation.manifest_path
    about = folder if named is None else (folder / named).parent
    settings = config.load(project.workspace, now=home.now(), about=about)
    output.warn_all(settings.remarks)
    trusted = judging_repository(settings)
    grounds = Grounds(settings.policy, trusted.directory, home.now)
    reporter = TerminalReporter()
    return Gate(project, grounds, trusted.home, trusted.cargo, reporter, protection=protection, deciding=deciding).run()
