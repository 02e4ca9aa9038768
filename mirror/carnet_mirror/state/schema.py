"""The mirror's database: its tables, and how a connection to it is opened so that an acknowledged commit survives.

SQLite under power cuts loses acknowledged commits in every mode but WAL with `synchronous=FULL`; both are asserted each
time the database is opened for writing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from carnet.errors import ConfigError, StorageError

VERSION = 1
"""The layout of the tables below; a database with another one is refused, not guessed at."""

_TABLES = """
CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What changes in place: timestamp.json. Everything else that is signed is a file that never changes.
CREATE TABLE documents (
    path TEXT PRIMARY KEY,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Every immutable file below the mirror's directory. One that is not published yet is not served; a file without a row
-- is left over from a publish that was given up.
CREATE TABLE files (
    path      TEXT PRIMARY KEY,
    sha256    TEXT NOT NULL,
    length    INTEGER NOT NULL,
    published INTEGER NOT NULL CHECK (published IN (0, 1))
) STRICT, WITHOUT ROWID;

"""

# Twice: what is published, and what a publish that is under way will make of it. The second replaces the first in the
# transaction that writes the timestamp.
_CRATES = """
-- One spelling for each crate: `foo-bar` and `foo_bar` are the same one.
CREATE TABLE {prefix}crates (
    canonical    TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    index_sha256 TEXT NOT NULL         -- the published sparse-index file
) STRICT, WITHOUT ROWID;

CREATE TABLE {prefix}versions (
    canonical      TEXT NOT NULL REFERENCES {prefix}crates (canonical),
    version        TEXT NOT NULL,
    checksum       TEXT NOT NULL,      -- sha256 of the tarball
    length         INTEGER NOT NULL,
    path           TEXT NOT NULL,      -- where the tarball is, below the mirror's directory
    line           BLOB NOT NULL,      -- its line of the sparse index
    upstream       TEXT NOT NULL,      -- where it came from
    pubtime_source TEXT NOT NULL CHECK (pubtime_source IN ('upstream', 'first-seen')),
    first_seen     TEXT NOT NULL,
    digest         TEXT NOT NULL,      -- of the values before it: finds a damaged disk
    PRIMARY KEY (canonical, version)
) STRICT, WITHOUT ROWID;
"""


def create(path: Path) -> sqlite3.Connection:
    """Make an empty database.

    Raises:
        StorageError: The disk or SQLite failed.
    """
    with failures(path), ExitStack() as opened:
        connection = opened.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
        _demand_durability(connection, path)
        crates = _CRATES.format(prefix="") + _CRATES.format(prefix="staged_")
        connection.executescript(f"BEGIN;{_TABLES}{crates}PRAGMA user_version={VERSION};COMMIT;")
        opened.pop_all()  # it stays open when all went well
        return connection


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
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
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        opened.enter_context(closing(connection))
        if write:
            _demand_durability(connection, path)
        else:
            connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found != VERSION:
            raise ConfigError(f"{path} has layout {found}, this carnet reads layout {VERSION}")
        opened.pop_all()
        return connection


@contextmanager
def failures(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into one line.

    Raises:
        StorageError: In place of any error of SQLite.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(
            f"the mirror's database {path} failed: {str(error).splitlines()[0]}",
            hint="nothing of this change was published; `carnet mirror fsck` checks what is there",
        ) from None


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
