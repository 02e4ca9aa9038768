"""What people type as an argument, read: what does not parse is theirs to mend, and not a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from carnet.errors import ConfigError, FormatError

T = TypeVar("T")


def typed(parse: Callable[[str], T], text: str) -> T:
    """Read an argument of the command line.

    Args:
        parse: Reads it, as it is read where a mirror sent it: there the same text is refused with exit status 1.
        text: What was typed.

    Raises:
        ConfigError: It does not parse.
    """
    try:
        return parse(text)
    except FormatError as error:
        raise ConfigError(str(error), hint=error.hint) from None
