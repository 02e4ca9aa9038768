"""Crate names and versions as cargo and the registry have them."""

from __future__ import annotations

import re
from functools import cached_property, total_ordering

from carnet.digests import sha256_hex
from carnet.errors import FormatError
from carnet.value import value

MAX_NAME = 64
"""Characters in a crate name, as the public registry allows."""

MAX_PACKAGE_NAME = 200
"""Characters in the name of a package from elsewhere; cargo itself knows no limit."""

MAX_VERSION = 128
"""Characters in a version; a published one is far shorter."""

# Windows device names: the registry refuses them as crate names, and a path that ends in one opens a device there.
_RESERVED = frozenset(("nul", "con", "prn", "aux", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))))
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_NAME = _LETTERS | frozenset("0123456789_-")
_NUMBER = r"0|[1-9][0-9]{0,19}"
_VERSION = (
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})"
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?\Z"
)
_UINT64_MAX = 2**64 - 1


@value(order=True)
class CrateName:
    """A crate's name in the spelling it was published with.

    Attributes:
        text: ASCII letters, digits, `-` and `_`, starting with a letter, at most `MAX_NAME` characters.
    """

    text: str

    def __post_init__(self) -> None:
        if len(self.text) > MAX_NAME:
            raise FormatError(f"crate name {self.text[:MAX_NAME]!a}... is longer than {MAX_NAME} characters")
        if self.text[:1] not in _LETTERS or not _NAME.issuperset(self.text):
            raise FormatError(
                f"{self.text!a} is not a crate name",
                hint="a crate name starts with a letter and has only ASCII letters, digits, `-` and `_`",
            )
        if self.text.lower() in _RESERVED:
            raise FormatError(
                f"crate name {self.text!a} is reserved: it names a device on Windows", hint="choose another name"
            )

    def __str__(self) -> str:
        return self.text

    @cached_property
    def canonical(self) -> str:
        """Lower case, `-` written `_`: equal for all spellings that the registry treats as one crate."""
        return self.text.lower().replace("-", "_")

    @cached_property
    def shard(self) -> str:
        """Two hex digits: the first byte of the sha256 of the canonical name; it picks the shard of claims."""
        return sha256_hex(self.canonical.encode())[:2]


@value(order=True)
class PackageName(CrateName):
    """The name of a package that comes from git, or from another registry: cargo takes more there than crates-io does.

    It is its own class, so that no such name equals a crate's.

    Attributes:
        text: Letters and digits of any script, `-` and `_`, at most `MAX_PACKAGE_NAME` characters.
    """

    def __post_init__(self) -> None:
        if len(self.text) > MAX_PACKAGE_NAME or not f"_{self.text.replace('-', '_')}".isidentifier() or not self.text:
            raise FormatError(f"{self.text[:80]!a} is not the name of a package")


@total_ordering
@value
class Version:
    """A semantic version (SemVer 2.0) as cargo reads it: numbers fit 64 bits, build metadata takes part in the order.

    Attributes:
        text: As written; two versions are equal when their texts are.
    """

    text: str

    def __post_init__(self) -> None:
        if _is_plain(self.text):
            return
        match = re.match(_VERSION, self.text, re.ASCII) if len(self.text) <= MAX_VERSION else None
        if match is None or (len(self.text) > 19 and any(int(match[part]) > _UINT64_MAX for part in (1, 2, 3))):
            raise FormatError(
                f"{self.text[:MAX_VERSION]!a} is not a semantic version",
                hint="a version looks like 1.2.3, 1.2.3-rc.1 or 1.2.3+build",
            )

    def __str__(self) -> str:
        return self.text

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def _parts(self) -> re.Match[str]:
        match = re.match(_VERSION, self.text, re.ASCII)
        if match is None:  # it was checked when it was built
            raise AssertionError(self.text)
        return match

    def _key(self) -> tuple[object, ...]:
        if _is_plain(self.text):
            major, minor, patch = map(int, self.text.split("."))
            return ((major, minor, patch), True, (), (), self.text)
        match = self._parts()
        numbers = (int(match[1]), int(match[2]), int(match[3]))
        return (numbers, match[4] is None, _identifiers(match[4]), _identifiers(match[5]), self.text)


def read_version(text: str, what: str) -> Version:
    """A version, of whose place a message speaks.

    Raises:
        FormatError: It is none.
    """
    try:
        return Version(text)
    except FormatError as error:
        raise FormatError(f"{what}: {error}", hint=error.hint) from None


def _is_plain(text: str) -> bool:
    """Whether a version is three small numbers, as nearly all are: the pattern for the others takes long to compile."""
    parts = text.split(".")
    if len(parts) != 3 or not text.isascii():
        return False
    return _is_small(parts[0]) and _is_small(parts[1]) and _is_small(parts[2])  # one by one: a lock has a thousand


def _is_small(part: str) -> bool:
    return part.isdigit() and len(part) < 19 and (part[0] != "0" or part == "0")


def _identifiers(text: str | None) -> tuple[tuple[int, int, str], ...]:
    """Numeric identifiers compare as numbers and come before the others (SemVer 11.4)."""
    if text is None:
        return ()
    return tuple((0, int(part), part) if part.isdigit() else (1, 0, part) for part in text.split("."))


@value(order=True)
class CrateId:
    """One version of one crate.

    Attributes:
        name: Its name, in the published spelling.
        version: Its version.
    """

    name: CrateName
    version: Version

    @classmethod
    def of(cls, name: str, version: str) -> CrateId:
        """Build from two texts.

        Raises:
            FormatError: Not a crate name, or not a version.
        """
        return cls(CrateName(name), Version(version))

    @classmethod
    def parse(cls, text: str) -> CrateId:
        """Read `NAME@VERSION`, as people type it.

        Raises:
            FormatError: Not of that form.
        """
        name, at, version = text.partition("@")
        if not at:
            raise FormatError(f"{text[:80]!a} names no version", hint="write NAME@VERSION, such as serde@1.0.219")
        return cls.of(name, version)

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def stem(self) -> str:
        """`<name>-<version>`: the tarball's file name without `.crate`, and the folder inside it."""
        return f"{self.name}-{self.version}"
