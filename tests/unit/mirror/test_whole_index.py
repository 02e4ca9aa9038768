"""A whole index, listed: its lines are published at the index's word, and a tarball comes when somebody asks for it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import MirrorDirectory, make_mirror, quiet
from tests.support.registries.sparse import SparseRegistry, sparse_registry
from tests.support.worlds.claims import NAME, World, refusal

from carnet.cargo.asked import AskedFor
from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import line_from_crate
from carnet.cargo.names import CrateId, CrateName
from carnet.cargo.pull import NotBrought, PullAsk, PullEnd
from carnet.errors import ConfigError
from carnet.progress import Progress
from carnet.tuf.paths import download_path, index_prefix
from carnet_cli.commands.registry.mirror import whole_index
from carnet_cli.config import home
from carnet_cli.terminal.passphrase import PassphraseSource
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.fsck.signed_files import follow, read_signed_chain, reader
from carnet_mirror.pull.bounded import BoundedUpstream
from carnet_mirror.pull.bring import Share, bring
from carnet_mirror.pull.puller import Puller
from carnet_mirror.pull.quotas import PullQuotas, Usage
from carnet_mirror.pull.rules import PullRules
from carnet_mirror.pull.scheduled import sync_what_is_named
from carnet_mirror.pull.settings import PullSettings, SyncSettings
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.sync.closure import Taking, close
from carnet_mirror.sync.outcome import SyncReport
from carnet_mirror.sync.takedown import take_down
from carnet_mirror.sync.whole_index import Listed, list_whole_index
from carnet_mirror.upstream import index_folder
from carnet_mirror.upstream.index_folder import IndexFolder
from carnet_mirror.upstream.sparse import SparseUpstream
from carnet_mirror.web.files import Mirror
from carnet_mirror.web.on_demand import OnDemand, listed_in
from carnet_signer.proposals import ownership
from carnet_verifier.policy.policy import Pattern

ALL = PullRules((Pattern("*"),), least_age=timedelta(0))
LEAF, OLDER = CrateId.of("leaf", "0.1.0"), CrateId.of("leaf", "0.0.9")


class Dump:
    """An index in a folder: each file was written long ago."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "1").mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        self._time = 1_700_000_000

    def put(self, name: str, *lines: bytes) -> Path:
        path = self.folder / index_prefix(CrateName(name)) / name.lower()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        self._time += 1
        os.utime(path, (self._time, self._time))
        return path


def line(name: str, version: str = "0.1.0", **changes: object) -> bytes:
    """The line of an honest crate, with some fields changed."""
    made = line_from_crate(read_crate(honest_crate(name, version)), pubtime="2020-02-02T02:02:02Z")
    return json.dumps(json.loads(made.to_bytes()) | changes).encode()


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorDirectory:
    return make_mirror(tmp_path / "mirror")


@pytest.fixture
def dump(tmp_path: Path) -> Dump:
    made = Dump(tmp_path / "index")
    made.put("leaf", line("leaf", "0.0.9"), line("leaf"))
    made.put("Upper", line("Upper"))
    return made


def listed(
    mirror: MirrorDirectory, dump: Dump, *, at_once: int = 100, progress: Progress = quiet, **more: object
) -> Listed:
    with mirror.open(write=True) as store:
        index = IndexFolder(dump.folder, mirror.path)
        return list_whole_index(
            store,
            mirror.signer,
            index,
            now=mirror.now,
            progress=progress,
            at_once=at_once,
            **more,  # type: ignore[arg-type]
        )


def sound(mirror: MirrorDirectory) -> bool:
    with mirror.open() as store:
        return fsck(store, now=mirror.now, progress=quiet).problems == []


def asks(mirror: MirrorDirectory, registry: SparseRegistry, *crates: str, rules: PullRules = ALL) -> PullEnd:
    upstream = BoundedUpstream(SparseUpstream(registry.index_url, remembered={}), 10**9, 60.0, 32)
    share = Share(PullAsk(tuple(map(AskedFor.parse, crates)), locked=True), 100, 100)
    with mirror.open(write=True) as store:
        bring(store, mirror.signer, upstream, [share], PullSettings("", rules), now=mirror.now, progress=quiet)
    return share.end


def test_every_crate_is_listed_and_a_run_without_changes_signs_nothing(mirror: MirrorDirectory, dump: Dump) -> None:
    first = listed(mirror, dump)
    assert (first.files, first.read, first.added) == (2, 2, 3)
    assert sound(mirror)
    with mirror.open() as store:
        assert [str(one) for one in store.crates.names()] == ["leaf", "Upper"]
        assert (store.crates.count(), store.crates.size()) == ((2, 3), 0)
    again = listed(mirror, dump)
    assert (again.files, again.read, again.published) == (2, 0, None)
    dump.put("leaf", line("leaf", "0.0.9", yanked=True), line("leaf"), line("leaf", "0.2.0"))
    more = listed(mirror, dump)
    assert (more.read, more.added, more.updated) == (1, 1, 1)
    with mirror.open() as store:
        yanked = store.crates.version(OLDER)
        assert yanked is not None
        assert yanked.line.yanked
    (dump.folder / "le" / "af" / "leaf").unlink()
    assert listed(mirror, dump).published is None, "absence is no statement"


def test_what_ends_in_the_middle_goes_on_there(mirror: MirrorDirectory, dump: Dump) -> None:
    @contextmanager
    def stopping(_label: str, _length: int) -> Iterator[Callable[[int], None]]:
        def count(_: int) -> None:
            raise KeyboardInterrupt

        yield count

    with pytest.raises(KeyboardInterrupt):
        listed(mirror, dump, at_once=1, progress=stopping)
    with mirror.open() as store:
        assert store.crates.count()[0] == 1
    rest = listed(mirror, dump, at_once=1)
    assert (rest.read, sound(mirror)) == (1, True)
    with mirror.open() as store:
        assert store.crates.count() == (2, 3)


def test_what_is_no_line_of_the_crate_is_no_statement(mirror: MirrorDirectory, dump: Dump, tmp_path: Path) -> None:
    dump.put("odd", b"{}", line("other"), line("odd", cksum="x"), line("odd", "0.1.0"), line("Odd", "0.2.0"))
    (dump.folder / "le" / "af" / "wrong").write_bytes(line("wrong"))
    (tmp_path / "outside").write_bytes(line("linked"))
    (dump.folder / "li" / "nk").mkdir(parents=True)
    (dump.folder / "li" / "nk" / "linked").symlink_to(tmp_path / "outside")
    (dump.folder / ".git").mkdir()
    found = listed(mirror, dump)
    assert (found.added, found.unread) == (4, 4)
    with mirror.open() as store:
        assert [str(one) for one in store.crates.names()] == ["leaf", "odd", "Upper"]
        held = CrateId.of("leaf", "0.1.0")
    dump.put("leaf", line("leaf", cksum="0" * 64))
    assert listed(mirror, dump).refused == 1
    with mirror.open() as store:
        stored = store.crates.version(held)
        assert stored is not None
        assert stored.line.cksum != "0" * 64
    with pytest.raises(ConfigError, match="is no index"):
        IndexFolder(tmp_path / "mirror", mirror.path)


def test_a_file_that_is_too_large_stops_nothing_else(
    mirror: MirrorDirectory, dump: Dump, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_folder, "_MAX_FILE", 2_000)
    dump.put("huge", line("huge"), b" " * 2_000)
    for added, unread in ((3, 1), (0, 0)):
        done = listed(mirror, dump)
        assert (done.added, done.unread) == (added, unread)


def test_a_line_with_the_checksum_of_anothers_tarball_has_no_say_in_that(mirror: MirrorDirectory, dump: Dump) -> None:
    """An index may say any checksum: `fsck` found damage then, so that no back-up of the mirror could be restored."""
    listed(mirror, dump)
    with sparse_registry() as registry:
        registry.add(honest_crate("leaf"))
        assert asks(mirror, registry, "leaf@=0.1.0").published == ("leaf@0.1.0",)
    dump.put("liar", line("liar", cksum=json.loads(line("leaf"))["cksum"]))
    assert listed(mirror, dump).added == 1
    assert sound(mirror)
    with mirror.open(write=True) as store:
        for name, withheld in (("liar", False), ("leaf", True)):
            take_down(store, mirror.signer, CrateId.of(name, "0.1.0"), "it sends keys away", now=mirror.now)
            leaf = store.crates.version(LEAF)
            assert leaf is not None
            assert (store.withheld(leaf.path) is not None) is withheld
    assert sound(mirror)


def test_a_claimed_crate_is_not_looked_at_and_a_claim_adopts_by_checksum_what_is_only_listed(
    tmp_path: Path, dump: Dump
) -> None:
    dump.put(str(NAME), line(str(NAME), "0.9.0"))
    world = World.make(tmp_path)
    index = IndexFolder(dump.folder, world.store.directory)
    list_whole_index(world.store, world.online, index, now=world.now, progress=quiet)
    as_if_here = ownership.adopt(world.index(), {one.cksum: 10 for one in world.index().lines}, "crates-io")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "adopted", lambda name: as_if_here)
        assert "lists and does not have" in str(refusal(world.claim)), "of what is not here nobody knows the length"
    assert world.fresh().claim(NAME) is None
    assert world.claim().added == ("0.9.0",)
    assert [one.by_checksum for one in UnverifiedView(world.store).releases(NAME)] == [True]
    other = World.make(tmp_path / "other")
    other.claim()
    index = IndexFolder(dump.folder, other.store.directory)
    done = list_whole_index(other.store, other.online, index, now=other.now, progress=quiet)
    assert (done.added, done.refused) == (3, 0)
    assert other.store.crates.version(CrateId.of(str(NAME), "0.9.0")) is None


def test_what_the_rules_hold_back_is_listed_once_they_do_not(mirror: MirrorDirectory, dump: Dump) -> None:
    first = listed(mirror, dump, why_not=lambda line: "too young" if line.id == LEAF else "")
    assert (first.added, first.late) == (2, 1)
    later = listed(mirror, dump)
    assert (later.added, later.read) == (1, 1), "of what is published with it nothing is read again"


def test_a_name_that_comes_from_somewhere_else_is_listed_by_no_whole_index(
    mirror: MirrorDirectory, dump: Dump, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Dependency confusion: whoever publishes a company's name in the public registry has no line of it shown."""
    dump.put("acme_core", line("acme_core", "99.0.0"))
    dump.put("Acme-Core2", line("Acme-Core2", "99.0.0"))
    (tmp_path / "corp").mkdir()
    (mirror.path / "mirror.toml").write_text(f'[upstreams.corp]\nfrom = "{tmp_path / "corp"}"\ncrates = ["acme-*"]\n')
    monkeypatch.setattr(whole_index, "OnlineSettings", SimpleNamespace(of=lambda store: None))
    monkeypatch.setattr(whole_index, "online", lambda *_: nullcontext(mirror.signer))
    monkeypatch.setattr(home, "now", lambda: mirror.now)
    assert whole_index.list_index(mirror.path, dump.folder, PassphraseSource(), "human") == 0
    with mirror.open() as store:
        assert [str(one) for one in store.crates.names()] == ["leaf", "Upper"]


def test_what_was_taken_down_and_is_gone_makes_no_mirror_that_lists_a_whole_index(
    mirror: MirrorDirectory, tmp_path: Path
) -> None:
    """A restore asks the copy of such a mirror for its tarballs, and a rebuild misses those that lack."""
    dump = Dump(tmp_path / "index")
    dump.put("leaf", line("leaf"))
    listed(mirror, dump)
    with mirror.open(write=True) as store:
        assert UnverifiedView(store).lists_only()
        take_down(store, mirror.signer, LEAF, "it mines", now=mirror.now)
        assert not UnverifiedView(store).lists_only()
        dump.put("twig", line("twig"))
    listed(mirror, dump)
    with mirror.open() as store:
        assert UnverifiedView(store).lists_only()


def test_its_tarball_comes_when_somebody_asks_and_is_judged_then(mirror: MirrorDirectory, dump: Dump) -> None:
    listed(mirror, dump)
    with sparse_registry() as registry:
        registry.add(honest_crate("leaf"))
        registry.add(honest_crate("leaf", "0.0.9", source="pub fn evil() {}\n"))
        end = asks(mirror, registry, "leaf@=0.1.0", "leaf@=0.0.9")
        assert end.published == ("leaf@0.1.0",)
        assert [one.what for one in end.refused] == ["leaf@0.0.9"]
        assert asks(mirror, registry, "leaf@=0.1.0").published == (), "what is here is not fetched again"
    assert sound(mirror)
    with mirror.open() as store:
        here, left = (store.crates.version(crate) for crate in (LEAF, OLDER))
        assert here is not None
        assert left is not None
        assert (here.is_here, left.is_here) == (True, False)
        snapshot = UnverifiedView(store).snapshot.version
    found = read_signed_chain(mirror.path, mirror.root)
    follow(found, reader(mirror.path), snapshot, quiet, listed_only=True)
    assert {str(one.id): one.is_here for _, versions in found.crates for one in versions} == {
        "leaf@0.0.9": False,
        "leaf@0.1.0": True,
        "Upper@0.1.0": False,
    }, "a database that is made anew knows what is only listed"


def get(app: ASGIApp, path: str) -> tuple[int, bytes, bytes]:
    """Status, `Retry-After` and body."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "headers": [],
        "query_string": b"",
        "client": ("::1", 1),
    }
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    headers = dict(sent[0]["headers"])
    return sent[0]["status"], headers.get(b"retry-after", b""), sent[1]["body"]


def turn(mirror: MirrorDirectory, registry: SparseRegistry, *named: str) -> SyncReport:
    """One by the clock, which follows yanks."""
    settings = SyncSettings("", timedelta(hours=1), tuple(map(AskedFor.parse, named)), (), yanks=True, rules=ALL)
    upstream = SparseUpstream(registry.index_url, remembered={})
    with mirror.open(write=True) as store:
        return sync_what_is_named(store, mirror.signer, upstream, settings, (), now=mirror.now, progress=quiet).report


def test_the_clock_follows_yanks_of_what_is_only_listed_and_brings_nothing_of_it(
    mirror: MirrorDirectory, dump: Dump
) -> None:
    listed(mirror, dump)
    with sparse_registry() as registry:
        for name, version in (("leaf", "0.0.9"), ("leaf", "0.1.0"), ("Upper", "0.1.0")):
            registry.add(honest_crate(name, version))
        asks(mirror, registry, "leaf@=0.1.0")
        registry.requests.clear()
        assert turn(mirror, registry).added == ()
        assert [path for path in registry.requests if path.startswith("/dl/") or "upper" in path.lower()] == []
        registry.add(honest_crate("leaf", "0.0.9"), yanked=True)
        report = turn(mirror, registry)
        assert (report.added, report.updated) == ((), (OLDER,))
        with mirror.open() as store:
            older = store.crates.version(OLDER)
            assert older is not None
            assert (older.line.yanked, older.is_here) == (True, False)
        assert [str(one) for one in turn(mirror, registry, "Upper").added] == ["Upper@0.1.0"]
    assert sound(mirror)


def test_a_download_waits_for_it_or_says_why_there_is_none(mirror: MirrorDirectory, dump: Dump) -> None:
    listed(mirror, dump)
    ends = [
        PullEnd(refused=(NotBrought("leaf@0.1.0", "its line lies"),)),
        PullEnd(undecided=(NotBrought("leaf@0.1.0", "the upstream is down"),)),
        PullEnd(published=("leaf@0.1.0",)),
    ]
    asked: list[PullAsk] = []

    def bring_next(shares: Sequence[Share], _progress: Progress, _stopped: Callable[[], bool]) -> None:
        for share in shares:
            asked.append(share.ask)
            share.end = ends[len(asked) - 1]

    puller = Puller(bring_next, Usage(PullQuotas(asks_per_hour=1)))
    path = f"/{download_path(LEAF)}"
    with mirror.open() as store:
        behind = OnDemand(PlainTextResponse("the application"), puller, listed_in(store))
        answers = [get(behind, path) for _ in ends]
        others = [get(behind, f"/{one}")[2] for one in ("index/le/af/leaf", download_path(CrateId.of("no", "1.0.0")))]
        alone = get(Mirror(store, "http://localhost"), path)
    assert [status for status, _, _ in answers] == [403, 503, 200], "hundreds of downloads are no asks"
    assert b"its line lies" in answers[0][2]
    assert answers[1][1] == b"10"
    assert asked == [PullAsk((AskedFor.of("leaf", "=0.1.0"),), locked=True)] * 3
    assert others == [b"the application"] * 2
    assert (alone[0], b"lists leaf@0.1.0" in alone[2]) == (404, True)
    puller.stop()


def test_what_came_for_somebody_else_meanwhile_is_served(mirror: MirrorDirectory, dump: Dump) -> None:
    """Two builds want one tarball: the second ask finds it here, and nothing to bring."""
    listed(mirror, dump)
    with sparse_registry() as registry, mirror.open() as store:
        registry.add(honest_crate("leaf"))

        def comes(shares: Sequence[Share], _progress: Progress, _stopped: Callable[[], bool]) -> None:
            asks(mirror, registry, "leaf@=0.1.0")
            for share in shares:
                share.end = asks(mirror, registry, *map(str, share.ask.asked))

        puller = Puller(comes, Usage(PullQuotas()))
        behind = OnDemand(PlainTextResponse("the application"), puller, listed_in(store))
        assert get(behind, f"/{download_path(LEAF)}")[0] == 200
        puller.stop()


def test_what_is_only_listed_is_not_had_where_the_rules_do_not_let_it_come(mirror: MirrorDirectory, dump: Dump) -> None:
    listed(mirror, dump)
    denied = PullRules((Pattern("*"),), deny=(Pattern("leaf"),), least_age=timedelta(0))
    with sparse_registry() as registry:
        registry.add(honest_crate("leaf"))
        registry.add(honest_crate("branch", extra='[dependencies]\nleaf = "0.1"\n'))
        end = asks(mirror, registry, "leaf@=0.1.0", rules=denied)
        assert [one.what for one in end.missing] == ["leaf@=0.1.0"]
        with mirror.open() as store:
            taking = Taking(denied.why_no_crate)
            closed = close(store, SparseUpstream(registry.index_url), [AskedFor.parse("branch")], taking=taking)
        assert [str(one.asked) for one in closed.missing] == ["leaf@^0.1"]
        asks(mirror, registry, "leaf@=0.1.0")
        assert asks(mirror, registry, "leaf@=0.1.0", rules=denied).missing == (), "what is here is here"


def test_a_version_with_build_metadata_comes_too(mirror: MirrorDirectory, dump: Dump) -> None:
    """Half of all crates that link a library have some, such as `libgit2-sys 0.12.18+1.2.0`."""
    dump.put("leaf-sys", line("leaf-sys", "0.1.0+1.2.3"))
    listed(mirror, dump)
    with sparse_registry() as registry:
        registry.add(honest_crate("leaf-sys", "0.1.0+1.2.3"))
        assert asks(mirror, registry, "leaf-sys@=0.1.0+1.2.3").published == ("leaf-sys@0.1.0+1.2.3",)


def test_a_row_that_is_damaged_is_told_like_any_other(mirror: MirrorDirectory, dump: Dump) -> None:
    listed(mirror, dump)
    with mirror.open(write=True) as store, store.change():
        store._database.execute("UPDATE versions SET line = x'00'")
    puller = Puller(lambda *_: None, Usage(PullQuotas()))
    with mirror.open() as store:
        behind = OnDemand(Mirror(store, "http://localhost"), puller, listed_in(store))
        assert get(behind, f"/{download_path(LEAF)}")[0] == 500
    puller.stop()
