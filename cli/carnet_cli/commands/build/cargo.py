"""`cargo carnet`: the same cargo command, behind the verifying gate."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from carnet.errors import ConfigError
from carnet_cli.commands.build.repository import judging_repository
from carnet_cli.commands.network import network_for
from carnet_cli.config import home, places
from carnet_cli.config import settings as config
from carnet_cli.terminal import output
from carnet_gate import args as cargo_args
from carnet_gate.commands.aliases import Aliases
from carnet_gate.commands.table import SUBCOMMANDS, CommandKind

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
    try:
        folder, environment = Path.cwd(), dict(os.environ)
    except FileNotFoundError:
        raise ConfigError("the folder in which this was called is gone", hint="`cd` to the project") from None
    invocation = cargo_args.parse(args, Aliases(folder, home.cargo_home(), environment))
    # Here, because `--help` and a mistake in the arguments need none of it.
    from carnet.scratch import temporary_folder
    from carnet_cli.config.home import Trusted
    from carnet_cli.report.gate import TerminalReporter
    from carnet_gate.admission import Grounds
    from carnet_gate.cargo import find_cargo
    from carnet_gate.confinement.protection import confinement, find_protection
    from carnet_gate.gate import Gate
    from carnet_gate.project import Project, open_folder, open_project
    from carnet_gate.without_lock import installing
    from carnet_gate.without_lock.asking import ask, packing, rehearse

    deciding = places.deciding()
    protection = find_protection(home.home(), environment)
    confine = partial(confinement, protection, home.home(), deciding=deciding)
    if invocation.asks_help:
        # Away from the project, which nobody has looked at: its toolchain file could name another cargo.
        with confine((), environment) as within:
            return find_cargo(invocation.toolchain, Path("/"), environment).explain(invocation, within)
    own_home = home.cargo_home()
    reporter = TerminalReporter()

    def judged(workspace: Path, about: Path) -> tuple[Trusted, Grounds]:
        settings = config.load(workspace, now=home.now(), about=about)
        output.warn_all(settings.remarks)
        trusted = judging_repository(settings, workspace)
        network = network_for(workspace, about)
        return trusted, Grounds(settings.policy, trusted.directory, home.now, settings.run, network)

    def gate(project: Project, trusted: Trusted, grounds: Grounds, place: Path) -> Gate:
        return Gate(project, grounds, trusted.home, place, reporter, protection=protection, deciding=deciding)

    if invocation.kind is CommandKind.INSTALL:
        for one in installing.programs(invocation):
            with temporary_folder() as scratch:
                program = installing.open_program(one, folder, own_home, environment, confine, scratch=scratch)
                workspace = places.project_folder(folder) if program.name is not None else program.project.workspace
                trusted, grounds = judged(workspace, folder)
                with installing.place(program, trusted.home, trusted.cargo, own_home) as place:
                    chosen = installing.choose(program, grounds, place, confine, reporter)
                    with installing.taken_back(chosen, confine):
                        status = gate(chosen.project, trusted, grounds, place).run()
            if status != 0:
                return status
        return 0
    if invocation.kind is CommandKind.ASK:
        asking = open_folder(invocation, folder, own_home, environment, places.project_folder(folder))
        _, grounds = judged(asking.workspace, folder)
        return ask(asking, grounds, confine, reporter)
    project = open_project(invocation, folder, own_home, environment, confine)
    named = invocation.manifest_path
    trusted, grounds = judged(project.workspace, folder if named is None else (folder / named).parent)
    if invocation.kind is CommandKind.REHEARSE:
        packs = gate(packing(project), trusted, grounds, trusted.cargo)
        return rehearse(packs, project, grounds, confine, reporter)
    return gate(project, trusted, grounds, trusted.cargo).run()
