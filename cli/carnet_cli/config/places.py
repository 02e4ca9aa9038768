"""Where the machine's and the user's own `carnet.toml` stand, and who may write there.

::

    /etc/carnet/carnet.toml                      the machine's: root's, and nobody else can write it
    $XDG_CONFIG_HOME/carnet/carnet.toml          the user's; ~/.config where XDG_CONFIG_HOME is not set

What stands there decides over projects. So a file that somebody else can write is refused, and not passed over: without
it, less would be asked. The same holds of every folder above, where somebody else could take it away.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.errors import ConfigError
from carnet_cli.config import home, workspace
from carnet_cli.config.ancestors import require_held

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from carnet_cli.config.policy_file import PolicyFile

FILE_NAME = "carnet.toml"
MACHINE = Path("/etc/carnet")
MACHINE_OWNER = 0
_DECIDES = "that decides what every build asks"


def machines_file(now: datetime) -> PolicyFile | None:
    """What the administrator of this machine says; None where there is no file.

    Args:
        now: The time of the command.

    Raises:
        ConfigError: Somebody else than root can write it, or it says something that carnet does not know.
        StorageError: It cannot be read.
    """
    return _read(MACHINE, "root", (MACHINE_OWNER,), now)


def users_file(now: datetime) -> PolicyFile | None:
    """What the user says; None where there is no file, or no folder for it.

    Args:
        now: The time of the command.

    Raises:
        ConfigError: Somebody else can write it, or it says something that carnet does not know.
        StorageError: It cannot be read.
    """
    folder = users_folder()
    return None if folder is None else _read(folder, "you", (os.geteuid(), MACHINE_OWNER), now)


def users_folder() -> Path | None:
    """The folder of the user's own configuration; None where the environment names no absolute one.

    A relative path would be read from whatever folder, and so whatever project, the command runs in.
    """
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    if not folder.startswith("/"):  # as the XDG specification says of relative ones
        home = os.environ.get("HOME", "")
        folder = f"{home}/.config" if home.startswith("/") else ""
    return Path(folder, "carnet") if folder else None


def logins_file() -> Path | None:
    """What one is known by at mirrors (`carnet trust login`); None where there is no folder for it."""
    folder = users_folder()
    return None if folder is None else folder / "logins.toml"


def netrc_file() -> Path | None:
    """The user's netrc: NETRC, or `.netrc` in the home folder; None where there is none."""
    named, home = os.environ.get("NETRC"), os.environ.get("HOME", "")
    return Path(named) if named else Path(home, ".netrc") if home.startswith("/") else None


def deciding() -> list[Path]:
    """The folders from which files decide over every project, and that the user could write to; shims among them."""
    from carnet_cli.config.shims.folder import PROGRAMS, known  # `carnet verify` comes by here too, and asks for none

    users = users_folder()
    return [
        *([users] if users is not None else []),
        *([MACHINE] if os.geteuid() == MACHINE_OWNER else []),
        *(folder for shim in known() for folder in (shim, shim / PROGRAMS)),
    ]


def guard_users_folder() -> None:
    """See to it that nobody else can take the user's configuration away, whether it is there or is not any more.

    Raises:
        ConfigError: Somebody else can write to a folder above it.
    """
    folder = users_folder()
    if folder is not None:
        require_held(folder, "you", (os.geteuid(), MACHINE_OWNER), _DECIDES)


def candidates(folder: Path) -> Iterator[str]:
    """Everything that has to be there for somebody to say something, of a project in `folder`."""
    yield str(MACHINE)
    users = users_folder()
    if users is not None:
        yield str(users)
    yield f"{folder}/{FILE_NAME}"


def is_there(path: str) -> bool:
    """Whether something may be at a path: where one cannot look, there may be."""
    try:
        os.stat(path)  # noqa: PTH116  -- start-up time counts
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def project_folder(folder: Path) -> Path:
    """Where the project of a command is that names no lock: cargo, too, looks for it from a folder of it upwards.

    Args:
        folder: Where the command runs, absolute.

    Returns:
        The root of the workspace, whose `Cargo.lock` is cargo's; without any `Cargo.toml`, the nearest folder with a
        `Cargo.lock`; `folder` where there is none either.

    Raises:
        ConfigError: A `Cargo.toml` on the way is not one.
    """
    if _nearest(folder, (workspace.MANIFEST,)) is None:
        return _nearest(folder, ("Cargo.lock",)) or folder
    try:
        cargo_home = home.cargo_home()
    except ConfigError:  # cargo has none either
        cargo_home = None
    return workspace.workspace_root(folder, cargo_home) or folder


def project_around(folder: Path) -> Path | None:
    """Everything that comes with the code under judgement: its git repository, or its folder where there is none.

    Args:
        folder: Where `Cargo.lock` is, or the command runs: the project, or a folder in it.

    Returns:
        None where there is no project at all, as in a home folder.
    """
    here = folder.resolve()
    found = here if is_there(f"{here}/{FILE_NAME}") else _nearest(here, ("Cargo.lock", "Cargo.toml"))
    return None if found is None else _nearest(found, (".git",)) or found


def _nearest(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first folder that has something of one of these names, from one on upwards."""
    folders = (folder, *folder.parents)
    return next((one for one in folders if any(is_there(f"{one}/{name}") for name in names)), None)


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a file comes with a folder: by its name, by the folder that it is in, or by where a link leads."""
    named, around = (os.path.abspath(one) for one in (path, folder))  # noqa: PTH100  -- without following links
    found, there = (path.parent.resolve() / path.name, path.resolve()), folder.resolve()
    return Path(named).is_relative_to(around) or any(one.is_relative_to(there) for one in found)


def _read(folder: Path, whose: str, owners: tuple[int, ...], now: datetime) -> PolicyFile | None:
    from carnet_cli.config import policy_file  # most machines have none, and start-up time counts

    if not is_there(str(folder)):
        return None
    try:
        status = folder.stat()
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be looked into: {(error.strerror or 'failed').lower()}",
            hint="let this user look into it, or `cd` to a folder that you can read",
        ) from None
    _refuse_others(folder, whose, owners, status)
    require_held(folder, whose, owners, _DECIDES)
    file = folder / FILE_NAME
    return policy_file.read(file, now=now, check=lambda status: _refuse_others(file, whose, owners, status))


def _refuse_others(path: Path, whose: str, owners: tuple[int, ...], status: os.stat_result) -> None:
    if status.st_uid not in owners or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"{path} can be written by others than {whose}, and it decides what every build asks",
            hint=f"look at what it says; then `chmod go-w {path}`, and `chown` it when it is another user's",
        )
