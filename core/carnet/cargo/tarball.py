"""Tar headers, read so that no two readers can disagree about them.

cargo unpacks with the Rust crate `tar`, people look with GNU tar, bsdtar or Python. Each repairs odd headers in its own
way: numbers in base 256, names that go on behind a NUL, a prefix that only one format knows, PAX records that override
the header, sparse maps, data behind the end. Here there is nothing to repair: what is not written exactly as a plain
writer writes it is refused.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from carnet.errors import ArchiveRefused

BLOCK = 512
MAX_NAME = 1024
"""Bytes in a member's name, folder included."""

_ZERO_BLOCK = bytes(BLOCK)
_GNU, _USTAR = b"ustar  \0", b"ustar\x0000"
_LONG_NAME = b"././@LongLink"
# Digits up to the end of the field, then one terminator. No blanks before, no base 256, no minus, no second number.
_NUMBER = re.compile(rb"([0-7]+)[\0 ]{1,2}\Z")
_FILE_TYPE_BIT = 0o100000  # "regular file" in a mode, as cargo wrote it until 2020
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a fifo",
    b"7": "a contiguous file",
    b"D": "a GNU directory dump",
    b"K": "a long link name",
    b"M": "a continuation of another volume",
    b"N": "an old long name table",
    b"S": "a sparse file",
    b"V": "a volume label",
    b"g": "a global PAX header",
    b"x": "a PAX header",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One file or directory of a tar archive.

    Attributes:
        name: As the archive spells it, without the `/` that ends a directory's.
        directory: Whether it is a directory.
        mode: Permission bits, at most 0o7777.
        start: Where its data begins in the archive.
        size: Bytes of data; 0 for a directory.
    """

    name: str
    directory: bool
    mode: int
    start: int
    size: int


def members(tar: bytes | bytearray, *, max_members: int) -> Iterator[Member]:
    """Walk over an uncompressed archive.

    Args:
        tar: All of it.
        max_members: Headers at most; a long name has one of its own, and costs as much as its file does.

    Raises:
        ArchiveRefused: Anything but regular files and directories with plain headers, up to two or more zero blocks
            that nothing follows.
    """
    if len(tar) % BLOCK:
        raise ArchiveRefused(f"the archive is {len(tar)} bytes long, which is no multiple of {BLOCK}")
    view = memoryview(tar)
    position, count, long_name = 0, 0, None
    while True:
        header = bytes(view[position : position + BLOCK])
        if len(header) < BLOCK:
            raise ArchiveRefused("the archive is cut off: it has no end mark")
        if header == _ZERO_BLOCK:
            break
        at = f"the header at byte {position}"
        _check_header(header, at)
        size, kind = _number(header[124:136], at, "size"), header[156:157]
        start, position = position + BLOCK, position + BLOCK + -(-size // BLOCK) * BLOCK
        if position > len(tar):
            raise ArchiveRefused(f"{at} announces more data than the archive has")
        if start + size < position and bytes(view[start + size : position]).strip(b"\0"):
            raise ArchiveRefused(f"{at} hides data in the padding behind its file")
        count += 1
        if count > max_members:
            raise ArchiveRefused(f"the archive has more than {max_members} files and directories, long names counted")
        if kind == b"L":
            if long_name is not None:
                raise ArchiveRefused(f"{at} gives one file two long names")
            long_name = _long_name(header, bytes(view[start : start + size]), at)
            continue
        yield _member(header, kind, long_name, start, size)
        long_name = None
    if long_name is not None:
        raise ArchiveRefused("the archive ends with a long name for a file that does not follow")
    if len(tar) - position < 2 * BLOCK:
        raise ArchiveRefused("the archive's end mark is cut off")
    if tar.count(0, position) != len(tar) - position:
        raise ArchiveRefused("the archive has data behind its end mark")


def _check_header(header: bytes, at: str) -> None:
    """The checksum, and every field that no plain writer fills but that some reader looks at."""
    if _number(header[148:156], at, "checksum") != _sum(header) - sum(header[148:156]) + 8 * 32:
        raise ArchiveRefused(f"{at} has a wrong checksum")
    odd = _odd(header[108:124] + header[136:148], header[156:345], header[345:])
    if odd is not None:
        raise ArchiveRefused(f"{at} {odd[0]}", hint=odd[1])


def _sum(header: bytes) -> int:
    """The sum of a block's bytes, which is the lower half of Adler-32, less 1 (RFC 1950): of 256 bytes none is lost."""
    return (zlib.adler32(header[:256]) & 0xFFFF) + (zlib.adler32(header[256:]) & 0xFFFF) - 2


@lru_cache(maxsize=256)  # nearly all members of an archive have the same ones
def _odd(numbers: bytes, middle: bytes, end: bytes) -> tuple[str, str] | None:
    """What is refused of the fields that say nothing about a file, and a hint; None for plain ones.

    Args:
        numbers: Bytes 108 to 124 and 136 to 148 of a header: the owner's, and the time.
        middle: Bytes 156 to 345: the type, the link's target, the format, the owner's names, the device.
        end: The rest.
    """
    magic = middle[101:109]
    if magic not in (_GNU, _USTAR):
        return "is neither GNU nor ustar", ""
    if end[155 if magic == _USTAR else 0 :].strip(b"\0"):
        return "fills the fields behind the device numbers, which readers take differently", ""
    if middle[:1] not in (b"0", b"5", b"L"):
        what = _KINDS.get(middle[:1], f"of the unknown type {middle[:1]!a}")
        return (
            f"is {what}; only regular files and directories are allowed",
            "package it with `cargo package`, which follows links and writes plain files",
        )
    if middle[1:101].strip(b"\0"):
        return "is no link and names a link target", ""
    for field, value in (
        ("uid", numbers[:8]),
        ("gid", numbers[8:16]),
        ("mtime", numbers[16:28]),
        ("device major", middle[173:181]),
        ("device minor", middle[181:189]),
    ):
        if field in ("uid", "gid") and value[0] == 0x80:
            continue  # a large owner id in base 256; nobody unpacks a crate with its owners
        if value.strip(b"\0") and _NUMBER.match(value) is None:  # cargo leaves owners empty
            return f"has a {field} that is not plain octal", ""
    return None


def _number(field: bytes, at: str, what: str) -> int:
    match = _NUMBER.match(field)
    if match is None:
        raise ArchiveRefused(f"{at} has a {what} that is not plain octal")
    return int(match[1], 8)


def _text(field: bytes, at: str) -> bytes:
    """A NUL-terminated field; what hides behind the NUL is refused."""
    text, _, rest = field.partition(b"\0")
    if rest.strip(b"\0"):
        raise ArchiveRefused(f"{at} has a name that goes on behind a NUL")
    return text


def _long_name(header: bytes, data: bytes, at: str) -> bytes:
    if _text(header[:100], at) != _LONG_NAME:
        raise ArchiveRefused(f"{at} is a long name under a name of its own")
    if not data.endswith(b"\0") or b"\0" in data[:-1]:
        raise ArchiveRefused(f"{at} is a long name that does not end with its only NUL")
    if not 100 < len(data) <= MAX_NAME + 1:
        raise ArchiveRefused(f"{at} is a long name of {len(data) - 1} bytes; 100 to {MAX_NAME} are allowed")
    return data[:-1]


def _member(header: bytes, kind: bytes, long_name: bytes | None, start: int, size: int) -> Member:
    at = f"the header at byte {start - BLOCK}"
    short = _text(header[:100], at)
    prefix = _text(header[345:500], at)
    raw = prefix + b"/" + short if prefix else short
    if long_name is not None:
        raw = long_name
        if prefix or short != long_name[: len(short)] or len(short) < 99:  # cargo cuts the name off
            raise ArchiveRefused(f"{at} has another short name than its long one")
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ArchiveRefused(f"the name {raw[:80]!a} is not UTF-8") from None
    directory = kind == b"5"
    if directory:
        if size:
            raise ArchiveRefused(f"the directory {name[:80]!a} has data")
        name = name.removesuffix("/")
    mode = _number(header[100:108], at, "mode")
    if not directory:
        mode &= ~_FILE_TYPE_BIT
    if mode > 0o7777:
        raise ArchiveRefused(f"the mode {mode:o} of {name[:80]!a} is more than permission bits")
    return Member(name, directory, mode, start, size)
