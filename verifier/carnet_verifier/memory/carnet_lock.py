"""`carnet.lock`: what a repository carries beside its `Cargo.lock`, so that a fresh machine has a memory too.

A line of JSON each, in one order, so that git merges line by line; docs/formats.md, "carnet.lock", describes it. It
comes with the project, so it may be anybody's: it is read strictly, and all that follows of it is that more is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from carnet import strictjson, times
from carnet.cargo.names import CrateName
from carnet.errors import FormatError, RollbackDetected
from carnet.level import Level
from carnet.people import check_person
from carnet.strictjson import JsonObject
from carnet.tuf.keys import is_keyid
from carnet.value import value

FILE_NAME = "carnet.lock"
MAX_FILE = 8_000_000
_MAX_LINE = 40_000
_MAX_CRATES = 20_000
_MAX_KEYS = 100
_MAX_VERSION = 2**53 - 1

_ANEW = "restore it (`git checkout HEAD -- carnet.lock`), or remove it and run `carnet verify --update-memory`"
_JOIN = "`carnet verify --update-memory` joins both sides and writes it anew; nothing is lost of either"
_ASK = "one of the two lies: ask who wrote them (`git log carnet.lock`), and keep the file of whom you believe"
_LESS = (
    "take that file (`git checkout BRANCH -- carnet.lock`), then run `carnet verify --update-memory`; if it is not the "
    "newer of the two, ask who wrote them"
)
_MARKS = (b"<<<<<<<", b"|||||||", b"=======", b">>>>>>>")


@value
class SeenRoot:
    """The newest root that was seen.

    Attributes:
        version: Its version.
        sha256: Of its file, in hex.
    """

    version: int
    sha256: str


@value
class SeenOnline:
    """The newest timestamp or snapshot that was seen.

    Attributes:
        version: Its version.
        signers: Ids of the keys that signed it, sorted: once the root names others, the version counts no more.
    """

    version: int
    signers: tuple[str, ...]

    def joined(self, older: SeenOnline, *, same_root: bool) -> SeenOnline:
        """What this one remembers and an older one, of an older root or of the same.

        What other keys signed before a newer root counts no more (TUF 5.3.11), whatever its version.
        """
        if same_root or self.signers == older.signers:
            return max(self, older, key=lambda one: (one.version, one.signers))
        return self


@value
class SeenCrate:
    """What was seen of a claimed crate.

    Attributes:
        level: The highest level at which a version of it was admitted.
        owner: The version of its owner role.
        releases: The version of its crate role.
        threshold: How many owners must sign.
        owners: Owner id by key id.
    """

    level: Level
    owner: int
    releases: int
    threshold: int
    owners: Mapping[str, str]

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= len(self.owners):
            raise FormatError(f"{len(self.owners)} owners cannot meet a threshold of {self.threshold}")

    def joined(self, other: SeenCrate, name: str, what: str) -> SeenCrate:
        """What both remember of one crate.

        Args:
            other: What the other side remembers.
            name: The crate.
            what: Where both are from, for the message.

        Raises:
            FormatError: They contradict one another.
        """
        if self.owner == other.owner and (self.threshold, self.owners) != (other.threshold, other.owners):
            raise FormatError(
                f"{what}: both sides name version {self.owner} of the owners of {name}, and other owners",
                hint=_ASK,
            )
        newer = self if self.owner >= other.owner else other
        level, releases = max(self.level, other.level), max(self.releases, other.releases)
        return SeenCrate(level, newer.owner, releases, newer.threshold, newer.owners)


@value
class CarnetLock:
    """What a project remembers of one repository.

    Attributes:
        repository: The sha256 of the pinned root of whoever wrote it, in hex.
        root: The newest root that was seen.
        timestamp: The newest timestamp.
        snapshot: The newest snapshot.
        refreshed: When they were seen, by the clock of whoever wrote it.
        crates: What was seen of each claimed crate, by its canonical name. Of a crate that nobody claimed there is
            nothing to forget.
    """

    repository: str
    root: SeenRoot
    timestamp: SeenOnline
    snapshot: SeenOnline
    refreshed: datetime
    crates: Mapping[str, SeenCrate]

    @classmethod
    def from_bytes(cls, data: bytes, what: str = FILE_NAME) -> CarnetLock:
        """Read the file.

        Args:
            data: What is in it.
            what: Where that is from, for the message.

        Raises:
            FormatError: It is not one, it is too large, or a merge left both of its sides in it.
        """
        if len(data) > MAX_FILE:
            raise FormatError(f"{what} is larger than {MAX_FILE} bytes", hint=_ANEW)
        lines = data.split(b"\n")
        for number, line in enumerate(lines, 1):
            if line.startswith(_MARKS):
                raise FormatError(f"{what} has the marks of a merge in it (line {number})", hint=_JOIN)
        if lines.pop() != b"":
            raise FormatError(f"{what} is cut off: its last line does not end", hint=_ANEW)
        try:
            return cls._of_lines(lines)
        except FormatError as error:
            raise FormatError(f"{what}: {error}", hint=error.hint or _ANEW) from None

    @classmethod
    def _of_lines(cls, lines: list[bytes]) -> CarnetLock:
        said: JsonObject = {}
        crates: dict[str, SeenCrate] = {}
        for number, line in enumerate(lines, 1):
            parsed = strictjson.parse_object(line, f"line {number}", max_bytes=_MAX_LINE)
            match parsed:
                case {"crate": str(name), **rest}:
                    if len(crates) == _MAX_CRATES:
                        raise FormatError(f"it has more than {_MAX_CRATES} crates")
                    if name in crates:
                        raise FormatError(f"two lines are about {name[:64]}", hint="keep one of the two lines")
                    crates[_canonical(name)] = _crate(rest, number)
                case _ if len(parsed) == 1 and not parsed.keys() & said.keys():
                    said |= parsed
                case _:
                    raise FormatError(f"line {number} says what no line says, or what another one says already")
        match said:
            case {
                "carnet-lock": {"version": 1, "repository": str(repository), **more},
                "root": {"version": int(version), "sha256": str(sha256), **no_more},
                "timestamp": dict(timestamp),
                "snapshot": dict(snapshot),
                "refreshed": str(refreshed),
                **unknown,
            } if not (more or no_more or unknown) and is_keyid(repository) and is_keyid(sha256):
                root = SeenRoot(_version(version), sha256)
                moment = times.read(refreshed, "refreshed")
                return cls(repository, root, _online(timestamp), _online(snapshot), moment, crates)
            case _:
                raise FormatError("it needs the lines carnet-lock (version 1), root, timestamp, snapshot and refreshed")

    @classmethod
    def from_merge(cls, data: bytes, what: str = FILE_NAME) -> CarnetLock:
        """Read the file, or what a merge left of it: then both sides are joined.

        Args:
            data: What is in it.
            what: Where that is from, for the message.

        Raises:
            FormatError: A side is not a `carnet.lock`, or the two contradict one another.
        """
        ours, theirs = (cls.from_bytes(side, what) for side in _sides(data))
        return ours.joined(theirs, what)

    def to_bytes(self) -> bytes:
        """The file: the same memory is always the same bytes."""
        return b"".join(strictjson.encode(line) + b"\n" for line in self._lines())

    def _lines(self) -> Iterator[JsonObject]:
        yield {"carnet-lock": {"version": 1, "repository": self.repository}}
        yield {"root": {"version": self.root.version, "sha256": self.root.sha256}}
        for name, seen in (("timestamp", self.timestamp), ("snapshot", self.snapshot)):
            yield {name: {"version": seen.version, "signers": list(seen.signers)}}
        yield {"refreshed": times.written(self.refreshed)}
        for crate, known in sorted(self.crates.items()):
            yield {
                "crate": crate,
                "level": str(known.level),
                "owner": known.owner,
                "releases": known.releases,
                "threshold": known.threshold,
                "owners": dict(known.owners),
            }

    def joined(self, other: CarnetLock, what: str = FILE_NAME) -> CarnetLock:
        """What both remember: of each thing, what is refused by either is refused.

        Args:
            other: The other side.
            what: Where both are from, for the message.

        Raises:
            FormatError: They are about two repositories, or contradict one another.
        """
        if self.repository != other.repository:
            raise FormatError(f"{what}: the two sides are about two repositories", hint=_ASK)
        if self.root.version == other.root.version and self.root != other.root:
            raise FormatError(f"{what}: the two sides saw two roots of version {self.root.version}", hint=_ASK)
        newer, older = (self, other) if self.root.version >= other.root.version else (other, self)
        crates = {**self.crates, **other.crates}
        for name in self.crates.keys() & other.crates.keys():
            crates[name] = self.crates[name].joined(other.crates[name], name, what)
        refreshed = max(self.refreshed, other.refreshed)
        same_root = newer.root == older.root
        timestamp = newer.timestamp.joined(older.timestamp, same_root=same_root)
        snapshot = newer.snapshot.joined(older.snapshot, same_root=same_root)
        return CarnetLock(self.repository, newer.root, timestamp, snapshot, refreshed, crates)

    def check_no_less_than(self, earlier: CarnetLock, where: str) -> None:
        """Demand that all that another one remembers is remembered here, too.

        Args:
            earlier: The other one, such as that of the branch into which this one is to be merged.
            where: What it is called, for the message.

        Raises:
            RollbackDetected: This one says less.
            FormatError: They are about two repositories, or contradict one another.
        """
        said = list(self._lines())
        for line in self.joined(earlier, f"{FILE_NAME} and {where}")._lines():
            if line not in said:
                what = f"of the crate {line['crate']}" if "crate" in line else f"in its line {next(iter(line))!a}"
                raise RollbackDetected(f"{FILE_NAME} says less {what} than {where}", hint=_LESS)


def _sides(data: bytes) -> tuple[bytes, bytes]:
    """What either side of a merge has; the common ancestor that some styles show says less than both."""
    ours: list[bytes] = []
    theirs: list[bytes] = []
    into: tuple[list[bytes], ...] = (ours, theirs)
    for line in data[: MAX_FILE + 1].splitlines(keepends=True):
        mark = line[:7]
        if mark not in _MARKS:
            for side in into:
                side.append(line)
        else:
            into = {_MARKS[0]: (ours,), _MARKS[1]: (), _MARKS[2]: (theirs,), _MARKS[3]: (ours, theirs)}[mark]
    return b"".join(ours), b"".join(theirs)


def _canonical(name: str) -> str:
    if CrateName(name).canonical != name:
        raise FormatError(f"{name[:64]!a} is not the canonical name of a crate")
    return name


def _version(number: int) -> int:
    if isinstance(number, bool) or not 0 < number <= _MAX_VERSION:
        raise FormatError("a version is not a number from 1 on")
    return number


def _crate(said: Mapping[str, Any], number: int) -> SeenCrate:
    match said:
        case {
            "level": str(level),
            "owner": int(owner),
            "releases": int(releases),
            "threshold": int(threshold),
            "owners": dict(owners),
        } if len(said) == 5 and len(owners) <= _MAX_KEYS:
            for keyid, person in owners.items():
                if not is_keyid(keyid) or not isinstance(person, str):
                    raise FormatError(f"owners in line {number} is not an object from key ids to owner ids")
                check_person(person, "an owner id")
            return SeenCrate(
                Level.parse(level),
                _version(owner),
                _version(releases),
                _version(threshold),
                dict(sorted(owners.items())),
            )
        case _:
            raise FormatError(f"line {number} needs crate, level, owner, releases, threshold and owners")


def _online(said: Mapping[str, Any]) -> SeenOnline:
    match said:
        case {"version": int(version), "signers": [*signers]} if len(said) == 2 and len(signers) <= _MAX_KEYS:
            if all(isinstance(one, str) and is_keyid(one) for one in signers) and signers:
                return SeenOnline(_version(version), tuple(sorted({str(one) for one in signers})))
    raise FormatError("timestamp and snapshot need a version and the ids of the keys that signed")
