"""cargo's configuration files: what a project, the user and the environment may not say behind the gate.

cargo merges `.cargo/config.toml` of the working directory, of every folder above it and of CARGO_HOME. A project can be
hostile, and then these keys would lead cargo around the gate: they are refused. What runs programs of the project's own
choice (`build.rustc-wrapper`, a linker, a runner, build scripts) is the project's own code, as it is without carnet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from carnet import stricttoml
from carnet.durable import read_file
from carnet.errors import ConfigError, FormatError, PolicyRefused
from carnet_gate import config_keys

MAX_BYTES = 10_000_000
_DEEPEST_INCLUDE = 16


def check_project(folder: Path, own_home: Path) -> None:
    """Look at every configuration file that cargo would read in `folder`, and at the toolchain file.

    Args:
        folder: Where cargo will run.
        own_home: The user's CARGO_HOME; its configuration may replace sources, since the gate's replacement wins.

    Raises:
        PolicyRefused: One of them would lead cargo around the gate.
        ConfigError: One of them cannot be read as cargo reads it.
    """
    for directory in (folder, *folder.parents):
        for name in ("config.toml", "config"):
            file = directory / ".cargo" / name
            document = read_config(file)
            if document is not None:
                _check(document, str(file), file.parent, users=is_same(file.parent, own_home))
    check_toolchains(folder)


def check_toolchains(folder: Path) -> None:
    """Look at every toolchain file that rustup would read in `folder`.

    Args:
        folder: Where cargo will run.

    Raises:
        PolicyRefused: One of them names a cargo of the project's own.
        ConfigError: One of them cannot be read as rustup reads it.
    """
    for directory in (folder, *folder.parents):
        for name in ("rust-toolchain.toml", "rust-toolchain"):
            _check_toolchain(directory / name)


def check_home(own_home: Path) -> None:
    """Look at the user's own configuration, which is copied.

    Raises:
        PolicyRefused: It replaces crates in a way that the gate's replacement does not win over.
        ConfigError: It cannot be read.
    """
    for name in ("config.toml", "config"):
        document = read_config(own_home / name)
        if document is not None:
            _check(document, str(own_home / name), own_home, users=True)


def check_argument(argument: str, folder: Path) -> None:
    """Look at a `--config` of the user's: a file, or `KEY=VALUE`.

    Raises:
        PolicyRefused: It would lead cargo around the gate.
        ConfigError: It is neither.
    """
    _check(*read_argument(argument, folder))


def read_argument(argument: str, folder: Path) -> tuple[stricttoml.Table, str, Path]:
    """What a `--config` says: the document, where it stands, and the folder that its paths start from.

    Args:
        argument: A file, or `KEY=VALUE`.
        folder: Where cargo will run.

    Raises:
        ConfigError: It is neither.
    """
    file, where = folder / argument, f"--config {argument[:80]!a}"
    try:
        is_file = file.is_file()
    except (OSError, ValueError):  # too long for a path, or with a NUL
        is_file = False
    document = read_config(file) if is_file else _parse(argument.encode(errors="surrogateescape"), where)
    return document or {}, where, file.parent if is_file else folder


def check_environment(environment: Mapping[str, str]) -> None:
    """Look at the variables that cargo would read.

    Raises:
        ConfigError: One of them would lead cargo around the gate.
    """
    for name in environment:
        why = config_keys.why_not_set(name)
        if why is not None:
            raise ConfigError(
                f"{name} is set in the environment: {why}", hint=f"`unset {name}`: crates come through the gate"
            )


def _check(document: Mapping[str, Any], where: str, folder: Path, *, users: bool = False) -> None:
    for said, place, depth in documents_in(document, where, folder):
        for key, why in config_keys.refused_in(said, users=users and depth == 0):
            raise PolicyRefused(f"{place} sets `{key}`: {why}", hint="remove it, or build without carnet")
        if not users and config_keys.has_program_for_credentials(said):
            raise PolicyRefused(
                f"{place} sets a credential provider: what it starts could write to sources after they were compared",
                hint=f"name it in your own cargo configuration; {place} may name one of cargo's, such as cargo:token",
            )


def documents_in(
    document: Mapping[str, Any], where: str, folder: Path, depth: int = 0
) -> Iterator[tuple[Mapping[str, Any], str, int]]:
    """A configuration and all that it includes, whose word counts most first; each with its place and its depth.

    Args:
        document: The configuration.
        where: Where it stands.
        folder: What the paths in it start from.
        depth: How many files included one another before this one.

    Raises:
        ConfigError: One cannot be read as cargo reads it.
    """
    yield document, where, depth
    for path in reversed([*includes(document, where)]):
        if depth >= _DEEPEST_INCLUDE:
            raise ConfigError(
                f"{where}: `include` goes deeper than {_DEEPEST_INCLUDE} files",
                hint="put what they say into fewer files",
            )
        file = folder / path
        included = read_config(file)
        if included is not None:
            yield from documents_in(included, str(file), file.parent, depth + 1)


def _check_toolchain(file: Path) -> None:
    try:
        data = read_file(file, "the toolchain file", max_bytes=MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return
    words = data.decode(errors="replace").strip()
    if file.name == "rust-toolchain" and "\n" not in words:  # one line is a channel's name, or a path; never TOML
        leads_away = "/" in words
    else:
        # Hardly any file has either, and need not be parsed; a key with escapes in it may be any key.
        leads_away = (b"path" in data or b"\\" in data) and config_keys.has(_parse(data, str(file)), "toolchain.path")
    if leads_away:
        raise PolicyRefused(
            f"{file} sets `toolchain.path`: cargo itself would be the project's", hint="name a toolchain by its channel"
        )


def includes(document: Mapping[str, Any], where: str) -> Iterator[str]:
    """The paths that a configuration file includes.

    Raises:
        ConfigError: `include` is no path and no list of them.
    """
    value = document.get("include", [])
    for item in value if isinstance(value, list) else [value]:
        path = item.get("path") if isinstance(item, dict) else item
        if not isinstance(path, str):
            raise ConfigError(
                f"{where}: `include` is not a path or a list of them", hint='write include = "FILE", or a list of such'
            )
        yield path


def read_config(file: Path) -> stricttoml.Table | None:
    """One configuration file; None when there is none.

    Raises:
        ConfigError: It cannot be read as cargo reads it.
    """
    try:
        data = read_file(file, "cargo's configuration", max_bytes=MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _parse(data, str(file))


def _parse(data: bytes, where: str) -> stricttoml.Table:
    try:
        return stricttoml.parse(data, where, max_bytes=MAX_BYTES)
    except FormatError as error:
        raise ConfigError(str(error), hint="cargo reads this file too: mend it, or remove it") from None


def file_in(folder: Path) -> tuple[Path, stricttoml.Table]:
    """The configuration file that cargo reads in a folder, and what it says; of two it takes the one without an ending.

    Raises:
        ConfigError: It cannot be read as cargo reads it.
    """
    for name in ("config", "config.toml"):
        document = read_config(folder / name)
        if document is not None:
            return folder / name, document
    return folder, {}


def is_same(left: Path, right: Path) -> bool:
    """Whether two paths lead to one folder that is there."""
    try:
        return left.samefile(right)
    except OSError:
        return False
