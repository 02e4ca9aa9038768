"""A CARGO_HOME of the gate's own: the user's configuration, with an admitted source in the place of crates.io.

There is one for each repository that is trusted, in which cargo keeps what it unpacked, and a throw-away one for each
time that versions are chosen.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date, time
from pathlib import Path
from typing import Any

from carnet.durable import private_folder, read_file, write_file
from carnet.errors import ConfigError
from carnet.value import value
from carnet_gate.commands.variables import SHIMMED
from carnet_gate.config import MAX_BYTES, includes, is_same, read_config
from carnet_gate.project import Project
from carnet_gate.reporter import Reporter

# Paths in these keys are relative to the folder above `.cargo`, so a copy elsewhere needs them absolute.
_PATH_KEYS = (
    ("build", "rustc"),
    ("build", "rustc-wrapper"),
    ("build", "rustc-workspace-wrapper"),
    ("build", "rustdoc"),
    ("build", "target-dir"),
    ("build", "build-dir"),
    ("http", "cainfo"),
    ("http", "proxy-cainfo"),
    ("install", "root"),
)


@value
class CargoHome:
    """A CARGO_HOME of the gate's own.

    Attributes:
        path: Its folder.
        name: What the source that replaces crates.io is called.
        source: What that source is, as cargo's configuration has it.
        offline: Whether the configuration forbids cargo the network.
    """

    path: Path
    name: str
    source: Mapping[str, str]
    offline: bool

    @property
    def flags(self) -> list[str]:
        """Cargo's arguments for the replacement; they win over every file."""
        settings = [f'source.crates-io.replace-with="{self.name}"']
        settings += [f"source.{self.name}.{key}={quoted(value)}" for key, value in self.source.items()]
        return [part for setting in settings for part in ("--config", setting)]

    def environment(self, project: Project) -> dict[str, str]:
        """The user's variables, with this CARGO_HOME."""
        environment = {
            name: value for name, value in project.cargo.environment.items() if name not in ("CARGO", SHIMMED)
        }
        environment["CARGO_HOME"] = str(self.path)
        environment |= project.named.variables if project.named is not None else {}
        lower, upper = environment.get("no_proxy", ""), environment.get("NO_PROXY", "")
        environment["no_proxy"] = _with_loopback(lower or upper)
        environment["NO_PROXY"] = _with_loopback(upper or lower)
        if not project.invocation.offline:
            environment.pop("CARGO_NET_OFFLINE", None)
        return environment

    def write(self, project: Project, reporter: Reporter) -> None:
        """Write the configuration, and a copy of the user's credentials.

        Raises:
            ConfigError: The user's configuration cannot be read.
            StorageError: The disk failed.
        """
        document: dict[str, Any] = {}
        if not is_read_anyway(project.cargo.folder, project.own_home):
            document, left_out = copy_of_config(project.own_home)
            for text in left_out:
                reporter.warn(text)
        document["source"] = {"crates-io": {"replace-with": self.name}, self.name: dict(self.source)}
        document["net"] = {**document.get("net", {}), "offline": self.offline}
        document["cache"] = {"auto-clean-frequency": "never"}  # the gate looks after these files, not cargo
        _write_if_new(self.path / "config.toml", to_toml(document).encode())
        for credentials in ("credentials.toml", "credentials"):
            try:
                data = read_file(project.own_home / credentials, "the credentials", max_bytes=MAX_BYTES)
            except FileNotFoundError:
                (self.path / credentials).unlink(missing_ok=True)
                continue
            _write_if_new(self.path / credentials, data)


def _with_loopback(no_proxy: str) -> str:
    """What is reached without a proxy, and the gate's own registry too.

    cargo and git take the lower-case variable, and the other one only without it: so what one says is in both, lest
    hosts that the user reaches directly, such as git's, go through the proxy all of a sudden. `*` counts only alone.
    """
    return no_proxy if no_proxy.strip() == "*" else ",".join(filter(None, (no_proxy, "127.0.0.1,localhost")))


def lasting_path(folder: Path, project: Project) -> Path:
    """Where the CARGO_HOME is that compiles a project, of those below `folder`."""
    # A project below the folder of the user's own `.cargo` reads that configuration anyway; a copy would be merged
    # with it, and lists would hold everything twice. So there are two homes, one with the copy and one without.
    return folder / ("home-beneath" if is_read_anyway(project.cargo.folder, project.own_home) else "home")


def lasting_home(folder: Path, registry: Path, project: Project, reporter: Reporter) -> CargoHome:
    """The CARGO_HOME that compiles from a local registry, written as the user's configuration is now.

    Args:
        folder: Where such homes are for one repository.
        registry: The local registry.
        project: What is compiled.
        reporter: Is told what of the user's configuration does not hold.

    Raises:
        ConfigError: The user's configuration cannot be read, or the folder is open for others.
        StorageError: The disk failed.
    """
    path = private_folder(lasting_path(folder, project))
    _require_utf8(path)
    home = CargoHome(path, _source_name(path), {"local-registry": str(registry)}, offline=True)
    home.write(project, reporter)
    return home


def passing_home(path: Path, url: str, project: Project, reporter: Reporter) -> CargoHome:
    """A CARGO_HOME in which versions are chosen from a verifying registry on loopback.

    Args:
        path: Its folder, which the caller removes.
        url: The registry.
        project: Whose versions are chosen.
        reporter: Is told what of the user's configuration does not hold.

    Raises:
        ConfigError: The user's configuration cannot be read.
        StorageError: The disk failed.
    """
    home = CargoHome(path, f"carnet-{os.urandom(8).hex()}", {"registry": f"sparse+{url}/index/"}, offline=False)
    home.write(project, reporter)
    return home


def _require_utf8(path: Path) -> None:
    """Demand a path that cargo's configuration, which is UTF-8, can name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{str(path)!a} is not UTF-8, and so cargo's configuration cannot name it",
            hint="`export CARNET_HOME=DIR`, a folder whose whole path is UTF-8",
        ) from None


def _source_name(home: Path) -> str:
    """The name of the replacing source: unguessable, so that no project can say anything about it in advance."""
    path = home / "source-name"
    try:
        text = read_file(path, "the source's name", max_bytes=100).decode("ascii", "replace")
    except FileNotFoundError:
        text = f"carnet-{os.urandom(16).hex()}"
        write_file(path, text.encode(), mode=0o600)
    if not text.startswith("carnet-") or not text.replace("-", "").isalnum():
        raise ConfigError(f"{path} is damaged", hint="remove it")
    return text


def _write_if_new(path: Path, data: bytes) -> None:
    try:
        if read_file(path, "the configuration", max_bytes=MAX_BYTES) == data:
            return
    except FileNotFoundError:
        pass
    write_file(path, data, mode=0o600)


# --- the user's own configuration ---


def is_read_anyway(folder: Path, own_home: Path) -> bool:
    """Whether cargo finds the user's configuration on its way up from `folder`; a copy would then be read twice."""
    return any(is_same(directory / ".cargo", own_home) for directory in (folder, *folder.parents))


def copy_of_config(own_home: Path) -> tuple[dict[str, Any], list[str]]:
    """The user's configuration, fit for another CARGO_HOME.

    Returns:
        The document without source replacement, and what was left out, in words.

    Raises:
        ConfigError: It cannot be read.
    """
    document = read_config(own_home / "config") or read_config(own_home / "config.toml") or {}
    left_out = []
    if document.pop("source", None):
        left_out.append(
            f"{own_home}: `[source]` does not hold behind the gate: crates come from the trusted repository"
        )
    if not isinstance(document.get("net", {}), dict):
        raise ConfigError(f"{own_home}: `net` is not a table", hint="write what is below it under [net]")
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
        document["include"] = [str(own_home / path) for path in includes(document, str(own_home))]
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
    for key, below in table.items():
        if isinstance(below, dict):
            _write_table(below, (*name, key), lines)


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
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    escaped = "".join(
        {"\\": "\\\\", '"': '\\"'}.get(char) or (char if char.isprintable() else f"\\U{ord(char):08x}") for char in text
    )
    return f'"{escaped}"'
