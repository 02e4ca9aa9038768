"""The mirror's database: what was committed is said to be committed, whatever fails afterwards."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, cast

import pytest

from carnet.errors import StorageError
from carnet_mirror.state.sqlite import Database

SETTING = "INSERT INTO settings (key, value) VALUES ('a', 'b')"


class Failing:
    """A connection that fails at one kind of statement."""

    def __init__(self, connection: sqlite3.Connection, at: str) -> None:
        self._connection, self._at, self.asked = connection, at, 0

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql.startswith(self._at):
            self.asked += 1
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Database.create(tmp_path / "mirror.db").close()
    return tmp_path / "mirror.db"


def change(path: Path, at: str) -> Failing:
    database = Database.open(path, write=True)
    failing = Failing(database._connection, at)
    database._connection = cast("sqlite3.Connection", failing)
    try:
        with database.change():
            database.execute(SETTING)
    finally:
        database.close()
    return failing


def kept(path: Path) -> bool:
    database = Database.open(path, write=False)
    try:
        return database.row("SELECT value FROM settings WHERE key = 'a'") == ("b",)
    finally:
        database.close()


def test_a_log_that_cannot_be_emptied_does_not_make_a_commit_undone(path: Path) -> None:
    assert change(path, "PRAGMA wal_checkpoint").asked == 1
    assert kept(path)


def test_a_commit_that_fails_is_told_and_undone(path: Path) -> None:
    with pytest.raises(StorageError, match="disk I/O error"):
        change(path, "COMMIT")
    assert not kept(path)
