"""The tables of the mirror's database."""

from __future__ import annotations

VERSION = 4
"""The layout of the tables below; the one before is brought up to it, and any other is refused, not guessed at."""
BEFORE = 3
"""The layout without what was superseded."""

_SUPERSEDED = """
CREATE TABLE superseded (
    path  TEXT PRIMARY KEY,            -- a file that the newest snapshot does not lead to any more
    since INTEGER NOT NULL             -- when the first snapshot was signed that did not; seconds since 1970
) STRICT, WITHOUT ROWID;

CREATE INDEX superseded_by_time ON superseded (since, path);

"""

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

-- Claims and takeovers that everybody may look at while they wait. Anybody may hand one in: none of it is believed.
CREATE TABLE pending (
    digest  TEXT PRIMARY KEY,          -- of what is decided
    crate   TEXT NOT NULL,             -- its canonical name
    asked   TEXT NOT NULL,             -- the receipt's time
    until   TEXT NOT NULL,             -- when it is forgotten
    source  TEXT NOT NULL,             -- the network that it came from; shown to nobody
    receipt BLOB NOT NULL,             -- signed
    said    TEXT NOT NULL,             -- what the owner role's draft says, as JSON for whoever looks
    dropped TEXT,                      -- when the operator took its place away; it waits all the same
    reason  TEXT                       -- why, for everybody
) STRICT, WITHOUT ROWID;

-- The list is read in parts, in the order of time.
CREATE INDEX pending_by_time ON pending (asked, digest);

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
    length         INTEGER NOT NULL,   -- of the tarball; 0 while the version is only listed
    path           TEXT NOT NULL,      -- where the tarball is, below the mirror's directory
    line           BLOB NOT NULL,      -- its line of the sparse index
    upstream       TEXT NOT NULL,      -- where it came from
    pubtime_source TEXT NOT NULL CHECK (pubtime_source IN ('upstream', 'first-seen')),
    first_seen     TEXT NOT NULL,
    digest         TEXT NOT NULL,      -- of the values before it: finds a damaged disk
    PRIMARY KEY (canonical, version)
) STRICT, WITHOUT ROWID;
"""

SETTINGS = frozenset(
    (
        *("online-key", "online-memory", "online-socket", "example-keys"),
        *("second-opinion", "staged", "approvals", "withheld", "pruned"),
    ),
)
"""Every key of the table of settings: no other one can be written, so that each has a place when they are lost."""


def tables() -> str:
    """The statements that make all tables."""
    return _TABLES + _SUPERSEDED + _CRATES.format(prefix="") + _CRATES.format(prefix="staged_")


def next_layout() -> str:
    """The statements that make this layout of the one before."""
    return f"BEGIN IMMEDIATE;{_SUPERSEDED}PRAGMA user_version={VERSION};COMMIT;"
