"""`.crate` files that cost as much as they can: many members, long names, names that take long to compare, bombs."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator

from tests.support.crates.archives import Header, TarballBuilder
from tests.support.hostile.measure import Hostile

from carnet.cargo.crate import read_crate
from carnet.errors import CarnetError

_BUILDER = TarballBuilder()
_MANIFEST = _BUILDER.manifest().tar(end=b"")
_END = bytes(1024)
_MOST = 512 * 1024 * 1024
"""Bytes of a tar archive; the reader looks at no more."""
_LOOKED_AT = 60_000
"""Members of ten megabytes that the reader looks at, at most."""


def _outcome(data: bytes) -> object:
    try:
        crate = read_crate(data)
    except CarnetError as error:
        return f"{type(error).__name__}: {error}"
    return f"{len(crate.entries)} files"


def _named(name: bytes, data: bytes = b"") -> bytes:
    """One file with a name of any length."""
    full = b"demo-0.1.0/" + name
    archive = TarballBuilder()
    if len(full) > 100:
        archive.long_name(full)
    return archive.member(Header(full), data).tar(end=b"")


def _members(form: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """A tarball of about so many bytes, of members that compress as well as they do."""

    def make(size: int) -> bytes:
        deflate = zlib.compressobj(6, zlib.DEFLATED, 31)
        packed = [deflate.compress(_MANIFEST)]
        length = unpacked = 0
        for piece in _pieces(form):
            packed.append(deflate.compress(piece))
            length += len(packed[-1])
            unpacked += len(piece)
            if length >= size or unpacked >= _MOST:
                break
        packed += [deflate.compress(_END), deflate.flush()]
        data = b"".join(packed)
        # What is short of the size is filled up with what no compressor makes smaller.
        return data if len(data) >= size else _padded(form, size, unpacked)

    return make


def _pieces(form: Callable[[int], bytes]) -> Iterator[bytes]:
    """Members without end; more than anybody looks at come again, since to make a million takes long."""
    yield from map(form, range(_LOOKED_AT))
    some = b"".join(map(form, range(1000)))
    while True:
        yield some


def _padded(form: Callable[[int], bytes], size: int, most: int) -> bytes:
    deflate = zlib.compressobj(6, zlib.DEFLATED, 31)
    pieces = _pieces(form)
    packed, unpacked = [deflate.compress(_MANIFEST)], 0
    while unpacked < most:
        piece = next(pieces)
        unpacked += len(piece)
        packed.append(deflate.compress(piece))
    packed.append(deflate.compress(_named(b"noise", os.urandom(max(0, size - sum(map(len, packed)))))))
    return b"".join([*packed, deflate.compress(_END), deflate.flush()])


def _few(most: int, form: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """At most so many members for each megabyte, and noise: what the reader still takes."""

    def make(size: int) -> bytes:
        entries = int(most * size / 1e6)
        body = b"".join(form(number) for number in range(entries))
        noise = _named(b"noise", os.urandom(max(1, size - len(zlib.compress(body)))))
        return gzip.compress(_MANIFEST + body + noise + _END, 6, mtime=0)

    return make


def _few_and_zeros(most: int, zeros: int, form: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """As `_few`, and for each megabyte so many zeros behind."""
    return lambda size: gzip.compress(
        _MANIFEST
        + b"".join(form(number) for number in range(int(most * size / 1e6)))
        + _named(b"noise", os.urandom(int(size * 0.9)))
        + _named(b"z", bytes(int(zeros * size / 1e6)))
        + _END,
        6,
        mtime=0,
    )


def _wide(number: int) -> bytes:
    return _named(("\ufdfa" * 80 + f"{number}").encode())


def _marks(number: int) -> bytes:
    return _named(("a" + "\u0315\u0316" * 60 + f"{number}").encode())


def _deep(number: int) -> bytes:
    return _named(f"{number}/".encode() + b"d/" * 97 + b"f")


def _below(number: int) -> bytes:
    return _named(b"d/" * 97 + b"%d" % number)


def _at_another_time(number: int) -> bytes:
    name = b"demo-0.1.0/%d" % number
    return TarballBuilder().member(Header(name, mtime=b"%011o\0" % number)).tar(end=b"")


def _of_an_owner(number: int) -> bytes:
    return TarballBuilder().member(Header(b"demo-0.1.0/%d" % number, raw={265: b"%d" % number})).tar(end=b"")


def _in_long_folders(number: int) -> bytes:
    return _named(("\u00e9" * 120 + "/").encode() * 4 + b"%d" % number)


INPUTS = (
    Hostile("tar: empty files", _members(lambda number: _named(b"%d" % number)), _outcome),
    Hostile("tar: empty files, as many as are read", _few(4_280, lambda number: _named(b"%d" % number)), _outcome),
    Hostile("tar: empty files, each of a time of its own", _few(4_280, _at_another_time), _outcome),
    Hostile("tar: empty files, each of an owner of its own", _few(4_280, _of_an_owner), _outcome),
    Hostile(
        "tar: empty files and zeros, half of each",
        _few_and_zeros(3_000, 28_000_000, lambda number: _named(b"%d" % number)),
        _outcome,
    ),
    Hostile(
        "tar: empty files and zeros, too much of both",
        _few_and_zeros(4_000, 36_000_000, lambda number: _named(b"%d" % number)),
        _outcome,
    ),
    Hostile(
        "tar: zeros behind the end",
        lambda size: gzip.compress(
            _MANIFEST + _named(b"n", os.urandom(int(size * 0.9))) + bytes(44 * size // 512 * 512)
        ),
        _outcome,
    ),
    Hostile("tar: long names", _few(2_160, lambda number: _named(b"%0240d" % number)), _outcome),
    Hostile("tar: names of wide letters", _members(_wide), _outcome),
    Hostile("tar: names of wide letters, as many as are read", _few(190, _wide), _outcome),
    Hostile("tar: names of combining marks", _members(_marks), _outcome),
    Hostile("tar: names of combining marks, as many as are read", _few(190, _marks), _outcome),
    Hostile("tar: files below wide folders", _few(2_160, _in_long_folders), _outcome),
    Hostile("tar: deep folders", _members(_deep), _outcome),
    Hostile("tar: deep folders, as many as are read", _few(40, _deep), _outcome),
    Hostile("tar: files in one deep folder", _few(2_110, _below), _outcome),
    Hostile(
        "tar: long names for nothing",
        _members(lambda _: TarballBuilder().long_name(b"a" * 1024).tar(end=b"")),
        _outcome,
    ),
    Hostile(
        "tar: PAX headers",
        _members(lambda _: TarballBuilder().member(Header(b"x", kind=b"x"), b"30 path=a\n").tar(end=b"")),
        _outcome,
    ),
    Hostile(
        "gzip: zeros", lambda size: gzip.compress(_MANIFEST + _named(b"z", bytes(size * 1000)) + _END, 9), _outcome
    ),
    Hostile(
        "gzip: zeros, as many as are read",
        lambda size: gzip.compress(
            _MANIFEST + _named(b"z", bytes(int(12.4e6) + 31 * size)) + _named(b"n", os.urandom(size)) + _END
        ),
        _outcome,
    ),
    Hostile("gzip: empty members", lambda size: gzip.compress(b"") * (size // 20), _outcome),
    Hostile(
        "gzip: empty blocks", lambda size: b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\0\0\0\xff\xff" * (size // 5), _outcome
    ),
    Hostile("gzip: an endless file name", lambda size: b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"a" * size, _outcome),
    Hostile("gzip: noise", os.urandom, _outcome),
    Hostile("gzip: noise inside", lambda size: gzip.compress(os.urandom(size), 1), _outcome),
)
