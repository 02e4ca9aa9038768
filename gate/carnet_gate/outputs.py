"""Where a cargo command writes for a project: looked at before anything runs, since the project says where.

A link or a line of configuration that a project brings along must not make cargo, which runs for the user, write into
carnet's home: what lies there decides about every other project, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from carnet.durable import as_storage_error, make_folder
from carnet.errors import ConfigError


def without_links(path: Path) -> Path:
    """Where a path leads that need not be there yet; links that lead in a circle are left in it.

    Raises:
        ConfigError: It cannot be one.
    """
    with as_storage_error(path):
        return Path(os.path.realpath(path))


def require_apart(home: Path, outputs: Iterable[Path], lock: Path) -> None:
    """Demand that cargo writes nothing into carnet's home, whatever the command is.

    Args:
        home: Carnet's own folder.
        outputs: The folders that cargo builds into, without links.
        lock: `Cargo.lock`, which may be a link.

    Raises:
        ConfigError: It would, or an output folder is none and cannot become one.
    """
    home = without_links(home)
    for output in outputs:
        if output == home or home in output.parents or output in home.parents:
            raise ConfigError(
                f"carnet's home {home} and the target folder {output} are not apart",
                hint="set CARNET_HOME or CARGO_TARGET_DIR to another folder",
            )
        _require_folder(output)
    if home in without_links(lock).parents:
        raise ConfigError(
            f"{lock} lies in carnet's home {home}", hint="do not build what you do not trust; then remove that link"
        )


def make_outputs(outputs: Iterable[Path]) -> None:
    """Make the folders that a command in a confinement could not make itself.

    Raises:
        StorageError: The system refused.
    """
    for output in outputs:
        make_folder(output, mode=0o777)  # narrowed by the umask, as cargo makes them


def _require_folder(output: Path) -> None:
    """Demand a folder, or nothing yet below one."""
    with as_storage_error(output):
        above = next(path for path in (output, *output.parents) if os.path.lexists(path))
        if not above.is_dir():
            what = "is a link that leads nowhere" if above.is_symlink() else "is no folder"
            raise ConfigError(
                f"cargo cannot build into {output}: {above} {what}",
                hint="remove it, or set CARGO_TARGET_DIR to another folder",
            )
