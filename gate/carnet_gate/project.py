"""The project that a cargo command works with: nothing in it leads cargo around the gate; its workspace, its lock."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from carnet.cargo.lockfile import CRATES_IO, MAX_LOCK, Lockfile, read_lockfile
from carnet.digests import sha256_hex
from carnet.durable import private_folder, read_file, users_file, write_file
from carnet.errors import ConfigError
from carnet.value import value
from carnet_gate import config
from carnet_gate.args import Invocation
from carnet_gate.cargo import Cargo, find_cargo
from carnet_gate.commands.named_lock import FLAG, NamedLock, find_named, without_name
from carnet_gate.confinement.protection import Confine, Confinement
from carnet_gate.outputs import without_links

_NO_TOOLCHAINS = "Cargo does not handle `+toolchain` directives"
"""What a cargo says that is not rustup's."""


@value
class Project:
    """A project whose configuration leads cargo around nothing.

    Attributes:
        invocation: The command that is to work with it.
        cargo: The user's own cargo.
        own_home: The user's CARGO_HOME.
        workspace: The folder of `Cargo.lock`.
        outputs: The folders that cargo would build into without the gate, absolute and without links; they need not be
            there yet. The first is for what is finished, the last for what only cargo looks at (`build.build-dir`).
        separates: Whether this cargo knows the difference, as 1.91 does.
        described: What cargo says of the workspace's manifests, as it says it.
        named: The lock that the command names in the place of the workspace's.
    """

    invocation: Invocation
    cargo: Cargo
    own_home: Path
    workspace: Path
    outputs: tuple[Path, ...]
    separates: bool = True
    described: str = ""
    named: NamedLock | None = None

    @property
    def lock(self) -> Path:
        """Where the lock is that counts."""
        return self.workspace / "Cargo.lock" if self.named is None else self.named.path

    @property
    def lock_flags(self) -> list[str]:
        """What cargo is told of the lock, where it is not the workspace's."""
        return [] if self.named is None else self.named.flags

    def reading(self, lock: bytes, folder: Path) -> Project:
        """The same, in which cargo reads a lock that was admitted: one that was named, from a copy.

        Args:
            lock: What was admitted.
            folder: For such copies; nobody but the gate writes there.

        Raises:
            StorageError: The disk failed.
        """
        if self.named is None:
            return self
        copy = private_folder(private_folder(folder) / sha256_hex(lock)) / self.named.path.name
        try:
            is_there = read_file(copy, "the lock", max_bytes=MAX_LOCK) == lock
        except FileNotFoundError:
            is_there = False
        if not is_there:
            write_file(copy, lock, mode=0o400)
        from dataclasses import replace  # which brings `inspect`, and editors alone name a lock

        return replace(self, named=self.named.at(copy))

    @property
    def copies_into(self) -> Path | None:
        """The folder into which `cargo vendor` copies the crates, and whose content it removes; None for all others."""
        if self.invocation.subcommand != "vendor":
            return None
        return without_links(self.cargo.folder / next(iter(self.invocation.words), "vendor"))

    @property
    def places(self) -> tuple[Path, ...]:
        """Every folder into which the command writes, absolute and without links."""
        return self.outputs if self.copies_into is None else (*self.outputs, self.copies_into)

    @property
    def dependencies(self) -> Iterator[tuple[str, str]]:
        """Names and requirements of what the workspace's manifests ask the public registry for, as cargo says them."""
        for package in json.loads(self.described or "{}").get("packages", ()):
            for one in package.get("dependencies", ()):
                if one.get("source") == CRATES_IO:
                    yield str(one.get("name")), str(one.get("req"))

    @property
    def arguments(self) -> list[str]:
        """What every cargo command of the gate's own is told: which configuration, which workspace."""
        configs = [part for argument in self.invocation.configs for part in ("--config", argument)]
        return [*configs, "--manifest-path", str(self.workspace / "Cargo.toml")]


def open_project(
    invocation: Invocation, folder: Path, own_home: Path, environment: Mapping[str, str], confine: Confine
) -> Project:
    """Look at a project's configuration and find its workspace.

    Args:
        invocation: The command that is to work with it.
        folder: Where the command runs.
        own_home: The user's CARGO_HOME.
        environment: The user's variables.
        confine: Keeps cargo, and what it starts, from writing to carnet's own folder.

    Raises:
        PolicyRefused: Configuration would lead cargo around the gate.
        ConfigError: It cannot be read, a variable would do the same, there is no cargo, or no project.
    """
    cargo = _find_cargo(invocation, folder, own_home, without_name(environment))
    with confine((), environment) as within:
        described = _ask(cargo, invocation, within)
        named = find_named(
            invocation.command,
            invocation.value(FLAG),
            invocation.values("-Z"),
            folder,
            environment,
            lambda: cargo.ask("--version", within=within).stdout,
        )
    found = _places(described)
    target, build = Path(found["target_directory"]), Path(found["build_directory"])
    if invocation.target_dir is not None:  # `cargo metadata` does not know this flag
        chosen = folder / invocation.target_dir
        target, build = chosen, chosen if build == target else build
    outputs = dict.fromkeys((without_links(target), without_links(build)))
    return Project(
        invocation.without_values(FLAG),  # the gate says itself which lock counts
        cargo,
        own_home,
        Path(found["workspace_root"]),
        tuple(outputs),
        "build_directory" in json.loads(described),
        described,
        named,
    )


def open_folder(
    invocation: Invocation, folder: Path, own_home: Path, environment: Mapping[str, str], around: Path
) -> Project:
    """Look at the configuration of a folder in which a command runs that needs no project.

    Args:
        invocation: The command.
        folder: Where it runs.
        own_home: The user's CARGO_HOME.
        environment: The user's variables.
        around: The folder of the workspace that it is in, if it is in any; else the folder itself.

    Raises:
        PolicyRefused: Configuration would lead cargo around the gate.
        ConfigError: It cannot be read, a variable would do the same, or there is no cargo.
    """
    return Project(invocation, _find_cargo(invocation, folder, own_home, environment), own_home, around, ())


def _find_cargo(invocation: Invocation, folder: Path, own_home: Path, environment: Mapping[str, str]) -> Cargo:
    """The user's cargo, which nothing in a folder, in the user's home or in the environment leads around the gate."""
    cargo = find_cargo(invocation.toolchain, folder, environment)
    config.check_project(folder, own_home)
    config.check_home(own_home)
    for argument in invocation.configs:
        config.check_argument(argument, folder)
    config.check_environment(environment)
    return cargo


def _ask(cargo: Cargo, invocation: Invocation, within: Confinement) -> str:
    """Cargo's own answer to `cargo metadata` about the workspace alone."""
    if invocation.manifest_path and Path(invocation.manifest_path).name != "Cargo.toml":
        raise ConfigError(
            "--manifest-path must lead to a Cargo.toml",
            hint="name the file itself, as in `--manifest-path app/Cargo.toml`",
        )
    flags = ["--manifest-path", invocation.manifest_path] if invocation.manifest_path else []
    flags += [part for argument in invocation.configs for part in ("--config", argument)]
    done = cargo.ask("metadata", "--no-deps", "--format-version", "1", "--offline", *flags, within=within)
    if done.returncode != 0:
        if invocation.toolchain is not None and _NO_TOOLCHAINS in done.stderr:
            raise ConfigError(
                f"{cargo.command[0]} takes no `+{invocation.toolchain}`: it is not the cargo of rustup",
                hint=f"leave `+{invocation.toolchain}` out, with that toolchain's cargo first in PATH; or install "
                "rustup (https://rustup.rs), whose cargo takes it",
            )
        reason = done.stderr.strip().removeprefix("error: ").splitlines() or ["cargo found no project"]
        raise ConfigError(reason[0], hint="`cd` to a project that cargo can read, or name it with `--manifest-path`")
    return done.stdout


def _places(described: str) -> dict[str, str]:
    """Where that puts the workspace and the results."""
    try:
        document = json.loads(described)  # not our strict reader: a project's `metadata` tables may hold fractions
    except (ValueError, RecursionError):
        raise ConfigError("cargo's metadata is not JSON", hint="look at what `cargo metadata` prints") from None
    if not isinstance(document, dict):
        raise ConfigError("cargo's metadata is no JSON object", hint="look at what `cargo metadata` prints")
    found = {}
    for name, otherwise in (("workspace_root", ""), ("target_directory", ""), ("build_directory", "target_directory")):
        value = document.get(name, document.get(otherwise))
        if not isinstance(value, str) or not value.startswith("/"):
            raise ConfigError(f"this cargo does not say where its `{name}` is", hint="update cargo: 1.95 was tried")
        found[name] = value
    return found


class LockOnDisk:
    """A project's `Cargo.lock`, which somebody may change while it is being checked.

    Args:
        workspace: The folder of the workspace.
        path: Where it is, if elsewhere.
    """

    def __init__(self, workspace: Path, path: Path | None = None) -> None:
        self.path = path or workspace / "Cargo.lock"
        self._data = b""

    @property
    def data(self) -> bytes:
        """What was read last."""
        return self._data

    def read(self) -> Lockfile:
        """The lock as it is now.

        Raises:
            ConfigError: There is none, or it does not parse.
        """
        with users_file(self.path, "Cargo.lock"):
            self._data = self._read()
            return read_lockfile(self._data, str(self.path))

    def read_if_any(self) -> Lockfile | None:
        """The lock as it is now, or None.

        Raises:
            ConfigError: It does not parse.
        """
        return self.read() if self.path.exists() else None

    def require_unchanged(self) -> None:
        """See that cargo will read the lock that was read last.

        Raises:
            ConfigError: It was changed since.
        """
        with users_file(self.path, "Cargo.lock"):
            now = self._read()
        if now != self._data:
            raise ConfigError(f"{self.path} was changed while it was being checked", hint="run the command again")

    def _read(self) -> bytes:
        try:
            return read_file(self.path, "the lock", max_bytes=MAX_LOCK)
        except FileNotFoundError:
            raise ConfigError(f"{self.path} does not exist", hint="`cargo carnet generate-lockfile` makes it") from None
