"""The one door for JSON that others wrote, and canonical JSON.

JSON as Python's parser takes it leaves room for two readers of one signed file: the last of two equal keys wins,
``NaN`` and lone surrogates pass. Here every such document is refused before anybody looks at its content.

Canonical JSON (OLPC, as TUF and in-toto sign it) comes from orjson with sorted keys. The two agree for every value made
of objects with string keys, lists, strings, booleans, null and 64-bit integers, except that orjson escapes the control
characters U+0000 to U+001F where the canonical form keeps them as they are; undoing those escapes makes it exact.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn, TypeAlias

import orjson

from carnet.errors import FormatError

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"

MAX_DEPTH = 64
"""Objects and lists inside one another; TUF and in-toto metadata stay below 12."""

_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
# Inside an object or list. Three searches that begin with one byte each are twice as fast as one with a choice.
_FLOAT_IN_OBJECT, _FLOAT_FIRST, _FLOAT_NEXT = (re.compile(rb"\%c-?[0-9]+[.eE]" % byte) for byte in b":[,")
_CONTAINERS = frozenset((dict, list))
_ESCAPE = re.compile(rb"\\(?:u00([01][0-9a-f])|([btnfr\"\\]))")
_CONTROL = {b"b": b"\b", b"t": b"\t", b"n": b"\n", b"f": b"\f", b"r": b"\r"}


def parse(data: bytes, what: str, *, max_bytes: int) -> Json:
    """Parse JSON that someone else wrote.

    Args:
        data: The bytes as received.
        what: What they are meant to be, for the message.
        max_bytes: Refused above this size, before parsing.

    Returns:
        The value: objects, lists, strings, integers from -2^63 to 2^64 - 1, booleans, null.

    Raises:
        FormatError: Too large, not UTF-8, not JSON, a duplicate key, a float or NaN, an integer past 64 bits, a lone
            surrogate, or nested deeper than `MAX_DEPTH`.
    """
    return parse_and_compare(data, what, max_bytes=max_bytes)[0]


def parse_and_compare(data: bytes, what: str, *, max_bytes: int) -> tuple[Json, bool]:
    """As `parse`; also says whether the bytes are the canonical JSON of their value.

    Raises:
        FormatError: As `parse`.
    """
    if len(data) > max_bytes:
        raise FormatError(f"{what} is larger than {max_bytes} bytes")
    try:
        # Signed files are mostly canonical already. If writing the parse again gives the same bytes, then nothing was
        # dropped or folded by the parser: no duplicate key and no odd number can have been in there. A float can, and
        # a number with a fraction or an exponent is looked for in the bytes; what only looks like one is no harm.
        # Index lines are as compact, with keys in the registry's order: the same proof holds without sorting.
        value = orjson.loads(data)
        if data.startswith((b"{", b"[")) and not _may_hold_a_float(data):
            is_canonical = _encode(value, what) == data
            if is_canonical or _encode(value, what, sort=False) == data:
                # Each level of nesting opens with a bracket, so few brackets are proof enough.
                if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
                    _check_depth(value, what)
                return value, is_canonical
    except (orjson.JSONDecodeError, RecursionError, FormatError):
        pass  # the careful parser below decides, and says why
    return _parse_carefully(data, what), False


def _may_hold_a_float(data: bytes) -> bool:
    return bool(_FLOAT_IN_OBJECT.search(data) or _FLOAT_FIRST.search(data) or _FLOAT_NEXT.search(data))


def parse_object(data: bytes, what: str, *, max_bytes: int) -> JsonObject:
    """Parse JSON whose outermost value must be an object.

    Raises:
        FormatError: As `parse`, or the document is not an object.
    """
    value = parse(data, what, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise FormatError(f"{what} is not a JSON object")
    return value


def canonical(value: Any, what: str = "value") -> bytes:
    """Encode as OLPC canonical JSON, the form that TUF and in-toto sign.

    Args:
        value: Objects with string keys, lists, strings, 64-bit integers, booleans and null.
        what: What it is, for the message.

    Raises:
        FormatError: The value holds something that canonical JSON has no form for.
    """
    _check_types(value, what)
    return _encode(value, what)


def _encode(value: Any, what: str, *, sort: bool = True) -> bytes:
    order = orjson.OPT_SORT_KEYS if sort else 0
    try:
        encoded = orjson.dumps(value, option=order | orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise FormatError(f"{what} has no canonical JSON form: {error}") from None
    return _ESCAPE.sub(_unescape_control, encoded) if b"\\" in encoded else encoded


def _unescape_control(match: re.Match[bytes]) -> bytes:
    if match[1]:
        return bytes([int(match[1], 16)])
    return _CONTROL.get(match[2], match[0])


def _check_types(value: Any, what: str) -> None:
    """Refuse what orjson would write and canonical JSON does not know: floats, UUIDs, dates, enumerations."""
    stack = [value]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is dict:
            stack.extend(item.values())
        elif kind is list:
            stack.extend(item)
        elif kind is int:
            if not _INT64_MIN <= item <= _UINT64_MAX:
                raise FormatError(f"{what} holds an integer past 64 bits")
        elif kind is not str and kind is not bool and item is not None:
            raise FormatError(f"{what} holds a {kind.__name__}, which canonical JSON has no form for")


def _parse_carefully(data: bytes, what: str) -> Json:
    def refuse(literal: str) -> NoReturn:
        raise FormatError(f"{what} holds the number {literal[:20]}: only integers are allowed")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise FormatError(f"{what} has the key {twice[:60]!a} twice")
        return found

    try:
        text = data.decode("utf-8", "strict")
        value: Json = json.loads(text, parse_float=refuse, parse_constant=refuse, object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise FormatError(f"{what} is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise FormatError(f"{what} is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:  # json.JSONDecodeError, and an integer of more than 4,300 digits
        raise FormatError(f"{what} is not JSON: {str(error).splitlines()[0]}") from None
    _check_depth(value, what)
    canonical(value, what)  # integers past 64 bits and lone surrogates have no canonical form
    return value


def _check_depth(value: Any, what: str) -> None:
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(MAX_DEPTH):
        if not level:
            return
        level = [
            child
            for item in level
            for child in (item.values() if type(item) is dict else item)
            if type(child) in _CONTAINERS
        ]
    if level:
        raise FormatError(f"{what} is nested deeper than {MAX_DEPTH} levels")
