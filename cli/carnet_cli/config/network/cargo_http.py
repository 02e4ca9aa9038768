"""What the user's own cargo configuration says of the network: `http.proxy` and `http.cainfo`.

Only the file of CARGO_HOME is read, and what it includes; cargo also takes those of the working directory and above,
which come with a project.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from carnet.durable import read_file
from carnet.errors import ConfigError
from carnet.value import value
from carnet_cli.config import places

_MAX_BYTES = 10_000_000
_DEEPEST_INCLUDE = 16
_SAID_WITH = (b"http", b"include", b"\\u", b"\\U", b"\\x")
"""Without any of these a file says nothing of the network: most need not be parsed, which takes longest."""


@value
class CargoHttp:
    """What a configuration says.

    Attributes:
        file: The user's file.
        proxy: `http.proxy`; None when it does not say, empty for "no proxy, whatever the environment says".
        ca_file: `http.cainfo`, absolute, or None.
        remarks: What was found and does not count.
    """

    file: Path
    proxy: str | None = None
    ca_file: str | None = None
    remarks: tuple[str, ...] = ()


def read_cargo_http(cargo_home: Path, about: Sequence[Path]) -> CargoHttp | None:
    """Read what cargo's configuration in the user's CARGO_HOME says of the network.

    Args:
        cargo_home: The folder.
        about: Folders of the project that a command is about; that in which it runs when there is none.

    Returns:
        What it says; None when that is nothing.

    Raises:
        ConfigError: It cannot be read as cargo reads it.
        StorageError: It cannot be read.
    """
    for name in ("config", "config.toml"):  # cargo, too, prefers the one without an ending
        file = cargo_home / name
        said: dict[str, tuple[str, Path]] = {}
        for key, text, where in _settings(file, 0):
            said.setdefault(key, (text, where))
        if said:
            return _counting(file, said, about)
        if places.is_there(str(file)):
            return None
    return None


def _counting(file: Path, said: Mapping[str, tuple[str, Path]], about: Sequence[Path]) -> CargoHttp:
    if any(_is_projects(where, about) for where in {file, *(where for _, where in said.values())}):
        names = " and ".join(f"`http.{key}`" for key in sorted(said))
        return CargoHttp(file, remarks=(f"{file} lies in the project: what it says with {names} does not count",))
    ca_file = None
    if "cainfo" in said:
        text, where = said["cainfo"]
        ca_file = str(where.parent.parent / text)  # as cargo takes it: from the folder above that of the file
    return CargoHttp(file, said["proxy"][0] if "proxy" in said else None, ca_file)


def _is_projects(file: Path, about: Sequence[Path]) -> bool:
    """Whether a file comes with the code under judgement."""
    around = (places.project_around(folder) for folder in about or (Path(),))
    return any(project is not None and places.lies_in(file, project) for project in around)


def _settings(file: Path, depth: int) -> Iterator[tuple[str, str, Path]]:
    """The keys that count, what they say, and in which file, those that win first."""
    try:
        data = read_file(file, "cargo's configuration", max_bytes=_MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return
    if not any(sign in data for sign in _SAID_WITH):
        return
    # Here: the parser takes as long to import as the rest of a look at a lock.
    from carnet_gate.config import includes, read_config

    document = read_config(file) or {}
    http = document.get("http")
    for key in ("proxy", "cainfo"):
        if isinstance(http, dict) and key in http:
            yield key, _text(http, key, file), file
    if depth < _DEEPEST_INCLUDE:
        for path in reversed(list(includes(document, str(file)))):  # the last one wins
            yield from _settings(file.parent / path, depth + 1)


def _text(http: Mapping[str, Any], key: str, file: Path) -> str:
    text = http[key]
    if not isinstance(text, str):
        raise ConfigError(f"{file}: `http.{key}` is not a string", hint=f'write {key} = "..." below [http]')
    return text
