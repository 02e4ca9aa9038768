"""cargo's configuration files: what a project may not say behind the gate, and a copy of the user's own.

cargo merges `.cargo/config.toml` of the working directory, of every folder above it and of CARGO_HOME. A project can be
hostile, and then these keys would lead cargo around the gate: they are refused. What runs programs of the project's own
choice (`build.rustc-wrapper`, a linker, a runner, build scripts) is the project's own code, as it is without carnet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any

from carnet.durable import read_file
from carnet.errors import ConfigError, PolicyRefused

MAX_BYTES = 10_000_000
_DEEPEST_INCLUDE = 16

REFUSED_VARIABLES = (
    "CARGO_SOURCE_",
    "CARGO_REGISTRIES_CRATES_IO_",
    "CARGO_REGISTRY_INDEX",
    "CARGO_RESOLVER_LOCKFILE_PATH",
    "CARGO_UNSTABLE_BUILD_STD",
    "__CARGO_",
)
"""Beginnings of environment variables that would do the same as a refused key."""

REFUSED: Mapping[str, str] = {
    "source": "it replaces where crates come from",
    "paths": "it replaces crates behind the lock's back",
    "patch": "it replaces crates; write `[patch]` in Cargo.toml, where reviewers look for it",
    "registries.crates-io": "it changes where crates come from",
    "registry.index": "it changes where crates come from",
    "unstable.build-std": "cargo would compile the crates of another lock, the standard library's",
    "resolver.lockfile-path": "cargo would use another lock than the one that was checked",
    "alias.carnet": "`cargo carnet` would run the alias and not the gate",
    "alias.clippy": "`cargo carnet clippy` would run the alias",
}
"""Configuration keys that a project may not set, and why."""

# Paths in these keys are relative to the folder above `.cargo`, so a copy elsewhere needs them absolute.
_PATH_KEYS = (
    ("build", "rustc"),
    ("build", "rustc-wrapper"),
    ("build", "rustc-workspace-wrapper"),
    ("build", "rustdoc"),
    ("build", "target-dir"),
    ("build", "build-dir"),
    ("http", "cainfo"),
    ("install", "root"),
)


def user_cargo_home() -> Path:
    """The user's own CARGO_HOME.

    Raises:
        ConfigError: Neither CARGO_HOME nor HOME is set.
    """
    named = os.environ.get("CARGO_HOME")
    if named:
        return Path(named).absolute()
    if not os.environ.get("HOME"):
        raise ConfigError("neither CARGO_HOME nor HOME is set")
    return Path(os.environ["HOME"]) / ".cargo"


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
            document = _load(file)
            if document is not None:
                allowed = {"source"} if _same(file.parent, own_home) else set()
                _check(document, str(file), allowed, file.parent, 0)
        for name in ("rust-toolchain.toml", "rust-toolchain"):
            _check_toolchain(directory / name)


def check_home(own_home: Path) -> None:
    """Look at the user's own configuration, which is copied.

    Raises:
        PolicyRefused: It replaces crates in a way that the gate's replacement does not win over.
        ConfigError: It cannot be read.
    """
    for name in ("config.toml", "config"):
        document = _load(own_home / name)
        if document is not None:
            _check(document, str(own_home / name), {"source", "alias.clippy"}, own_home, 0)


def check_argument(argument: str, folder: Path) -> None:
    """Look at a `--config` of the user's: a file, or `KEY=VALUE`.

    Raises:
        PolicyRefused: It would lead cargo around the gate.
        ConfigError: It is neither.
    """
    file, where = folder / argument, f"--config {argument[:80]!a}"
    try:
        is_file = file.is_file()
    except (OSError, ValueError):  # too long for a path, or with a NUL
        is_file = False
    document = _load(file) if is_file else _parse(argument, where)
    _check(document or {}, where, set(), file.parent if is_file else folder, 0)


def _check(document: Mapping[str, Any], where: str, allowed: set[str], folder: Path, depth: int) -> None:
    for key, reason in REFUSED.items():
        if key not in allowed and _has(document, key.split(".")):
            raise PolicyRefused(f"{where} sets `{key}`: {reason}", hint="remove it, or build without carnet")
    for path in _includes(document, where):
        if depth >= _DEEPEST_INCLUDE:
            raise ConfigError(f"{where}: `include` goes deeper than {_DEEPEST_INCLUDE} files")
        file = folder / path
        included = _load(file)
        if included is not None:
            _check(included, str(file), set(), file.parent, depth + 1)


def _check_toolchain(file: Path) -> None:
    try:
        data = read_file(file, "the toolchain file", max_bytes=MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return
    # The usual file is one line, and not always TOML; a key with escapes in it is TOML.
    if b"path" not in data and b"\\" not in data:
        return
    if _has(_parse(data.decode(errors="replace"), str(file)), ["toolchain", "path"]):
        raise PolicyRefused(
            f"{file} sets `toolchain.path`: cargo itself would be the project's", hint="name a toolchain by its channel"
        )


def _has(document: Mapping[str, Any], keys: list[str]) -> bool:
    value: Any = document
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


def _includes(document: Mapping[str, Any], where: str) -> Iterator[str]:
    value = document.get("include", [])
    for item in value if isinstance(value, list) else [value]:
        path = item.get("path") if isinstance(item, dict) else item
        if not isinstance(path, str):
            raise ConfigError(f"{where}: `include` is not a path or a list of them")
        yield path


def _load(file: Path) -> dict[str, Any] | None:
    try:
        data = read_file(file, "cargo's configuration", max_bytes=MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return _parse(data.decode(), str(file))
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8") from None


def _parse(text: str, where: str) -> dict[str, Any]:
    import tomli

    try:
        return tomli.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not TOML: {str(error).splitlines()[0]}") from None


def _same(left: Path, right: Path) -> bool:
    try:
        return left.samefile(right)
    except OSError:
        return False


# --- a copy of the user's own ---


def is_read_anyway(folder: Path, own_home: Path) -> bool:
    """Whether cargo finds the user's configuration on its way up from `folder`; a copy would then be read twice."""
    return any(_same(directory / ".cargo", own_home) for directory in (folder, *folder.parents))


def copy_of_config(own_home: Path) -> tuple[dict[str, Any], list[str]]:
    """The user's configuration, fit for another CARGO_HOME.

    Returns:
        The document without source replacement, and what was left out, in words.

    Raises:
        ConfigError: It cannot be read.
    """
    document = _load(own_home / "config") or _load(own_home / "config.toml") or {}
    left_out = []
    if document.pop("source", None):
        left_out.append(
            f"{own_home}: `[source]` does not hold behind the gate: crates come from the trusted repository"
        )
    if not isinstance(document.get("net", {}), dict):
        raise ConfigError(f"{own_home}: `net` is not a table")
    base = own_home.parent
    for keys in _PATH_KEYS:
        table = document.get(keys[0])
        if isinstance(table, dict) and isinstance(table.get(keys[1]), str):
            table[keys[1]] = _absolute(table[keys[1]], base)
    targets = document.get("target")
    for table in targets.values() if isinstance(targets, dict) else ():
        if isinstance(table, dict):
            for key in ("linker", "runner"):
                if isinstance(table.get(key), str):
                    table[key] = _absolute(table[key], base)
    if "include" in document:
        document["include"] = [str(own_home / path) for path in _includes(document, str(own_home))]
    return document, left_out


def _absolute(path: str, base: Path) -> str:
    return str(base / path) if "/" in path else path  # a bare name is looked for in PATH


def to_toml(document: Mapping[str, Any]) -> str:
    """Write a TOML document: tables in brackets, everything else inline."""
    lines: list[str] = []
    _write_table(document, (), lines)
    return "\n".join(lines) + "\n"


def _write_table(table: Mapping[str, Any], name: tuple[str, ...], lines: list[str]) -> None:
    if name:
        lines.append(f"[{'.'.join(quoted(part) for part in name)}]")
    lines += [f"{quoted(key)} = {_value(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            _write_table(value, (*name, key), lines)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, date | time):
        return value.isoformat()
    return repr(value)


def quoted(text: str) -> str:
    """A TOML string."""
    escaped = "".join(
        {"\\": "\\\\", '"': '\\"'}.get(char) or (char if char.isprintable() else f"\\U{ord(char):08x}") for char in text
    )
    return f'"{escaped}"'
