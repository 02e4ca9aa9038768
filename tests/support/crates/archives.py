"""Crates made in the test: honest ones that cargo compiles, and archives that no writer would write.

Everything is deterministic: the same calls give the same bytes.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field, replace
from typing import Any

from carnet.cargo.crate import CrateFile, read_crate
from carnet.cargo.names import CrateId

BLOCK = 512
MTIME = 1153704088  # what cargo writes


@dataclass(frozen=True)
class Header:
    """A tar header, field by field; `raw` overwrites bytes before, `patch` after the checksum was made."""

    name: bytes
    size: int = 0
    kind: bytes = b"0"
    mode: bytes = b"0000644\0"
    uid: bytes = b"0000000\0"
    gid: bytes = b"0000000\0"
    size_field: bytes | None = None
    mtime: bytes = f"{MTIME:011o}\0".encode()
    linkname: bytes = b""
    magic: bytes = b"ustar  \0"
    prefix: bytes = b""
    raw: dict[int, bytes] = field(default_factory=dict)
    checksum: bytes | None = None

    def encode(self) -> bytes:
        block = bytearray(BLOCK)
        fields = (
            (0, self.name[:100]),
            (100, self.mode),
            (108, self.uid),
            (116, self.gid),
            (124, self.size_field if self.size_field is not None else f"{self.size:011o}\0".encode()),
            (136, self.mtime),
            (148, b" " * 8),
            (156, self.kind),
            (157, self.linkname),
            (257, self.magic),
            (345, self.prefix),
            *self.raw.items(),
        )
        for offset, value in fields:
            block[offset : offset + len(value)] = value
        checksum = self.checksum if self.checksum is not None else f"{sum(block):07o}\0".encode()
        block[148:156] = checksum
        return bytes(block)


class TarballBuilder:
    """Puts a `.crate` together, honest or hostile.

    `file` and `directory` write what cargo writes below `<name>-<version>/`; `member` takes any header; `block` takes
    any bytes; `build` ends the archive and compresses it.
    """

    def __init__(self, name: str = "demo", version: str = "0.1.0") -> None:
        self.id = CrateId.of(name, version)
        self._tar = bytearray()

    @property
    def stem(self) -> str:
        return self.id.stem

    def manifest(self, extra: str = "") -> TarballBuilder:
        """The root `Cargo.toml`."""
        return self.file("Cargo.toml", manifest_text(self.id, extra))

    def file(self, path: str, data: bytes | str = b"", *, executable: bool = False) -> TarballBuilder:
        """A file as cargo writes it, with a long name where one is needed."""
        content = data.encode() if isinstance(data, str) else data
        name = f"{self.stem}/{path}".encode()
        if len(name) > 100:
            self.long_name(name)
        return self.member(Header(name, mode=b"0000755\0" if executable else b"0000644\0"), content)

    def directory(self, path: str) -> TarballBuilder:
        name = f"{self.stem}/{path}".encode()
        return self.member(Header(name, kind=b"5", mode=b"0000755\0"))

    def long_name(self, name: bytes, *, terminator: bytes = b"\0") -> TarballBuilder:
        return self.member(Header(b"././@LongLink", kind=b"L", mtime=b"0" * 11 + b"\0"), name + terminator)

    def member(self, header: Header, data: bytes = b"", *, padding: bytes | None = None) -> TarballBuilder:
        """Any header; its size is the data's unless it has a size field of its own."""
        self._tar += replace(header, size=len(data)).encode() + data
        fill = -len(data) % BLOCK
        self._tar += padding if padding is not None else bytes(fill)
        return self

    def block(self, data: bytes) -> TarballBuilder:
        self._tar += data
        return self

    def tar(self, *, end: bytes = bytes(2 * BLOCK)) -> bytes:
        return bytes(self._tar) + end

    def build(self, *, end: bytes = bytes(2 * BLOCK), trailing: bytes = b"") -> bytes:
        """The `.crate`."""
        return gzip(self.tar(end=end)) + trailing

    def read(self) -> CrateFile:
        """Build it, and read it back as the crate it is."""
        return read_crate(self.build(), self.id)


def gzip(data: bytes, *, level: int = 6, header: bytes = b"\x1f\x8b\x08\0\0\0\0\0\0\xff") -> bytes:
    """One gzip member, the same bytes every time."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(data) + deflate.flush()
    return header + body + zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little")


def manifest_text(crate: CrateId, extra: str = "") -> str:
    """A manifest as small as cargo takes it."""
    return (
        f'[package]\nname = "{crate.name}"\nversion = "{crate.version}"\nedition = "2021"\n'
        f'description = "made by a test"\nlicense = "Apache-2.0"\n{extra}'
    )


def honest_crate(
    name: str = "demo",
    version: str = "0.1.0",
    *,
    source: str = "pub fn answer() -> u32 {\n    42\n}\n",
    extra: str = "",
    files: dict[str, bytes] | None = None,
) -> bytes:
    """A library crate that cargo compiles.

    Args:
        name: Its name.
        version: Its version.
        source: `src/lib.rs`.
        extra: More lines for the end of its `Cargo.toml`, such as a `[dependencies]` table.
        files: More files, by path.
    """
    builder = TarballBuilder(name, version).manifest(extra).file("src/lib.rs", source)
    for path, data in sorted((files or {}).items()):
        builder.file(path, data)
    return builder.build()


def publish_body(request: dict[str, Any], crate: bytes) -> bytes:
    """What `cargo publish` sends: both parts with their length in front, little-endian."""
    head = json.dumps(request).encode()
    return len(head).to_bytes(4, "little") + head + len(crate).to_bytes(4, "little") + crate
