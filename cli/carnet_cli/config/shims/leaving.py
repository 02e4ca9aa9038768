"""Out of a shim: what runs behind the gate finds the user's own cargo, wherever the environment leads."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from carnet_gate.commands.variables import SHIMMED


def leave(folder: str, cargo: str, home: str, variables: MutableMapping[str, str]) -> None:
    """Put the user's own cargo and its home in the places that a shim has in the environment.

    Args:
        folder: The shim's own folder.
        cargo: The cargo that it stands before.
        home: The user's own CARGO_HOME.
        variables: The environment, which is changed.
    """
    if _leads_to(variables.get("CARGO_HOME"), folder):
        variables["CARGO_HOME"] = home
    # Which cargo it is stands in the shim; whoever set this variable, an editor or a project's settings, decides not.
    variables["CARGO"] = variables[SHIMMED] = cargo
    if "PATH" in variables:
        programs = f"{folder}/bin"
        kept = [one for one in variables["PATH"].split(os.pathsep) if not _leads_to(one, programs)]
        variables["PATH"] = os.pathsep.join(kept)


def leave_any(variables: MutableMapping[str, str]) -> None:
    """The same where `cargo carnet` was not started by a shim, and the environment leads to one nevertheless.

    Args:
        variables: The environment, which is changed where it does.
    """
    from carnet_cli.config.shims.folder import led_to  # a call that passes does not need it

    if SHIMMED in variables:
        return
    found = [shim for shim in led_to(variables).values() if shim is not None]
    for shim in found[:1]:
        leave(str(shim.folder), str(shim.cargo), str(shim.home), variables)


def _leads_to(path: str | None, folder: str) -> bool:
    return path is not None and os.path.realpath(path) == folder
