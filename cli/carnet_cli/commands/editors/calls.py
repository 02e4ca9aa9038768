"""One call of a shim's cargo: through the gate where it compiles or chooses crates, to the user's own cargo else.

What passes is replaced by cargo, in this very process: signals and exit status are cargo's own, and neither the
verifier nor a repository is touched. It starts no program of the project's choice: which toolchain file holds was
looked at, and compilers and wrappers are the user's own (`compiling_nothing`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from carnet.errors import ConfigError, PolicyRefused
from carnet_gate import args as cargo_args
from carnet_gate.commands.table import CommandKind
from carnet_gate.commands.variables import SHIMMED, compiling_nothing

if TYPE_CHECKING:
    from carnet_gate.args import Invocation

_ITSELF = "carnet"


def call(folder: str, cargo: str, home: str, args: Sequence[str]) -> int:
    """Do what an editor, or whoever else calls a shim, asks of cargo.

    Args:
        folder: The shim's own folder.
        cargo: The cargo that it stands before.
        home: The user's own CARGO_HOME.
        args: What stands after `cargo`.

    Returns:
        The exit status, where the command went through the gate.

    Raises:
        CarnetError: It was refused, or cargo is gone.
    """
    _leave_the_shim(folder, cargo, home)
    if not os.access(cargo, os.X_OK):
        raise ConfigError(f"{cargo} is gone, which this shim stands before", hint=f"`carnet shim {folder}` finds it")
    here = _working_folder()
    if not cargo_args.names_command(args):
        _pass(cargo, args, here)
    toolchain = list(args[:1]) if args[0].startswith("+") else []
    rest = list(args[len(toolchain) :])
    if rest[0] == _ITSELF:
        return _gate([*toolchain, *rest[1:]])
    found = _understand(args, here)
    if found.needs_no_gate:
        _pass(cargo, args, here)
    if found.kind is CommandKind.REFUSE:
        raise PolicyRefused(
            f"`cargo {found.subcommand}` is refused: {found.command.why}",
            hint=f"{found.command.hint}; here `cargo` is carnet's shim, and {cargo} is cargo itself",
        )
    return _gate(args)


def _leave_the_shim(folder: str, cargo: str, home: str) -> None:
    """Put the user's own cargo and its home in the places that the shim has in the environment."""
    variables = os.environ
    if _leads_to(variables.get("CARGO_HOME"), folder):
        variables["CARGO_HOME"] = home
    # Which cargo it is stands in the shim; whoever set this variable, an editor or a project's settings, decides not.
    variables["CARGO"] = variables[SHIMMED] = cargo
    if "PATH" in variables:
        programs = f"{folder}/bin"
        kept = [one for one in variables["PATH"].split(os.pathsep) if not _leads_to(one, programs)]
        variables["PATH"] = os.pathsep.join(kept)


def _leads_to(path: str | None, folder: str) -> bool:
    return path is not None and os.path.realpath(path) == folder


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise ConfigError("the folder in which this was called is gone", hint="`cd` to the project") from None


def _understand(args: Sequence[str], here: Path) -> Invocation:
    # Here: aliases bring a parser, and what cargo itself has cannot be one.
    def alias(name: str, configs: Sequence[str]) -> Sequence[str] | None:
        from carnet_cli.config.home import cargo_home
        from carnet_gate.commands.aliases import Aliases

        return Aliases(here, cargo_home(), os.environ)(name, configs)

    return cargo_args.understand(args, alias)


def _pass(cargo: str, args: Sequence[str], here: Path) -> NoReturn:
    """Become the user's own cargo."""
    from carnet_gate.config import check_toolchains

    check_toolchains(here)
    environment = compiling_nothing(os.environ)
    for ours in ("CARGO", SHIMMED):
        environment.pop(ours, None)
    try:
        os.execve(cargo, [cargo, *args], environment)  # noqa: S606  -- no shell is wanted
    except OSError as error:
        raise ConfigError(
            f"{cargo} cannot be started: {error.strerror}", hint="see that it is there and may be run"
        ) from None


def _gate(args: Sequence[str]) -> int:
    from carnet_cli.commands.build.gated import run_behind_gate

    return run_behind_gate(tuple(args))
