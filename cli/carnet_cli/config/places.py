"""Where the machine's and the user's own `carnet.toml` stand, and who may write there.

::

    /etc/carnet/carnet.toml                      the machine's: root's, and nobody else can write it
    $XDG_CONFIG_HOME/carnet/carnet.toml          the user's; ~/.config where XDG_CONFIG_HOME is not set

What stands there decides over projects. So a file that somebody else can write is refused, and not passed over: without
it, less would be asked.
"""

from __future__ import annotations

import os
import stat
from datetime import datetime
from pathlib import Path

from carnet.errors import ConfigError
from carnet_cli.config import policy_file
from carnet_cli.config.policy_file import PolicyFile

FILE_NAME = "carnet.toml"
MACHINE = Path("/etc/carnet")
MACHINE_OWNER = 0


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


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a file comes with a folder: by its name, or by where a link leads."""
    named, found = Path(os.path.abspath(path)), path.resolve()  # noqa: PTH100  -- without following links
    return named.is_relative_to(folder.absolute()) or found.is_relative_to(folder.resolve())


def _read(folder: Path, whose: str, owners: tuple[int, ...], now: datetime) -> PolicyFile | None:
    try:
        status = os.stat(folder)  # noqa: PTH116  -- start-up time counts: mostly it is not there
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{folder} cannot be looked into: {(error.strerror or 'failed').lower()}") from None
    _refuse_others(folder, whose, owners, status)
    file = folder / FILE_NAME
    return policy_file.read(file, now=now, check=lambda status: _refuse_others(file, whose, owners, status))


def _refuse_others(path: Path, whose: str, owners: tuple[int, ...], status: os.stat_result) -> None:
    if status.st_uid not in owners or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"{path} can be written by others than {whose}, and it decides what every build asks",
            hint=f"look at what it says; then `chmod go-w {path}`, and `chown` it when it is another user's",
        )
