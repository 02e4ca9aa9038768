"""The `.crate` reader: a tarball in memory to a checked list of files, or a refusal.

Two rules decide what is here. What could put a byte anywhere else than where a reviewer saw it is refused: links, paths
that lead out, names that two file systems or two readers of tar take differently. What real crates do without harm is
warned of, or refused too when `strict` asks for it.

A small tarball can unpack to very much, so what it may bring grows with what it weighs: bytes, files and folders, and
letters beyond ASCII, whose spellings take longest to compare (`make hostile` measures the worst of each).
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace
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
MAX_PART = 255
"""Bytes in one part of a path: what ext4, APFS, NTFS and tmpfs take."""
_ENTRY = 6 * 1024
"""Bytes that are inflated in the time in which one more file or folder is looked at."""
MAX_WARNINGS = 20
"""Warnings that are kept; more of them say no more."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one tarball may bring.

    Attributes:
        unpacked: Bytes of the tar archive inside.
        entries: Files and folders, and headers.
        letters: Bytes of names beyond ASCII; a name that comes again counts once.
    """

    unpacked: int
    entries: int
    letters: int

    def beside(self, unpacked: int) -> Allowance:
        """What is left to bring for a tarball that unpacks to so much: to take all of both at once costs twice."""
        return replace(self, entries=min(self.entries, 1_000 + (self.unpacked - unpacked) // _ENTRY))


@dataclass(frozen=True, slots=True)
class CrateLimits:
    """How much a tarball may bring.

    Attributes:
        compressed: Bytes of the `.crate` itself.
        usual: Bytes that the public registry accepts without asking; above it, a warning.
        unpacked: Bytes of the tar archive inside.
        entries: Files and folders, those counted too that only paths name.
        always: What any tarball may bring, however small it is; each byte beyond allows for more of everything, up to
            the limits above.
    """

    compressed: int = 128 * MIB
    usual: int = 10 * MIB
    unpacked: int = 512 * MIB
    entries: int = 100_000
    always: Allowance = Allowance(12 * MIB, 1_000, 16 * 1024)

    def allowance(self, size: int) -> Allowance:
        """What a tarball of `size` bytes may bring.

        Descriptions of microcontrollers take the most of it, as registers are written down in much the same words.
        Of 4,000 crates in use, those among them, none needs more than 26 of the 32 times its size beyond what is always
        allowed (`imxrt-ral` 0.6.2), nor more than a file or folder for each 412 bytes (`stm32mp1` 0.16.0).
        """
        return Allowance(
            min(self.unpacked, self.always.unpacked + 32 * size),
            min(self.entries, self.always.entries + size // 300),
            self.always.letters + size // 32,
        )


DEFAULT_LIMITS = CrateLimits()


@dataclass(frozen=True, slots=True)
class CrateEntry:
    """One regular file.

    Attributes:
        path: Relative to `<name>-<version>/`, with `/`.
        executable: Whether its owner may execute it (git's mode 100755).
    """

    path: str
    executable: bool
    _content: memoryview = field(repr=False, hash=False)

    @property
    def data(self) -> bytes:
        """Its content, copied out of the archive: all files at once would need the archive's size once more."""
        return bytes(self._content)


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
    allowance = limits.allowance(len(data))
    tar = _inflate(data, allowance.unpacked)  # 1
    folder, files = _files(tar, allowance.beside(len(tar)), names)  # 2, 3
    content = memoryview(tar).toreadonly()
    entries = tuple(
        CrateEntry(path, bool(member.mode & 0o100), content[member.start : member.start + member.size])
        for path, member in files.items()
    )
    manifest = _root_manifest(entries, folder, expected)  # 4
    if strict and names:
        raise ArchiveRefused(f"{manifest.id}: {'; '.join(names[:3])}", hint="rename them, or leave them out")
    big = f"the archive has {len(data)} bytes, more than the usual {limits.usual}"
    warnings = [big, *names] if len(data) > limits.usual else names
    sha256 = sha256_hex(data)
    return _crate_file(manifest.id, sha256, len(data), entries, manifest, tuple(warnings[:MAX_WARNINGS]), data, strict)


def check_paths(files: Iterable[str]) -> None:
    """Demand names that `read_crate`, when it is strict, would take: before there is a tarball.

    Raises:
        ArchiveRefused: One leads elsewhere or cannot be unpacked everywhere, or two are one path on some file system.
    """
    letters = DEFAULT_LIMITS.allowance(DEFAULT_LIMITS.compressed).letters
    spellings, known, odd = _Spellings(letters), {""}, list[str]()
    for path in files:
        new = [*_new_folders(path.rpartition("/")[0], known), path]
        for part in new:
            odd += (f"{part[:80]!a} {what}" for what in sorted(_check_name(part.rpartition("/")[2], path)))
            other = spellings.add(part)
            if other is not None:
                odd.append(f"{part[:80]!a} and {other[:80]!a} are one path where case or composition do not count")
        known.update(new)
        if path.rpartition("/")[2] == _MARKER:
            odd.append(f"{path[:80]!a} has the name of cargo's own marker, and is not unpacked")
    if odd:
        raise ArchiveRefused("; ".join(odd[:3]), hint="rename them, or leave them out")


# 1. gzip

_GZIP_HEADER = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]")  # deflate; none of the flags that are reserved (RFC 1952, 2.3.1)


_PIECE = 64 * 1024
_ROOM = 256 * 1024


def _inflate(data: bytes, limit: int) -> bytearray:
    """One gzip member. zlib checks its CRC and length (RFC 1952), and stops at the limit whatever the member claims.

    In pieces: zlib's own buffer for all of it would be there a second time while its parts are joined. The length that
    the member ends with only says how much room is made at once: what grows may be there twice while it moves.
    """
    if _GZIP_HEADER.match(data) is None:
        raise ArchiveRefused("the archive is not gzip", hint="a .crate is what `cargo package` writes")
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    tar = bytearray(min(limit, int.from_bytes(data[-4:], "little")))
    done = 0
    for start in range(0, len(data), _PIECE):
        rest = data[start : start + _PIECE]
        while rest and not inflater.eof:
            try:
                piece = inflater.decompress(rest, _ROOM)
            except zlib.error as error:
                raise ArchiveRefused(f"the archive does not inflate: {error}") from None
            tar[done : done + len(piece)] = piece
            done += len(piece)
            if done > limit:
                raise ArchiveRefused(f"the archive inflates to more than {limit} bytes")
            rest = inflater.unconsumed_tail
        if inflater.eof:
            behind = len(data) - start - _PIECE if len(data) > start + _PIECE else 0
            if behind + len(inflater.unused_data):
                raise ArchiveRefused(f"{behind + len(inflater.unused_data)} bytes follow the archive's gzip member")
            del tar[done:]
            return tar
    raise ArchiveRefused("the archive is cut off: its gzip member does not end")


# 3. names

# A backslash is a separator on Windows and a colon opens another stream of a file, so both move bytes; so do the short
# names that Windows gives to long ones (`CARGO~1.TOM`), and a dot or blank at the end, which it drops.
_MOVES = re.compile(r"[\x00-\x1f\x7f-\x9f\\:]")
_SHORT_NAME = re.compile(r"[^.]{1,6}~[0-9]+(?:\.[^.]{0,3})?\Z")
_UNPORTABLE = re.compile(r"""[*?"<>|]""")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z)", re.IGNORECASE)
_NOTHING: frozenset[str] = frozenset()
_MARKER = ".cargo-ok"
_ORIGINAL = "Cargo.toml.orig"
"""Cargo's copy of the manifest as it was written, which nothing reads. A repository that has one, too, makes it two."""


def _files(tar: bytearray, allowance: Allowance, warnings: list[str]) -> tuple[str, dict[str, Member]]:
    """The one folder, and the files below it by their path in it."""
    folder: str | None = None
    files: dict[str, Member] = {}
    listed: dict[str, Member] = {}
    folders: dict[str, frozenset[str]] = {"": _NOTHING}  # what is unusual about each, and about those above it
    spellings = _Spellings(allowance.letters)
    for member in members(tar, max_members=allowance.entries):
        folder, path = _place(member, folder)
        if path in listed:
            warnings.append(f"{member.name[:80]!a} is in the archive twice{_one_of(listed[path], member, tar)}")
            if not member.directory:
                listed[path] = files[path] = member
            continue
        listed[path] = member
        if not path and member.directory:
            continue
        above, _, name = path.rpartition("/")
        new = [] if above in folders else _new_folders(above, folders)
        if member.directory and path not in folders:
            new.append(path)
        for part in new:
            if part in files:
                raise ArchiveRefused(f"{part[:80]!a} is a file and a folder")
            folders[part] = folders[part.rpartition("/")[0]] | _check_name(part.rpartition("/")[2], member.name)
        if len(files) + len(folders) - 1 + (not member.directory) > allowance.entries:
            raise ArchiveRefused(f"the archive has more than {allowance.entries} files and folders")
        if not member.directory:
            unusual = folders[above] | _check_name(name, member.name)
            if path in folders:
                raise ArchiveRefused(f"{path[:80]!a} is a file and a folder")
            files[path] = member
            if unusual:
                warnings.extend(f"{path[:80]!a} {what}" for what in sorted(unusual))
            new.append(path)
        for part in new:
            other = spellings.add(part)
            if other is not None:
                warnings.append(f"{part[:80]!a} and {other[:80]!a} are one path where case or composition do not count")
    for path in [path for path in files if path.rpartition("/")[2] == _MARKER]:
        warnings.append(f"{path[:80]!a} is left out: cargo does not unpack it")
        del files[path]
    return folder or "", files


def _place(member: Member, folder: str | None) -> tuple[str, str]:
    """The one folder, which the first member names, and a member's path in it."""
    root, slash, path = member.name.partition("/")
    if folder is None:
        _check_name(root, member.name)
        folder = root
    if root != folder:
        raise ArchiveRefused(f"{member.name[:80]!a} is outside of the folder {folder[:80]!a}")
    if slash and not path:
        _check_name(path, member.name)
    if path.count("/") >= MAX_DEPTH:
        raise ArchiveRefused(f"{member.name[:80]!a} is more than {MAX_DEPTH} folders deep")
    return folder, path


def _one_of(first: Member, again: Member, tar: bytearray) -> str:
    """Why the last of two members of one name may stand for both, in words: old cargos wrote such.

    Raises:
        ArchiveRefused: It makes a difference which of them a reader keeps.
    """
    view = memoryview(tar)
    if (first.directory, first.mode, first.size) == (again.directory, again.mode, again.size) and (
        view[first.start : first.start + first.size] == view[again.start : again.start + again.size]
    ):
        return ", and both are the same"
    if not first.directory and not again.directory and again.name.partition("/")[2] == _ORIGINAL:
        return ": the last one counts, as for cargo"
    raise ArchiveRefused(f"{again.name[:80]!a} is in the archive twice, and the two differ")


class _Spellings:
    """Finds paths that some file system keeps in one place. Each name is folded once, below the folder that it is in.

    Args:
        letters: Bytes of names beyond ASCII that are folded at most: a letter can stand for eighteen, and for time that
            grows with their square.
    """

    def __init__(self, letters: int) -> None:
        self._most = self._left = letters
        self._folded: dict[str, str] = {}
        self._places: dict[tuple[int, str], int] = {}
        self._first: dict[int, str] = {}
        self._numbers: dict[str, int] = {"": 0}

    def add(self, path: str) -> str | None:
        """Take a path in, after the folders above it; returns another path that is kept in the same place."""
        above, _, name = path.rpartition("/")
        number = self._numbers[above]
        folded = name.lower() if name.isascii() else self._fold(name)
        for part in folded.split("/"):  # there are letters that stand for a slash
            number = self._places.setdefault((number, part), len(self._places) + 1)
        self._numbers[path] = number
        first = self._first.setdefault(number, path)
        return None if first is path else first

    def _fold(self, name: str) -> str:
        folded = self._folded.get(name)
        if folded is None:
            self._left -= len(name.encode())
            if self._left < 0:
                raise ArchiveRefused(f"the archive has more than {self._most} bytes of names beyond ASCII")
            folded = self._folded[name] = _folded(name)
        return folded


def _check_name(name: str, where: str) -> frozenset[str]:
    """Refuse a part of a path that leads elsewhere; returns what is unusual about it."""
    if name in ("", ".", ".."):
        raise ArchiveRefused(f"{where[:80]!a} is not a path below the crate's folder")
    if len(name) > MAX_PART // 4 and len(name.encode()) > MAX_PART:
        raise ArchiveRefused(f"{where[:80]!a} has a part of more than {MAX_PART} bytes, which no file system takes")
    if _MOVES.search(name) or name[-1] in ". " or ("~" in name and _SHORT_NAME.match(name)):
        raise ArchiveRefused(f"{where[:80]!a} is another path on some file system")
    unportable = _UNPORTABLE.search(name) or _DEVICE.match(name)
    found = _NOTHING if unportable is None else frozenset(("cannot be unpacked on Windows",))
    if not name.isascii() and any(unicodedata.category(char) in ("Cf", "Zl", "Zp") for char in name):
        found |= {"has characters that are not seen"}
    return found


def _new_folders(above: str, known: Container[str]) -> list[str]:
    """This folder and those above it that are not known yet, from the top down; above a known one all are known."""
    new: list[str] = []
    while above not in known:
        new.append(above)
        above = above.rpartition("/")[0]
    return new[::-1]


def _folded(path: str) -> str:
    """Equal for two paths that some file system keeps in one place (APFS, HFS+, NTFS, ext4 with casefold)."""
    if path.isascii():
        return path.lower()
    shown = "".join(char for char in path if unicodedata.category(char) != "Cf")  # HFS+ ignores these
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", shown).casefold())


# 4. the manifest


def _root_manifest(entries: tuple[CrateEntry, ...], folder: str, expected: CrateId | None) -> Manifest:
    roots = [entry for entry in entries if "/" not in entry.path and _folded(entry.path) == "cargo.toml"]
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
