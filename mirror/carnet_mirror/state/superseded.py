"""Files that were superseded, each with when: what pruning takes away once that is long enough ago."""

from __future__ import annotations

from collections.abc import Iterable

from carnet_mirror.state.sqlite import Database

_DUE = "SELECT path FROM superseded WHERE since <= ? ORDER BY since, path LIMIT ?"


class Superseded:
    """The table of them; `carnet_mirror.pruning` fills it, and empties it.

    Args:
        database: The mirror's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, until: int, most: int) -> list[str]:
        """The paths of those that were superseded by then, the oldest first.

        Args:
            until: Seconds since 1970.
            most: So many at most.
        """
        return [str(path) for (path,) in self._database.rows(_DUE, until, most)]

    def paths(self) -> list[str]:
        """All of them."""
        return [str(path) for (path,) in self._database.rows("SELECT path FROM superseded")]

    # --- writing, inside a change ---

    def add(self, paths: Iterable[str], since: int) -> None:
        """Say that files are superseded; of one that was before, it is said anew."""
        for path in paths:
            self._database.execute("INSERT OR REPLACE INTO superseded VALUES (?, ?)", path, since)

    def forget(self, paths: Iterable[str]) -> None:
        """Say no more of files that they are: they count again, or are gone."""
        for path in paths:
            self._database.execute("DELETE FROM superseded WHERE path = ?", path)
