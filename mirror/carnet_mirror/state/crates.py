"""Crates and their versions: index lines, where each came from, and one spelling for each name."""

from __future__ import annotations

from carnet.cargo.index_line import IndexFile
from carnet.cargo.names import CrateId, CrateName
from carnet.digests import sha256_hex
from carnet.errors import FormatError, VerificationError
from carnet.tuf.paths import TARGETS_PREFIX, index_path
from carnet_mirror.state.records import RawVersion, StoredVersion, stored_version
from carnet_mirror.state.sqlite import Database

_SELECT_ALL = "SELECT line, length, path, upstream, pubtime_source, first_seen FROM versions"
_SELECT_VERSIONS = f"{_SELECT_ALL} WHERE canonical = ?"
_SELECT_NUMBERS = "SELECT version FROM versions WHERE canonical = ?"
_PUT_VERSION = """
INSERT OR REPLACE INTO staged_versions
    (canonical, version, checksum, length, path, line, upstream, pubtime_source, first_seen, digest)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PUT_CRATE = "INSERT OR REPLACE INTO staged_crates (canonical, name, index_sha256) VALUES (?, ?, ?)"
_CLEAR_STAGED = ("DELETE FROM staged_versions", "DELETE FROM staged_crates")
_PUBLISH_STAGED = (
    "INSERT INTO crates SELECT * FROM staged_crates WHERE true"
    " ON CONFLICT (canonical) DO UPDATE SET index_sha256 = excluded.index_sha256",
    "INSERT OR REPLACE INTO versions SELECT * FROM staged_versions",
    *_CLEAR_STAGED,
)


class Crates:
    """The table of crates, as it is published: what is staged is read by nobody until then.

    Args:
        database: The mirror's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- reading ---

    def spelling(self, name: CrateName) -> str | None:
        """How this mirror spells a crate, or None when it does not have it."""
        row = self._database.row("SELECT name FROM crates WHERE canonical = ?", name.canonical)
        return None if row is None else str(row[0])

    def names(self) -> list[CrateName]:
        """Every crate, by canonical name."""
        return [CrateName(row[0]) for row in self._database.rows("SELECT name FROM crates ORDER BY canonical")]

    def versions(self, name: CrateName) -> list[StoredVersion]:
        """The versions of one crate, oldest first as semantic versions order them."""
        rows = self._database.rows(_SELECT_VERSIONS, name.canonical)
        return sorted((stored_version(row) for row in rows), key=lambda version: version.id.version)

    def version(self, crate: CrateId) -> StoredVersion | None:
        """One version, or None."""
        row = self._database.row(f"{_SELECT_VERSIONS} AND version = ?", crate.name.canonical, str(crate.version))
        return None if row is None else stored_version(row)

    def all_versions(self, since: str | None = None) -> list[StoredVersion]:
        """Every version, those first that came here first.

        Args:
            since: Only those that came then or later, as times are written; those whose time is lost count as later.
        """
        rows = self._database.rows(
            f"{_SELECT_ALL} WHERE first_seen >= ? OR first_seen = '' ORDER BY first_seen, canonical, version",
            since or "",
        )
        return [stored_version(row) for row in rows]

    def here(self) -> list[StoredVersion]:
        """Every version whose tarball is here; of a whole index that is listed these are few."""
        return [
            stored_version(row) for row in self._database.rows(f"{_SELECT_ALL} WHERE length > 0 ORDER BY canonical")
        ]

    def not_here(self, most: int) -> list[StoredVersion]:
        """Versions whose tarball is not here, so many at most."""
        return [stored_version(row) for row in self._database.rows(f"{_SELECT_ALL} WHERE length = 0 LIMIT ?", most)]

    def count(self) -> tuple[int, int]:
        """How many crates and how many versions there are."""
        row = self._database.row("SELECT (SELECT count(*) FROM crates), (SELECT count(*) FROM versions)")
        return (row[0], row[1]) if row is not None else (0, 0)

    def size(self) -> int:
        """Bytes of the tarballs of all versions."""
        row = self._database.row("SELECT coalesce(sum(length), 0) FROM versions")
        return 0 if row is None else int(row[0])

    def index_place(self, path: str) -> str | None:
        """Where the sparse-index file that cargo asks for as `index/<prefix>/<name>` is published, or None."""
        folder, _, name = path.rpartition("/")
        try:
            crate = CrateName(name)
        except FormatError:
            return None
        row = self._database.row("SELECT name, index_sha256 FROM crates WHERE canonical = ?", crate.canonical)
        # The path is cargo's own, in lower case, for the one spelling that this crate has.
        if row is None or index_path(CrateName(row[0])) != f"{folder}/{name}":
            return None
        return f"{TARGETS_PREFIX}{folder}/{row[1]}.{name}"

    # --- what fsck asks ---

    def raw_versions(self) -> list[RawVersion]:
        """The rows of all versions as they are; `fsck` trusts none of them."""
        rows = self._database.rows(
            "SELECT canonical, version, checksum, length, path, line, upstream, pubtime_source, first_seen, digest"
            " FROM versions ORDER BY 1, 2"
        )
        return [RawVersion(*row) for row in rows]

    def raw_crates(self) -> list[tuple[str, str, str]]:
        """Rows as they are: canonical name, name, sha256 of the index file."""
        return [
            (str(row[0]), str(row[1]), str(row[2]))
            for row in self._database.rows("SELECT canonical, name, index_sha256 FROM crates ORDER BY 1")
        ]

    # --- writing, inside a change ---

    def stage(self, name: CrateName, versions: list[StoredVersion]) -> bytes:
        """Stage these as the versions of a crate; they are published with everything else that is staged.

        Returns:
            The bytes of its sparse-index file, which the change has to publish.

        Raises:
            VerificationError: The mirror has this crate under another spelling, or a version would disappear.
        """
        spelling = self.spelling(name)
        if spelling is not None and spelling != str(name):
            raise VerificationError(f"{name} is this mirror's {spelling} in another spelling")
        listed = {str(row[0]) for row in self._database.rows(_SELECT_NUMBERS, name.canonical)}
        gone = listed - {str(version.id.version) for version in versions}
        if gone:
            first = min(CrateId.of(spelling or str(name), number) for number in gone)
            raise VerificationError(f"{first} would disappear from the index")
        data = index_file(name, versions)
        self._database.execute(_PUT_CRATE, name.canonical, str(name), sha256_hex(data))
        for version in versions:
            row = RawVersion(
                name.canonical,
                str(version.id.version),
                version.line.cksum,
                version.length,
                version.path,
                version.line.to_bytes(),
                version.upstream,
                "upstream" if version.pubtime_is_upstreams else "first-seen",
                version.first_seen,
            )
            self._database.execute(_PUT_VERSION, *row.values, row.recomputed())
        return data

    def publish(self) -> None:
        """Let what is staged take the place of what is published; the store calls this."""
        self._database.execute_all(_PUBLISH_STAGED)

    def drop(self) -> None:
        """Forget what is staged; the store calls this."""
        self._database.execute_all(_CLEAR_STAGED)


def index_file(name: CrateName, versions: list[StoredVersion]) -> bytes:
    """The sparse-index file that these versions make."""
    ordered = sorted(versions, key=lambda version: version.id.version)
    return IndexFile(name, tuple(version.line for version in ordered)).to_bytes()
