"""What an upstream lists of a crate, by checksum, whether a mirror has the tarball or not: what claims adopt from.

::

    index/history/<name>   {"_type": "carnet-history", "version": 1, "crate": "serde",
                            "versions": {"1.0.0": {"cksum": "<sha256>", "index": "<sha256>", "yanked": false}}}

It is a target in the hash bins, the mirror's word on what its upstream says. cargo is never given it: a version gets
into the index when its tarball is there, and of a claimed crate when its release keys have signed it as well.

What an upstream does not say is no statement: a version that was listed once stays, with the checksum and the line that
it had first; only its yank state follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from carnet import strictjson
from carnet.cargo.index_file import MAX_LINE, identity_of
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.errors import CarnetError, FormatError
from carnet.strictjson import Json, JsonObject
from carnet.tuf.keys import is_keyid
from carnet.value import value

MAX_HISTORY = 1024 * 1024
"""Bytes of a history."""
MOST_VERSIONS = 4_000
"""Versions of a crate, as many as a claim can adopt; of one with more, the first that an upstream names are listed."""
_MOST_TEXT = 32
"""Characters of a version, on average over all that are listed: an upstream may call them what it likes."""
_VERSION = re.compile(rb'"vers"\s*:\s*"([^"\\]{1,128})"')
_YANKED = re.compile(rb'"yanked"\s*:\s*(true|false)\b')


@value
class ListedVersion:
    """One version, as an upstream lists it.

    Attributes:
        id: Name, as the upstream spells it, and version.
        cksum: sha256 of its tarball, in hex.
        index: The identity of its index line (`carnet.cargo.index_line.IndexLine.identity`).
        yanked: Its yank state.
    """

    id: CrateId
    cksum: str
    index: str
    yanked: bool


@value
class History:
    """Every version of a crate that an upstream ever listed.

    Attributes:
        name: The crate, as the upstream spells it.
        versions: By version.
    """

    name: CrateName
    versions: Mapping[Version, ListedVersion]

    def __iter__(self) -> Iterator[ListedVersion]:
        for version in sorted(self.versions):
            yield self.versions[version]

    @classmethod
    def from_bytes(cls, data: bytes, name: CrateName) -> History:
        """Read one.

        Args:
            data: The file.
            name: The crate that it has to be about, in any spelling.

        Raises:
            FormatError: It is none, or another crate's.
        """
        match strictjson.parse_object(data, f"the history of {name}", max_bytes=MAX_HISTORY):
            case {"_type": "carnet-history", "version": 1, "crate": str(crate), "versions": dict(listed)}:
                spelled = CrateName(crate)
            case _:
                raise FormatError(f"this is no history of {name}")
        if spelled.canonical != name.canonical or len(listed) > MOST_VERSIONS:
            raise FormatError(f"this is no history of {name}, or has more than {MOST_VERSIONS} versions")
        found = (_listed(CrateId(spelled, Version(version)), said) for version, said in listed.items())
        return cls(spelled, {one.id.version: one for one in found})

    def to_bytes(self) -> bytes:
        """As a file; equal histories give equal bytes."""
        versions: JsonObject = {
            str(one.id.version): by_checksum(one.cksum, one.index, yanked=one.yanked) for one in self
        }
        said: JsonObject = {"_type": "carnet-history", "version": 1, "crate": str(self.name), "versions": versions}
        return strictjson.encode(said) + b"\n"

    def heard(self, lines: Sequence[bytes]) -> History:
        """The same, with what an upstream says now.

        Args:
            lines: Those of the crate in the upstream's index, unparsed; what cannot be read says nothing.
        """
        found = dict(self.versions)
        text = sum(len(str(version)) for version in found)
        said: set[Version] = set()
        for line in lines:
            one = self._known(line) or _read(line, self.name)
            if one is None or one.id.version in said:
                continue
            said.add(one.id.version)
            before = found.get(one.id.version)
            has_room = len(found) < MOST_VERSIONS and text + len(str(one.id.version)) <= MOST_VERSIONS * _MOST_TEXT
            if before is None and has_room:
                found[one.id.version], text = one, text + len(str(one.id.version))
            elif before is not None and (before.cksum, before.index) == (one.cksum, one.index):
                found[one.id.version] = one
        return History(self.name, found)

    def _known(self, line: bytes) -> ListedVersion | None:
        """What a line says that says nothing new but whether it is yanked: to parse it takes long."""
        version, yanked = _VERSION.findall(line), _YANKED.findall(line)
        if len(version) != 1 or len(yanked) != 1:
            return None
        try:
            known = self.versions.get(Version(version[0].decode("ascii")))
        except (FormatError, UnicodeDecodeError):
            return None
        if known is None or f'"{known.cksum}"'.encode() not in line:
            return None
        return ListedVersion(known.id, known.cksum, known.index, yanked[0] == b"true")


def by_checksum(cksum: str, index: str, *, yanked: bool) -> JsonObject:
    """A version of which no length is known, as a history and a crate role write it."""
    return {"cksum": cksum, "index": index, "yanked": yanked}


def read_by_checksum(said: Json, what: str) -> tuple[str, str, bool]:
    """What `by_checksum` wrote: checksum, identity of the index line, yank state.

    Raises:
        FormatError: Something else.
    """
    entry: Any = said
    match entry:
        case {"cksum": str(cksum), "index": str(index), "yanked": bool(yanked), **more} if not more:
            if is_keyid(cksum) and is_keyid(index):
                return cksum, index, yanked
    raise FormatError(f"{what} needs exactly cksum and index, each a sha256, and yanked")


def _listed(crate: CrateId, said: Json) -> ListedVersion:
    return ListedVersion(crate, *read_by_checksum(said, f"the history of {crate}"))


def _read(line: bytes, name: CrateName) -> ListedVersion | None:
    try:
        # No more of it than is listed: a sync hears of thousands of lines, and reads whole those that it brings.
        match strictjson.parse_object(line, "an index line", max_bytes=MAX_LINE):
            case {"name": name.text, "vers": str(version), "cksum": str(cksum), **rest} as raw if is_keyid(cksum):
                crate = CrateId.of(name.text, version)
                return ListedVersion(crate, cksum, identity_of(raw, crate), rest.get("yanked") is True)
        return None
    except CarnetError:
        return None
