"""Publishes take away what publishes supersede, beside whoever reads for long; and nothing that is needed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import quiet
from tests.support.worlds.claims import World

from carnet.cargo.names import CrateName
from carnet.errors import FormatError, StorageError
from carnet.tuf import paths
from carnet_mirror import export as exporting
from carnet_mirror import pruning, writing
from carnet_mirror.backup.backup import backup
from carnet_mirror.export import export
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.pruning import prune
from carnet_mirror.state import schema
from carnet_mirror.state.disk import LEAST_KEEP, DiskRules
from carnet_mirror.state.store import DATABASE, Store
from carnet_mirror.upkeep import sign_again
from carnet_signer.metadata.publish import Change

NAME = CrateName("busy")
GAP = timedelta(hours=9)
"""Shorter than what a timestamp is signed again after: no upkeep ever comes."""
KEPT = LEAST_KEEP // GAP


EVERY = 4


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(pruning, "_EVERY", EVERY)
    world = World.make(tmp_path)
    world.store.disk.rules = DiskRules(keep=LEAST_KEEP)
    return world


def live(world: World, publishes: int, gap: timedelta = GAP) -> list[int]:
    """A release after another; how many snapshots were there after each."""
    counts = []
    for _ in range(publishes):
        world.now += gap
        number = len(world.store.crates.versions(NAME))
        world.add(honest_crate(str(NAME), f"1.0.{number}"), through=writing.publish)
        counts.append(snapshots(world))
    return counts


def snapshots(world: World) -> int:
    return len(list((world.store.directory / "metadata").glob("*.snapshot.json")))


def sound(world: World) -> None:
    assert fsck(world.store, now=world.now, progress=quiet).problems == []


def test_publishes_alone_bound_the_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upkeep never comes where others publish often: so nothing ever went."""
    counts = live(world, 28)
    assert max(counts[16:]) <= KEPT + 2 * EVERY
    index_files = list((world.store.directory / "targets/index").rglob("*.busy"))
    assert len(index_files) <= KEPT + 2 * EVERY
    sound(world)
    monkeypatch.setattr(pruning, "prune", lambda store, **_: 0)
    assert live(world, 8)[-1] == counts[-1] + 8  # the control


def test_a_file_that_is_listed_again_stays(world: World) -> None:
    """A version is yanked and given again: the index file is the very one of before, which was superseded."""
    live(world, 1)
    plain = world.index(NAME)

    def publish_index(yanked: bool) -> None:
        lines = tuple(line.with_(yanked=yanked) for line in plain.lines)
        data = type(plain)(NAME, lines).to_bytes()
        with world.store.change():
            writing.publish(
                world.store, world.online, Change(index_files={paths.index_path(NAME): data}), now=world.now
            )

    for turn in range(26):
        world.now += GAP
        publish_index(yanked=turn % 2 == 0)
    names = {path.name for path in (world.store.directory / "targets/index").rglob("*.busy")}
    assert len(names) == 2
    assert world.store.superseded.paths()  # and much else went, or will
    assert snapshots(world) <= KEPT + 2 * EVERY
    assert [line.yanked for line in world.index(NAME).lines] == [False]
    publish_index(yanked=True)
    assert [line.yanked for line in world.index(NAME).lines] == [True]


@pytest.mark.parametrize("bounded", [True, False])
def test_a_clock_that_jumps_takes_nothing_that_a_live_timestamp_leads_to(
    world: World, monkeypatch: pytest.MonkeyPatch, bounded: bool
) -> None:
    live(world, 4 * EVERY)
    timestamp, began = world.store.read("metadata/timestamp.json"), world.now
    named = set(world.store.files.paths("metadata/"))
    if not bounded:
        monkeypatch.setattr(pruning, "_STEP", 10**9)  # the control
    world.now += timedelta(days=20)
    live(world, 2 * EVERY, timedelta(seconds=1))
    sign_again(world.store, world.online, now=world.now)
    gone = named - set(world.store.files.paths("metadata/"))
    newest = max(int(path.split("/")[1].split(".")[0]) for path in named if path.endswith(".snapshot.json"))
    assert timestamp is not None
    assert (f"metadata/{newest - 1}.snapshot.json" in gone) is not bounded
    assert (sum(path.endswith(".snapshot.json") for path in gone) > KEPT) is not bounded
    assert began < world.now


class Reader:
    """Somebody who reads for long: what is due goes away in the middle of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pruned = 0

    def tick(self, _: int) -> None:
        if not self.pruned:
            rules = DiskRules(keep=LEAST_KEEP)
            with Store.open(self.world.store.directory, write=True, rules=rules) as store, store.change():
                self.pruned = prune(store)

    def progress(self, label: str, length: int) -> Any:
        return _Ticking(self.tick)


class _Ticking:
    def __init__(self, tick: Callable[[int], None]) -> None:
        self._tick = tick

    def __enter__(self) -> Callable[[int], None]:
        return self._tick

    def __exit__(self, *_: object) -> None:
        return


@pytest.fixture
def due(world: World, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A mirror in which much is due, and nothing went so far."""
    live(world, 3)
    with world.store.change():
        prune(world.store)
    with monkeypatch.context() as off:
        off.setattr(pruning, "_EVERY", 10**6)
        live(world, 14)
    return Reader(world)


@pytest.mark.parametrize("how", ["backup", "fsck", "export"])
def test_whoever_reads_for_long_is_not_disturbed(
    due: Reader, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = due.world
    # From the last file on, so that what goes is still to be read.
    listed = world.store.files.all_published
    if how == "backup":
        made = backup(world.store, tmp_path / "week.tar", None, now=world.now, progress=due.progress)
        assert made.header.files < len(listed()) + due.pruned
    elif how == "fsck":
        monkeypatch.setattr(world.store.files, "all_published", lambda: listed()[::-1])
        report = fsck(world.store, now=world.now, progress=due.progress)
        assert report.problems == []
    else:
        parts = exporting._parts
        monkeypatch.setattr(exporting, "_parts", lambda store: sorted(parts(store), key=lambda part: part.path)[::-1])
        export(world.store, tmp_path / "tree", "http://localhost", counting=due.tick)
    assert due.pruned > 5
    sound(world)


def test_a_file_that_is_missing_and_counts_is_told_all_the_same(due: Reader, tmp_path: Path) -> None:
    """The control."""
    world = due.world
    tarball = next(one for one in world.store.files.all_published() if one.path.startswith("blobs/"))
    world.store.files.place(tarball).unlink()
    assert [one.where for one in fsck(world.store, now=world.now, progress=quiet).problems if "read" in one.what]
    with pytest.raises(StorageError, match="cannot be read"):
        backup(world.store, tmp_path / "week.tar", None, now=world.now, progress=quiet)


def test_a_database_of_the_layout_before_is_brought_up(world: World) -> None:
    live(world, 3)
    world.store.close()
    path = world.folder / "mirror" / DATABASE
    with closing(sqlite3.connect(path)) as database:
        database.executescript("DROP TABLE superseded; PRAGMA user_version=3;")
    with Store.open(world.folder / "mirror") as reading:
        assert reading.crates.count() == (1, 3)  # a reader needs nothing of what is new, and changes nothing
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (schema.BEFORE,)
    world.store = Store.open(world.folder / "mirror", write=True, rules=DiskRules(keep=LEAST_KEEP))
    world.store._database.demand_own_tables()
    assert live(world, 28)[-1] <= KEPT + 2 * EVERY
    sound(world)


def test_what_is_damaged_keeps_nobody_from_publishing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    live(world, 5)
    world.store.files.place(world.store.files.published("metadata/5.snapshot.json")).unlink()  # type: ignore[arg-type]
    live(world, 8)
    told = capsys.readouterr().err.count("what was superseded stays")
    assert 1 <= told <= 3
    with pytest.raises((FormatError, StorageError)), world.store.change():
        prune(world.store)
