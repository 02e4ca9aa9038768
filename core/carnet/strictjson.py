"""The one door for JSON: reading what others wrote, writing it, and its canonical form.

JSON as Python's parser takes it by default leaves room for two readers of one signed file: the last of two equal keys
wins, ``NaN`` and lone surrogates pass. Here every such document is refused before anybody looks at its content.

Canonical JSON (OLPC, as TUF and in-toto sign it) is what the standard library writes with sorted keys and without white
space. The two agree for every value made of objects with string keys, lists, strings, booleans, null and integers,
except that the library escapes the control characters U+0000 to U+001F where the canonical form keeps them as they are;
undoing those escapes makes it exact.

orjson is several times as fast, and what it imports takes longer than all the small files of a look at a lock. So it
comes with the first large file, and what it reads counts only when it writes the very same bytes again: then nothing
was dropped or folded, and the strict parser would have read the same.

A document costs in proportion to its size, whatever is in it: objects and lists, which cost most for the bytes that
they take, are counted before anything is parsed (`make hostile` measures the worst of each kind).
"""

from __future__ import annotations

import re
import sys
from json.decoder import JSONDecodeError, JSONDecoder
from json.encoder import JSONEncoder
from types import ModuleType
from typing import Any, NoReturn, TypeAlias

from carnet.errors import FormatError

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"

MAX_DEPTH = 64
"""Objects and lists inside one another; TUF and in-toto metadata stay below 12."""

_CONTAINERS_ALWAYS, _BYTES_PER_CONTAINER = 4096, 8
"""Objects and lists that any document may have, and bytes for each further one. Two bytes make a list, and eighty hold
it in memory; the densest metadata in use has one for 20 bytes."""

_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
_LARGE = 500_000
"""Bytes of a file from which on orjson is worth its import, some 12 ms."""

# A number with a fraction or an exponent inside an object or list; what only looks like one is no harm. Three searches
# that begin with one byte each are twice as fast as one with a choice.
_FLOATS = (rb":-?[0-9]+[.eE]", rb"\[-?[0-9]+[.eE]", rb",-?[0-9]+[.eE]")
_CONTAINERS = frozenset((dict, list))
_USUAL_DEPTH = 16
_ONE_KIND = bytes.maketrans(b"[]", b"{}")
_NEITHER = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_LONG_INTEGER = rb"[0-9]{19}"
_SURROGATE = rb"\\u[dD][89a-fA-F]"
_CONTROL = ((b"\\b", b"\b"), (b"\\t", b"\t"), (b"\\n", b"\n"), (b"\\f", b"\f"), (b"\\r", b"\r"))
_NO_UTF8 = b"\xff"
"""A byte that no JSON holds: it stands for an escaped backslash while escapes are undone."""


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
            surrogate, nested deeper than `MAX_DEPTH`, or more objects and lists than so many bytes have any need of.
    """
    if len(data) > max_bytes:
        raise FormatError(f"{what} is larger than {max_bytes} bytes")
    containers = data.count(b"{") + data.count(b"[")
    if containers > _CONTAINERS_ALWAYS + len(data) // _BYTES_PER_CONTAINER:
        raise FormatError(
            f"{what} is nested deeper than {MAX_DEPTH} levels, or hardly anything but brackets: "
            f"{containers} in {len(data)} bytes"
        )
    orjson = _orjson(len(data))
    value = _parse_quickly(orjson, data) if orjson is not None else None
    if value is None:
        value = _parse_strictly(data, what)
    # Each level of nesting opens with a bracket, so few brackets are proof enough.
    if containers > MAX_DEPTH and not _is_shallow(data):
        _check_depth(value, what)
    if re.search(_SURROGATE, data):  # one that is alone has no canonical form
        canonical_again(value, len(data), what)
    return value


def parse_known(data: bytes, what: str) -> Json:
    """Parse the very bytes that `parse` took before, as a proof says that is remembered with them.

    Args:
        data: Those bytes.
        what: As for `parse`.

    Raises:
        FormatError: They are no JSON, so they are others.
    """
    orjson = _orjson(len(data))
    try:
        value: Json = _PLAIN.decode(data.decode()) if orjson is None else orjson.loads(data)
    except (ValueError, RecursionError):
        raise FormatError(f"{what} is not JSON") from None
    return value


def _orjson(size: int) -> ModuleType | None:
    """orjson, when it is there already or so many bytes are worth its import."""
    if size < _LARGE and "orjson" not in sys.modules:
        return None
    import orjson

    return orjson


def _parse_quickly(orjson: ModuleType, data: bytes) -> Json:
    """The value of a document as carnet writes them; None where the strict parser has to decide."""
    if not data.startswith((b"{", b"[")) or any(re.search(pattern, data) for pattern in _FLOATS):
        return None
    try:
        value: Json = orjson.loads(data)
        # Index lines have their keys in the registry's order: the same proof holds without sorting.
        return value if canonical_again(value, len(data)) == data or orjson.dumps(value) == data else None
    except (orjson.JSONDecodeError, RecursionError, FormatError):
        return None


def _parse_strictly(data: bytes, what: str) -> Json:
    try:
        # Asking about each integer takes longer than parsing it: only where one is long enough.
        decoder = _DECODER if re.search(_LONG_INTEGER, data) else _SMALL_INTEGERS
        value: Json = decoder.decode(data.decode())
    except UnicodeDecodeError as error:
        raise FormatError(f"{what} is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise FormatError(f"{what} is nested deeper than {MAX_DEPTH} levels") from None
    except JSONDecodeError as error:
        raise FormatError(f"{what} is not JSON: {error}") from None
    except _Refused as error:
        raise FormatError(f"{what} {error}") from None
    return value


class _Refused(Exception):  # noqa: N818  -- what is wrong with a part, for the error about the whole
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        last = {key: place for place, (key, _) in enumerate(pairs)}
        twice = next(key for place, (key, _) in enumerate(pairs) if last[key] != place)
        raise _Refused(f"has the key {twice[:60]!a} twice")
    return found


def _integer(literal: str) -> int:
    if len(literal) > 18 and (len(literal) > 20 or not _INT64_MIN <= int(literal) <= _UINT64_MAX):
        raise _Refused("holds an integer past 64 bits")
    return int(literal)


def _no_float(literal: str) -> NoReturn:
    raise _Refused(f"holds the number {literal[:20]}: only integers are allowed")


_DECODER = JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=_no_float, parse_constant=_no_float)
_PLAIN = JSONDecoder()
_SMALL_INTEGERS = JSONDecoder(object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float)


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
    return canonical_again(value, what=what)


def canonical_again(value: Json, size: int = 0, what: str = "value") -> bytes:
    """As `canonical`, for what `parse` gave: there is nothing to check any more.

    Args:
        value: What was parsed.
        size: The bytes that it came from.
        what: As for `canonical`.
    """
    encoded = _write(_orjson(size), value, what)
    return _unescape_controls(encoded) if b"\\" in encoded else encoded


def encode(value: Any, what: str = "value") -> bytes:
    """Write JSON that carnet made itself: compact, with sorted keys, so that the same value gives the same bytes.

    For everything that is written to be read again: canonical JSON with a control character in it, such as the line
    breaks of a key in PEM, is no JSON that a parser takes.

    Args:
        value: Objects with string keys, lists, strings, numbers, booleans and null.
        what: What it is, for the message.

    Raises:
        FormatError: It holds something that JSON has no form for, such as a file name that is not UTF-8.
    """
    return _write(None, value, what)


def _write(orjson: ModuleType | None, value: Any, what: str) -> bytes:
    try:
        if orjson is None:
            return _ENCODER.encode(value).encode()
        written: bytes = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        return written
    except (TypeError, ValueError, RecursionError) as error:  # orjson's error is a TypeError
        raise FormatError(f"{what} cannot be written as JSON: {error}") from None


_ENCODER = JSONEncoder(check_circular=False, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def _unescape_controls(encoded: bytes) -> bytes:
    """Undo the escapes of U+0000 to U+001F, in time that does not depend on how many there are."""
    # Once no escaped backslash is left, a backslash begins an escape wherever it stands.
    plain = encoded.replace(b"\\\\", _NO_UTF8)
    for escape, byte in _CONTROL:
        plain = plain.replace(escape, byte)
    if b"\\u00" in plain:
        for number in range(0x20):
            plain = plain.replace(b"\\u%04x" % number, bytes([number]))
    return plain.replace(_NO_UTF8, b"\\\\")


def _check_types(value: Any, what: str) -> None:
    """Refuse what the encoder would write and canonical JSON does not know: floats, tuples, enumerations."""
    stack = [value]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is dict:
            for key in item:
                if type(key) is not str:
                    raise FormatError(f"{what} has a key that is no string")
            stack.extend(item.values())
        elif kind is list:
            stack.extend(item)
        elif kind is int:
            if not _INT64_MIN <= item <= _UINT64_MAX:
                raise FormatError(f"{what} holds an integer past 64 bits")
        elif kind is not str and kind is not bool and item is not None:
            raise FormatError(f"{what} holds a {kind.__name__}, which canonical JSON has no form for")


def _is_shallow(data: bytes) -> bool:
    """Whether brackets alone prove that a document, which is JSON, is nested no deeper than metadata is in use.

    Taking the innermost pairs away, over and over, is a tenth of the work of looking at each value. Strings that hold
    brackets or backslashes prove nothing.
    """
    if b"\\" in data:
        return False
    # Without its text a string is a pair of quotes. One that holds a bracket leaves a quote over, before that bracket,
    # which nothing takes away.
    left = data.translate(_ONE_KIND, _NEITHER).replace(b'""', b"")
    for _ in range(_USUAL_DEPTH):
        if not left:
            return True
        left = left.replace(b"{}", b"")
    return not left


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
