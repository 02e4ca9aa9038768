"""Changes to honest inputs: of bytes, and of what the bytes mean.

Each mutator takes a source of randomness and honest seeds and gives one input. What is changed knows the format: a JSON
document stays one most of the time, a tarball's headers keep their checksums and its gzip its length.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import orjson
from tests.support.crates.archives import gzip


class Dice(Random):
    """Randomness of millions of small numbers: three times as fast as the library's, and as even as this needs."""

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        """A number below `start`, or from `start` to below `stop`."""
        return int(self.random() * start) if stop is None else start + int(self.random() * (stop - start))

    def choice(self, seq: Any) -> Any:
        """One of a sequence."""
        return seq[int(self.random() * len(seq))]


Mutator = Callable[[Random, Sequence[bytes]], bytes]

MOST = 1 << 20
NUMBERS = (
    *("0", "-1", "1", "00", "007", "1e9", "1.5", "0x10", "4294967296", "9223372036854775807", "9223372036854775808"),
    *("18446744073709551615", "18446744073709551616", "-9223372036854775809", "9" * 4_300, "9" * 5_000, "1_0", "NaN"),
)
TEXTS = (
    *("", " ", ".", "..", "../x", "/", "/etc", "a/../b", "a//b", "C:\\x", "con", "\x00", "a\x00b", "\ud800", "\ufeff"),
    *("é", "e\u0301", "\u202e", "\u1100" * 40, "\u0345" * 200, "A" * 300, "a" * 70_000, "*", "?", "[a", "%00", "%"),
    *("0000-00-00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z"),
    *("1.2.3", "1.2.3-" + "1." * 50 + "1", "^1", ">=1, <2", "=", "*, *", "1." * 900, "cfg(" + "not(" * 500, "{", "\n"),
    *(
        "http://[",
        "https://a:99999/",
        "sparse+https://",
        "ed25519",
        "rsa",
        "-----BEGIN PUBLIC KEY-----\n",
        "====",
        "0" * 64,
    ),
)
TOKENS = (
    *(text.encode("utf-8", "replace") for text in (*NUMBERS, *TEXTS)),
    *(b"\xff", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r\n", b"\n\n", b"\t", b'"', b"'"),
    *(b'"""', b"\\", b"[", b"]", b"[[", b"]]", b"{", b"}", b"=", b",", b".", b"#", b":", b"inf", b"nan", b"true"),
)
_QUOTED = [b'"%s"' % token for token in TOKENS]
_NUMBERS = [number.encode() for number in NUMBERS]
_NUMBER, _STRING = re.compile(rb"[0-9]+"), re.compile(rb'"[^"\n]*"')


def octets(random: Random, seeds: Sequence[bytes]) -> bytes:
    """One to four changes to the bytes of a seed, now and then twelve."""
    data = bytearray(random.choice(seeds))
    for _ in range(1 << random.randrange(3) if random.randrange(16) else 12):
        _change(random, data, seeds)
    return bytes(data[:MOST])


def _change(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + (1 << random.randrange(8)))
    match random.randrange(12):
        case 0 if at < len(data):
            data[at] ^= 1 << random.randrange(8)
        case 1 if at < len(data):
            data[at] = random.randrange(256)
        case 2:
            data[at:at] = random.randbytes(1 << random.randrange(5))
        case 3 | 4:
            data[at:at] = random.choice(TOKENS)
        case 5:
            del data[at:end]
        case 6:
            data[at:at] = data[at:end]
        case 7:
            times = random.choice((2, 3, 10, 100, 1_000)) if random.randrange(200) else 50_000
            data[at:at] = (data[at : at + random.randrange(1, 6)] * times)[: 4 * 65_536]
        case 8 if random.randrange(4) == 0:
            del data[at:]
        case 9:
            other = random.choice(seeds)
            start = random.randrange(len(other) + 1)
            data[at:end] = other[start : start + (1 << random.randrange(9))]
        case 10:
            _replace(random, data, _NUMBER, _NUMBERS)
        case _:
            _replace(random, data, _STRING, _QUOTED)


def _replace(random: Random, data: bytearray, pattern: re.Pattern[bytes], by: Sequence[bytes]) -> None:
    at = random.randrange(len(data) + 1)
    match = pattern.search(data, at)
    if match is not None:
        data[match.start() : match.end()] = random.choice(by)


def documents(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A JSON document whose values, keys and nesting changed; one in five in its bytes as well."""
    value = [orjson.loads(random.choice(seeds))]
    for _ in range(1 << random.randrange(3)):
        _change_value(random, value, seeds)
    encoded = _encoded(value[0], escaped=random.randrange(4) == 0)
    return octets(random, [encoded]) if random.randrange(5) == 0 else encoded[:MOST]


def _encoded(value: Any, *, escaped: bool = False) -> bytes:
    if not escaped:
        with contextlib.suppress(orjson.JSONEncodeError):  # surrogates, large integers, deep nesting
            return orjson.dumps(value)
    try:
        # A lone surrogate has no UTF-8: escaped it is text of a document all the same.
        return json.dumps(value, ensure_ascii=escaped, separators=(",", ":")).encode("utf-8", "surrogatepass")
    except RecursionError:  # the writer's limit, not the readers'
        return b"[" * 100_000 + b"]" * 100_000


def _change_value(random: Random, top: list[Any], seeds: Sequence[bytes]) -> None:
    holder: Any = top
    key: Any = 0
    while isinstance(holder[key], dict | list) and holder[key] and random.randrange(6):
        holder = holder[key]
        key = random.choice(list(holder)) if isinstance(holder, dict) else random.randrange(len(holder))
    value = holder[key]
    match random.randrange(11):
        case 0 if holder is not top:
            del holder[key]
        case 1 | 2:
            holder[key] = random.choice(
                (None, True, False, [], {}, 0, 1, -1, 2**53, 2**63, 2**64, 10**30, 1.5, "", [[]])
            )
        case 3 | 4:
            holder[key] = random.choice(TEXTS)
        case 5 if isinstance(holder, dict):
            holder[random.choice((*TEXTS, *holder))] = holder.pop(key)
        case 6:
            for _ in range(random.choice((1, 2, 60, 70, 300))):
                value = [value] if random.randrange(2) else {"a": value}
            holder[key] = value
        case 7 if isinstance(holder, list):
            holder.insert(random.randrange(len(holder) + 1), value)
        case 8:
            holder[key] = orjson.loads(random.choice(seeds))
        case 9 if isinstance(value, dict | list) and value:
            many = random.choice((3, 3, 30, 30, 300, 3_000))
            holder[key] = (
                [value] * 3 if isinstance(value, list) else {**value, **dict.fromkeys(map(str, range(many)), 1)}
            )
        case _ if isinstance(value, str) and value:
            at = random.randrange(len(value))
            holder[key] = value[:at] + random.choice((*TEXTS, value)) + value[at + 1 :]


def envelopes(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A DSSE envelope, or a document that holds some, changed inside a payload or outside."""
    if random.randrange(3) == 0:
        return documents(random, seeds)
    value = orjson.loads(random.choice(seeds))
    found = [item for item in _objects(value) if isinstance(item.get("payload"), str)]
    for item in random.sample(found, min(len(found), 2)):
        item["payload"] = base64.b64encode(documents(random, [base64.b64decode(item["payload"])])).decode()
    return _encoded(value)


def _objects(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [found for item in value for found in _objects(item)]
    if isinstance(value, dict):
        return [value, *(found for item in value.values() for found in _objects(item))]
    return []


_FIELDS = ((0, 100), (100, 8), (108, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (329, 16), (345, 155))
"""Of a tar header: name, mode, owner, size, time, kind, link, magic, device, prefix."""
_KINDS = b"05L12346789gxKDMNSV\x00Z"


def tarballs(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A `.crate`: blocks moved, header fields changed under a checksum that is right again, or its gzip changed."""
    tar = bytearray(random.choice(seeds))
    for _ in range(1 << random.randrange(3)):
        block = 512 * random.randrange(max(1, len(tar) // 512))
        match random.randrange(8):
            case 0 | 1 | 2 | 3:
                _change_header(random, tar, block)
            case 4:
                del tar[block : block + 512]
            case 5:
                tar[block:block] = tar[block : block + 512 * random.choice((1, 1, 2, 40))]
            case 6:
                other = random.choice(seeds)
                start = 512 * random.randrange(max(1, len(other) // 512))
                tar[block:block] = other[start : start + 1024]
            case _:
                _change(random, tar, seeds)
    packed = gzip(bytes(tar[: 4 * MOST]), level=1)
    return octets(random, [packed]) if random.randrange(6) == 0 else packed


def _change_header(random: Random, tar: bytearray, block: int) -> None:
    header = bytearray(tar[block : block + 512].ljust(512, b"\0"))
    start, size = random.choice(_FIELDS)
    if size == 1:
        new = bytes([random.choice(_KINDS)])
    elif size in (8, 12):
        new = random.choice(
            (b"%0*o\0" % (size - 1, random.randrange(1 << 21)), b"\x80" + random.randbytes(size - 1), b"")
        )
    else:
        was = bytes(header[start : start + size]).rstrip(b"\0")
        new = random.choice((*TOKENS, was + random.choice(TOKENS)))[:size]
    header[start : start + size] = new.ljust(size, b"\0")[:size]
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    tar[block : block + 512] = header


def bodies(random: Random, seeds: Sequence[bytes]) -> bytes:
    """HTTP answers, changed; a body that says that it is gzip is one, mostly."""
    data = octets(random, seeds)
    if random.randrange(4) == 0:
        inside = random.choice((b"", b"x" * 100, bytes(1 << random.randrange(21))))
        body = zlib.compress(inside, 1, 31)
        coded = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
        return coded + (body if random.randrange(2) else octets(random, [body]))
    return data


def named(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A file with its name before it, and a zero between: the document changed, one in eight the name."""
    name, _, data = random.choice(seeds).partition(b"\0")
    if random.randrange(8) == 0:
        name = octets(random, [name])
    return name + b"\0" + documents(random, [data])


def views(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A saved view: one of its files changed, or where they stand, or all around them."""
    if random.randrange(4) == 0:
        return documents(random, seeds)
    value = orjson.loads(random.choice(seeds))
    files = value["files"]
    path = random.choice(list(files))
    match random.randrange(5):
        case 0:
            files[random.choice((*TEXTS, *files))] = files.pop(path)
        case 1:
            files[path] = random.choice(list(files.values()))
        case _:
            change = documents if random.randrange(3) else octets
            files[path] = base64.b64encode(change(random, [base64.b64decode(files[path])])).decode()
    return _encoded(value)
