"""A database that is lost is made anew from what is signed, and what is not signed is not believed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.test_mirror_crash import Killer, in_child
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import quiet
from tests.support.worlds.ceremony import DirectOnlineSigner, make_key
from tests.support.worlds.changes import new_online_key
from tests.support.worlds.claims import NAME, World

from carnet.cargo.names import CrateId, CrateName
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, ConfigError, MetadataError, SigningError, StorageError
from carnet_mirror.fsck import decided
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.fsck.rebuild import Anchors, Rebuilt, rebuild
from carnet_mirror.state.schema import SETTINGS, tables
from carnet_mirror.state.store import Store
from carnet_mirror.upkeep import sign_again

DATABASE = "mirror.db"
POINTS = int(os.environ.get("CARNET_TEST_CRASH_POINTS", "3"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A mirror with crates from upstream, a claimed one with a release, and several snapshots; a client has seen it."""
    world = World.make(tmp_path_factory.mktemp("rebuild"))
    world.add(honest_crate("one"), honest_crate("Two_Words"))
    world.add(honest_crate(str(NAME), "0.9.0"))
    world.claim()
    world.release("1.0.0")
    world.client()
    world.store.close()
    return world


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    """A copy of it, closed; its signer remembers what that one's does."""
    shutil.copytree(template.folder, tmp_path / "world")
    online = DirectOnlineSigner(template.online.key)
    online.versions, online.named = dict(template.online.versions), template.online.named
    made = World(tmp_path / "world", template.ceremony, online, template.store, template.now)
    for name, trust in template.clients.items():
        made.clients[name] = type(trust).open(made.folder / trust.path.relative_to(template.folder))
    return made


def directory(world: World) -> Path:
    return world.folder / "mirror"


def means(world: World, **seen: int) -> Anchors:
    return Anchors(world.ceremony.root, lambda: contextlib.nullcontext(world.online), remember, seen)


def remember(store: Store) -> None:
    store.put_setting("online-key", "/keys/online")


def run(world: World, **seen: int) -> Rebuilt:
    return rebuild(directory(world), lambda _: means(world, **seen), now=world.now, progress=quiet)


def published(store: Store) -> dict[str, object]:
    """All that a mirror serves, but the timestamp."""
    versions = {
        str(version.id): (version.line.to_bytes(), version.length)
        for name in store.crates.names()
        for version in store.crates.versions(name)
    }
    return {"versions": versions, "crates": store.crates.raw_crates(), "files": store.files.all_published()}


@contextlib.contextmanager
def opened(world: World) -> Iterator[Store]:
    with Store.open(directory(world), write=True) as store:
        world.store = store
        yield store


def sound(world: World) -> None:
    with opened(world) as store:
        assert fsck(store, now=world.now, progress=quiet).problems == []


# --- what every column comes from ---


def test_every_column_and_every_setting_is_decided() -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(tables())
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {f"{table}.{row[1]}" for table in names for row in database.execute(f"PRAGMA table_info({table})")}
    assert columns == decided.COLUMNS.keys()
    assert decided.SETTINGS.keys() == SETTINGS


def test_what_is_lost_is_told_by_name(world: World) -> None:
    (directory(world) / DATABASE).unlink()
    told = "\n".join(run(world).lost)
    for part in ("claims and takeovers that waited", "from which upstream", "publication time", "second opinion"):
        assert part in told


# --- everything is there again ---


def test_a_deleted_database_is_made_anew_and_the_mirror_goes_on(world: World) -> None:
    with opened(world) as store:
        before = published(store)
        timestamp = store.read("metadata/timestamp.json")
    (directory(world) / DATABASE).unlink()
    rebuilt = run(world)
    assert rebuilt.made
    assert rebuilt.aside is None
    assert not list(directory(world).glob(f"{DATABASE}?*"))
    sound(world)
    with opened(world) as store:
        assert published(store) == before
        assert store.read("metadata/timestamp.json") != timestamp
        assert store.setting("online-key") == "/keys/online"
        assert world.client().expires  # one that saw the old state
        world.add(honest_crate("three"))
        world.release("1.1.0")
        assert sign_again(store, world.online, now=world.now).timestamp == world.online.last_version("timestamp")
        assert world.admit("1.1.0", client="client")
    sound(world)


def test_a_second_time_there_is_nothing_to_do(world: World) -> None:
    (directory(world) / DATABASE).unlink()
    run(world)
    data = (directory(world) / DATABASE).read_bytes()

    def asked(_: object) -> Anchors:
        raise AssertionError("nothing is to be asked")

    again = rebuild(directory(world), asked, now=world.now, progress=quiet)
    assert not again.made
    assert (directory(world) / DATABASE).read_bytes() == data


def damage(kind: str) -> Callable[[Path], None]:
    def work(path: Path) -> None:
        data = bytearray(path.read_bytes())
        if kind == "random":
            path.write_bytes(bytes((byte * 7 + 13) % 256 for byte in range(256)) * 40)
        elif kind == "truncated":
            path.write_bytes(data[: len(data) // 2])
        elif kind == "empty":
            path.write_bytes(b"")
        elif kind == "rotten":
            data[5000:9000] = b"\xaa" * 4000
            path.write_bytes(data)
        else:
            with closing(sqlite3.connect(path)) as database:
                database.executescript(kind)

    return work


@pytest.mark.parametrize("kind", ["truncated", "rotten", "DELETE FROM versions WHERE canonical = 'one'"])
def test_a_damaged_database_is_replaced_and_kept(kind: str, world: World) -> None:
    path = directory(world) / DATABASE
    damage(kind)(path)
    spoiled = path.read_bytes()
    rebuilt = run(world)
    assert rebuilt.made
    assert rebuilt.aside is not None
    assert rebuilt.aside.read_bytes() == spoiled
    with opened(world):
        assert world.client().expires


@pytest.mark.parametrize("kind", ["random", "truncated", "empty", "PRAGMA user_version = 2"])
def test_every_command_says_what_to_type(kind: str, world: World) -> None:
    damage(kind)(directory(world) / DATABASE)
    with pytest.raises(CarnetError) as refused:
        Store.open(directory(world)).files.all_published()
    assert "carnet mirror fsck DIR --rebuild" in refused.value.hint
    assert refused.value.exit_code in (2, 3)


def test_a_database_of_a_newer_carnet_is_left_alone(world: World) -> None:
    damage("PRAGMA user_version = 99")(directory(world) / DATABASE)
    with pytest.raises(ConfigError, match="layout 99"):
        run(world)


def test_a_log_that_lies_beside_a_lost_database_is_not_played_into_the_new_one(world: World) -> None:
    path = directory(world) / DATABASE
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("DELETE FROM versions")
        for end in ("", "-wal"):
            shutil.copy(f"{path}{end}", f"{directory(world)}.kept{end}")
    path.unlink()
    shutil.copy(f"{directory(world)}.kept-wal", f"{path}-wal")
    assert run(world).made


def test_a_database_that_lost_its_log_is_behind_and_publishes_nothing_until_it_is_made_anew(world: World) -> None:
    """What was committed last is gone, and every file of it is there: to sign on would take back what clients saw."""
    path = directory(world) / DATABASE
    old = path.read_bytes()
    with opened(world):
        world.release("1.1.0")
        world.client()
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    path.write_bytes(old)
    with opened(world), pytest.raises(StorageError, match="older than what is published") as refused:
        world.release("1.1.0")
    assert "--rebuild" in refused.value.hint
    rebuilt = run(world)
    assert rebuilt.made
    assert rebuilt.aside is not None
    with opened(world):
        world.client()
        assert world.admit("1.1.0", client="client")


def test_what_was_given_up_and_never_named_is_no_reason_to_replace_a_sound_database(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(world) as store, monkeypatch.context() as patch:
        patch.setattr(world.online, "sign", refuse_timestamps(world.online))
        with pytest.raises(SigningError):
            world.add(honest_crate("three"))
        with store.change():
            store.drop()
    assert not run(world).made
    (directory(world) / DATABASE).unlink()
    run(world)
    with opened(world) as store:
        assert CrateName("three") not in store.crates.names()
        world.add(honest_crate("three"))
        world.client()
    sound(world)


def refuse_timestamps(online: DirectOnlineSigner) -> Callable[..., object]:
    sign = online.sign

    def signed(payloads: dict[str, bytes]) -> object:
        if "timestamp" in payloads:
            raise SigningError("the signer was stopped")
        return sign(payloads)

    return signed


def test_a_publish_that_was_signed_and_never_revealed_is_completed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(world) as store, monkeypatch.context() as patch:
        patch.setattr(store, "reveal", lambda *_: (_ for _ in ()).throw(StorageError("the power went")))
        with pytest.raises(StorageError):
            world.add(honest_crate("three"))
    (directory(world) / DATABASE).unlink()
    run(world)
    with opened(world) as store:
        assert store.crates.version(CrateId.of("three", "0.1.0")) is not None
        world.client()


def test_after_a_change_of_the_online_key(world: World) -> None:
    key = make_key("online-2")
    change = new_online_key(world.ceremony, key, [*world.ceremony.holders])
    with opened(world) as store:
        world.online.key = key
        sign_again(store, world.online, now=world.now, roles=change.roles)
    (directory(world) / DATABASE).unlink()
    run(world)
    with opened(world):
        world.client()


# --- what is not signed is not believed ---


def refused(world: World, kind: type[CarnetError], match: str, **seen: int) -> CarnetError:
    path = directory(world) / DATABASE
    path.unlink(missing_ok=True)
    before = sorted(file.name for file in directory(world).rglob("*"))
    with pytest.raises(kind, match=match) as caught:
        run(world, **seen)
    assert sorted(file.name for file in directory(world).rglob("*")) == before
    assert caught.value.hint
    return caught.value


def test_a_root_that_is_not_the_pinned_one(world: World) -> None:
    (directory(world) / DATABASE).unlink()
    other = replace(means(world), root=later(world))
    with pytest.raises(MetadataError, match="not the root that is given"):
        rebuild(directory(world), lambda _: other, now=world.now, progress=quiet)


@pytest.mark.parametrize(
    ("pattern", "how"),
    [
        ("metadata/1.root.json", "changed"),
        ("metadata/*.targets.json", "changed"),
        ("metadata/*.index-*.json", "changed"),
        ("metadata/*.owner.*.json", "gone"),
        ("targets/index/*/*/*.one", "changed"),
        ("targets/crates/*/*/*.crate", "gone"),
        ("blobs/*/*", "changed"),
        ("metadata/*.snapshot.json", "gone"),
    ],
)
def test_a_file_that_is_gone_or_changed(pattern: str, how: str, world: World) -> None:
    found = sorted(directory(world).glob(pattern))
    assert found
    for path in found:
        if how == "gone":
            path.unlink()
        else:
            path.write_bytes(later(world, path.read_bytes()))
    refused(world, CarnetError, "missing or damaged|is signed by")


def later(world: World, data: bytes | None = None) -> bytes:
    """A file that says something else at its end, and is of the same length."""
    data = world.ceremony.root if data is None else data
    at = data.rfind(b'"expires":"20') if b'"expires":"20' in data else len(data) - 20
    return data[: at + 13] + bytes([data[at + 13] ^ 1]) + data[at + 14 :]


def test_a_file_that_nothing_signed_leads_to_is_not_taken(world: World) -> None:
    evil = honest_crate("evil")
    sha256 = sha256_hex(evil)
    (directory(world) / "blobs" / sha256[:2]).mkdir(exist_ok=True)
    (directory(world) / "blobs" / sha256[:2] / sha256).write_bytes(evil)
    newest = max((directory(world) / "metadata").glob("*.snapshot.json"), key=lambda path: int(path.name.split(".")[0]))
    forged = newest.with_name(f"{int(newest.name.split('.')[0]) + 1}.snapshot.json")
    forged.write_bytes(newest.read_bytes().replace(b'"version":2', b'"version":3', 1))
    (directory(world) / DATABASE).unlink()
    run(world)
    with opened(world) as store:
        paths = {file.path for file in store.files.all_published()}
    assert f"blobs/{sha256[:2]}/{sha256}" not in paths
    assert f"metadata/{forged.name}" not in paths


# --- the signer's memory ---


def test_without_the_signers_memory_the_versions_are_to_be_said(world: World) -> None:
    timestamp, snapshot = (world.online.last_version(role) for role in ("timestamp", "snapshot"))
    world.online.versions, world.online.named = {}, None
    error = refused(world, ConfigError, "remembers nothing")
    assert "--seen timestamp=N --seen snapshot=N" in error.hint
    refused(world, StorageError, "missing or damaged", timestamp=timestamp, snapshot=snapshot + 1)
    assert run(world, timestamp=timestamp, snapshot=snapshot).timestamp == timestamp + 1
    with opened(world):
        world.client()
        world.add(honest_crate("three"))
        world.client()


def test_an_older_memory_is_refused(world: World) -> None:
    before, named = dict(world.online.versions), world.online.named
    with opened(world):
        world.add(honest_crate("three"))
    world.online.versions, world.online.named = before, named
    error = refused(world, SigningError, "older copy")
    assert "--seen" in error.hint


def test_a_root_that_was_seen_and_is_gone(world: World) -> None:
    refused(world, StorageError, "root 2 was seen", root=2)


def test_a_clock_that_is_behind(world: World) -> None:
    world.later(days=-2)
    refused(world, ConfigError, "clock")


def test_a_signer_of_another_mirror(world: World) -> None:
    world.online.key = make_key("another")
    refused(world, SigningError, "not one that the delegator")


# --- one at a time ---


def test_a_mirror_that_is_in_use_is_left_alone(world: World) -> None:
    with opened(world), pytest.raises(StorageError, match="is in use") as busy:
        run(world)
    assert "carnet mirror serve" in busy.value.hint


def test_a_folder_that_holds_no_mirror(world: World) -> None:
    with pytest.raises(ConfigError, match="holds no mirror"):
        rebuild(world.folder, lambda _: means(world), now=world.now, progress=quiet)


def test_metadata_that_is_gone_too(world: World) -> None:
    shutil.rmtree(directory(world) / "metadata")
    (directory(world) / DATABASE).unlink()
    with pytest.raises(StorageError, match="its folder metadata are gone"):
        Store.open(directory(world))
    refused(world, StorageError, "metadata")


def test_a_setting_that_nobody_decided_about_is_not_kept(world: World) -> None:
    with opened(world) as store, store.change(), pytest.raises(StorageError):
        store.put_setting("color", "green")


def test_a_memory_that_is_lost_signs_nothing_until_somebody_says_so(world: World) -> None:
    """Another one would begin at 1, and sign other contents under numbers that clients or caches have seen."""
    world.online.versions, world.online.named = {}, None
    with opened(world) as store:
        with pytest.raises(SigningError, match="memory is lost, or an older copy") as lost:
            world.release("1.1.0")
        assert "carnet mirror refresh DIR --memory-lost" in lost.value.hint
        sign_again(store, world.online, now=world.now, memory_lost=True)
        world.release("1.1.0")
        world.client()


# --- killed ---


def test_killed_at_any_point_it_leaves_the_old_state_or_the_new_one(world: World) -> None:
    """Points are chosen anew in each run; `CARNET_TEST_CRASH_POINTS=1000` takes all."""
    path = directory(world) / DATABASE
    damage("DELETE FROM versions")(path)
    spoiled = path.read_bytes()
    shutil.copytree(directory(world), world.folder / "kept")
    counting = Killer(0)
    with counting.armed(None):
        assert run(world).made
    points = random.sample(range(1, counting.seen + 1), min(POINTS, counting.seen))
    for point in {*points, counting.seen - 2}:
        shutil.rmtree(directory(world))
        shutil.copytree(world.folder / "kept", directory(world))

        def killed(point: int = point) -> None:
            with Killer(point).armed(None):
                run(world)

        status, _ = in_child(killed)
        assert os.WIFSIGNALED(status), f"point {point} of {counting.seen}"
        if path.read_bytes() != spoiled:
            assert not run(world).made, f"point {point} of {counting.seen}"
            continue
        assert run(world).made, f"point {point} of {counting.seen}"
        assert not list(directory(world).glob(f"{DATABASE}.new*"))
