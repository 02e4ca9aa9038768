"""The store: durable, one writer, nothing published twice with other bytes, and no way out of its directory."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import MirrorDirectory, make_mirror

from carnet.cargo.names import CrateId, CrateName
from carnet.errors import ConfigError, FormatError, StorageError
from carnet_mirror.state import schema
from carnet_mirror.state.records import StoredFile
from carnet_mirror.state.store import DATABASE, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.create(tmp_path / "mirror") as made:
        yield made


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorDirectory:
    return make_mirror(tmp_path / "mirror", [honest_crate("Foo-bar", "1.0.0")])


@contextmanager
def failing(store: Store) -> Iterator[None]:
    """A change that meets an error at its end."""
    with suppress(ZeroDivisionError), store.change():
        yield
        raise ZeroDivisionError


def test_commits_survive_a_power_cut(store: Store) -> None:
    with Store.open(store.directory, write=True) as opened:
        assert opened._database.row("PRAGMA journal_mode") == ("wal",)
        assert opened._database.row("PRAGMA synchronous") == (2,)


def test_a_database_that_is_not_durable_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(sqlite3.Connection):
        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
            return super().execute("SELECT 'delete'" if "journal_mode" in sql else sql, *values)  # type: ignore[arg-type]

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Deaf))
    with pytest.raises(StorageError, match="cannot be kept durably: journal mode delete"):
        Store.open(store.directory, write=True)


def test_another_layout_is_refused(store: Store) -> None:
    with sqlite3.connect(store.directory / DATABASE) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(ConfigError, match="has layout 99"):
        Store.open(store.directory)


def test_a_damaged_database_is_one_line(store: Store) -> None:
    store.close()
    path = store.directory / DATABASE
    for other in path.parent.glob("mirror.db-*"):
        other.unlink()
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageError, match="database") as caught:
        Store.open(store.directory)
    assert "\n" not in str(caught.value)


def test_a_mirror_is_made_in_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        Store.create(tmp_path)
    Store.create(tmp_path / "new").close()
    with pytest.raises(ConfigError, match="holds a mirror already"):
        Store.create(tmp_path / "new")


def test_one_writer_at_a_time(store: Store) -> None:
    with (
        Store.open(store.directory, write=True) as other,
        store.change(),
        pytest.raises(StorageError, match="another process is writing"),
        other.change(wait=0.05),
    ):
        pass
    with Store.open(store.directory, write=True) as other, other.change(wait=0.05):
        pass


def test_nothing_is_written_outside_of_a_change(store: Store) -> None:
    with pytest.raises(StorageError, match="outside of a change"):
        store.stage({"metadata/1.root.json": b"{}"})
    with pytest.raises(StorageError, match="outside of a change"):
        store.stage_tarballs([b"tarball"])
    with pytest.raises(StorageError, match="outside of a change"):
        store.seal(1, b"{}")
    with pytest.raises(StorageError, match="outside of a change"):
        store.reveal(b"{}")
    assert (store.sealed(), store.read("metadata/timestamp.json"), store.files.found_on_disk()) == (None, None, set())
    with store.change():
        store.stage({"metadata/1.root.json": b"{}"})
    assert store.read("metadata/1.root.json") == b"{}"


def test_what_is_published_does_not_change(store: Store) -> None:
    with store.change():
        store.stage({"metadata/1.root.json": b"{}"})
        store.stage({"metadata/1.root.json": b"{}"})
        with pytest.raises(StorageError, match="published already, with other bytes"):
            store.stage({"metadata/1.root.json": b"{ }"})


def test_a_publish_is_seen_with_its_timestamp_and_not_before(store: Store) -> None:
    sha256 = hashlib.sha256(b"index").hexdigest()
    with Store.open(store.directory) as reader, store.change():
        store.stage({f"targets/index/se/rd/{sha256}.serde": b"index"})
        store.seal(1, b"snapshot")
        assert reader.files.all_published() == []
        assert reader.files.published("metadata/1.root.json") is None
        assert reader.read("metadata/timestamp.json") is None
        store.reveal(b"timestamp", (1, b"root"))
        assert reader.read("metadata/1.root.json") == b"root"
        assert len(reader.files.all_published()) == 3
        assert reader.read("metadata/timestamp.json") == b"timestamp"


def test_what_fails_before_the_snapshot_leaves_nothing(store: Store) -> None:
    with failing(store):
        store.stage({"metadata/1.root.json": b"root"})
    assert store.read("metadata/1.root.json") is None
    with store.change():
        store.stage({"metadata/1.root.json": b"another root"})
    assert store.read("metadata/1.root.json") == b"another root"


def test_what_fails_after_the_snapshot_is_staged_and_can_be_dropped(store: Store) -> None:
    with failing(store):
        store.seal(1, b"snapshot")
    assert store.sealed() == (1, hashlib.sha256(b"snapshot").hexdigest())
    assert store.files.published("metadata/1.snapshot.json") is None
    with store.change():
        store.drop()
    assert store.sealed() is None
    assert store.read("metadata/1.snapshot.json") is None


@pytest.mark.parametrize(
    "path",
    [
        "metadata/../mirror.db",
        "metadata/root.json",
        "metadata/0.root.json",
        "metadata/1.a/b.json",
        "blobs/aa/bb",
        "mirror.db",
        "/etc/passwd",
        "targets/../" + "a" * 64 + ".x",
        "targets/index/" + "a" * 64 + ".x",
        "",
    ],
)
def test_only_a_repositorys_paths_are_written(store: Store, path: str) -> None:
    with store.change(), pytest.raises(FormatError):
        store.stage({path: b"data"})


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "metadata/../../secret", "targets//x", "mirror.db", "x"])
def test_a_row_that_leads_out_of_the_directory_is_not_followed(store: Store, path: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(StorageError, match="the database names the file"):
        store.files.place(StoredFile(path, "0" * 64, 6))


def test_cargo_gets_the_index_under_the_one_spelling(mirror: MirrorDirectory) -> None:
    with mirror.open() as store:
        assert store.published_index("index/fo/o-/foo-bar") is not None
        for path in ("index/fo/o_/foo_bar", "index/Fo/o-/Foo-bar", "index/fo/o-/Foo-bar", "index/3/f/foo", "index/x"):
            assert store.published_index(path) is None
        assert store.crates.spelling(CrateName("foo_bar")) == "Foo-bar"
        version = store.crates.version(CrateId.of("foo_bar", "1.0.0"))
        assert version is not None
        assert str(version.id) == "Foo-bar@1.0.0"


def test_no_version_disappears(mirror: MirrorDirectory) -> None:
    name = CrateName("Foo-bar")
    with mirror.open(write=True) as store, store.change(), pytest.raises(Exception, match=r"1\.0\.0 would disappear"):
        store.crates.stage(name, [])


def test_layout_is_stated_once() -> None:
    assert schema.VERSION == 4
