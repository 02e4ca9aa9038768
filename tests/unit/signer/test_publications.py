"""What every publication does, whatever it keeps files in: each of them runs through all of this."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest
from tests.support.worlds import changes
from tests.support.worlds.ceremony import NOW, DirectOnlineSigner, make_ceremony
from tests.support.worlds.publication import FolderPublication, MemoryPublication

from carnet.errors import StorageError
from carnet.tuf import paths
from carnet_mirror.state.store import Store
from carnet_signer.metadata import publish as steps
from carnet_signer.metadata.new_roles import add_release
from carnet_signer.metadata.publication import Publication
from carnet_signer.metadata.published_state import metadata_path, read_published_state
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.refresh import read_repository

INDEX = "index/se/rd/serde"
OLD, NEW = b"old\n", b"new\n"
CEREMONY = make_ceremony(bit_length=1)


class Place(Protocol):
    """Somewhere to publish to."""

    @contextmanager
    def writing(self) -> Iterator[Publication]:
        """Opened anew, for one publish; what an error leaves behind is what a crash would."""
        yield MemoryPublication()

    def served(self, path: str) -> bytes | None:
        """What another process would answer for a path."""

    @property
    def hides(self) -> bool:
        """Whether what is staged is not even answered to those who guess its name: a plain folder cannot hide it."""


@dataclass
class InFolder:
    folder: Path
    hides: bool = False

    @contextmanager
    def writing(self) -> Iterator[Publication]:
        yield FolderPublication(self.folder)

    def served(self, path: str) -> bytes | None:
        return FolderPublication(self.folder).read(path)


@dataclass
class InMemory:
    publication: MemoryPublication
    hides: bool = True

    @contextmanager
    def writing(self) -> Iterator[Publication]:
        yield self.publication

    def served(self, path: str) -> bytes | None:
        return self.publication.files.get(path)


@dataclass
class InStore:
    folder: Path
    hides: bool = True

    @contextmanager
    def writing(self) -> Iterator[Publication]:
        with Store.open(self.folder, write=True) as store, store.change():
            yield store

    def served(self, path: str) -> bytes | None:
        with Store.open(self.folder) as store:
            if path == metadata_path(paths.TIMESTAMP, None):
                return store.read(path)
            file = store.files.published(path)
            return None if file is None else store.files.read(file)


def in_store(folder: Path) -> InStore:
    Store.create(folder / "mirror").close()
    return InStore(folder / "mirror")


PLACES: dict[str, Callable[[Path], Place]] = {
    "folder": lambda folder: InFolder(folder / "repository"),
    "memory": lambda _: InMemory(MemoryPublication()),
    "store": in_store,
}


@dataclass
class World:
    """A place in which `OLD` is published, and an online signer that remembers."""

    place: Place
    online: DirectOnlineSigner

    def seen(self) -> tuple[int, int, bytes]:
        """What a client that pinned the first root comes to: the root's and the snapshot's version, the index file."""
        view = read_repository(CEREMONY.root, ReadFetcher(self.place.served), now=NOW)
        data = view.download(view.find_target(INDEX))
        return view.trusted.root.signed.version, view.trusted.snapshot.signed.version, data


@pytest.fixture(params=PLACES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    made = World(PLACES[request.param](tmp_path), CEREMONY.signer())
    with made.place.writing() as publication:
        steps.publish(publication, made.online, replace(CEREMONY.change, index_files={INDEX: OLD}), now=NOW)
    assert made.seen() == (1, 1, OLD)
    return made


class Crash(Exception):  # noqa: N818  -- not an error of ours
    """The process ends here."""


@contextmanager
def crashing(world: World) -> Iterator[Publication]:
    with suppress(Crash), world.place.writing() as publication:
        yield publication
        raise Crash


def test_what_is_staged_and_sealed_is_not_visible_until_it_is_revealed(world: World) -> None:
    with world.place.writing() as publication:
        current = read_published_state(publication, world.online.named_snapshot())
        accepted = add_release(current, steps.Change({INDEX: NEW}), NOW)
        bins = steps.roll_bins(accepted, world.online, {INDEX: NEW}, NOW, ())
        snapshot = steps.roll_snapshot(accepted, world.online, bins, NOW)
        publication.stage(bins.index_files)
        publication.stage({metadata_path(one.role, one.version): one.data for one in bins.bins})
        assert world.seen() == (1, 1, OLD)
        assert {publication.read(path) for path in bins.index_files} == {NEW}
        publication.seal(snapshot.version, snapshot.data)
        assert world.seen() == (1, 1, OLD)
        if world.place.hides:
            hidden = [*bins.index_files, metadata_path(paths.SNAPSHOT, snapshot.version)]
            assert [world.place.served(path) for path in hidden] == [None, None]
        timestamp = steps.roll_timestamp(accepted, world.online, snapshot, NOW)
        publication.reveal(timestamp.data)
        assert world.seen() == (1, 2, NEW)
    assert world.seen() == (1, 2, NEW)


def test_what_is_sealed_survives_reopening_and_is_completed_once_its_timestamp_was_signed(world: World) -> None:
    with crashing(world) as publication:
        current = read_published_state(publication, world.online.named_snapshot())
        accepted = add_release(current, steps.Change({INDEX: NEW}), NOW)
        bins = steps.roll_bins(accepted, world.online, {INDEX: NEW}, NOW, ())
        snapshot = steps.roll_snapshot(accepted, world.online, bins, NOW)
        steps.seal(accepted, bins, snapshot)
        steps.roll_timestamp(accepted, world.online, snapshot, NOW)
    assert world.seen() == (1, 1, OLD)
    with world.place.writing() as publication:
        assert publication.read(metadata_path(paths.SNAPSHOT, 2)) == snapshot.data
        assert {publication.read(path) for path in bins.index_files} == {NEW}
        assert steps.publish(publication, world.online, steps.Change(), now=NOW).snapshot == 2
    assert world.seen() == (1, 2, NEW)


def test_what_is_staged_and_not_sealed_stops_nobody(world: World) -> None:
    with crashing(world) as publication:
        publication.stage({"metadata/2.index-0.json": b"{}", "metadata/2.index-1.json": b"{}"})
    assert world.seen() == (1, 1, OLD)
    with world.place.writing() as publication:
        steps.publish(publication, world.online, steps.Change({INDEX: NEW}), now=NOW)
    assert world.seen() == (1, 2, NEW)


def test_a_new_root_is_revealed_with_its_timestamp(world: World) -> None:
    root = changes.next_version(CEREMONY, paths.ROOT)
    with world.place.writing() as publication:
        steps.publish(publication, world.online, steps.Change({INDEX: NEW}, roles={paths.ROOT: root}), now=NOW)
        assert world.seen() == (2, 2, NEW)
    assert world.seen() == (2, 2, NEW)


@pytest.mark.parametrize("revealed", [False, True])
def test_no_name_has_two_contents(world: World, revealed: bool) -> None:
    path = "metadata/2.claims.json"
    with world.place.writing() as publication:
        publication.stage({path: b"one"})
        publication.seal(7, b"snapshot")
        if revealed:
            publication.reveal(b"timestamp", (2, b"root"))
        publication.stage({path: b"one"})
        publication.seal(7, b"snapshot")
        with pytest.raises(StorageError, match=r"2\.claims\.json is published already"):
            publication.stage({"metadata/3.claims.json": b"three", path: b"another"})
        with pytest.raises(StorageError, match=r"7\.snapshot\.json is published already"):
            publication.seal(7, b"another")
        with pytest.raises(StorageError, match=r"1\.root\.json is published already"):
            publication.reveal(b"another timestamp", (1, b"another"))
        if revealed:
            with pytest.raises(StorageError, match=r"2\.root\.json is published already"):
                publication.reveal(b"another timestamp", (2, b"another"))
            assert publication.read("metadata/timestamp.json") == b"timestamp"
        assert (publication.read(path), publication.read(metadata_path(paths.SNAPSHOT, 7))) == (b"one", b"snapshot")
        assert publication.read(metadata_path(paths.ROOT, 1)) == CEREMONY.root


def test_the_timestamp_alone_is_replaced(world: World) -> None:
    before = world.place.served(metadata_path(paths.TIMESTAMP, None))
    with world.place.writing() as publication:
        steps.publish(publication, world.online, steps.Change(), now=NOW + timedelta(minutes=1))
    assert world.seen() == (1, 1, OLD)
    assert world.place.served(metadata_path(paths.TIMESTAMP, None)) not in (None, before)
