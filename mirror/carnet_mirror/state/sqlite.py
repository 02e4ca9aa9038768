"""The mirror's database in SQLite, opened so that an acknowledged commit survives a power cut.

SQLite under power cuts loses acknowledged commits in every mode but WAL with `synchronous=FULL`; both are asserted each
time the database is opened for writing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from carnet import durable
from carnet.errors import ConfigError, StorageError
from carnet_mirror.state import schema

_WAIT = 10
"""Seconds for which a statement waits for another connection."""
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_REBUILD = (
    "nothing was changed; put it back from a backup, or `carnet mirror fsck DIR --rebuild` makes it anew from the files"
)
_NOTHING_PUBLISHED = "nothing of this change was published; `carnet mirror fsck` checks what is there"


class NewerLayout(ConfigError):  # noqa: N818  -- named for the fact
    """A newer carnet wrote the database."""


class Database:
    """One connection. Reads see the newest commit, or all one state inside `frozen`; writes stand inside `change`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def create(cls, path: Path) -> Database:
        """Make an empty database.

        Raises:
            StorageError: The disk or SQLite failed.
        """
        with failures(path), ExitStack() as opened:
            # SQLite would make it as the umask says; what it puts beside it gets the permissions of the file itself.
            try:
                durable.create_file(path, b"", mode=0o600)
            except FileExistsError:
                raise StorageError(f"{path} is there already") from None
            connection = opened.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
            _demand_durability(connection, path)
            connection.executescript(f"BEGIN;{schema.tables()}PRAGMA user_version={schema.VERSION};COMMIT;")
            opened.pop_all()  # it stays open when all went well
            return cls(path, connection)

    @classmethod
    def open(cls, path: Path, *, write: bool) -> Database:
        """Open the database of a mirror.

        Args:
            path: The file.
            write: Whether this connection may change it.

        Raises:
            ConfigError: There is none, or it has another layout.
            StorageError: It is damaged, or is not kept durably.
        """
        if not path.is_file():
            raise ConfigError(f"{path.parent} holds no mirror", hint="`carnet mirror init` makes one")
        with failures(path), ExitStack() as opened:
            # A reader opens the file for writing too: SQLite shares the write-ahead log's index through it.
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_WAIT)
            opened.enter_context(closing(connection))
            if write:
                _demand_durability(connection, path)
            else:
                connection.execute("PRAGMA query_only=ON")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA trusted_schema=OFF")
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found != schema.BEFORE:
                _check_layout(path, found)
            elif write:  # whoever only reads needs nothing of what is new
                _bring_up(connection)
            opened.pop_all()
            return cls(path, connection)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # --- statements; each raises StorageError when SQLite fails ---

    def row(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        """The first row that a query gives, or None."""
        with failures(self.path):
            row: tuple[Any, ...] | None = self._connection.execute(sql, values).fetchone()
            return row

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows that a query gives."""
        with failures(self.path):
            return self._connection.execute(sql, values).fetchall()

    def execute(self, sql: str, *values: object) -> None:
        """Do a statement that gives no rows."""
        with failures(self.path):
            self._connection.execute(sql, values)

    def execute_all(self, statements: Iterable[str]) -> None:
        """Do several statements, in order."""
        for statement in statements:
            self.execute(statement)

    # --- transactions ---

    @contextmanager
    def change(self) -> Iterator[None]:
        """Write inside the block: committed at its end and by `commit`. What is not when an error leaves it is undone.

        Raises:
            StorageError: SQLite failed.
        """
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
            # All is durable in the log, which is emptied for the database file to be whole by itself. If that fails,
            # the log stays, and what was committed stays so: to say that nothing was would be wrong.
            # Nobody is waited for: an export reads one state for hours, and the next change empties the log.
            with suppress(sqlite3.Error), self._at_once():
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            if self._connection.in_transaction:
                self._connection.rollback()

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """Wait for no other connection inside the block."""
        self._connection.execute("PRAGMA busy_timeout=0")
        try:
            yield
        finally:
            self._connection.execute(f"PRAGMA busy_timeout={_WAIT * 1000}")

    def commit(self) -> None:
        """Make what was written so far durable, and others see it; inside `change`, which goes on.

        Raises:
            StorageError: SQLite failed.
        """
        self.execute("COMMIT")
        self.execute("BEGIN IMMEDIATE")

    def settle(self) -> None:
        """Move all that is committed out of the log into the database file.

        Raises:
            StorageError: SQLite failed, or somebody reads it.
        """
        with failures(self.path):
            busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise StorageError(f"{self.path} is in use", hint="wait for other commands to end, then try again")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Read one state throughout, whatever is committed meanwhile."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.rollback()

    def copy_to(self, path: Path) -> None:
        """Write one state of the database to a new file, while others go on writing.

        Raises:
            StorageError: SQLite failed.
        """
        with failures(self.path), closing(sqlite3.connect(path)) as copy:
            self._connection.backup(copy)

    def demand_own_tables(self) -> None:
        """Demand exactly the tables of today's layout: no view and no trigger that somebody else put there.

        Raises:
            StorageError: Others.
        """
        listing = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
        with closing(sqlite3.connect(":memory:")) as plain:
            plain.executescript(schema.tables())
            wanted = plain.execute(listing).fetchall()
        if self.rows(listing) != wanted:
            raise StorageError(f"{self.path} has other tables than a mirror's database", hint=_REBUILD)

    def integrity(self) -> list[str]:
        """What SQLite finds wrong with the database file; empty when it is sound."""
        try:
            rows = self._connection.execute("PRAGMA integrity_check").fetchall()
            rows += [
                (f"row of {row[0]} without its crate",) for row in self._connection.execute("PRAGMA foreign_key_check")
            ]
        except sqlite3.Error as error:
            return [str(error)]
        return [str(row[0]) for row in rows if row[0] != "ok"]


@contextmanager
def failures(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into one line.

    Raises:
        StorageError: In place of any error of SQLite.
    """
    try:
        yield
    except sqlite3.Error as error:
        damaged = getattr(error, "sqlite_errorname", "").startswith(_DAMAGED)
        raise StorageError(
            f"the mirror's database {path} failed: {str(error).splitlines()[0]}",
            hint=_REBUILD if damaged else _NOTHING_PUBLISHED,
        ) from None


def _check_layout(path: Path, found: int) -> None:
    if found == schema.VERSION:
        return
    if found == 0:  # a file of no bytes is a database without tables
        raise StorageError(f"{path} is no mirror's database any more: it has no tables", hint=_REBUILD)
    said = f"{path} has layout {found}, this carnet reads layout {schema.VERSION}"
    hint = "use the carnet that wrote it, or a newer one (`carnet --version`)"
    if found > schema.VERSION:
        raise NewerLayout(said, hint=hint)
    raise ConfigError(said, hint=f"{hint}; `carnet mirror fsck DIR --rebuild` makes one of today's layout")


def _bring_up(connection: sqlite3.Connection) -> None:
    """Make today's layout of the one before, unless another process has just done so."""
    try:
        connection.executescript(schema.next_layout())
    except sqlite3.OperationalError:
        if connection.in_transaction:
            connection.rollback()
        if connection.execute("PRAGMA user_version").fetchone()[0] != schema.VERSION:
            raise


def _demand_durability(connection: sqlite3.Connection, path: Path) -> None:
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    connection.execute("PRAGMA synchronous=FULL")
    level = connection.execute("PRAGMA synchronous").fetchone()[0]
    if (mode, level) != ("wal", 2):
        connection.close()
        raise StorageError(
            f"{path} cannot be kept durably: journal mode {mode}, synchronous {level}",
            hint="a mirror needs a local file system where SQLite can use a write-ahead log",
        )
