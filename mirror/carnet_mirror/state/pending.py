"""Claims and takeovers that are public and wait: bounded, although anybody may hand one in.

No limit on one sender keeps a flood out, because senders are free to have many addresses and honest ones may share one.
So a full table makes room: the network that has the most entries in it loses its newest, unless what comes is of
that network itself. Whoever floods from few networks crowds out itself, and honest claims stay and still get in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from carnet import strictjson, times
from carnet.cargo.names import CrateName
from carnet.errors import FormatError, StorageError
from carnet.strictjson import JsonObject
from carnet_mirror.state.sqlite import Database

MAX_ENTRIES = 1024
"""Entries in all."""
MAX_OF_CRATE = 32
"""Entries for one name."""
MAX_SAID = 8 * 1024
"""Bytes of what is shown of one entry: some forty people."""

_BY_DIGEST = "SELECT digest, crate, asked, until, source, receipt, said FROM pending WHERE digest = ?"
_STANDING = (
    "SELECT digest, crate, asked, until, source, receipt, said FROM pending WHERE until > ? ORDER BY asked, digest"
)
_COUNT = "SELECT source, count(*) FROM pending WHERE ?1 IS NULL OR crate = ?1 GROUP BY source"
_DROP_NEWEST = (
    "DELETE FROM pending WHERE digest = (SELECT digest FROM pending "
    "WHERE (?1 IS NULL OR crate = ?1) AND source = ?2 ORDER BY asked DESC, digest LIMIT 1)"
)


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """One claim or takeover.

    Attributes:
        digest: Of what is to be signed, in hex (`carnet.claims.receipt.Proposed.digest`).
        crate: The crate.
        asked: The receipt's time.
        until: When it is forgotten.
        source: The network that it came from.
        receipt: The signed receipt, as a file.
        said: What is shown of it.
    """

    digest: str
    crate: CrateName
    asked: datetime
    until: datetime
    source: str
    receipt: bytes
    said: JsonObject


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

    def entries(self, now: datetime) -> list[PendingEntry]:
        """Everything that still counts, the oldest first."""
        return list(self._entries(_STANDING, times.written(now)))

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
        self._make_room(entry.source, MAX_OF_CRATE, entry.crate.canonical)
        self._make_room(entry.source, MAX_ENTRIES, None)
        self._database.execute(
            "INSERT OR REPLACE INTO pending VALUES (?, ?, ?, ?, ?, ?, ?)",
            entry.digest,
            entry.crate.canonical,
            times.written(entry.asked),
            times.written(entry.until),
            entry.source,
            entry.receipt,
            said.decode(),
        )

    def forget(self, crate: CrateName) -> None:
        """Forget every entry for a name, inside a change: it is somebody's now, and the others have lost."""
        self._database.execute("DELETE FROM pending WHERE crate = ?", crate.canonical)

    def _make_room(self, source: str, most: int, crate: str | None) -> None:
        counts = dict(self._database.rows(_COUNT, crate))
        if sum(counts.values()) < most:
            return
        heaviest = max(counts, key=lambda one: (counts[one], one))
        if counts[heaviest] <= counts.get(source, 0) + 1:
            raise StorageError("too many claims wait already", hint="try again tomorrow, or tell the mirror's operator")
        self._database.execute(_DROP_NEWEST, crate, heaviest)

    def _entries(self, sql: str, value: str) -> Iterable[PendingEntry]:
        rows = self._database.rows(sql, value)
        for digest, crate, asked, until, source, receipt, said in rows:
            yield PendingEntry(
                digest,
                CrateName(crate),
                times.read(asked, "the time of a pending claim"),
                times.read(until, "the end of a pending claim"),
                source,
                bytes(receipt),
                strictjson.parse_object(said.encode(), "a pending claim", max_bytes=MAX_SAID),
            )
