"""What look-ups of earlier runs found, kept only to be fast.

An answer (where a target is listed, or that nobody has claimed a name) follows from the root and from the files of the
roles that the look-up walked over. While the root is the same, the accepted snapshot still names the same version,
length and hash for each of those roles, and none of them has expired, walking again would find the same. So an answer
is kept with the names of its roles, and counts only as long as all of them do.

Answers are as safe as the root beside them: whoever can write here can replace that too (docs/adr/0003-tuf-client.md).
The file is written atomically and without waiting for the disk; when it is missing, torn or of another making,
everything is looked up again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from carnet import strictjson
from carnet.cargo.names import CrateName
from carnet.digests import sha256_hex
from carnet.errors import FormatError
from carnet.strictjson import JsonObject
from carnet.tuf.roles import MetaFile, Targets
from carnet.value import value
from carnet_verifier.memory.pack import replace_file

_HEAD = b"carnet answers 3 "
"""Another number makes older files unread: raise it when what an answer stands for changes."""
_MAX_BYTES = 64_000_000


@value
class KeptTarget:
    """Where a target is listed.

    Attributes:
        length: In bytes.
        sha256: In hex.
        role: The role that lists it.
    """

    length: int
    sha256: str
    role: str


class LookupMemory:
    """The answers of earlier runs that count in this one. Threads may share it.

    Args:
        place: The file that they are kept in.
        root: The accepted root's file of this run.
        meta: What the accepted snapshot of this run says of each role.
        now: The time of this run.
    """

    def __init__(self, place: str, root: bytes, meta: Mapping[str, MetaFile], now: datetime) -> None:
        self._place = place
        self._meta = meta
        self._now = now
        self._root = sha256_hex(root)
        self._roles: dict[str, JsonObject] = {}
        self._targets: dict[str, tuple[tuple[str, ...], int, str]] = {}
        self._unclaimed: dict[str, tuple[str, ...]] = {}
        self._changed = False
        self._lock = threading.Lock()
        try:
            self._take(_read(place))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):  # of another making
            self._roles, self._targets, self._unclaimed = {}, {}, {}

    def target(self, path: str) -> KeptTarget | None:
        """Where a target was found listed, or None when that is not known."""
        found = self._targets.get(path)
        return None if found is None else KeptTarget(found[1], found[2], found[0][-1])

    def is_unclaimed(self, name: CrateName) -> bool:
        """Whether a name is known to be nobody's."""
        return name.canonical in self._unclaimed

    def keep_target(self, path: str, length: int, sha256: str, walked: Mapping[str, Targets]) -> None:
        """Keep where a target was found: in the last of the roles that the look-up walked over."""
        with self._lock:
            self._targets[path] = (self._follows_from(walked), length, sha256)

    def keep_unclaimed(self, name: CrateName, walked: Mapping[str, Targets]) -> None:
        """Keep that a name was found to be nobody's."""
        with self._lock:
            self._unclaimed[name.canonical] = self._follows_from(walked)

    def flush(self) -> None:
        """What was kept is there for the next run.

        Raises:
            StorageError: The disk failed or is full.
        """
        with self._lock:
            if not self._changed:
                return
            document = {
                "root": self._root,
                "roles": self._roles,
                "targets": {
                    path: [list(roles), length, sha256] for path, (roles, length, sha256) in self._targets.items()
                },
                "unclaimed": {name: list(roles) for name, roles in self._unclaimed.items()},
            }
            data = strictjson.encode(document)
            replace_file(self._place, _HEAD + sha256_hex(data).encode() + b"\n" + data)
            self._changed = False

    def _follows_from(self, walked: Mapping[str, Targets]) -> tuple[str, ...]:
        self._changed = True
        for name, role in walked.items():
            if name not in self._roles:
                self._roles[name] = _role(self._meta[name], int(role.expires.timestamp()))
        return tuple(walked)

    def _take(self, kept: Any) -> None:
        """Take over the answers whose roles are still what the snapshot names, and in time; the others are dropped."""
        if kept is None or kept["root"] != self._root:
            return
        now = self._now.timestamp()
        for name, role in kept["roles"].items():
            current = self._meta.get(name)
            if current is not None and now < role["expires"] and role == _role(current, role["expires"]):
                self._roles[name] = role
        count = self._roles.keys().__contains__
        for path, (roles, length, sha256) in kept["targets"].items():
            if roles and all(map(count, roles)):
                self._targets[path] = (tuple(roles), int(length), str(sha256))
        for name, roles in kept["unclaimed"].items():
            if all(map(count, roles)):
                self._unclaimed[name] = tuple(roles)


def _role(meta: MetaFile, expires: int) -> JsonObject:
    """What has to stay as it is for a role's answers to count; the expiry in seconds since 1970."""
    return {"version": meta.version, "length": meta.length, "hashes": dict(meta.hashes), "expires": expires}


def _read(place: str) -> Any:
    """The file as `flush` wrote it, whole; None otherwise."""
    try:
        with open(place, "rb") as file:  # noqa: PTH123  -- start-up time counts
            head, _, data = file.read(_MAX_BYTES).partition(b"\n")
        if head != _HEAD + sha256_hex(data).encode():
            return None
        return strictjson.parse_known(data, "answers")  # as its digest says
    except (OSError, FormatError):
        return None
