"""Who could take a folder away, and put another one in its place: everybody who can write to a folder above it.

One rule for all that decides over builds: the configuration of the machine and of the user, and carnet's own home.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from carnet.errors import ConfigError


def require_held(folder: Path, whose: str, owners: tuple[int, ...], why: str) -> None:
    """Demand that nobody else can take a folder away: by its name, and where links lead.

    Each folder above must be its owners' or root's, and closed to others unless its sticky bit is set.

    Args:
        folder: Absolute; it need not be there.
        whose: The owners, for people.
        owners: The users who may; root may anyway.
        why: What hangs on it, for people: a clause about "that".

    Raises:
        ConfigError: Somebody else can.
    """
    for above in dict.fromkeys((*folder.parents, *Path(os.path.realpath(folder)).parents)):
        try:
            status = above.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue  # nothing is there to be taken away, and who could put it there is asked of the next one
        except OSError as error:
            raise ConfigError(
                f"{above} cannot be looked into: {(error.strerror or 'failed').lower()}",
                hint="let this user look into it, or set CARNET_HOME to a folder of your own",
            ) from None
        # Where the sticky bit is set, as in /tmp, only its owner renames or removes what is in it.
        shared = status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_own_group(status))
        open_to_others = shared and not status.st_mode & stat.S_ISVTX
        if (status.st_uid not in (*owners, 0) and not _is_unmapped(status.st_uid)) or open_to_others:
            raise ConfigError(
                f"{above} can be written by others than {whose}, who could take away {folder}: {why}",
                hint=f"`chmod go-w {above}`, and `chown` it when it is another user's; then look whether {folder} is "
                "what you left there",
            )


def _is_own_group(status: os.stat_result) -> bool:
    """Whether a folder's group is its owner alone, as where every user has a group of their own and umask 002."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and group.gr_gid == user.pw_gid and set(group.gr_mem) <= {user.pw_name}


def _is_unmapped(uid: int) -> bool:
    """Whether an owner is whoever a user namespace, as containers have, knows no number for: root outside, mostly."""
    try:
        everybody = Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
        return not everybody and uid == int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return False
