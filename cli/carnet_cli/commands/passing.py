"""A command that takes no crate and compiles none: this process becomes the user's own cargo, confined as a build is.

Signals and exit status are cargo's own, and neither the verifier nor a repository is touched. It starts no cargo,
compiler or wrapper that the project names: which toolchain file holds is looked at, and compilers and wrappers are the
user's own (`compiling_nothing`). What else a project's configuration can make cargo run or load, such as by `PATH` or
`LD_PRELOAD` in `[env]`, cannot write to carnet's home, nor to what decides over builds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from carnet.errors import ConfigError
from carnet_gate.commands.variables import SHIMMED, compiling_nothing

if TYPE_CHECKING:
    from carnet_gate.args import Invocation

_BEGINS = ("new", "init")
_NOWHERE = "/nowhere"


def pass_to(cargo: Sequence[str], args: Sequence[str], here: Path, *, found: Invocation | None = None) -> NoReturn:
    """Become the user's own cargo, which cannot write to what decides over builds.

    Args:
        cargo: The program, and the toolchain where one was named.
        args: What stands after it.
        here: Where it runs.
        found: What the arguments mean, where they name a command.

    Raises:
        CarnetError: A toolchain file names a program, or cargo cannot be started.
    """
    from carnet_cli.config import home, places
    from carnet_gate.config import check_toolchains
    from carnet_gate.confinement.protection import confinement, find_protection

    check_toolchains(here)
    makes_in = here if found is not None and found.subcommand in _BEGINS else None
    environment = own_variables()
    held, protection = home.home(), find_protection(home.home(), environment)
    # Nobody would be left to remove a folder that was made for temporary files; none of these commands makes any.
    variables = {**environment, "TMPDIR": _NOWHERE}
    with confinement(protection, held, (), variables, makes_in=makes_in, deciding=places.deciding()) as within:
        for number in within.descriptors:
            os.set_inheritable(number, True)
        command = [*within.prefix, *cargo, *args]
        try:
            if within.enter is not None:
                within.enter()
            os.execvpe(command[0], command, environment)  # noqa: S606  -- no shell is wanted
        except OSError as error:
            raise ConfigError(
                f"{command[0]} cannot be started: {error.strerror}", hint="see that it is there and may be run"
            ) from None


def own_variables() -> dict[str, str]:
    """The variables of a cargo that is started past the gate."""
    environment = compiling_nothing(os.environ)
    for ours in ("CARGO", SHIMMED):
        environment.pop(ours, None)
    return environment
