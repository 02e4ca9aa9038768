"""A mirror as another one's upstream, and whoever lies in its name: what a client would not take is not taken."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import quiet
from tests.support.registries.signed import SignedRegistry
from tests.support.worlds.claims import NAME, World

from carnet.cargo.asked import AskedFor
from carnet.cargo.lockfile import CRATES_IO, LockedPackage
from carnet.cargo.names import CrateId
from carnet.cargo.takedown import Takedown
from carnet.errors import (
    CarnetError,
    ConfigError,
    ExpiredMetadata,
    MetadataError,
    RollbackDetected,
    ThresholdNotMet,
    TransportError,
)
from carnet.strictjson import JsonObject
from carnet.tuf import paths
from carnet_mirror.export import export
from carnet_mirror.state.crates import index_file
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_mirror.sync.closure import close
from carnet_mirror.sync.outcome import SyncReport
from carnet_mirror.sync.plan import plan
from carnet_mirror.sync.sync import sync
from carnet_mirror.sync.takedown import take_down, to_follow
from carnet_mirror.upstream.mirror import MirrorUpstream, remembered_upstream
from carnet_signer.metadata.publish import Change, publish

PLAIN, OTHER, EVIL = (CrateId.of(name, "0.1.0") for name in ("plain", "other", "evil"))
CLAIMED = CrateId(NAME, CrateId.of("x", "1.0.0").version)
REASON = "its build script sends keys away"


@dataclass(frozen=True)
class Chain:
    """A mirror, and the one that is its upstream as it was carried here twice: before and after a takedown."""

    above: World
    older: Path
    newer: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("above")
    above = World.make(folder)
    needs = honest_crate("plain", extra='[dependencies]\nother = "0.1"\n')
    above.add(needs, honest_crate("other"), honest_crate("evil"), honest_crate(str(NAME), "0.9.0"))
    export(above.store, folder / "older", "http://localhost")
    above.claim()
    above.release("1.0.0")
    take_down(above.store, above.online, EVIL, REASON, now=above.now)
    export(above.store, folder / "newer", "http://localhost")
    return Chain(above, folder / "older", folder / "newer")


@pytest.fixture
def below(tmp_path: Path) -> World:
    return World.make(tmp_path / "below")


@pytest.fixture
def stick(made: Chain, tmp_path: Path) -> Path:
    """The newer export, on a disk that anybody may have had."""
    shutil.copytree(made.newer, tmp_path / "stick")
    return tmp_path / "stick"


def upstream(below: World, place: Path, root: bytes | None = None, *, later: timedelta = timedelta()) -> MirrorUpstream:
    def clock() -> datetime:
        return below.now + later

    return remembered_upstream(below.store.directory, place, root or below.ceremony.root, clock)


def take(below: World, place: Path | MirrorUpstream, *crates: CrateId) -> SyncReport:
    source = upstream(below, place) if isinstance(place, Path) else place
    packages = [LockedPackage(crate, CRATES_IO, None) for crate in crates]
    return sync(below.store, below.online, source, packages, now=below.now, progress=quiet)


@contextmanager
def nothing_changes(store: Store) -> Iterator[None]:
    before = store.read("metadata/timestamp.json")
    yield
    assert store.read("metadata/timestamp.json") == before


def test_what_is_signed_there_comes_with_what_it_depends_on(made: Chain, below: World) -> None:
    closed = close(below.store, upstream(below, made.newer), [AskedFor.parse("plain"), AskedFor.parse("nowhere")])
    assert [package.id for package in closed.packages] == [OTHER, PLAIN]
    assert [(str(one.asked), one.decided) for one in closed.missing] == [("nowhere@*", True)]
    report = take(below, made.newer, *(package.id for package in closed.packages))
    assert report.added == (OTHER, PLAIN)
    stored = below.store.crates.version(PLAIN)
    assert stored is not None
    assert stored.upstream == f"carnet+{made.newer.resolve().as_uri()}/"
    assert below.admit("0.1.0", name=PLAIN.name)
    assert take(below, made.newer, OTHER, PLAIN).published is None


def test_a_claimed_crate_never_becomes_one_that_the_online_key_alone_may_change(made: Chain, below: World) -> None:
    """Also where it was taken before it was claimed: what is here stays, and nothing follows it."""
    older = CrateId(NAME, CrateId.of("x", "0.9.0").version)
    assert take(below, made.older, older).added == (older,)
    with nothing_changes(below.store):
        report = take(below, made.newer, CLAIMED, older)
    assert [(one.crate, "claimed" in one.reason) for one in report.refused] == [(CLAIMED, True)]
    assert [(one.crate, "claimed" in one.reason) for one in report.kept] == [(older, True)]
    closed = close(below.store, upstream(below, made.newer), [AskedFor.parse(str(NAME))])
    assert (closed.packages, "claimed" in closed.missing[0].reason) == ((), True)


def test_without_the_files_of_its_owners_it_is_claimed_all_the_same(stick: Path, below: World) -> None:
    for role in (paths.owner_role(NAME), paths.crate_role(NAME)):
        for file in (stick / "metadata").glob(f"*.{role}.json"):
            file.unlink()
    with nothing_changes(below.store), pytest.raises(TransportError):
        take(below, stick, CLAIMED)
    assert take(below, stick, PLAIN).added == (PLAIN,)


def test_nothing_older_than_what_was_seen_is_believed_wherever_it_lies(
    made: Chain, below: World, tmp_path: Path
) -> None:
    assert take(below, made.newer, PLAIN).added == (PLAIN,)
    shutil.copytree(made.older, tmp_path / "elsewhere")
    with nothing_changes(below.store), pytest.raises(RollbackDetected):
        take(below, tmp_path / "elsewhere", EVIL)


def test_what_was_carried_for_too_long_and_a_server_that_stands_still_are_refused(made: Chain, below: World) -> None:
    days = timedelta(days=1)
    slow = upstream(below, made.older, later=14 * days)
    assert take(below, slow, OTHER).added == (OTHER,), "a disk takes its time"
    with nothing_changes(below.store), pytest.raises(ExpiredMetadata, match="carried"):
        take(below, upstream(below, made.newer, later=16 * days), PLAIN)
    with SignedRegistry("another one").serving() as server:
        server.add(honest_crate("plain"))
        below.now = server.ceremony.now + 2 * days
        served = remembered_upstream(below.store.directory, f"{server.url}/", server.root, lambda: below.now)
        with pytest.raises(ExpiredMetadata):
            take(below, served, PLAIN)


def test_a_mirror_that_answers_is_taken_from_like_a_folder(tmp_path: Path) -> None:
    with SignedRegistry("another one").serving() as server:
        server.add(honest_crate("plain"), honest_crate("other"))
        server.served[f"api/v1/crates/{OTHER.name}/{OTHER.version}/download"] = b"\x1f\x8bother bytes"
        below = World.make(tmp_path)
        below.now = server.ceremony.now + timedelta(hours=2)
        served = remembered_upstream(below.store.directory, f"{server.url}/", server.root, lambda: below.now)
        packages = [LockedPackage(crate, CRATES_IO, None) for crate in (PLAIN, OTHER)]
        report = plan(below.store, served, packages, now=below.now)
        assert report.added == (OTHER, PLAIN)
        fetched = served.fetch(packages, tmp_path, lambda _: None)
    assert [one.tarball is not None for one in fetched] == [True, True], "what it holds is for the sync to judge"


def test_another_repository_in_its_place_is_refused(made: Chain, below: World) -> None:
    other = SignedRegistry("another one").root
    with nothing_changes(below.store), pytest.raises(ThresholdNotMet):
        take(below, upstream(below, made.newer, other), PLAIN)
    with pytest.raises(CarnetError):
        upstream(below, made.newer, b"{}")
    with pytest.raises(ConfigError, match="holds no exported mirror"):
        upstream(below, made.newer / "metadata")


def test_a_tree_of_two_states_is_refused(made: Chain, stick: Path, below: World) -> None:
    newest = UnverifiedView(made.above.store).snapshot.version
    shutil.copy(made.older / "metadata" / f"{newest - 3}.snapshot.json", stick / "metadata" / f"{newest}.snapshot.json")
    with nothing_changes(below.store), pytest.raises(MetadataError):
        take(below, stick, PLAIN)


def test_what_was_changed_on_the_way_is_not_taken_and_stops_nothing_else(stick: Path, below: World) -> None:
    (index,) = (stick / "targets" / "index").rglob("*.plain")
    index.write_bytes(index.read_bytes().replace(b'"yanked":false', b'"yanked":true '))
    (stick / paths.download_path(OTHER)).write_bytes(honest_crate("other", source="pub fn evil() {}\n"))
    with nothing_changes(below.store):
        report = take(below, stick, PLAIN, OTHER)
    assert [one.crate for one in report.refused] == [OTHER]
    assert [one.crate for one in report.waiting] == [PLAIN]


def test_no_link_on_a_disk_leads_out_of_it(stick: Path, below: World, tmp_path: Path) -> None:
    place = stick / paths.download_path(PLAIN)
    (tmp_path / "secret").write_bytes(place.read_bytes())
    place.unlink()
    place.symlink_to(tmp_path / "secret")
    with nothing_changes(below.store):
        report = take(below, stick, PLAIN)
    assert [(one.crate, "leads out" in one.reason) for one in report.waiting] == [(PLAIN, True)]


def test_a_takedown_there_is_followed_and_a_version_that_is_down_is_not_brought(
    made: Chain, below: World, tmp_path: Path
) -> None:
    with nothing_changes(below.store):
        assert [REASON in one.reason for one in take(below, made.newer, EVIL).refused] == [True]
    other = World.make(tmp_path / "other")
    assert take(other, made.older, EVIL).added == (EVIL,)
    dry = plan(other.store, upstream(other, made.newer), [LockedPackage(EVIL, CRATES_IO, None)], now=other.now)
    assert (dry.taken_down, dry.published) == ((EVIL,), None)
    report = take(other, made.newer, EVIL)
    assert report.taken_down == (EVIL,)
    down = UnverifiedView(other.store).all_taken_down()
    assert list(down) == [EVIL]
    assert down[EVIL].reason.startswith(f"{REASON} (as carnet+file://")
    with nothing_changes(other.store):
        assert take(other, made.newer, EVIL).taken_down == ()


def test_a_takedown_of_no_version_stops_nothing_else(tmp_path: Path) -> None:
    """What cannot be read of one crate is no statement about it, and no reason to lose what came of the others."""
    above, below = World.make(tmp_path / "above"), World.make(tmp_path / "below")
    above.add(honest_crate("plain"), honest_crate("other"))
    path = paths.index_path(PLAIN.name)
    said: JsonObject = {"taken_down": {"the newest": {"reason": REASON, "since": "2026-11-20T12:00:00Z"}}}
    with above.store.change():
        data = index_file(PLAIN.name, above.store.crates.versions(PLAIN.name))
        publish(above.store, above.online, Change(index_files={path: data}, custom={path: said}), now=above.now)
    export(above.store, tmp_path / "www", "http://localhost")
    report = take(below, tmp_path / "www", PLAIN, OTHER)
    assert (report.added, [one.crate for one in report.waiting]) == ((OTHER,), [PLAIN])


def test_no_takedown_there_reaches_what_maintainers_released_here(made: Chain, below: World) -> None:
    """Its online key could otherwise deny, in a mirror that asks it for one old version, every release of a crate."""
    below.claim()
    below.release("1.0.0")
    released = CrateId(NAME, CrateId.of("x", "1.0.0").version)
    lie = {str(one): Takedown(REASON, below.now) for one in (released.version,)}
    assert to_follow(below.store, [(NAME, lie)], "carnet+https://mirror.example/") == {}
    below.admit("1.0.0")
