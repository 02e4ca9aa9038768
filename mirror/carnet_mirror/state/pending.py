"""Claims and takeovers that are public and wait: bounded, although anybody may hand one in.

No limit on one sender keeps a flood out, because senders are free to have many addresses and honest ones may share one.
So what has stood for a day stays, because people wait for its period; bounds are for entries of their first day, for
one name and in all. Where one is reached, the network that has the most entries, old ones counted, loses its newest,
unless what comes is of that network itself. Whoever floods crowds out itself, and needs other networks every day;
honest claims stay and still get in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from carnet import strictjson, times
from carnet.cargo.names import CrateName
from carnet.errors import FormatError, StorageError
from carnet.strictjson import JsonObject
from carnet_mirror.state.sqlite import Database

MAX_ENTRIES = 1024
"""Entries of their first day, in all."""
MAX_OF_CRATE = 32
"""Entries of their first day, for one name."""
MAX_OF_NETWORK = 256
"""Entries of one network, however old."""
MAX_BEFORE_FEW = 8 * 1024
"""Entries in all, however old, from which on a network that has one gets no second."""
FIRST_DAY = timedelta(days=1)
"""How long an entry may have to make room for another; from then on it stays until it is over."""
MAX_SAID = 8 * 1024
"""Bytes of what is shown of one entry: some forty people."""

_BY_DIGEST = "SELECT digest, crate, asked, until, source, receipt, said FROM pending WHERE digest = ?"
_STANDING = (
    "SELECT digest, crate, asked, until, source, receipt, said FROM pending WHERE until > ? ORDER BY asked, digest"
)
_COUNT = "SELECT source, count(*), sum(asked > ?2) FROM pending WHERE ?1 IS NULL OR crate = ?1 GROUP BY source"
_DROP_NEWEST = (
    "DELETE FROM pending WHERE digest = (SELECT digest FROM pending "
    "WHERE (?1 IS NULL OR crate = ?1) AND source = ?2 AND asked > ?3 ORDER BY asked DESC, digest LIMIT 1)"
)
_FULL = "too many claims wait already"
_HINT = "try again tomorrow, or tell the mirror's operator"


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
        self._check_network(entry.source)
        young = times.written(now - FIRST_DAY)
        self._make_room(entry.source, MAX_OF_CRATE, entry.crate.canonical, young)
        self._make_room(entry.source, MAX_ENTRIES, None, young)
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

    def _check_network(self, source: str) -> None:
        counts = {network: count for network, count, _ in self._database.rows(_COUNT, None, "")}
        few = sum(counts.values()) >= MAX_BEFORE_FEW
        if counts.get(source, 0) >= (1 if few else MAX_OF_NETWORK):
            raise StorageError(f"{_FULL} that came from one network", hint=_HINT)

    def _make_room(self, source: str, most: int, crate: str | None, young: str) -> None:
        """Let one go where `most` are younger than `young`: of the heaviest network that has any of those."""
        rows = list(self._database.rows(_COUNT, crate, young))
        if sum(fresh for _, _, fresh in rows) < most:
            return
        own = sum(count for network, count, _ in rows if network == source)
        count, heaviest = max((count, network) for network, count, fresh in rows if fresh)
        if count <= own + 1:
            raise StorageError(_FULL, hint=_HINT)
        self._database.execute(_DROP_NEWEST, crate, heaviest, young)

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
