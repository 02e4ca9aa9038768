"""Somebody with the mirror's disk and database, and no key: `fsck` notices, and so do clients."""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import MirrorDirectory, make_mirror, quiet
from tests.support.worlds.claims import NAME, World, with_dependency

from carnet.cargo.index_line import IndexFile
from carnet.cargo.names import CrateName
from carnet.errors import CarnetError, MetadataError
from carnet_mirror.fsck.fsck import FsckReport, Remembered, fsck
from carnet_mirror.state.store import DATABASE, Store
from carnet_mirror.writing import writing
from carnet_signer.metadata.publish import Change, publish
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.refresh import read_repository, refresh

GOOD, OTHER = honest_crate("good"), honest_crate("other")


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorDirectory:
    return make_mirror(tmp_path / "mirror", [GOOD, OTHER])


def check(mirror: MirrorDirectory) -> FsckReport:
    with mirror.open() as store:
        return fsck(store, now=mirror.now, progress=quiet)


def edit(mirror: MirrorDirectory, *statements: str) -> None:
    """What an insider does with `sqlite3 mirror.db`."""
    with sqlite3.connect(mirror.path / DATABASE) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement
    connection.close()


def client_reads(mirror: MirrorDirectory, name: str) -> bytes:
    """The index file of a crate, as a verifying client gets it."""
    with mirror.open() as store:
        repository = read_repository(mirror.root, ReadFetcher(store.read), now=mirror.now)
        return repository.download(repository.find_target(f"index/{name[:2]}/{name[2:4]}/{name}"))


def published_file(mirror: MirrorDirectory, path: str) -> Path:
    with mirror.open() as store:
        return next(mirror.path / file.path for file in store.files.all_published() if path in file.path)


def flip(path: Path, position: int = -10) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_an_untouched_mirror_is_sound(mirror: MirrorDirectory) -> None:
    report = check(mirror)
    assert (report.problems, report.notes) == ([], [])
    assert report.versions == 2
    assert report.files > 260
    assert b"good" in client_reads(mirror, "good")


@pytest.mark.parametrize(
    "path",
    [
        "metadata/1.root.json",
        "metadata/1.targets.json",
        "metadata/1.claims.json",
        "metadata/1.claims-7f.json",
        "metadata/1.index.json",
        "metadata/1.snapshot.json",  # an old one, which nobody asks for any more
        "metadata/2.snapshot.json",
        "metadata/1.index-0.json",
        "targets/index/go/od/",
        "blobs/",
    ],
)
def test_a_flipped_byte_in_a_file_is_found(mirror: MirrorDirectory, path: str) -> None:
    damaged = published_file(mirror, path)
    flip(damaged)
    where = {problem.where for problem in check(mirror).problems}
    assert damaged.relative_to(mirror.path).as_posix() in where


@pytest.mark.parametrize("path", ["metadata/1.root.json", "metadata/2.snapshot.json", "targets/index/ot/he/", "blobs/"])
def test_a_missing_file_is_found(mirror: MirrorDirectory, path: str) -> None:
    gone = published_file(mirror, path)
    gone.unlink()
    assert gone.relative_to(mirror.path).as_posix() in {problem.where for problem in check(mirror).problems}


def test_an_edited_timestamp_is_found(mirror: MirrorDirectory) -> None:
    edit(mirror, "UPDATE documents SET body = CAST(replace(CAST(body AS TEXT), '2', '3') AS BLOB)")
    assert [problem.where for problem in check(mirror).problems] == ["metadata"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE versions SET line = CAST(replace(CAST(line AS TEXT), 'false', 'true') AS BLOB)",
        "UPDATE versions SET checksum = 'ff' || substr(checksum, 3) WHERE canonical = 'good'",
        "UPDATE versions SET upstream = 'elsewhere' WHERE canonical = 'good'",
        "UPDATE versions SET pubtime_source = 'upstream' WHERE canonical = 'good'",
        "UPDATE versions SET first_seen = '2001-01-01T00:00:00Z' WHERE canonical = 'good'",
        "UPDATE versions SET version = '6.6.6' WHERE canonical = 'good'",
        "UPDATE versions SET path = (SELECT path FROM versions WHERE canonical = 'other') WHERE canonical = 'good'",
        "UPDATE versions SET length = length + 1 WHERE canonical = 'good'",
        "DELETE FROM versions WHERE canonical = 'good'",
        "UPDATE crates SET index_sha256 = (SELECT index_sha256 FROM crates WHERE canonical = 'other')"
        " WHERE canonical = 'good'",
        "UPDATE crates SET name = 'Good' WHERE canonical = 'good'",
        "UPDATE files SET sha256 = 'ff' || substr(sha256, 3) WHERE path LIKE 'blobs/%'",
        "DELETE FROM files WHERE path = 'metadata/1.claims-00.json'",
        "INSERT INTO files VALUES ('../outside', 'ff', 2, 1)",
    ],
)
def test_an_edited_row_is_found(mirror: MirrorDirectory, statement: str) -> None:
    edit(mirror, statement)
    assert check(mirror).problems


def test_an_inserted_version_is_found_and_no_client_sees_it(mirror: MirrorDirectory) -> None:
    edit(
        mirror,
        "INSERT INTO versions SELECT canonical, '6.6.6', checksum, length, path,"
        " CAST(replace(CAST(line AS TEXT), '0.1.0', '6.6.6') AS BLOB), upstream, pubtime_source, first_seen, digest"
        " FROM versions WHERE canonical = 'good'",
    )
    assert any("6.6.6" in problem.where for problem in check(mirror).problems)
    assert b"6.6.6" not in client_reads(mirror, "good")


def test_an_inserted_crate_is_found(mirror: MirrorDirectory) -> None:
    edit(mirror, "INSERT INTO crates SELECT 'evil', 'evil', index_sha256 FROM crates WHERE canonical = 'good'")
    assert any("evil" in problem.where for problem in check(mirror).problems)


def replace_index(mirror: MirrorDirectory) -> None:
    """A whole, consistent forgery: another line for `good`, in file, rows and pointer. Only signatures are missing."""
    with mirror.open() as store:
        (version,) = store.crates.versions(CrateName("good"))
        old = store.published_index("index/go/od/good")
    assert old is not None
    data = IndexFile(CrateName("good"), (version.line.with_(yanked=True),)).to_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    path = f"targets/index/go/od/{sha256}.good"
    (mirror.path / path).write_bytes(data)
    line = data.rstrip(b"\n").hex()
    edit(
        mirror,
        f"INSERT INTO files VALUES ('{path}', '{sha256}', {len(data)}, 1)",
        f"UPDATE crates SET index_sha256 = '{sha256}' WHERE canonical = 'good'",
        f"UPDATE versions SET line = x'{line}' WHERE canonical = 'good'",
    )


def test_a_forged_index_is_found_and_no_client_believes_it(mirror: MirrorDirectory) -> None:
    replace_index(mirror)
    assert any("what is signed is not" in problem.what for problem in check(mirror).problems)
    assert b'"yanked":true' not in client_reads(mirror, "good")


def test_a_rolled_back_timestamp_is_found_by_fsck_and_by_clients(mirror: MirrorDirectory, tmp_path: Path) -> None:
    with mirror.open() as store:
        old = store.read("metadata/timestamp.json")
    assert old is not None
    mirror.add(honest_crate("third"))
    trust = TrustDirectory.create(tmp_path / "trust", mirror.root, "http://mirror.invalid")
    with mirror.open() as store:
        refresh(trust, ReadFetcher(store.read), now=mirror.now)
    edit(mirror, f"UPDATE documents SET body = x'{old.hex()}'")
    assert any("rolled back" in problem.what for problem in check(mirror).problems)
    with mirror.open() as store, pytest.raises(MetadataError):
        refresh(trust, ReadFetcher(store.read), now=mirror.now)


def test_a_whole_older_copy_is_found_by_clients(mirror: MirrorDirectory, tmp_path: Path) -> None:
    shutil.copytree(mirror.path, tmp_path / "old")
    mirror.add(honest_crate("third"))
    trust = TrustDirectory.create(tmp_path / "trust", mirror.root, "http://mirror.invalid")
    with mirror.open() as store:
        refresh(trust, ReadFetcher(store.read), now=mirror.now)
    shutil.rmtree(mirror.path)
    shutil.copytree(tmp_path / "old", mirror.path)
    with mirror.open() as store, pytest.raises(MetadataError):
        refresh(trust, ReadFetcher(store.read), now=mirror.now)
    with mirror.open() as store:
        signed = Remembered(mirror.signer.last_version("timestamp"), mirror.signer.named_snapshot())
        report = fsck(store, now=mirror.now, progress=quiet, signed=signed)
    assert "more than were published" in report.notes[0]


def edit_bin(mirror: MirrorDirectory) -> None:
    for path in (mirror.path / "metadata").glob("*.index-*.json"):
        data = path.read_bytes()
        if b"/good" in data:
            sha256 = data.partition(b'"sha256":"')[2][:64]
            path.write_bytes(data.replace(sha256, b"0" * 64))


@pytest.mark.parametrize("forge", [replace_index, edit_bin])
def test_the_online_signer_does_not_sign_what_an_insider_edited(
    mirror: MirrorDirectory, forge: Callable[[MirrorDirectory], None]
) -> None:
    """The next honest publish either refuses to build on the forgery, or publishes what was signed before."""
    forge(mirror)
    try:
        with Store.open(mirror.path, write=True) as store, writing(store, mirror.signer, now=mirror.now):
            publish(store, mirror.signer, Change(), now=mirror.now)
    except CarnetError:
        pass
    if forge is edit_bin:
        with pytest.raises(CarnetError):
            client_reads(mirror, "good")
    else:
        assert b'"yanked":true' not in client_reads(mirror, "good")


def content(mirror: MirrorDirectory) -> list[str]:
    with sqlite3.connect(mirror.path / DATABASE) as connection:
        dump = list(connection.iterdump())
    connection.close()
    return dump


def test_a_flipped_byte_in_the_database_is_found(mirror: MirrorDirectory) -> None:
    database = mirror.path / DATABASE
    whole, before = database.read_bytes(), content(mirror)
    used = [position for position, byte in enumerate(whole) if byte and position > 4096]
    found = 0
    for position in random.Random(8).sample(used, 60):
        flip(database, position)
        try:
            problems = [problem.what for problem in check(mirror).problems]
        except CarnetError as error:  # too damaged to be opened
            problems = [str(error)]
        found += bool(problems)
        if not problems:
            assert content(mirror) == before, position  # space that SQLite does not use
        database.write_bytes(whole)
    assert found > 30


def test_a_current_role_that_is_not_published_any_more_is_found(mirror: MirrorDirectory) -> None:
    """Its file is whole, and clients get none."""
    with sqlite3.connect(mirror.path / DATABASE) as connection:
        connection.execute("UPDATE files SET published = 0 WHERE path LIKE 'metadata/%.claims-21.json'")
    connection.close()
    assert any("is not published" in problem.what for problem in check(mirror).problems)


def test_a_file_that_nobody_published_is_noted_and_not_served(mirror: MirrorDirectory) -> None:
    (mirror.path / "metadata" / "9.snapshot.json").write_bytes(b"{}")
    report = check(mirror)
    assert report.problems == []
    assert "9.snapshot.json" in report.notes[0]
    with mirror.open() as store:
        assert store.files.published("metadata/9.snapshot.json") is None


@pytest.fixture
def claimed(tmp_path: Path) -> Iterator[World]:
    """A registry with a claimed crate: one adopted version, one release."""
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), "0.9.0"), OTHER)
    world.claim()
    world.release("1.0.0")
    yield world
    world.store.close()


def check_world(world: World) -> FsckReport:
    return fsck(world.store, now=world.now, progress=quiet)


def test_claims_are_checked_as_a_client_does(claimed: World) -> None:
    report = check_world(claimed)
    assert report.problems == []
    assert report.versions == 3


@pytest.mark.parametrize("pattern", ["metadata/*.owner.{}.json", "metadata/*.crate.{}.json", "targets/crates/*/{}/*"])
def test_a_flipped_byte_in_a_claim_is_found(claimed: World, pattern: str) -> None:
    assert list(claimed.store.directory.glob(pattern.format(NAME.canonical)))
    for path in claimed.store.directory.glob(pattern.format(NAME.canonical)):
        flip(path)
    assert check_world(claimed).problems


def test_a_version_put_beside_claimed_ones_is_found(claimed: World) -> None:
    with sqlite3.connect(claimed.store.directory / DATABASE) as connection:
        connection.execute("UPDATE versions SET version = '6.6.6' WHERE version = '1.0.0'")
    connection.close()
    assert check_world(claimed).problems


def test_stolen_online_keys_do_not_make_a_forgery_sound(claimed: World) -> None:
    """The index is signed anew, and the database made to fit: the maintainers' signatures still say something else."""
    claimed.publish_index(lambda index: [with_dependency(line) for line in index.lines])
    data = claimed.index().to_bytes()
    with sqlite3.connect(claimed.store.directory / DATABASE) as connection:
        connection.execute(
            "UPDATE crates SET index_sha256 = ? WHERE canonical = ?", (hashlib.sha256(data).hexdigest(), NAME.canonical)
        )
        for line in claimed.index().lines:
            values = (line.to_bytes(), NAME.canonical, str(line.id.version))
            connection.execute("UPDATE versions SET line = ? WHERE canonical = ? AND version = ?", values)
    connection.close()
    found = check_world(claimed).problems
    assert {f"{NAME}@0.9.0", f"{NAME}@1.0.0"} <= {
        one.where for one in found if "not the one that was written" not in one.what
    }
