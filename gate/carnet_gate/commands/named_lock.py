"""The lock that a command names in the place of the workspace's, as editors do so that cargo changes no file there.

cargo has had three ways, and does in silence without what it does not know:

::

    1.82 to 1.94    --lockfile-path FILE, with -Zunstable-options
    1.95, 1.96      CARGO_RESOLVER_LOCKFILE_PATH=FILE, with -Zlockfile-path
    from 1.97 on    CARGO_RESOLVER_LOCKFILE_PATH=FILE

So the gate finds out whether this cargo follows the name, takes it away, and says in each command of its own which lock
counts. The one that compiles is given a copy that only the gate writes: what was admitted is what is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from carnet.errors import ConfigError
from carnet.value import value
from carnet_gate.commands.table import Command

VARIABLE = "CARGO_RESOLVER_LOCKFILE_PATH"
FLAG = "--lockfile-path"
_NAME = "Cargo.lock"
_UNSTABLE = "lockfile-path"
_ALWAYS_SINCE = (1, 97)
_SETTING_SINCE = (1, 95)
_VERSION = re.compile(r"cargo (\d+)\.(\d+)\.\d+(-\S+)?")


@value
class NamedLock:
    """A lock that stands in the place of the workspace's.

    Attributes:
        path: Where it is, absolute; it need not be there yet.
        by_flag: Whether this cargo knows the flag, and not the setting.
        unstable: What this cargo has to be allowed before, for `-Z`; empty where it is stable.
    """

    path: Path
    by_flag: bool
    unstable: str

    @property
    def flags(self) -> list[str]:
        """What cargo is told so that it reads this lock."""
        told = [FLAG, str(self.path)] if self.by_flag else []
        return [*told, *([f"-Z{self.unstable}"] if self.unstable else [])]

    @property
    def variables(self) -> dict[str, str]:
        """The variables that go with it."""
        return {} if self.by_flag else {VARIABLE: str(self.path)}

    def at(self, path: Path) -> NamedLock:
        """The same at another place."""
        return NamedLock(path, self.by_flag, self.unstable)


def find_named(
    command: Command,
    flag: str | None,
    unstable: Collection[str],
    folder: Path,
    variables: Mapping[str, str],
    version: Callable[[], str],
) -> NamedLock | None:
    """Find the lock that a command names; None where it names none that this cargo would follow.

    Args:
        command: The command.
        flag: The value of `--lockfile-path`, or None.
        unstable: The values of `-Z`.
        folder: Where cargo runs.
        variables: The user's.
        version: What cargo says of its version; it is asked where that decides.

    Raises:
        ConfigError: The command cannot have another lock, cargo would refuse it, or does not say its version.
    """
    if flag is not None:  # it wins, and a cargo that does not know it refuses it
        return NamedLock(_place(folder, flag, FLAG), by_flag=True, unstable="unstable-options")
    said = variables.get(VARIABLE)
    if said is None:
        return None
    if not command.takes_lock:
        raise ConfigError(
            f"{VARIABLE} is not supported with `cargo {command.name}`: the lock that is checked is Cargo.lock",
            hint=f"`unset {VARIABLE}`",
        )
    known = _version(version())
    if known >= _ALWAYS_SINCE:
        return NamedLock(_place(folder, said, VARIABLE), by_flag=False, unstable="")
    if known >= _SETTING_SINCE and _UNSTABLE in unstable:
        return NamedLock(_place(folder, said, VARIABLE), by_flag=False, unstable=_UNSTABLE)
    return None


def without_name(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables without the one by which a lock is named."""
    return {name: said for name, said in variables.items() if name != VARIABLE}


def _place(folder: Path, named: str, what: str) -> Path:
    path = folder / named
    if path.name != _NAME:
        raise ConfigError(f"{what} names {named[:200]!a}, which cargo refuses", hint=f"name a file {_NAME}")
    return path


def _version(said: str) -> tuple[int, int]:
    """Major and minor version; before its release a version counts as the one before, as it does for rust-analyzer."""
    found = _VERSION.match(said)
    if found is None:
        raise ConfigError(
            f"cargo says {said.strip()[:80]!a} of its version, so it is not known whether it follows {VARIABLE}",
            hint=f"`unset {VARIABLE}`",
        )
    major, minor = int(found[1][:9]), int(found[2][:9])
    return (major, minor - 1) if found[3] else (major, minor)
