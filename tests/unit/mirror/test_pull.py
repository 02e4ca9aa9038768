"""What a mirror brings because somebody asked for it: what rules allow, once, judged as a sync judges, in bounds."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import MirrorDirectory, make_mirror, quiet
from tests.support.registries.sparse import SparseRegistry, says, sparse_registry

from carnet import strictjson
from carnet.cargo.asked import AskedFor
from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import line_from_crate
from carnet.cargo.pull import MAX_ASKED, NotBrought, PullAsk, PullEnd, PullProgress, read_line
from carnet.errors import ConfigError, FormatError, StorageError
from carnet.progress import Progress
from carnet_cli.config.mirror_file import FILE_NAME, read_mirror_file
from carnet_mirror.pull.bounded import BoundedUpstream
from carnet_mirror.pull.bring import Share, bring
from carnet_mirror.pull.puller import NoPlace, Puller
from carnet_mirror.pull.quotas import DAY, HOUR, OverQuota, PullQuotas, Usage
from carnet_mirror.pull.rules import APPROVAL, PullRules
from carnet_mirror.pull.settings import PullSettings
from carnet_mirror.state.approvals import await_approval, awaited, no_longer
from carnet_mirror.upstream.sparse import SparseUpstream
from carnet_verifier.net.patience import Patience
from carnet_verifier.policy.policy import Pattern

ALL = PullRules(allow=(Pattern("*"),))


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorDirectory:
    return make_mirror(tmp_path / "mirror")


@pytest.fixture
def registry() -> Iterator[SparseRegistry]:
    with sparse_registry() as running:
        running.add(honest_crate("leaf", "1.0.0"))
        running.add(honest_crate("leaf", "1.4.0"))
        running.add(honest_crate("middle", extra='[dependencies]\nleaf = "1"\n'))
        running.add(honest_crate("top", extra='[dependencies]\nmiddle = "0.1"\n'))
        yield running


def share(*asked: str, locked: bool = False, names: int = 1000, versions: int = 1000) -> Share:
    return Share(PullAsk(tuple(map(AskedFor.parse, asked)), locked), names, versions)


def brought(
    mirror: MirrorDirectory,
    registry: SparseRegistry,
    *shares: Share,
    rules: PullRules = ALL,
    size: int = 10**9,
    seconds: float = 60.0,
    at_once: int = 32,
    quotas: PullQuotas | None = None,
) -> list[PullEnd]:
    upstream = SparseUpstream(registry.index_url, patience=Patience(tries=1), remembered={})
    bounded = BoundedUpstream(upstream, size, seconds, at_once)
    settings = PullSettings(registry.index_url, rules, quotas or PullQuotas())
    with mirror.open(write=True) as store:
        bring(store, mirror.signer, bounded, shares, settings, now=mirror.now, progress=quiet)
    return [one.end for one in shares]


def reasons(entries: Sequence[NotBrought]) -> dict[str, str]:
    return {one.what: one.reason for one in entries}


def downloads(registry: SparseRegistry) -> list[str]:
    return sorted(path.removeprefix("/dl/") for path in registry.requests if path.startswith("/dl/"))


# --- bringing ---


def test_what_is_asked_for_comes_with_what_it_depends_on_in_one_batch(
    mirror: MirrorDirectory, registry: SparseRegistry
) -> None:
    (end,) = brought(mirror, registry, share("top"))
    assert end.published == ("leaf@1.4.0", "middle@0.1.0", "top@0.1.0")
    with mirror.open() as store:
        assert store.crates.count() == (3, 3)
    assert not end.refused + end.missing + end.undecided + end.waiting
    (again,) = brought(mirror, registry, share("top"))
    assert again == PullEnd(snapshot=end.snapshot)  # nothing was fetched or signed again


def test_a_lock_comes_as_it_is_and_yanked_versions_of_it_too(mirror: MirrorDirectory, registry: SparseRegistry) -> None:
    registry.add(honest_crate("leaf", "1.1.0"), yanked=True)
    (end,) = brought(mirror, registry, share("leaf@=1.1.0", "middle@=0.1.0", "gone@=1.0.0", locked=True))
    assert end.published == ("leaf@1.1.0", "middle@0.1.0")
    assert list(reasons(end.missing)) == ["gone@=1.0.0"]
    before = len(registry.requests)
    (again,) = brought(mirror, registry, share("leaf@=1.1.0", "middle@=0.1.0", locked=True))
    assert again.published == ()
    assert len(registry.requests) == before  # what is here is not even looked up


def test_what_several_ask_for_is_fetched_once_and_each_is_told_of_its_own(
    mirror: MirrorDirectory, registry: SparseRegistry
) -> None:
    registry.add(honest_crate("alone"))
    shares = [share("middle"), share("top"), share("alone"), share("never-heard-of")]
    ends = brought(mirror, registry, *shares)
    assert [one.versions for one in shares] == [2, 1, 1, 0]  # what several need counts for the first
    assert [one.published for one in ends] == [
        ("leaf@1.4.0", "middle@0.1.0"),
        ("leaf@1.4.0", "middle@0.1.0", "top@0.1.0"),
        ("alone@0.1.0",),
        (),
    ]
    assert downloads(registry) == ["alone-0.1.0", "leaf-1.4.0", "middle-0.1.0", "top-0.1.0"]
    assert len({path for path in registry.requests if "/index/" in path}) == sum(
        "/index/" in path for path in registry.requests
    ) - (registry.requests.count("/index/config.json") - 1)
    assert len({one.snapshot for one in ends}) == 1
    assert list(reasons(ends[3].missing)) == ["never-heard-of@*"]


def test_an_upstream_that_stops_half_way_has_decided_nothing_and_what_came_is_published(
    mirror: MirrorDirectory, registry: SparseRegistry
) -> None:
    registry.scripts["/dl/middle-0.1.0"] = [says("500 Oh")]
    (end,) = brought(mirror, registry, share("top"), at_once=1)
    assert end.published == ("leaf@1.4.0", "top@0.1.0")
    assert list(reasons(end.undecided)) == ["middle@0.1.0"]
    assert end.missing == ()


def test_an_upstream_that_is_down_has_not_said_that_there_is_none(
    mirror: MirrorDirectory, registry: SparseRegistry
) -> None:
    registry.scripts[registry.index_path("top")] = [says("503 Busy")]
    registry.scripts["/index/config.json"] = [says("500 Oh")]
    end, other = brought(mirror, registry, share("top"), share("leaf"))
    assert (end.missing, end.published) == ((), ())
    assert list(reasons(end.undecided)) == ["top@*"]
    assert list(reasons(other.undecided)) == ["leaf@1.4.0"]
    assert (other.missing, other.refused) == ((), ())


def test_who_stops_serving_waits_for_no_upstream(mirror: MirrorDirectory, registry: SparseRegistry) -> None:
    """And what it would have brought is not said to be missing."""
    reached, go = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        reached.set()
        go.wait(30)

    registry.scripts["/dl/leaf-1.4.0"] = [hold]
    upstream = SparseUpstream(registry.index_url, remembered={}, stopped=reached.is_set)
    bounded = BoundedUpstream(upstream, 10**9, 60.0, 32, reached.is_set)
    asked, begun = share("leaf"), time.monotonic()
    with mirror.open(write=True) as store:
        bring(store, mirror.signer, bounded, [asked], PullSettings("", ALL), now=mirror.now, progress=quiet)
    go.set()
    assert time.monotonic() - begun < 15
    assert list(reasons(asked.end.undecided)) == ["leaf@1.4.0"]
    assert asked.end.missing + asked.end.refused == ()


# --- rules ---


def test_deny_wins_over_approve_and_approve_over_allow(mirror: MirrorDirectory, registry: SparseRegistry) -> None:
    rules = PullRules(
        allow=(Pattern("*"),),
        deny=(Pattern("LEAF"), Pattern("middle@9.*")),
        approve=(Pattern("mid*"), Pattern("leaf")),
    )
    (end,) = brought(mirror, registry, share("top"), rules=rules)
    assert end.published == ("top@0.1.0",)
    assert reasons(end.waiting) == {"middle@^0.1, which top@0.1.0 needs": APPROVAL}
    asked = set(registry.requests)
    assert registry.index_path("leaf") not in asked
    assert registry.index_path("middle") not in asked
    (end,) = brought(mirror, registry, share("leaf"), rules=rules)
    assert "lets nobody bring it" in reasons(end.missing)["leaf@*"]
    (end,) = brought(mirror, registry, share("leaf"), rules=PullRules(allow=(Pattern("mid*"),)))
    assert "does not let it be brought" in reasons(end.missing)["leaf@*"]


def test_what_a_person_has_to_approve_of_is_listed_and_brought_by_the_other_rules(
    mirror: MirrorDirectory, registry: SparseRegistry
) -> None:
    rules = PullRules(allow=(Pattern("top"),), deny=(Pattern("leaf"),), approve=(Pattern("mid*"), Pattern("acme*")))
    asked = share("top", "acme@1")
    asked.network = "192.0.2.0/24"
    brought(mirror, registry, asked, rules=rules)
    brought(mirror, registry, share("top"), rules=rules)  # again, from elsewhere: nothing is listed twice
    with mirror.open() as store:
        listed = awaited(store)
    assert {(str(one.asked), one.network) for one in listed} == {
        ("middle@^0.1", "192.0.2.0/24"),
        ("acme@^1", "192.0.2.0/24"),
    }
    (end,) = brought(mirror, registry, share("middle"), rules=rules.signed_off())
    assert end.published == ("middle@0.1.0",)
    assert [one.what for one in end.missing] == ["leaf@^1, which middle@0.1.0 needs"]


def test_the_list_for_approval_has_room_for_every_network(mirror: MirrorDirectory) -> None:
    def asked(network: str, count: int) -> list[tuple[AskedFor, str]]:
        return [(AskedFor.parse(f"n{network}-{number}"), network) for number in range(count)]

    with mirror.open(write=True) as store:
        await_approval(store, asked("1", 80), "2026-01-01T00:00:00Z")
        await_approval(store, asked("2", 1), "2026-01-02T00:00:00Z")
        assert Counter(one.network for one in awaited(store)) == {"1": 50, "2": 1}
        for number in range(3, 30):
            await_approval(store, asked(str(number), 50), "2026-01-03T00:00:00Z")
        assert len(awaited(store)) == 1000
        no_longer(store, [AskedFor.parse("n2-0"), AskedFor.parse("never-listed")])
        assert len(awaited(store)) == 999


def test_a_version_that_is_denied_or_too_young_is_left_for_the_one_before(
    mirror: MirrorDirectory, registry: SparseRegistry
) -> None:
    registry.add(honest_crate("leaf", "1.5.0"), pubtime=(mirror.now - timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    registry.add(honest_crate("leaf", "1.6.0"), pubtime=None)
    registry.add(honest_crate("leaf", "1.7.0"))
    rules = PullRules(allow=(Pattern("*"),), deny=(Pattern("leaf@1.7.0"),))
    (end,) = brought(mirror, registry, share("leaf@1", "leaf@=1.5.0", "leaf@=1.6.0", "leaf@=1.7.0"), rules=rules)
    assert end.published == ("leaf@1.4.0",)
    said = reasons(end.missing)
    assert "this mirror waits until it is 3 days old" in said["leaf@=1.5.0"]
    assert "does not say when it was published" in said["leaf@=1.6.0"]
    assert "lets nobody" in said["leaf@=1.7.0"]
    (end,) = brought(mirror, registry, share("leaf@=1.6.0", locked=True), rules=PullRules((Pattern("*"),)))
    assert end.published == ()
    none = PullRules(allow=(Pattern("*"),), least_age=timedelta(0))
    (end,) = brought(mirror, registry, share("leaf@=1.6.0", "leaf@=1.5.0", locked=True), rules=none)
    assert end.published == ("leaf@1.5.0", "leaf@1.6.0")


def test_a_version_is_judged_by_what_the_index_says_when_it_is_fetched(
    mirror: MirrorDirectory, registry: SparseRegistry
) -> None:
    """The upstream is asked twice, and says something else the second time."""
    old, young = (
        line_from_crate(read_crate(registry.tarballs["leaf-1.0.0"]), pubtime=pubtime).to_bytes()
        for pubtime in ("2020-02-02T02:02:02Z", (mirror.now - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    )
    registry.scripts[registry.index_path("leaf")] = [says("200 OK", old + b"\n"), says("200 OK", young + b"\n")]
    forgetful = BoundedUpstream(SparseUpstream(registry.index_url), 10**9, 60.0, 32)
    asked, settings = share("leaf@=1.0.0"), PullSettings(registry.index_url, ALL)
    with mirror.open(write=True) as store:
        bring(store, mirror.signer, forgetful, [asked], settings, now=mirror.now, progress=quiet)
    assert asked.end.published == ()
    assert "until it is 3 days old" in reasons(asked.end.refused)["leaf@1.0.0"]


# --- bounds ---


def test_bounds_of_bytes_and_time_leave_the_rest_undecided(mirror: MirrorDirectory, registry: SparseRegistry) -> None:
    room = len(registry.tarballs["leaf-1.4.0"]) + 10
    (end,) = brought(mirror, registry, share("top"), size=room, at_once=1)
    assert end.published == ("leaf@1.4.0",)
    assert set(reasons(end.undecided)) == {"middle@0.1.0", "top@0.1.0"}
    assert "no room" in reasons(end.undecided)["top@0.1.0"]
    assert "/dl/top-0.1.0" not in registry.requests
    (end,) = brought(mirror, registry, share("top"), seconds=0.0)
    assert "had not come after 0 seconds" in reasons(end.undecided)["top@*"]
    (end,) = brought(mirror, registry, share("top"), size=-1)
    assert "no room" in reasons(end.undecided)["top@*"]


def test_one_ask_needs_no_more_versions_and_names_than_it_may(
    mirror: MirrorDirectory, registry: SparseRegistry
) -> None:
    few, names, versions = share("top"), share("top", names=1), share("top", versions=2)
    (end,) = brought(mirror, registry, few, quotas=PullQuotas(versions_per_ask=2))
    assert "needs more than 2 versions" in reasons(end.refused)["top@*"]
    (end,) = brought(mirror, registry, names)
    assert "more crates looked up" in reasons(end.refused)["top@*"]
    assert names.names == 1
    (end,) = brought(mirror, registry, versions)
    assert (len(end.published), versions.versions) == (2, 2)
    assert "tomorrow" in next(iter(reasons(end.undecided).values()))


def test_a_network_has_its_quotas_and_no_other_pays_for_it() -> None:
    now = [0.0]
    usage = Usage(PullQuotas(asks_per_hour=2, names_per_day=10, versions_per_day=5), lambda: now[0])
    usage.ask("192.0.2.0/24")
    usage.ask("192.0.2.0/24")
    with pytest.raises(OverQuota, match="asks of this hour") as over:
        usage.ask("192.0.2.0/24")
    assert over.value.come_back == HOUR + 1
    usage.ask("203.0.113.0/24")
    usage.count("203.0.113.0/24", names=10, versions=4)
    assert (usage.names_left("203.0.113.0/24"), usage.versions_left("203.0.113.0/24")) == (0, 1)
    with pytest.raises(OverQuota, match="look-ups"):
        usage.ask("203.0.113.0/24")
    now[0] = HOUR
    usage.ask("192.0.2.0/24")
    now[0] = DAY
    usage.ask("203.0.113.0/24")
    assert usage.versions_left("203.0.113.0/24") == 5


# --- who waits ---


def puller(
    work: Callable[[Sequence[Share], Progress, Callable[[], bool]], None], quotas: PullQuotas | None = None
) -> Puller:
    return Puller(work, Usage(quotas or PullQuotas()))


def ask(name: str) -> PullAsk:
    return PullAsk((AskedFor.parse(name),))


def test_who_asks_while_others_are_served_is_served_next_and_together() -> None:
    served: list[list[str]] = []
    parts: list[list[int]] = []
    go, begun, done = threading.Event(), threading.Event(), threading.Event()

    def work(shares: Sequence[Share], progress: Progress, stopped: Callable[[], bool]) -> None:
        served.append([str(one.ask.asked[0].name) for one in shares])
        parts.append([one.versions_left for one in shares])
        with progress("fetching", 3) as count:
            count(2)
            begun.set()
            assert go.wait(20)
        for one in shares:
            one.end = PullEnd(published=(f"{one.ask.asked[0].name}@1.0.0",))
        if len(served) == 2:
            done.set()

    queue = puller(work, PullQuotas(versions_per_day=100))
    first = queue.join(ask("one"), "a")
    assert begun.wait(20)
    assert first.progress == PullProgress("fetching", 2, 3)
    waiting = [queue.join(ask(name), network) for name, network in (("a", "a"), ("b", "a"), ("c", "b"), ("d", "c"))]
    queue.leave(waiting[3])
    go.set()
    assert done.wait(20)
    queue.stop()
    assert [sorted(names) for names in served] == [["one"], ["a", "b", "c"]]
    assert sorted(parts[1]) == [50, 50, 100]  # two of one network have one network's quota
    assert served[1][:2] in (["a", "c"], ["c", "a"])  # of each network one, before the second of any
    assert [one.end.published for one in waiting[:3] if one.end] == [("a@1.0.0",), ("b@1.0.0",), ("c@1.0.0",)]


def test_whoever_waits_is_told_when_the_work_fails_and_the_next_one_is_served(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(shares: Sequence[Share], progress: Progress, stopped: Callable[[], bool]) -> None:
        raise (StorageError("/srv/secret: no space") if shares[0].ask.asked[0].name.text == "one" else KeyError("x"))

    queue = puller(work)
    for name in ("one", "two"):
        asker = queue.join(ask(name), "a")
        until = time.monotonic() + 20
        while asker.end is None and time.monotonic() < until:
            time.sleep(0.01)
        assert asker.end is not None
        assert "secret" not in str(asker.end)
        assert list(reasons(asker.end.undecided)) == [f"{name}@*"]
    err = capsys.readouterr().err
    assert "/srv/secret: no space" in err
    assert "KeyError" in err


def test_places_for_those_who_wait_are_few_for_each_network() -> None:
    begun, go = threading.Event(), threading.Event()

    def work(shares: Sequence[Share], progress: Progress, stopped: Callable[[], bool]) -> None:
        begun.set()
        assert go.wait(20)

    queue = puller(work, PullQuotas(asks_per_hour=1000))
    queue.join(ask("one"), "z")
    assert begun.wait(20)
    for _ in range(16):
        queue.join(ask("two"), "a")
    with pytest.raises(NoPlace):
        queue.join(ask("two"), "a")
    queue.join(ask("two"), "b")
    go.set()
    queue.stop()
    with pytest.raises(NoPlace):
        queue.join(ask("two"), "c")


# --- the two formats ---


def test_an_ask_is_read_as_it_is_written() -> None:
    asked = PullAsk.of(map(AskedFor.parse, ("serde@1", "tokio@>=1, <2", "serde@1")))
    assert PullAsk.from_bytes(asked.to_bytes()) == asked
    many = PullAsk.of((AskedFor.parse(f"c{number}@=1.{number}.0") for number in range(2000)), locked=True)
    assert PullAsk.from_bytes(many.to_bytes()) == many


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"asked": []}',
        b'{"asked": [{"name": "a"}]}',
        b'{"asked": [{"name": "a", "requirement": "1", "url": "x"}]}',
        b'{"asked": [{"name": "../a", "requirement": "1"}]}',
        b'{"asked": [{"name": "a\\u001b[2J", "requirement": "1"}]}',
        b'{"asked": [{"name": "a", "requirement": "1; rm"}]}',
        b'{"asked": [{"name": "a", "requirement": "^1"}], "locked": true}',
        b'{"asked": [{"name": "a", "requirement": "1"}, {"name": "a", "requirement": "^1"}]}',
        b'{"asked": [{"name": "a", "requirement": "1"}], "upstream": "http://evil"}',
        b'{"asked": [' + b'{"name":"a","requirement":"1"},' * (MAX_ASKED + 1) + b'{"name":"b","requirement":"1"}]}',
        b'{"asked": [{"name": "a", "requirement": "1"}], "asked": []}',
    ],
)
def test_what_is_no_ask_is_refused(body: bytes) -> None:
    with pytest.raises(FormatError):
        PullAsk.from_bytes(body)


def test_the_lines_of_an_answer_are_read_as_they_are_written() -> None:
    end = PullEnd(("a@1.0.0",), (NotBrought("b@1.0.0", "no"),), (), (NotBrought("c@*", "x" * 999),), (), 7)
    for said in (PullProgress("fetching", 1, 2), end):
        read = read_line(strictjson.encode(said.to_object()))
        assert read.to_object() == said.to_object()
    for line in (b"{}", b"[]", b'{"done": true}', b'{"phase": "x", "done": "1", "of": 2}', b"x" * 100):
        with pytest.raises(FormatError):
            read_line(line)


def test_mirror_toml_is_read_strictly(tmp_path: Path) -> None:
    assert read_mirror_file(tmp_path).pull is None
    file = tmp_path / FILE_NAME
    file.write_text("")
    assert read_mirror_file(tmp_path).pull is None
    file.write_text(
        '[pull]\nupstream = "cargo"\nallow = ["*"]\ndeny = ["left-pad*"]\napprove = ["acme-*"]\nleast-age-days = 7\n'
        "[pull.quotas]\nasks-per-hour = 5\nmegabytes = 10\n"
    )
    read = read_mirror_file(tmp_path).pull
    assert read is not None
    rules = PullRules((Pattern("*"),), (Pattern("left-pad*"),), (Pattern("acme-*"),), timedelta(days=7))
    assert (read.upstream, read.rules) == ("cargo", rules)
    assert read.quotas == PullQuotas(asks_per_hour=5, megabytes=10)
    for text, says_what in (
        ("[pul]", "unknown key 'pul'"),
        ("pull = 1", "is not a table"),
        ("[pull]", "upstream is neither"),
        ('[pull]\nupstream = "git"', "upstream is neither"),
        ('[pull]\nupstream = "cargo"', "lets nothing be brought"),
        ('[pull]\nupstream = "cargo"\nallow = "*"', "not a list"),
        ('[pull]\nupstream = "cargo"\nallow = ["*", "../x"]', "not a crate pattern"),
        ('[pull]\nupstream = "cargo"\nallow = ["*"]\nallowed = ["*"]', "unknown key 'allowed'"),
        ('[pull]\nupstream = "cargo"\nallow = ["*"]\nleast-age-days = true', "no whole number"),
        ('[pull]\nupstream = "cargo"\nallow = ["*"]\n[pull.quotas]\nasks = 1', "unknown key 'asks'"),
        ('[pull]\nupstream = "cargo"\nallow = ["*"]\n[pull.quotas]\nseconds = 0', "no whole number"),
        ("[pull", "not TOML"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=says_what) as refused:
            read_mirror_file(tmp_path)
        assert refused.value.hint
