"""The `.crate` reader: a tarball in memory to a checked list of files, or a refusal.

Two rules decide what is here. What could put a byte anywhere else than where a reviewer saw it is refused: links, paths
that lead out, names that two file systems or two readers of tar take differently. What real crates do without harm is
warned of, or refused too when `strict` asks for it.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from carnet.cargo.manifest import Manifest, read_manifest
from carnet.cargo.names import CrateId
from carnet.cargo.tarball import Member, members
from carnet.digests import sha256_hex
from carnet.errors import ArchiveRefused, FormatError
from carnet.made import made_by, maker

MIB = 1024 * 1024
MAX_DEPTH = 100
"""Parts in a path; real crates stay below 10."""
MAX_WARNINGS = 20
"""Warnings that are kept; more of them say no more."""


@dataclass(frozen=True, slots=True)
class CrateLimits:
    """How much a tarball may bring.

    Attributes:
        compressed: Bytes of the `.crate` itself.
        usual: Bytes that the public registry accepts without asking; above it, a warning.
        unpacked: Bytes of the tar archive inside.
        entries: Files and folders, those counted too that only paths name.
    """

    compressed: int = 128 * MIB
    usual: int = 10 * MIB
    unpacked: int = 512 * MIB
    entries: int = 100_000


DEFAULT_LIMITS = CrateLimits()


@dataclass(frozen=True, slots=True)
class CrateEntry:
    """One regular file.

    Attributes:
        path: Relative to `<name>-<version>/`, with `/`.
        executable: Whether its owner may execute it (git's mode 100755).
        data: Its content.
    """

    path: str
    executable: bool
    data: bytes = field(repr=False)


@made_by("read_crate")
@dataclass(frozen=True)
class CrateFile:
    """A `.crate` whose every byte has its place. Only `read_crate` makes one.

    Attributes:
        id: Name and version: the folder's, and the manifest's.
        sha256: Hex digest of the `.crate`; what an index line calls `cksum`.
        length: Bytes of the `.crate`.
        entries: Its files, in the order of the archive.
        manifest: Its `Cargo.toml`, as cargo wrote it.
        warnings: What is unusual and does no harm, one line each.
        raw: The `.crate`, untouched.
        strict: Whether `read_crate` was asked to refuse names that are otherwise only warned of.
    """

    id: CrateId
    sha256: str
    length: int
    entries: tuple[CrateEntry, ...] = field(repr=False)
    manifest: Manifest = field(repr=False)
    warnings: tuple[str, ...] = ()
    raw: bytes = field(default=b"", repr=False, compare=False)
    strict: bool = field(default=False, compare=False)

    def file(self, path: str) -> bytes | None:
        """The content of one file, or None when there is none of that name."""
        entry = self._by_path.get(path)
        return None if entry is None else entry.data

    @cached_property
    def _by_path(self) -> dict[str, CrateEntry]:
        return {entry.path: entry for entry in self.entries}


_crate_file = maker(CrateFile)


def read_crate(
    data: bytes, expected: CrateId | None = None, *, limits: CrateLimits = DEFAULT_LIMITS, strict: bool = False
) -> CrateFile:
    """Read a `.crate` from memory.

    Plan:
        1. One gzip member and nothing behind it, inflated up to the limit.
        2. Plain headers only (`carnet.cargo.tarball`).
        3. Every name stays where it is, on every file system.
        4. Exactly one root manifest, and it is the crate that the folder says and the caller expects.

    Args:
        data: The whole file.
        expected: The crate it must be; None takes what the manifest says.
        limits: How much it may bring.
        strict: Refuse names that are otherwise only warned of: for releases that somebody signs now.

    Raises:
        ArchiveRefused: A rule of the archive format is broken, or it is another crate.
        FormatError: The manifest inside does not parse.
    """
    names: list[str] = []
    if len(data) > limits.compressed:
        raise ArchiveRefused(f"the archive has {len(data)} bytes; {limits.compressed} are allowed")
    tar = _inflate(data, limits.unpacked)  # 1
    folder, files = _files(tar, limits, names)  # 2, 3
    entries = tuple(
        CrateEntry(path, bool(member.mode & 0o100), tar[member.start : member.start + member.size])
        for path, member in files.items()
    )
    manifest = _root_manifest(entries, folder, expected)  # 4
    if strict and names:
        raise ArchiveRefused(f"{manifest.id}: {'; '.join(names[:3])}", hint="rename them, or leave them out")
    big = f"the archive has {len(data)} bytes, more than the usual {limits.usual}"
    warnings = [big, *names] if len(data) > limits.usual else names
    sha256 = sha256_hex(data)
    return _crate_file(manifest.id, sha256, len(data), entries, manifest, tuple(warnings[:MAX_WARNINGS]), data, strict)


# 1. gzip

_GZIP_HEADER = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]")  # deflate; none of the flags that are reserved (RFC 1952, 2.3.1)


def _inflate(data: bytes, limit: int) -> bytes:
    """One gzip member. zlib checks its CRC and length (RFC 1952), and stops at the limit whatever the member claims."""
    if _GZIP_HEADER.match(data) is None:
        raise ArchiveRefused("the archive is not gzip", hint="a .crate is what `cargo package` writes")
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        tar = inflater.decompress(data, limit + 1)
    except zlib.error as error:
        raise ArchiveRefused(f"the archive does not inflate: {error}") from None
    if len(tar) > limit:
        raise ArchiveRefused(f"the archive inflates to more than {limit} bytes")
    if not inflater.eof:
        raise ArchiveRefused("the archive is cut off: its gzip member does not end")
    if inflater.unused_data:
        raise ArchiveRefused(f"{len(inflater.unused_data)} bytes follow the archive's gzip member")
    return tar


# 3. names

# A backslash is a separator on Windows and a colon opens another stream of a file, so both move bytes; so do the short
# names that Windows gives to long ones (`CARGO~1.TOM`), and a dot or blank at the end, which it drops.
_MOVES = re.compile(r"[\x00-\x1f\x7f-\x9f\\:]|(?:^|/)[^/.]{1,6}~[0-9]+(?:\.[^/.]{0,3})?(?:/|\Z)|[. ](?:/|\Z)")
_UNPORTABLE = re.compile(r"""[*?"<>|]""")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z)", re.IGNORECASE)
_MARKER = ".cargo-ok"


def _files(tar: bytes, limits: CrateLimits, warnings: list[str]) -> tuple[str, dict[str, Member]]:
    """The files below the one folder, by their path in it."""
    folder = ""
    files: dict[str, Member] = {}
    listed: set[str] = set()
    folders: set[str] = set()
    spelled: dict[str, str] = {}
    for member in members(tar, max_members=limits.entries):
        root, slash, path = member.name.partition("/")
        folder = folder or root
        if root != folder:
            raise ArchiveRefused(f"{member.name[:80]!a} is outside of the folder {folder[:80]!a}")
        if not slash and member.directory:
            continue
        _check_path(path, member.name)
        if path in listed:
            raise ArchiveRefused(f"{member.name[:80]!a} is in the archive twice")
        listed.add(path)
        new = [part for part in _parents(path) if part not in folders]
        if member.directory and path not in folders:
            new.append(path)
        for part in new:
            if part in files:
                raise ArchiveRefused(f"{part[:80]!a} is a file and a folder")
            folders.add(part)
        if len(files) + len(folders) + (not member.directory) > limits.entries:
            raise ArchiveRefused(f"the archive has more than {limits.entries} files and folders")
        if not member.directory:
            if path in folders:
                raise ArchiveRefused(f"{path[:80]!a} is a file and a folder")
            new.append(path)
            files[path] = member
            warnings.extend(_unusual(path))
        for part in new:
            other = spelled.setdefault(_folded(part), part)
            if other != part:
                warnings.append(f"{part[:80]!a} and {other[:80]!a} are one path where case or composition do not count")
    for path in [path for path in files if path.rpartition("/")[2] == _MARKER]:
        warnings.append(f"{path[:80]!a} is left out: cargo does not unpack it")
        del files[path]
    return folder, files


def _check_path(path: str, name: str) -> None:
    parts = path.split("/")
    if len(parts) > MAX_DEPTH:
        raise ArchiveRefused(f"{name[:80]!a} is more than {MAX_DEPTH} folders deep")
    if any(part in ("", ".", "..") for part in parts):
        raise ArchiveRefused(f"{name[:80]!a} is not a path below the crate's folder")
    if _MOVES.search(path):
        raise ArchiveRefused(f"{name[:80]!a} is another path on some file system")


def _unusual(path: str) -> Iterator[str]:
    if _UNPORTABLE.search(path) or any(_DEVICE.match(part) for part in path.split("/")):
        yield f"{path[:80]!a} cannot be unpacked on Windows"
    if not path.isascii() and any(unicodedata.category(char) in ("Cf", "Zl", "Zp") for char in path):
        yield f"{path[:80]!a} has characters that are not seen"


def _parents(path: str) -> Iterator[str]:
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


def _folded(path: str) -> str:
    """Equal for two paths that some file system keeps in one place (APFS, HFS+, NTFS, ext4 with casefold)."""
    if path.isascii():
        return path.lower()
    shown = "".join(char for char in path if unicodedata.category(char) != "Cf")  # HFS+ ignores these
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", shown).casefold())


# 4. the manifest


def _root_manifest(entries: tuple[CrateEntry, ...], folder: str, expected: CrateId | None) -> Manifest:
    roots = [entry for entry in entries if _folded(entry.path) == "cargo.toml"]
    if len(roots) != 1 or roots[0].path != "Cargo.toml":
        found = ", ".join(ascii(entry.path) for entry in roots[:3]) or "none"
        raise ArchiveRefused(f"the archive must have exactly one Cargo.toml in its folder; it has {found}")
    if expected is not None and folder != expected.stem:
        raise ArchiveRefused(f"the archive's folder is {folder[:80]!a}, not {expected.stem!a}")
    try:
        manifest = read_manifest(roots[0].data)
    except FormatError as error:
        raise FormatError(f"{folder[:80]}: {error}", hint=error.hint) from None
    if manifest.id.stem != folder:  # equal stems are equal crates: the version begins before the first dot
        raise ArchiveRefused(f"the archive's folder is {folder[:80]!a}, but its Cargo.toml says {manifest.id}")
    return manifest
