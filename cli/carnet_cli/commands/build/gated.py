"""A cargo command as it was typed here: which repository and which policy judge it, and what is then done with it.

What each build needs is imported here, and nothing of the parser of `carnet`'s own arguments; what only other commands
need is imported where they are done: start-up time counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from carnet.errors import ConfigError
from carnet.value import value
from carnet_cli.commands.network import network_for
from carnet_cli.config import home, places
from carnet_cli.config import settings as config
from carnet_cli.config.home import Trusted
from carnet_cli.config.repository import judging_repository
from carnet_cli.config.shims.leaving import leave_any
from carnet_cli.report.gate import TerminalReporter
from carnet_cli.terminal import output
from carnet_gate import args as cargo_args
from carnet_gate.admission import Grounds
from carnet_gate.args import Invocation
from carnet_gate.cargo import find_cargo
from carnet_gate.commands.aliases import Aliases
from carnet_gate.commands.table import CommandKind
from carnet_gate.confinement.protection import Confine, Protection, confinement, find_protection
from carnet_gate.gate import Gate
from carnet_gate.project import Project, open_folder, open_project


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
    own_home = home.cargo_home()
    invocation = cargo_args.parse(args, Aliases(folder, own_home, environment))
    if invocation.kind is CommandKind.HARMLESS:
        from carnet_cli.commands.passing import pass_to

        typed = args if invocation.toolchain is None else args[1:]
        pass_to(find_cargo(invocation.toolchain, folder, environment).command, typed, folder, found=invocation)
    return Gated(
        invocation,
        folder,
        environment,
        own_home=own_home,
        protection=find_protection(home.home(), environment),
        deciding=places.deciding(),
        reporter=TerminalReporter(for_machines=invocation.for_machines),
    ).run()


@value
class Gated:
    """A command, and the machine that it was typed on.

    Attributes:
        invocation: The command.
        folder: Where.
        environment: The user's variables.
        own_home: The user's CARGO_HOME.
        protection: What keeps builds from writing to carnet's home.
        deciding: More folders that they are not to write to.
        reporter: Is told what is found.
    """

    invocation: Invocation
    folder: Path
    environment: Mapping[str, str]
    own_home: Path
    protection: Protection
    deciding: Sequence[Path]
    reporter: TerminalReporter

    def run(self) -> int:
        """Do what the command's row says.

        Returns:
            cargo's exit status.

        Raises:
            CarnetError: Why it was not done, or why what came of it is not to be trusted.
        """
        done = {
            CommandKind.ASK: self._ask,
            CommandKind.INSTALL: self._install,
            CommandKind.REHEARSE: self._rehearse,
        }
        return self._explain() if self.invocation.asks_help else done.get(self.invocation.kind, self._use)()

    # --- the kinds of commands ---

    def _explain(self) -> int:
        # Away from the project, which nobody has looked at: its toolchain file could name another cargo.
        cargo = find_cargo(self.invocation.toolchain, Path("/"), self.environment)
        with self._confine((), self.environment) as within:
            return cargo.explain(self.invocation, within)

    def _use(self) -> int:
        project = self._project()
        trusted, grounds = self._judged(project)
        return self._gate(project, trusted, grounds, trusted.cargo).run()

    def _rehearse(self) -> int:
        from carnet_gate.without_lock.asking import packing, rehearse

        project = self._project()
        trusted, grounds = self._judged(project)
        gate = self._gate(packing(project), trusted, grounds, trusted.cargo)
        return rehearse(gate, project, grounds, self._confine, self.reporter)

    def _ask(self) -> int:
        from carnet_gate.without_lock.asking import ask

        around = places.project_folder(self.folder)
        project = open_folder(self.invocation, self.folder, self.own_home, self.environment, around)
        _, grounds = self._judged(project)
        return ask(project, grounds, self._confine, self.reporter)

    def _install(self) -> int:
        from carnet_gate.without_lock import installing

        statuses = (self._install_one(one) for one in installing.programs(self.invocation))
        return next((status for status in statuses if status != 0), 0)

    def _install_one(self, invocation: Invocation) -> int:
        from carnet.scratch import temporary_folder
        from carnet_gate.without_lock import installing

        with temporary_folder() as scratch:
            program = installing.open_program(
                invocation, self.folder, self.own_home, self.environment, self._confine, scratch=scratch
            )
            around = None if program.name is None else places.project_folder(self.folder)
            trusted, grounds = self._judged(program.project, around)
            with installing.place(program, trusted.home, trusted.cargo, self.own_home) as place:
                chosen = installing.choose(program, grounds, place, self._confine, self.reporter)
                with installing.taken_back(chosen, self._confine):
                    return self._gate(chosen.project, trusted, grounds, place).run()

    # --- the parts ---

    @property
    def _confine(self) -> Confine:
        return partial(confinement, self.protection, home.home(), deciding=self.deciding)

    def _project(self) -> Project:
        return open_project(self.invocation, self.folder, self.own_home, self.environment, self._confine)

    def _judged(self, project: Project, around: Path | None = None) -> tuple[Trusted, Grounds]:
        """What judges a project; or, where `around` is given, what judges in that folder, whose project it is not."""
        named = project.invocation.manifest_path
        about = self.folder if named is None or around is not None else (self.folder / named).parent
        workspace = around or project.workspace
        settings = config.load(workspace, now=home.now(), about=about)
        output.warn_all(settings.remarks)
        trusted = judging_repository(settings, workspace)
        network = network_for(workspace, about)
        return trusted, Grounds(settings.policy, trusted.directory, home.now, settings.run, network, self.reporter.warn)

    def _gate(self, project: Project, trusted: Trusted, grounds: Grounds, place: Path) -> Gate:
        return Gate(
            project, grounds, trusted.home, place, self.reporter, protection=self.protection, deciding=self.deciding
        )
