"""The one door for TOML: everything that people, cargo or strangers wrote in it is read here and nowhere else.

The parser below this door raises errors of several kinds, has no bound on integers or on nesting that ours could rely
on, and takes up to two seconds for a megabyte that is nothing but syntax. Behind the door there is one error, and a
document that cargo's own parser would have taken as well: TOML 1.1, one byte-order mark in front of it allowed.
"""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterator
from typing import Any

import tomli

from carnet.errors import FormatError

Table = dict[str, Any]

MAX_DEPTH = 80
"""Tables and arrays inside one another, counted through dotted keys; where cargo's parser stops too."""

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_MARK = b"\xef\xbb\xbf"

# What parsing takes is in the syntax, so it is weighed before parsing: a unit is about a microsecond of a slow core.
# Lock files of real projects weigh 0.2 a byte, manifests less; small files need not be weighed.
_WEIGHTS = ((b"=", 4), (b",", 3), (b"[", 3), (b"\n[", 7), (b"{", 7), (b"\\", 3), (b".", 1), (b"#", 2), (b":", 2))
_FREE = 40_000
# Each part of a dotted key is looked up again for each of those behind it.
_DOTTED_LINE = re.compile(rb"\.[^.\n]*\.[^.\n]*\.[^\n]*")
# A number takes as long again as a string does, and one of a million digits a hundred megabytes.
_LARGE = 20_000
_NUMBER = re.compile(rb"[=,\[]\s*[-+]?[0-9]")
_NUMBER_UNITS = 7
_LONG_NUMBER = re.compile(rb"[=,\[\s][-+]?[0-9][0-9A-Za-z_.+:-]{200}")
_LONG_LINE, _MANY_DOTS = 200, 16
_DEEP_HEADER = re.compile(rb"\n[ \t]*\[(?:[^.\n]*\.){16}")


def parse(data: bytes, what: str, *, max_bytes: int, hint: str = "") -> Table:
    """Parse TOML that someone else wrote.

    Args:
        data: The bytes as received.
        what: What they are meant to be, for the message.
        max_bytes: Refused above this size, before parsing.
        hint: What the reader of an error can do about this file.

    Returns:
        The document: tables, arrays, strings, 64-bit integers, floats, booleans, dates and times, as Python has them.

    Raises:
        FormatError: Too large, not UTF-8, not TOML, a duplicate key, an integer past 64 bits, nested deeper than
            `MAX_DEPTH`, or so dense that parsing it would take long.
    """
    if len(data) > max_bytes:
        raise FormatError(f"{what} is larger than {max_bytes} bytes", hint=hint)
    data = data.removeprefix(_MARK)
    _check_weight(data, what, hint)
    try:
        with _nothing_collected(data):
            document = tomli.loads(data.decode())
    except UnicodeDecodeError as error:
        raise FormatError(f"{what} is not UTF-8 (byte {error.start})", hint=hint) from None
    except RecursionError:
        raise FormatError(f"{what} is not TOML: it is nested deeper than {MAX_DEPTH} levels", hint=hint) from None
    except tomli.TOMLDecodeError as error:
        why = " ".join(error.msg.split())
        raise FormatError(
            f"{what} is not TOML: {why[:100]} (line {error.lineno}, column {error.colno})", hint=hint
        ) from None
    except ValueError:  # what `int` says to more digits than Python is willing to read
        raise FormatError(f"{what} is not TOML: it holds an integer past 64 bits", hint=hint) from None
    _check_values(document, what, hint)
    return document


@contextlib.contextmanager
def _nothing_collected(data: bytes) -> Iterator[None]:
    """Keep the collector off while a large document is parsed: it would walk all of it again and again for nothing."""
    if len(data) <= _LARGE or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _check_weight(data: bytes, what: str, hint: str) -> None:
    allowed, lines = _FREE + len(data) // 4, data.split(b"\n")
    weight = sum(data.count(sign) * units for sign, units in _WEIGHTS)
    if len(data) > _LARGE and weight <= allowed:
        weight += _NUMBER_UNITS * sum(1 for _ in _NUMBER.finditer(data))
        # Such a number is longer than nearly all lines, and it is one line's: patterns search a byte at a time.
        if max(map(len, lines)) > _LONG_LINE and _LONG_NUMBER.search(data) is not None:
            raise FormatError(f"{what} has a number of more than 200 digits", hint=hint)
    if weight <= allowed and data.count(b".") > 100:
        dots = (line[0].count(b".") for line in _DOTTED_LINE.finditer(data))
        weight += sum(3 * count + count * count // 10 for count in dots)
    if weight > allowed:
        raise FormatError(f"{what} is nothing but syntax, more than carnet parses in a file of its size", hint=hint)
    many = any(line.count(b".") >= _MANY_DOTS for line in lines)
    deep = _DEEP_HEADER.search(b"\n" + data) if many else None
    if deep is not None:
        line = data.count(b"\n", 0, deep.start()) + 1
        raise FormatError(f"{what} names a table with more than 16 parts (line {line})", hint=hint)


_HARMLESS = frozenset((str, bool))
"""What nearly all tables of a lock hold, and nothing else."""


def _check_values(document: Table, what: str, hint: str) -> None:
    """Bound integers, and the nesting, which dotted keys make without a bracket."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        found: list[Any] = []
        for item in level:
            children = item.values() if type(item) is dict else item
            if _HARMLESS.issuperset(map(type, children)):
                continue
            for child in children:
                kind = type(child)
                if kind is dict or kind is list:
                    found.append(child)
                elif kind is int and not _INT64_MIN <= child <= _INT64_MAX:
                    raise FormatError(f"{what} is not TOML: it holds an integer past 64 bits", hint=hint)
        level = found
        if not level:
            return
    raise FormatError(f"{what} is not TOML: it is nested deeper than {MAX_DEPTH} levels", hint=hint)
