"""Where a passphrase comes from: a prompt, a file or a descriptor, and never the command line itself."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from carnet.errors import ConfigError, SigningError

_MAX = 4_096
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass
class PassphraseSource:
    """Where to get a passphrase from; a prompt on the terminal when nothing else was given.

    Attributes:
        file: `--passphrase-file`.
        descriptor: `--passphrase-fd`.
        kind: What it is: the flags are named for it.
    """

    file: Path | None = None
    descriptor: int | None = None
    kind: str = "passphrase"
    _read: bytes | None = field(default=None, repr=False)

    def ask(self, what: str) -> bytes | None:
        """What unlocks an existing key, such as its passphrase; None when there is no terminal to ask on.

        Args:
            what: The prompt, such as `passphrase of alice`.
        """
        given = self._given()
        if given is not None:
            return given
        return _prompt(what) if _terminal() else None

    def choose(self, what: str) -> bytes:
        """A passphrase for a new key; typed twice at the prompt.

        Raises:
            SigningError: There is no terminal to ask on.
        """
        given = self._given()
        if given is not None:
            return given
        if not _terminal():
            raise SigningError(
                f"there is nobody to ask for the passphrase of {what}",
                hint="add `--passphrase-file FILE`, a file that only you can read; or run it in a terminal",
            )
        return _prompt(f"new passphrase for {what}", confirm=True)

    def arguments(self) -> list[str]:
        """The same choice, for the command line of a child."""
        if self.file is not None:
            return ["--passphrase-file", str(self.file)]
        return ["--passphrase-fd", str(self.descriptor)] if self.descriptor is not None else []

    def _given(self) -> bytes | None:
        if self._read is None and self.file is not None:
            self._read = _first_line(_read_file(self.file, self.kind), f"{self.kind} file {self.file}", self.kind)
        elif self._read is None and self.descriptor is not None:
            data = _read_descriptor(self.descriptor, self.kind)
            self._read = _first_line(data, f"descriptor {self.descriptor}", self.kind)
        return self._read  # a pipe can be read once, and there may be two keys


def passphrase_options(command: _Command) -> _Command:
    """Decorate a command with `--passphrase-file` and `--passphrase-fd`; it gets `passphrase: PassphraseSource`."""
    import functools

    @functools.wraps(command)
    def wrapped(*args: Any, passphrase_file: Path | None, passphrase_fd: int | None, **kwargs: Any) -> Any:
        if passphrase_file is not None and passphrase_fd is not None:
            raise ConfigError(
                "give either --passphrase-file or --passphrase-fd, not both", hint="leave one of them out"
            )
        return command(*args, passphrase=PassphraseSource(passphrase_file, passphrase_fd), **kwargs)

    file = click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path),
        help="Read the key's passphrase or PIN from the first line of this file, which others cannot read.",
    )
    descriptor = click.option(
        "--passphrase-fd",
        type=click.IntRange(min=0),
        help="Read the key's passphrase or PIN from this open descriptor.",
    )
    return file(descriptor(wrapped))  # type: ignore[return-value]


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _prompt(text: str, *, confirm: bool = False) -> bytes:
    answer: str = click.prompt(text, hide_input=True, confirmation_prompt=confirm, err=True)
    return answer.encode()


def _read_file(path: Path, kind: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"{kind} file {path}: {(error.strerror or 'cannot be read').lower()}",
            hint=f"its first line is the {kind}: name a file with `--{kind}-file` that you can read",
        ) from None
    try:
        status = os.fstat(descriptor)
        # A pipe (`<(pass show carnet)`) has no owner to speak of; a file that others read holds no secret.
        if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
            raise SigningError(
                f"{kind} file {path} can be read or changed by others (mode {stat.S_IMODE(status.st_mode):04o})",
                hint=f"`chmod 600 {path}`",
            )
        return _read_descriptor(descriptor, kind)
    finally:
        os.close(descriptor)


def _read_descriptor(descriptor: int, kind: str) -> bytes:
    data = b""
    try:
        while len(data) <= _MAX and (chunk := os.read(descriptor, _MAX)):
            data += chunk
    except OSError as error:
        raise ConfigError(
            f"descriptor {descriptor}: {(error.strerror or 'cannot be read').lower()}",
            hint=f"open it for the command, as in `--{kind}-fd 3 3<FILE`",
        ) from None
    return data


def _first_line(data: bytes, what: str, kind: str) -> bytes:
    line = data.partition(b"\n")[0].removesuffix(b"\r")
    if not line or len(data) > _MAX:
        raise ConfigError(
            f"{what} has no {kind} in its first line" if not line else f"{what} is too large",
            hint=f"its first line is the {kind}, and nothing else is read",
        )
    return line
