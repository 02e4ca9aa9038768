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
from struct import Struct
from typing import NamedTuple

from carnet.errors import ArchiveRefused

BLOCK = 512
MAX_NAME = 1024
"""Bytes in a member's name, folder included."""

# Name, numbers, type, link's target, format, names of owner and group, device numbers, prefix, and what is behind.
_FIELDS = Struct("100s56sc100s8s64x16s155s12s")
_ZERO_BLOCK = bytes(BLOCK)
_ZEROS = bytes(128 * BLOCK)
_NO_LINK, _NO_PREFIX, _NOTHING_BEHIND = bytes(100), bytes(155), bytes(12)
_GNU, _USTAR = b"ustar  \0", b"ustar\x0000"
_LONG_NAME = b"././@LongLink"
# Digits up to the end of the field, then one terminator or two. No blanks before, no base 256, no minus, no second
# number. Owner ids may be large, in base 256: nobody unpacks a crate with its owners. cargo leaves what it can empty.
_OF_8, _OF_12 = rb"[0-7]{6}[0-7\0 ][\0 ]", rb"[0-7]{10}[0-7\0 ][\0 ]"
_SHORT = re.compile(_OF_8)
_OWNER = re.compile(rb"%b|\0{8}|\x80.{7}" % _OF_8, re.DOTALL)
_LONG = re.compile(_OF_12)
_TIME = re.compile(rb"%b|\0{12}" % _OF_12)
_DEVICE = re.compile(rb"%b|\0{8}" % _OF_8)
_NUMBERS = re.compile(
    rb"(?=([0-7]+))%b(?:%b){2}(?=([0-7]+))%b(?:%b)(?=([0-7]+))%b"
    % (_OF_8, _OWNER.pattern, _OF_12, _TIME.pattern, _OF_8),
    re.DOTALL,
)
_DEVICES = re.compile(rb"(?:%b){2}" % _DEVICE.pattern)
_NAMED_NUMBERS = (
    ("checksum", 48, 56, _SHORT),
    ("uid", 8, 16, _OWNER),
    ("gid", 16, 24, _OWNER),
    ("mtime", 36, 48, _TIME),
    ("size", 24, 36, _LONG),
    ("mode", 0, 8, _SHORT),
)
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


class Member(NamedTuple):
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


def members(tar: bytes | bytearray | memoryview, *, max_members: int) -> Iterator[Member]:
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
        at, start = position, position + BLOCK
        short, mode, size, kind, prefix = _plain(header, at)
        position = start + -(-size // BLOCK) * BLOCK
        if position > len(tar):
            raise _refused(at, "announces more data than the archive has")
        if start + size < position and bytes(view[start + size : position]).strip(b"\0"):
            raise _refused(at, "hides data in the padding behind its file")
        count += 1
        if count > max_members:
            raise ArchiveRefused(f"the archive has more than {max_members} files and directories, long names counted")
        if kind == b"L":
            if long_name is not None:
                raise _refused(at, "gives one file two long names")
            long_name = _long_name(short, bytes(view[start : start + size]), at)
            continue
        yield _member(_name(short, prefix, long_name, at), mode, kind == b"5", start, size)
        long_name = None
    if long_name is not None:
        raise ArchiveRefused("the archive ends with a long name for a file that does not follow")
    if len(tar) - position < 2 * BLOCK:
        raise ArchiveRefused("the archive's end mark is cut off")
    for start in range(position, len(tar), len(_ZEROS)):
        if not _ZEROS.startswith(bytes(view[start : start + len(_ZEROS)])):
            raise ArchiveRefused("the archive has data behind its end mark")


def _refused(position: int, what: str, hint: str = "") -> ArchiveRefused:
    return ArchiveRefused(f"the header at byte {position} {what}", hint=hint)


def _plain(header: bytes, at: int) -> tuple[bytes, int, int, bytes, bytes]:
    """The checksum, and every field that no plain writer fills but that some reader looks at.

    Returns:
        The short name, the mode, the size, the type and the prefix.
    """
    name, fields, kind, link, magic, devices, prefix, behind = _FIELDS.unpack(header)
    numbers = _NUMBERS.fullmatch(fields)
    if numbers is None:
        raise _refused(at, _odd_number(header, fields))
    if int(numbers[3], 8) != _sum(header):
        raise _refused(at, "has a wrong checksum")
    if magic not in (_GNU, _USTAR):
        raise _refused(at, "is neither GNU nor ustar")
    if behind != _NOTHING_BEHIND or (magic == _GNU and prefix != _NO_PREFIX):
        raise _refused(at, "fills the fields behind the device numbers, which readers take differently")
    if kind not in (b"0", b"5", b"L"):
        what = _KINDS.get(kind, f"of the unknown type {kind!a}")
        raise _refused(
            at,
            f"is {what}; only regular files and directories are allowed",
            "package it with `cargo package`, which follows links and writes plain files",
        )
    if link != _NO_LINK:
        raise _refused(at, "is no link and names a link target")
    if _DEVICES.fullmatch(devices) is None:
        odd = "minor" if _DEVICE.fullmatch(devices[:8]) else "major"
        raise _refused(at, f"has a device {odd} that is not plain octal")
    return _text(name, at), int(numbers[1], 8), int(numbers[2], 8), kind, _text(prefix, at)


def _sum(header: bytes) -> int:
    """What the checksum has to be: the sum of a block's bytes, where the checksum itself stands for blanks."""
    return _sum_of_all(header) - sum(header[148:156]) + 8 * 32


def _sum_of_all(block: bytes) -> int:
    """The sum of a block's bytes, which is the lower half of Adler-32, less 1 (RFC 1950): of 256 bytes none is lost."""
    return (zlib.adler32(block[:256]) & 0xFFFF) + (zlib.adler32(block[256:]) & 0xFFFF) - 2


def _odd_number(header: bytes, fields: bytes) -> str:
    """What is wrong with numbers that are not all plain; a wrong checksum says more than what it was to protect."""
    checksum = _SHORT.fullmatch(fields, 48)
    if checksum is not None and int(fields[48:].rstrip(b"\0 "), 8) != _sum(header):
        return "has a wrong checksum"
    odd = next(what for what, start, end, form in _NAMED_NUMBERS if form.fullmatch(fields, start, end) is None)
    return f"has a {odd} that is not plain octal"


def _text(field: bytes, at: int) -> bytes:
    """A NUL-terminated field; what hides behind the NUL is refused."""
    text = field.rstrip(b"\0")
    if b"\0" in text:
        raise _refused(at, "has a name that goes on behind a NUL")
    return text


def _long_name(short: bytes, data: bytes, at: int) -> bytes:
    if short != _LONG_NAME:
        raise _refused(at, "is a long name under a name of its own")
    if not data.endswith(b"\0") or b"\0" in data[:-1]:
        raise _refused(at, "is a long name that does not end with its only NUL")
    if not 100 < len(data) <= MAX_NAME + 1:
        raise _refused(at, f"is a long name of {len(data) - 1} bytes; 100 to {MAX_NAME} are allowed")
    return data[:-1]


def _name(short: bytes, prefix: bytes, long_name: bytes | None, at: int) -> str:
    raw = prefix + b"/" + short if prefix else short
    if long_name is not None:
        raw = long_name
        if prefix or short != long_name[: len(short)] or len(short) < 99:  # cargo cuts the name off
            raise _refused(at, "has another short name than its long one")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ArchiveRefused(f"the name {raw[:80]!a} is not UTF-8") from None


def _member(name: str, mode: int, directory: bool, start: int, size: int) -> Member:
    if directory:
        if size:
            raise ArchiveRefused(f"the directory {name[:80]!a} has data")
        name = name.removesuffix("/")
    else:
        mode &= ~_FILE_TYPE_BIT
    if mode > 0o7777:
        raise ArchiveRefused(f"the mode {mode:o} of {name[:80]!a} is more than permission bits")
    return Member(name, directory, mode, start, size)
