"""A back-up of last week and a copy of what was published since: what people signed is there again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import quiet
from tests.support.worlds.ceremony import DirectOnlineSigner, make_ceremony, make_key
from tests.support.worlds.changes import new_online_key, next_version
from tests.support.worlds.claims import NAME, World, people, person, sign
from tests.unit.mirror.test_whole_index import Dump, line

from carnet.cargo.names import CrateId, CrateName
from carnet.errors import CarnetError, RollbackDetected
from carnet_mirror.backup.backup import backup
from carnet_mirror.backup.later import open_copy
from carnet_mirror.backup.restore import OnlineMeans, Restored, Seen, restore
from carnet_mirror.export import export
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.fsck.rebuild import Anchors, rebuild
from carnet_mirror.state.store import Store
from carnet_mirror.sync.takedown import take_down
from carnet_mirror.sync.whole_index import list_whole_index
from carnet_mirror.upkeep import sign_again
from carnet_mirror.upstream.index_folder import IndexFolder
from carnet_signer.proposals.ownership import OwnerChanges
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.route import DIRECT

EVIL = CrateId.parse("evil@0.1.0")
WEEK, COPY = "week.tar", "www"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Since the back-up: a claim, a release, two changes of owners, a crate more, and one that was taken down again."""
    world = World.make(tmp_path_factory.mktemp("since"))
    world.add(honest_crate("one"), honest_crate(str(NAME), "0.9.0"))
    export(world.store, world.folder / "older", "http://localhost")
    world.add(honest_crate("one", "0.2.0"))
    saved(world)
    world.claim()
    world.release("1.0.0")
    world.client("early").claim(NAME)
    for signing, owner in (("bob", "dora"), ("dora", "erin")):
        changed = world.owner_proposal(OwnerChanges(owners=people(("alice", signing, owner), 2)))
        world.submit(sign(changed, [*map(person, ("alice", signing)), *world.ceremony.holders[:2]]))
    world.add(honest_crate("two"), honest_crate("evil"))
    take_down(world.store, world.online, EVIL, "it sends keys away", now=world.now)
    world.client()
    export(world.store, world.folder / COPY, "http://localhost")
    world.store.close()
    return world


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    """Another machine: the mirror and the signer's memory are lost, what clients remember is not."""
    folder = tmp_path / "machine"
    shutil.copytree(template.folder, folder, ignore=shutil.ignore_patterns("mirror"))
    made = World(folder, template.ceremony, DirectOnlineSigner(template.online.key), template.store, template.now)
    for client in ("client", "early"):
        made.clients[client] = TrustDirectory.open(folder / client)
    return made


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder on a web server that knows nothing of it."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def saved(world: World) -> None:
    backup(world.store, world.folder / WEEK, None, now=world.now, progress=quiet)


def restored(
    world: World, copy: str | None = COPY, seen: int = 99, roles: Mapping[str, bytes] | None = None
) -> Restored:
    """Restored, and opened."""
    means = OnlineMeans(lambda: nullcontext(world.online), lambda _: None, {})
    place = copy if copy is None or "://" in copy else str(world.folder / copy)
    opens = None if place is None else lambda: open_copy(place, DIRECT)
    known = Seen({"timestamp": seen, "snapshot": seen}, [] if roles is None else [roles], opens)
    done = restore(
        world.folder / WEEK,
        world.folder / "mirror",
        lambda _: means,
        lambda _: {},
        known,
        now=world.now,
        progress=quiet,
    )
    world.store = Store.open(world.folder / "mirror", write=True)
    return done


def test_what_people_signed_since_is_there_again_and_clients_that_saw_it_follow(world: World) -> None:
    """Three days later, when the copy's timestamp is over: what is newer than the back-up need not be fresh."""
    world.later(days=3)
    with served(world.folder / COPY) as address:
        later = restored(world, address).later
    assert later is not None
    assert later.roles == {f"owner.{NAME.canonical}": 3, f"crate.{NAME.canonical}": 2, f"claims-{NAME.shard}": 4}
    assert later.versions == 3, "the released one, two, and evil"
    assert world.client().version(f"owner.{NAME.canonical}") == 3
    claim = world.client("early").claim(NAME)
    assert claim is not None
    assert not claim.takeover, "followed from owners to owners, through the version in between"
    for client in ("client", "early", None):
        world.admit("1.0.0", client=client)
        world.admit("0.1.0", name=CrateName("two"), client=client)
        with pytest.raises(CarnetError, match="took it down"):
            world.admit("0.1.0", name=CrateName("evil"), client=client)
    assert world.store.withheld(world.store.crates.versions(EVIL.name)[0].path) is not None
    world.release("1.1.0")
    world.admit("1.1.0", client="client")


def test_without_the_copy_a_client_that_saw_the_claim_refuses_the_mirror(world: World) -> None:
    """The control, and what somebody types who finds the copy later: the same again, with `--from`."""
    restored(world, copy=None)
    with pytest.raises(RollbackDetected):
        world.client()
    world.store.close()
    shutil.rmtree(world.folder / "mirror")
    restored(world, seen=199)
    world.client()


def test_what_comes_after_a_restore_is_brought_by_the_next_one_too(world: World) -> None:
    """A copy has no tarball of what was taken down: that makes no mirror that only lists, of which none is brought."""
    restored(world)
    assert not (world.folder / "mirror" / "whole-index").exists()
    (world.folder / WEEK).unlink()
    saved(world)
    world.add(honest_crate("three"))
    export(world.store, world.folder / "newest", "http://localhost")
    world.store.close()
    shutil.rmtree(world.folder / "mirror")
    world.online = DirectOnlineSigner(world.online.key)
    restored(world, "newest", seen=299)
    world.admit("0.1.0", name=CrateName("three"))
    assert [one.is_here for one in world.store.crates.versions(CrateName("three"))] == [True]


def only(place: Path, pattern: str) -> Path:
    return min(place.glob(pattern))


@pytest.mark.parametrize(
    ("pattern", "data", "said"),
    [
        ("api/v1/crates/two/*/download", None, r"1 files .* missing or damaged: blobs/"),
        ("metadata/3.owner.*.json", None, r"missing or damaged: metadata/3.owner"),
        ("targets/index/3/t/*.two", b"{}", r"1 files .* missing or damaged: targets/index/3/t/"),
        ("metadata/timestamp.json", b"{}", "the copy .*www: timestamp: signed is not an object"),
    ],
)
def test_a_copy_that_lacks_a_file_or_has_another_one_is_refused_by_its_name(
    pattern: str, data: bytes | None, said: str, world: World
) -> None:
    place = only(world.folder / COPY, pattern)
    place.unlink() if data is None else place.write_bytes(data)
    refused(world, said)


def test_a_copy_of_before_or_of_another_mirror(world: World) -> None:
    refused(world, "what --from names is older than the back-up: timestamp has version 2", "older")
    other = World(world.folder / "other", make_ceremony(bit_length=1, name="other "), world.online, world.store)
    refused(world, "holds no published files", "nowhere")
    refused(world, "the copy .*client: .*: there is no such file", "client")
    root = world.folder / COPY / "metadata/2.root.json"
    root.write_bytes(next_version(other.ceremony, "root"))
    refused(world, "root version 2, by the keys before it, is signed by 0 of its 3 keys")


def refused(world: World, said: str, copy: str = COPY) -> None:
    """Nothing is left behind, and nothing was signed."""
    before = dict(world.online.versions)
    with pytest.raises(CarnetError, match=said) as no:
        restored(world, copy)
    assert no.value.hint
    assert not (world.folder / "mirror").exists()
    assert world.online.versions == before


# --- other lives of a back-up ---


def test_a_mirror_that_was_pruned_and_from_which_something_was_taken_down(tmp_path: Path) -> None:
    """What went is in no row any more, so a back-up does not ask for it; and what was taken down stays down."""
    world = World.make(tmp_path)
    world.add(honest_crate("one"), honest_crate("evil"))
    world.add(honest_crate("one", "0.2.0"))
    take_down(world.store, world.online, EVIL, "it sends keys away", now=world.now)
    for _ in range(8):  # a clock that leaps takes nothing away
        world.later(days=4)
        sign_again(world.store, world.online, now=world.now)
    assert world.store.files.published("metadata/1.snapshot.json") is None
    saved(world)
    world.client()
    world.store.close()
    shutil.rmtree(tmp_path / "mirror")
    world.online = DirectOnlineSigner(world.online.key)
    restored(world, copy=None)
    assert fsck(world.store, now=world.now, progress=quiet).problems == []
    world.client()
    world.admit("0.1.0", name=CrateName("one"), client="client")
    with pytest.raises(CarnetError, match="took it down"):
        world.admit("0.1.0", name=CrateName("evil"), client="client")
    assert world.store.withheld(world.store.crates.versions(EVIL.name)[0].path) is not None


@pytest.mark.parametrize("brought", ["copy", "ceremony"])
def test_a_root_and_an_online_key_that_came_since(brought: str, tmp_path: Path) -> None:
    """Restored with the key of now: what the one of then signed is in the back-up, and clients forget that one."""
    world = World.make(tmp_path)
    saved(world)
    online, world.online = world.online, DirectOnlineSigner(make_key("online-2"))
    change = new_online_key(world.ceremony, world.online.key, world.ceremony.holders[:2])
    world.online.versions = dict(online.versions)
    world.publish_roles(dict(change.roles))
    world.add(honest_crate("one"))
    world.client()
    export(world.store, world.folder / COPY, "http://localhost")
    world.store.close()
    shutil.rmtree(tmp_path / "mirror")
    world.online = DirectOnlineSigner(world.online.key)
    if brought == "copy":
        later = restored(world).later
        assert later is not None
        assert later.roles == {"root": 2, "index": 2}
        world.admit("0.1.0", name=CrateName("one"), client="client")
    else:
        restored(world, copy=None, roles=change.roles)
    world.client()
    sign_again(world.store, world.online, now=world.now)
    world.client()


def test_a_mirror_that_lists_a_whole_index_is_asked_for_what_is_signed_and_for_no_tarball(tmp_path: Path) -> None:
    """To ask such a mirror for a tarball is to have it brought from the upstream: of all of them, for months."""
    world, dump = World.make(tmp_path), Dump(tmp_path / "index")
    for name in ("leaf", "upper"):
        dump.put(name, line(name))
        index = IndexFolder(dump.folder, world.store.directory)
        list_whole_index(world.store, world.online, index, now=world.now, progress=quiet)
        if name == "leaf":
            saved(world)
    world.client()
    export(world.store, world.folder / COPY, "http://localhost")
    world.store.close()
    shutil.rmtree(tmp_path / "mirror")
    world.online = DirectOnlineSigner(world.online.key)
    later = restored(world).later
    assert later is not None
    assert later.versions == 1
    assert (tmp_path / "mirror" / "whole-index").is_dir(), "by which a rebuild knows that tarballs may never have come"
    assert {str(one.id): one.length for one in world.store.crates.all_versions()} == {"leaf@0.1.0": 0, "upper@0.1.0": 0}
    world.client()
    directory = world.store.directory
    world.store.close()
    (directory / "mirror.db").unlink()
    anchors = Anchors(world.ceremony.root, lambda: nullcontext(world.online), lambda _: None, {})
    made = rebuild(directory, lambda _: anchors, now=world.now, progress=quiet)
    assert made.made, "what is only listed lacks nothing, after a restore too"
