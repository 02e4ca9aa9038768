"""The project that a cargo command works with: nothing in it leads cargo around the gate; its workspace, its lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from carnet.cargo.lockfile import MAX_LOCK, Lockfile, read_lockfile
from carnet.durable import read_file
from carnet.errors import ConfigError
from carnet_gate import config
from carnet_gate.args import Invocation
from carnet_gate.cargo import Cargo, find_cargo


@dataclass(frozen=True)
class Project:
    """A project whose configuration leads cargo around nothing.

    Attributes:
        invocation: The command that is to work with it.
        cargo: The user's own cargo.
        own_home: The user's CARGO_HOME.
        workspace: The folder of `Cargo.lock`.
    """

    invocation: Invocation
    cargo: Cargo
    own_home: Path
    workspace: Path

    @property
    def arguments(self) -> list[str]:
        """What every cargo command of the gate's own is told: which configuration, which workspace."""
        configs = [part for argument in self.invocation.configs for part in ("--config", argument)]
        return [*configs, "--manifest-path", str(self.workspace / "Cargo.toml")]


def open_project(invocation: Invocation, folder: Path, own_home: Path, environment: Mapping[str, str]) -> Project:
    """Look at a project's configuration and find its workspace.

    Args:
        invocation: The command that is to work with it.
        folder: Where the command runs.
        own_home: The user's CARGO_HOME.
        environment: The user's variables.

    Raises:
        PolicyRefused: Configuration would lead cargo around the gate.
        ConfigError: It cannot be read, a variable would do the same, there is no cargo, or no project.
    """
    cargo = find_cargo(invocation.toolchain, folder, environment)
    config.check_project(folder, own_home)
    config.check_home(own_home)
    for argument in invocation.configs:
        config.check_argument(argument, folder)
    config.check_environment(environment)
    return Project(invocation, cargo, own_home, _find_workspace(cargo, invocation.manifest_path))


def _find_workspace(cargo: Cargo, manifest_path: str | None) -> Path:
    flags = ["--manifest-path", manifest_path] if manifest_path else []
    if flags and Path(flags[1]).name != "Cargo.toml":
        raise ConfigError("--manifest-path must lead to a Cargo.toml")
    done = cargo.ask("locate-project", "--workspace", "--message-format", "plain", *flags)
    if done.returncode != 0:
        reason = done.stderr.strip().removeprefix("error: ").splitlines() or ["cargo found no project"]
        raise ConfigError(reason[0])
    return Path(done.stdout.strip()).parent


class LockOnDisk:
    """A project's `Cargo.lock`, which somebody may change while it is being checked.

    Args:
        workspace: Its folder.
    """

    def __init__(self, workspace: Path) -> None:
        self.path = workspace / "Cargo.lock"
        self._data = b""

    def read(self) -> Lockfile:
        """The lock as it is now.

        Raises:
            ConfigError: There is none.
            FormatError: It does not parse.
        """
        try:
            data = read_file(self.path, "the lock", max_bytes=MAX_LOCK)
        except FileNotFoundError:
            raise ConfigError(f"{self.path} does not exist") from None
        self._data = data
        return read_lockfile(data, str(self.path))

    def read_if_any(self) -> Lockfile | None:
        """The lock as it is now, or None.

        Raises:
            FormatError: It does not parse.
        """
        return self.read() if self.path.exists() else None

    def require_unchanged(self) -> None:
        """See that cargo will read the lock that was read last.

        Raises:
            ConfigError: It was changed since.
        """
        admitted = self._data
        self.read()
        if self._data != admitted:
            raise ConfigError(f"{self.path} was changed while it was being checked", hint="run the command again")
