"""Claims and takeovers that are public and wait: bounded, although anybody may hand one in.

No limit on one sender keeps a flood out, because senders are free to have many addresses and honest ones may share one.
So what has stood for a day stays, because people wait for its period, and bounds are for entries of their first day:

    in all       where it is reached, whoever has the most loses their newest; who has as many is refused
    for a name   the same, but whoever has none for this name gets in: nobody closes a name, however many networks
                 they come from, while there is room in all
    a network    has so many, however old; once there are very many in all, one

Whoever has the most is counted by the wide network (16 bits of an IPv4 address, 32 of an IPv6 address), old entries
with it, because who is given one of these has all the networks in it. Whoever floods crowds out itself, and needs
others every day; honest claims stay and still get in.

What the operator drops holds no place any more, and stays in the list with the reason. It goes on waiting all the same:
holders decide, and the operator only says something about it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_network

from carnet import strictjson, times
from carnet.cargo.names import CrateName
from carnet.errors import ConfigError, FormatError, StorageError
from carnet.strictjson import JsonObject
from carnet_mirror.state.sqlite import Database

MAX_ENTRIES = 1024
"""Entries of their first day, in all."""
MAX_OF_CRATE = 32
"""Entries of their first day, for one name, before those who have some lose some."""
MAX_OF_NETWORK = 256
"""Entries of one network, however old."""
MAX_BEFORE_FEW = 8 * 1024
"""Entries in all, however old, from which on a network that has one gets no second."""
FIRST_DAY = timedelta(days=1)
"""How long an entry may have to make room for another; from then on it stays until it is over."""
MAX_SAID = 8 * 1024
"""Bytes of what is shown of one entry: some forty people."""
MAX_REASON = 200
"""Characters of the reason for which an operator drops one."""

_COLUMNS = "digest, crate, asked, until, source, receipt, said, dropped, reason"
_BY_DIGEST = f"SELECT {_COLUMNS} FROM pending WHERE digest = ?"  # noqa: S608  -- of the constant above
_STANDING = (
    f"SELECT {_COLUMNS} FROM pending WHERE until > ? AND (asked, digest) > (?, ?) "  # noqa: S608  -- as above
    "ORDER BY asked, digest LIMIT ?"
)
_COUNT = (
    "SELECT source, count(*), sum(asked > ? AND dropped IS NULL) FROM pending "
    "WHERE ? IS NULL OR crate = ? GROUP BY source"
)
_DROP_NEWEST = (
    "DELETE FROM pending WHERE digest = (SELECT digest FROM pending WHERE (? IS NULL OR crate = ?) "
    "AND source = ? AND asked > ? AND dropped IS NULL ORDER BY asked DESC, digest LIMIT 1)"
)
_FULL = "too many claims wait already"
_HINT = "try again tomorrow, or tell the mirror's operator"
_WIDE = {4: 16, 6: 32}
"""Bits of the networks that one holder is given, by the version of the protocol."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """What an operator said of an entry.

    Attributes:
        time: When.
        reason: Why, for everybody.
    """

    time: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """One claim or takeover.

    Attributes:
        digest: Of what is decided, in hex (`carnet.claims.receipt.Proposed.digest`).
        crate: The crate.
        asked: The receipt's time.
        until: When it is forgotten.
        source: The network that it came from.
        receipt: The signed receipt, as a file.
        said: What is shown of it.
        dropped: What the operator said of it; None when nothing.
    """

    digest: str
    crate: CrateName
    asked: datetime
    until: datetime
    source: str
    receipt: bytes
    said: JsonObject
    dropped: Dropped | None = None

    @property
    def place(self) -> PendingPlace:
        """Where it stands in the list."""
        return PendingPlace(times.written(self.asked), self.digest)


@dataclass(frozen=True, slots=True)
class PendingPlace:
    """A place in the list, which is in the order of time: what comes behind it stays the same.

    Attributes:
        asked: The time of the entry there.
        digest: Its digest.
    """

    asked: str = ""
    digest: str = ""


class Pending:
    """The table; writing happens inside a change of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def revision(self) -> int:
        """A number that is another one once anybody has written to the database; quick."""
        found = self._database.row("PRAGMA data_version")
        return int(found[0]) if found is not None else 0

    def entry(self, digest: str) -> PendingEntry | None:
        """The entry for exactly this content, or None."""
        found = list(self._entries(_BY_DIGEST, digest))
        return found[0] if found else None

    def entries(self, now: datetime, *, after: PendingPlace | None = None, most: int = -1) -> list[PendingEntry]:
        """What still counts, the oldest first.

        Args:
            now: The time.
            after: What comes behind this place.
            most: How many at most; -1 for all of them.
        """
        place = after or PendingPlace()
        return list(self._entries(_STANDING, times.written(now), place.asked, place.digest, most))

    def count(self, now: datetime) -> int:
        """How many still count."""
        row = self._database.row("SELECT count(*) FROM pending WHERE until > ?", times.written(now))
        return 0 if row is None else int(row[0])

    def add(self, entry: PendingEntry, *, now: datetime) -> None:
        """Keep one, inside a change; what is over is forgotten, and what crowds is made to make room.

        Raises:
            FormatError: There is more to be shown of it than anybody would read.
            StorageError: There is no room that its sender's network may take.
        """
        said = strictjson.encode(entry.said)
        if len(said) > MAX_SAID:
            raise FormatError(f"owners, release keys and layouts of a claim take at most {MAX_SAID} bytes to list")
        self._database.execute("DELETE FROM pending WHERE until <= ?", times.written(now))
        self._check_network(entry.source)
        young = times.written(now - FIRST_DAY)
        self._make_room(entry.source, MAX_OF_CRATE, entry.crate.canonical, young)
        self._make_room(entry.source, MAX_ENTRIES, None, young)
        self._database.execute(
            "INSERT OR REPLACE INTO pending VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
            entry.digest,
            entry.crate.canonical,
            times.written(entry.asked),
            times.written(entry.until),
            entry.source,
            entry.receipt,
            said.decode(),
        )

    def drop(self, digest: str, reason: str, *, now: datetime) -> None:
        """Take an entry's place away, inside a change; it stays in the list with the first reason, and goes on waiting.

        Raises:
            ConfigError: The reason is empty, too long, or of more than one plain line.
        """
        if not reason.strip() or len(reason) > MAX_REASON or not reason.isprintable():
            raise ConfigError(
                f"a reason is one line of at most {MAX_REASON} characters, and everybody can read it",
                hint='such as --reason "the same text for 300 names"',
            )
        self._database.execute(
            "UPDATE pending SET dropped = ?, reason = ? WHERE digest = ? AND dropped IS NULL",
            times.written(now),
            reason,
            digest,
        )

    def forget(self, crate: CrateName) -> None:
        """Forget every entry for a name, inside a change: it is somebody's now, and the others have lost."""
        self._database.execute("DELETE FROM pending WHERE crate = ?", crate.canonical)

    def _check_network(self, source: str) -> None:
        counts = {network: count for network, count, _ in self._database.rows(_COUNT, "", None, None)}
        few = sum(counts.values()) >= MAX_BEFORE_FEW
        if counts.get(source, 0) >= (1 if few else MAX_OF_NETWORK):
            raise StorageError(f"{_FULL} that came from one network", hint=_HINT)

    def _make_room(self, source: str, most: int, crate: str | None, young: str) -> None:
        """Let one go where `most` are younger than `young`: of the heaviest wide network that has any of those."""
        rows = list(self._database.rows(_COUNT, young, crate, crate))
        if sum(fresh for _, _, fresh in rows) < most:
            return
        wide: Counter[str] = Counter()
        for network, count, _ in rows:
            wide[_wide(network)] += count
        own = wide[_wide(source)]
        weight, _, heaviest = max((wide[_wide(network)], count, network) for network, count, fresh in rows if fresh)
        if weight > own + 1:
            self._database.execute(_DROP_NEWEST, crate, crate, heaviest, young)
        elif own or crate is None:
            raise StorageError(_FULL, hint=_HINT)

    def _entries(self, sql: str, *values: object) -> Iterable[PendingEntry]:
        for digest, crate, asked, until, source, receipt, said, dropped, reason in self._database.rows(sql, *values):
            yield PendingEntry(
                digest,
                CrateName(crate),
                times.read(asked, "the time of a pending claim"),
                times.read(until, "the end of a pending claim"),
                source,
                bytes(receipt),
                strictjson.parse_object(said.encode(), "a pending claim", max_bytes=MAX_SAID),
                None if dropped is None else Dropped(times.read(dropped, "when a claim was dropped"), reason),
            )


def _wide(network: str) -> str:
    """The network that is given to one holder, of which this one is a part; who has no address is one of their own."""
    try:
        found = ip_network(network)
    except ValueError:
        return network
    return str(found.supernet(new_prefix=min(found.prefixlen, _WIDE[found.version])))
