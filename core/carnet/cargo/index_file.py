"""Sparse-index lines and files as values: what cargo resolves with, before it has seen any tarball."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from carnet import strictjson
from carnet.cargo.manifest import KINDS, Dependency
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.digests import sha256_hex
from carnet.errors import FormatError
from carnet.strictjson import Json, JsonObject
from carnet.value import field, value

MAX_FILE = 64 * 1024 * 1024
"""Bytes in an index file; the largest of the public registry is below 10 MB."""
MAX_LINE = 4 * 1024 * 1024
"""Bytes in one line."""
_LINES_ALWAYS, _BYTES_PER_LINE = 1000, 64
"""Lines that any file may have, and bytes for each further one: a checksum alone takes so many."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_PUBTIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")
_NOT_IDENTITY = ("yanked", "pubtime")


def identity_of(raw: JsonObject, crate: CrateId) -> str:
    """What maintainers sign of a line: the sha256, in hex, of its canonical JSON without `yanked` and `pubtime`.

    Args:
        raw: The object as parsed.
        crate: Which version it is of, for messages.

    Raises:
        FormatError: It has no canonical form.
    """
    kept = {key: value for key, value in raw.items() if key not in _NOT_IDENTITY}
    return sha256_hex(strictjson.canonical(kept, f"the index line of {crate}"))


@value
class IndexLine:
    """One version of one crate, as the registry tells cargo. Fields that carnet does not know are kept.

    Attributes:
        id: Name and version.
        cksum: sha256 of the `.crate`, in hex.
        deps: Its dependencies, as written.
        features: `features` and `features2` together.
        links: The native library that it links, or None.
        rust_version: The least Rust version, or None.
        yanked: Whether cargo avoids it for new locks.
        pubtime: When it was published, `yyyy-mm-ddThh:mm:ssZ`, or None.
        raw: The object as parsed.
    """

    id: CrateId
    cksum: str
    deps: tuple[Dependency, ...]
    features: Mapping[str, tuple[str, ...]]
    links: str | None
    rust_version: str | None
    yanked: bool
    pubtime: str | None
    raw: JsonObject = field(repr=False)
    _text: bytes | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> IndexLine:
        """Read one line, with or without its newline.

        Raises:
            FormatError: Not a line of a sparse index.
        """
        text = data.removesuffix(b"\n")
        if b"\n" in text:
            raise FormatError("an index line has a line break inside")
        return cls.from_parsed(strictjson.parse_object(text, "an index line", max_bytes=MAX_LINE), text)

    @classmethod
    def from_object(cls, raw: JsonObject) -> IndexLine:
        """Read the parsed object of a line.

        Raises:
            FormatError: Not a line of a sparse index.
        """
        return cls.from_parsed(raw, None)

    @classmethod
    def from_parsed(cls, raw: JsonObject, text: bytes | None) -> IndexLine:
        """Read the parsed object of a line, with the text that it was parsed of, or None.

        Raises:
            FormatError: Not a line of a sparse index.
        """
        reader = Fields(raw, "an index line")
        crate = CrateId.of(reader.text("name"), reader.text("vers"))
        reader = Fields(raw, f"the index line of {crate}")
        cksum = reader.text("cksum")
        if _SHA256.match(cksum) is None:
            raise FormatError(f"{reader.what}: cksum is not a sha256 in lower-case hex")
        pubtime = reader.optional_text("pubtime")
        if pubtime is not None and _PUBTIME.match(pubtime) is None:
            raise FormatError(f"{reader.what}: pubtime is not of the form 2026-01-31T23:59:59Z")
        return cls(
            crate,
            cksum,
            tuple(read_dependency(Fields(dep, reader.what)) for dep in reader.objects("deps")),
            _joined(reader.features("features"), reader.features("features2")),
            reader.optional_text("links"),
            reader.optional_text("rust_version"),
            raw.get("yanked") is not None and reader.truth("yanked", default=False),
            pubtime,
            raw,
            text,
        )

    def to_bytes(self) -> bytes:
        """The line as it is served, without its newline: the very bytes it was read from, if it was read."""
        if self._text is not None:
            return self._text
        return json.dumps(self.raw, ensure_ascii=False, separators=(",", ":")).encode()

    def identity(self) -> str:
        """What maintainers sign: the sha256, in hex, of the line's canonical JSON without `yanked` and `pubtime`."""
        return self._identity

    @cached_property
    def _identity(self) -> str:
        return identity_of(self.raw, self.id)

    def with_(self, *, yanked: bool | None = None, pubtime: str | None = None) -> IndexLine:
        """The same line with another yank state or publication time; None leaves it as it is.

        Raises:
            FormatError: `pubtime` is not of cargo's form.
        """
        changed: JsonObject = {}
        if yanked is not None and self.raw.get("yanked") is not yanked:
            changed["yanked"] = yanked
        if pubtime is not None and self.pubtime != pubtime:
            changed["pubtime"] = pubtime
        return IndexLine.from_object(self.raw | changed) if changed else self


class IndexFile:
    """A crate's sparse-index file.

    A build asks for one line of each file, and old crates have hundreds: the others are not looked at.
    """

    def __init__(self, name: CrateName, lines: Iterable[IndexLine] = ()) -> None:
        """Put lines together.

        Args:
            name: The crate.
            lines: One for each version.

        Raises:
            FormatError: A line is another crate's, or repeats a version.
        """
        self.name = name
        self._read: dict[bytes, JsonObject] = {}
        given = tuple(lines)
        self._texts = tuple(line.to_bytes() for line in given)
        self._parsed = dict(zip(self._texts, given, strict=True))
        _ = self.lines

    @classmethod
    def from_bytes(cls, data: bytes, name: CrateName) -> IndexFile:
        """Read an index file.

        Raises:
            FormatError: Too large, or more lines than so many bytes can be. All about a line is checked when it is
                asked for.
        """
        if len(data) > MAX_FILE:
            raise FormatError(f"the index file of {name} is larger than {MAX_FILE} bytes")
        lines = data.count(b"\n")
        if lines > _LINES_ALWAYS + len(data) // _BYTES_PER_LINE:
            raise FormatError(
                f"the index file of {name} is hardly anything but line breaks: {lines} in {len(data)} bytes"
            )
        file = cls(name)
        file._texts = tuple(line for line in data.split(b"\n") if line)
        return file

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IndexFile) and (self.name, self.to_bytes()) == (other.name, other.to_bytes())

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"IndexFile({self.name}, {len(self._texts)} lines)"

    def to_bytes(self) -> bytes:
        """The file as it is served: each line with its newline."""
        return b"".join(text + b"\n" for text in self._texts)

    def line(self, version: Version) -> IndexLine | None:
        """The line of one version; no line that cannot be of this version is looked at.

        Beside a good line, those that are no object with a name and a version are skipped, as cargo skips them.

        Raises:
            FormatError: It does not parse, is another crate's, or is there twice.
        """
        # A version needs no escapes in JSON: a line without a backslash that is of this version holds it as it is.
        quoted = f'"{version.text}"'.encode()
        may_be = [text for text in self._texts if quoted in text or b"\\" in text]
        found = [text for text in may_be if self._names(text) is not None and self._version_of(text) == version.text]
        if len(found) > 1:
            raise self._twice(version.text)
        if found:
            return self._line(found[0])
        for text in may_be:
            if quoted in text:
                self._version_of(text)  # says what is wrong with it, if it is no line at all
        return None

    @property
    def lines(self) -> tuple[IndexLine, ...]:
        """Every line, in the order of the file.

        Raises:
            FormatError: One does not parse, is another crate's, or repeats a version.
        """
        return tuple(map(self._line, self._by_version(self._texts).values()))

    @property
    def readable(self) -> tuple[IndexLine, ...]:
        """Every line that parses, in the order of the file: of the others cargo, too, knows nothing.

        Lines of a later form stand beside those of today, and a registry's old slips beside its good lines.

        Raises:
            FormatError: A line is another crate's, or two are of one version.
        """
        versions = self._by_version(text for text in self._texts if self._names(text) is not None)
        return tuple(line for text in versions.values() if (line := self._line_or_none(text)) is not None)

    def _by_version(self, texts: Iterable[bytes]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for text in texts:
            version = self._version_of(text)
            if version in found:
                raise self._twice(version)
            found[version] = text
        return found

    def _version_of(self, text: bytes) -> str:
        """A first look at a line: that it is of this crate, and of which version."""
        names = self._names(text)
        if names is None:
            raise FormatError(f"the index file of {self.name} has a line without a name and version: {text[:40]!a}")
        name, version = names
        if name.lower() != self.name.text.lower():
            raise FormatError(f"the index file of {self.name} has a line of {name[:80]!a}")
        return version

    def _names(self, text: bytes) -> tuple[str, str] | None:
        """Name and version in a line, or None."""
        known = self._parsed.get(text)
        raw = known.raw if known is not None else self._read.get(text)
        if raw is None:
            raw = self._read[text] = _object_of(text)
        name, version = raw.get("name"), raw.get("vers")
        return (name, version) if isinstance(name, str) and isinstance(version, str) else None

    def _line(self, text: bytes) -> IndexLine:
        line = self._parsed.get(text)
        if line is None:
            line = IndexLine.from_parsed(self._read[text], text)
            del self._read[text]
            self._parsed[text] = line
        return line

    def _line_or_none(self, text: bytes) -> IndexLine | None:
        try:
            return self._line(text)
        except FormatError:
            return None

    def _twice(self, version: str) -> FormatError:
        return FormatError(f"the index file of {self.name} has two lines of version {version[:80]!a}")


def _object_of(text: bytes) -> JsonObject:
    """A line's object; an empty one, which has no name, when it is none."""
    try:
        return strictjson.parse_object(text, "an index line", max_bytes=MAX_LINE)
    except FormatError:
        return {}


# --- reading JSON by type ---


@value
class Fields:
    """An object of an index or a publish request, whose fields are asked for by type.

    Attributes:
        raw: The object.
        what: What it is, for messages.
    """

    raw: JsonObject
    what: str

    def _wrong(self, key: str, words: str) -> FormatError:
        return FormatError(f"{self.what}: `{key}` must be {words}")

    def text(self, key: str) -> str:
        """A string that must be there."""
        value = self.optional_text(key)
        if value is None:
            raise self._wrong(key, "a string")
        return value

    def optional_text(self, key: str) -> str | None:
        """A string, null, or nothing."""
        value = self.raw.get(key)
        if value is not None and type(value) is not str:
            raise self._wrong(key, "a string")
        return value

    def truth(self, key: str, *, default: bool) -> bool:
        """True, false, or nothing."""
        value = self.raw.get(key, default)
        if type(value) is not bool:
            raise self._wrong(key, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings, or nothing."""
        return tuple(_texts(self.raw.get(key, []), self._wrong(key, "a list of strings")))

    def objects(self, key: str) -> list[JsonObject]:
        """A list of objects that must be there."""
        value = self.raw.get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list of objects")
        objects = [item for item in value if isinstance(item, dict)]
        if len(objects) != len(value):
            raise self._wrong(key, "a list of objects")
        return objects

    def features(self, key: str) -> dict[str, tuple[str, ...]]:
        """An object of lists of strings, null, or nothing."""
        value = self.raw.get(key)
        if not value:
            return {}
        wrong = self._wrong(key, "an object of lists of strings")
        if not isinstance(value, dict):
            raise wrong
        return {name: tuple(_texts(values, wrong)) for name, values in value.items()}


def _texts(value: Json, wrong: FormatError) -> Iterator[str]:
    if not isinstance(value, list):
        raise wrong
    for item in value:
        if not isinstance(item, str):
            raise wrong
        yield item


def _joined(features: dict[str, tuple[str, ...]], features2: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """As cargo joins them: values of both, one after the other."""
    return features | {name: features.get(name, ()) + values for name, values in features2.items()}


def read_dependency(reader: Fields) -> Dependency:
    """One entry of `deps`.

    Raises:
        FormatError: A field is missing or of the wrong type, or of a kind that cargo does not have.
    """
    kind = reader.optional_text("kind") or "normal"
    if kind not in KINDS:
        raise FormatError(f"{reader.what}: a dependency of the unknown kind {kind[:40]!a}")
    return Dependency(
        name=reader.text("name"),
        req=reader.text("req"),
        kind=kind,
        target=reader.optional_text("target"),
        features=reader.texts("features"),
        optional=reader.truth("optional", default=False),
        default_features=reader.truth("default_features", default=True),
        registry=reader.optional_text("registry"),
        package=reader.optional_text("package"),
        artifact=() if reader.raw.get("artifact") is None else reader.texts("artifact"),
        bindep_target=reader.optional_text("bindep_target"),
        lib=reader.truth("lib", default=False),
    )
