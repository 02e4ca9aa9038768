"""One call of a shim's cargo: through the gate where it compiles or chooses crates, to the user's own cargo else.

What passes is replaced by cargo, in this very process (`carnet_cli.commands.passing`). What is asked of the
standard library is answered from the toolchain (`standard_library`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from carnet.errors import ConfigError, PolicyRefused
from carnet_cli.commands.passing import own_variables, pass_to
from carnet_cli.config.shims.leaving import leave
from carnet_gate import args as cargo_args
from carnet_gate.commands.table import CommandKind

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
    leave(folder, cargo, home, os.environ)
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
        _pass(cargo, args, here, found)
    if found.kind is CommandKind.REFUSE:
        raise PolicyRefused(
            f"`cargo {found.subcommand}` is refused: {found.command.why}",
            hint=f"{found.command.hint}; here `cargo` is carnet's shim, and {cargo} is cargo itself",
        )
    if found.subcommand == "metadata" and _describe_toolchains_own(found, cargo, here):
        return 0
    return _gate(args)


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


def _describe_toolchains_own(found: Invocation, cargo: str, here: Path) -> bool:
    """Print what an editor asks of the standard library; returns whether it is what was asked for."""
    from carnet_cli.commands.editors import standard_library
    from carnet_gate.config import check_toolchains

    check_toolchains(here)
    variables = own_variables()
    manifest = standard_library.own_manifest(found, cargo, here, variables)
    if manifest is None:
        return False
    toolchain = [f"+{found.toolchain}"] if found.toolchain is not None else []
    print(standard_library.describe(manifest, cargo, toolchain, variables))
    return True


def _pass(cargo: str, args: Sequence[str], here: Path, found: Invocation | None = None) -> NoReturn:
    pass_to((cargo,), args, here, found=found)


def _gate(args: Sequence[str]) -> int:
    from carnet_cli.commands.build.gated import run_behind_gate

    return run_behind_gate(tuple(args))
