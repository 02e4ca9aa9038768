"""An upstream that errs, answers with something else, lists less, or cannot be read: absence is no statement.

What a mirror knows is published to everybody: a yank that disappears because a login page answered in the index's place
would bring a withdrawn version back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import MirrorDirectory, Tarballs, make_mirror, quiet
from tests.support.registries.sparse import Script, SparseRegistry, cut, says, sparse_registry

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import line_from_crate
from carnet.cargo.lockfile import LockedPackage, read_lockfile
from carnet.errors import StorageError, TransportError
from carnet_mirror.state.records import StoredVersion
from carnet_mirror.sync.sync import SyncReport, sync
from carnet_mirror.upstream.cargo import _cached_index, _says_no
from carnet_mirror.upstream.packages import Upstream, UpstreamCrate
from carnet_mirror.upstream.sparse import SparseUpstream
from carnet_verifier.net.http1 import Limits
from carnet_verifier.net.patience import Patience

PAGE = b"<!DOCTYPE html>\n<html><body><form>Please log in: <input name=user></form></body></html>\n"
QUICK = Limits(deadline=5, connect=2, grace=0.6, least_rate=1000)
PATIENT = Patience(tries=4, pause=0.01)


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorDirectory:
    return make_mirror(tmp_path / "mirror")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> MirrorDirectory:
    """A mirror without crates. Several tests share it: in none of them anything may change."""
    return make_mirror(tmp_path_factory.mktemp("empty") / "mirror")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> MirrorDirectory:
    """A mirror with two versions, one of them yanked; shared likewise."""
    made = make_mirror(tmp_path_factory.mktemp("full") / "mirror")
    made.add(ONE, TWO, index=BOTH)
    return made


def line(tarball: bytes, **changes: Any) -> bytes:
    made = json.loads(line_from_crate(read_crate(tarball), pubtime="2020-02-02T02:02:02Z").to_bytes())
    return json.dumps(made | changes).encode()


def known(mirror: MirrorDirectory) -> dict[str, StoredVersion]:
    with mirror.open() as store:
        return {str(one.id): one for name in store.crates.names() for one in store.crates.versions(name)}


def run(mirror: MirrorDirectory, upstream: Upstream, packages: Sequence[LockedPackage]) -> SyncReport:
    with mirror.open(write=True) as store:
        return sync(store, mirror.signer, upstream, packages, now=mirror.now, progress=quiet)


ONE, TWO, NEW = honest_crate("demo", "1.0.0"), honest_crate("demo", "2.0.0"), honest_crate("fresh", "1.0.0")
BOTH = [line(ONE, yanked=True), line(TWO)]


def without(field: str) -> bytes:
    return json.dumps({key: value for key, value in json.loads(BOTH[0]).items() if key != field}).encode()


# Of a yanked version that the mirror has: what the upstream's index says next, what is told, and whether it was heard.
LESS: dict[str, tuple[list[bytes], str, bool]] = {
    "an empty file": ([], "could be had", False),
    "a login page": (PAGE.split(b"\n"), "no index of the crate: it begins with b'<!DOCTYPE html>'", False),
    "JSON of something else": ([b'{"error": "please log in"}'], "no index of the crate", False),
    "without the version": ([line(TWO)], "does not list it", True),
    "a cut line": ([BOTH[0][:90], line(TWO)], "cannot be read", False),
    "a line with a time that is none": ([line(ONE, pubtime="yesterday", yanked=False), line(TWO)], "pubtime", False),
    "a yank state that is none": ([line(ONE, yanked="no"), line(TWO)], "`yanked` must be true or false", False),
    "no word about the yank": ([without("yanked"), line(TWO)], "stays yanked", True),
    "null for the yank": ([line(ONE, yanked=None), line(TWO)], "stays yanked", True),
    "no time of publication": ([without("pubtime"), line(TWO)], "no longer says when", True),
    "another spelling": ([line(ONE, name="Demo", yanked=False), line(TWO, name="Demo")], "calls the crate Demo", False),
    "two lines that differ": ([line(ONE, yanked=False), BOTH[0], line(TWO)], "two lines of it that differ", False),
}


@pytest.mark.parametrize("case", LESS)
def test_what_an_index_does_not_say_changes_nothing_and_is_told(case: str, full: MirrorDirectory) -> None:
    mirror, before = full, known(full)
    assert before["demo@1.0.0"].line.yanked
    lines, told, heard = LESS[case]
    upstream = Tarballs([ONE], lines)
    report = run(mirror, upstream, upstream.packages)
    assert known(mirror) == before
    assert report.published is None
    (kept,) = [one for one in report.kept if str(one.crate) == "demo@1.0.0"]
    assert told in kept.reason
    assert (kept.heard, report.undecided) == (heard, not heard)
    assert (report.refused, report.unchanged) == ((), 1)


@pytest.mark.parametrize("case", [case for case in LESS if "no " not in LESS[case][1] and "stays" not in LESS[case][1]])
def test_a_version_that_is_not_here_waits(case: str, empty: MirrorDirectory) -> None:
    """Nothing is made up for it: a line that is built from a manifest does not know whether it is yanked."""
    upstream = Tarballs([ONE], LESS[case][0])
    report = run(empty, upstream, upstream.packages)
    assert (report.added, report.refused, report.published) == ((), (), None)
    assert LESS[case][1] in report.waiting[0].reason
    assert report.undecided
    assert known(empty) == {}


def test_of_a_version_that_no_lock_names_nothing_changes_either(full: MirrorDirectory) -> None:
    mirror, before = full, known(full)
    for lines, told in (
        ([line(TWO)], "does not list it"),
        ([line(TWO), line(ONE, cksum="0" * 64)], "now says sha256 000"),
        ([line(TWO), line(ONE, links="z")], "changed its index line"),
        ([line(TWO), BOTH[0][:90]], "cannot be read"),
    ):
        upstream = Tarballs([TWO], lines)
        report = run(mirror, upstream, upstream.packages)
        assert [(str(one.crate), told in one.reason) for one in report.kept] == [("demo@1.0.0", True)]
        assert (report.undecided, report.refused) == (False, ())
        assert known(mirror) == before


def test_a_line_that_cannot_be_read_stops_no_other(mirror: MirrorDirectory) -> None:
    mirror.add(ONE, TWO, index=BOTH)
    upstream = Tarballs([TWO], [b"{nonsense", line(ONE, yanked=False), line(TWO, yanked=True), b'{"v": 99}'])
    report = run(mirror, upstream, upstream.packages)
    assert [str(crate) for crate in report.updated] == ["demo@1.0.0", "demo@2.0.0"], "what it says is followed"
    assert (report.kept, report.undecided) == ((), False)


class Silent(Tarballs):
    """An upstream that gives no tarball: it says that it has none, or nothing."""

    has_none = False

    def fetch(
        self, packages: Sequence[LockedPackage], scratch: Path, progress: Callable[[int], None]
    ) -> list[UpstreamCrate]:
        return [
            UpstreamCrate(one, None, "no tarball", self.has_none, tuple(self.index or ()), "silence")
            for one in packages
        ]


@pytest.mark.parametrize("has_none", [False, True])
def test_without_a_tarball_what_is_here_stays_and_its_yank_is_followed(mirror: MirrorDirectory, has_none: bool) -> None:
    mirror.add(ONE, TWO, index=BOTH)
    silent = Silent([ONE, NEW], [line(ONE, yanked=False), line(TWO)])
    silent = type("S", (Silent,), {"has_none": has_none})(silent.tarballs, silent.index)
    report = run(mirror, silent, silent.packages)
    assert [str(crate) for crate in report.updated] == ["demo@1.0.0"]
    assert [str(one.crate) for one in report.kept] == ["demo@1.0.0"]
    taken = (report.refused, report.waiting)[not has_none]
    assert [str(one.crate) for one in taken] == ["fresh@1.0.0"]
    assert report.undecided == (not has_none)


def test_a_lock_that_demands_another_tarball_than_ours_is_refused_whatever_the_upstream_says(
    full: MirrorDirectory,
) -> None:
    silent = Silent([ONE])
    report = run(full, silent, [replace(silent.packages[0], checksum="0" * 64)])
    assert "the lock demands another" in report.refused[0].reason


# --- over a socket ---


@pytest.fixture
def registry() -> Iterator[SparseRegistry]:
    with sparse_registry() as running:
        running.add(ONE, yanked=True)
        running.add(TWO)
        running.add(NEW)
        yield running


def from_registry(mirror: MirrorDirectory, registry: SparseRegistry, *stems: str) -> SyncReport:
    packages = read_lockfile(registry.lock(*stems)).registry_packages
    return run(mirror, SparseUpstream(registry.index_url, QUICK, PATIENT), packages)


@pytest.mark.parametrize("path", ["/index/config.json", "/index/fr/es/fresh", "/dl/fresh-1.0.0"])
def test_a_busy_upstream_is_asked_again(path: str, mirror: MirrorDirectory, registry: SparseRegistry) -> None:
    status, body = registry.answer(path)
    assert status == 200
    registry.scripts[path] = [says("429 Slow down"), says("503 Busy", PAGE), cut(body, after=9), says("200 OK", body)]
    report = from_registry(mirror, registry, "fresh-1.0.0")
    assert [str(crate) for crate in report.added] == ["fresh@1.0.0"]
    assert (report.undecided, report.refused) == (False, ())


NOTHING: dict[str, tuple[Callable[[SparseRegistry], Script], str]] = {
    "busy for ever": (lambda _: says("503 Busy"), "answered 503 (asked 4 times)"),
    "a login page": (lambda _: says("200 OK", PAGE), "it begins with b'<!DOCTYPE html"),
    "a redirect to a login page": (lambda r: says("302 Found", b"", f"location: {r.url}/page"), "begins with"),
    "a demand for a password": (lambda _: says("401 Unauthorized", PAGE), "answered 401"),
}


@pytest.mark.parametrize("case", NOTHING)
@pytest.mark.parametrize("paths", [("/index/de/mo/demo", "/index/fr/es/fresh"), ("/dl/demo-1.0.0", "/dl/fresh-1.0.0")])
def test_an_upstream_that_says_nothing_of_use_decides_nothing(
    case: str, paths: tuple[str, str], full: MirrorDirectory, registry: SparseRegistry
) -> None:
    before = known(full)
    assert before["demo@1.0.0"].line.yanked
    make, told = NOTHING[case]
    registry.scripts = {path: [make(registry)] for path in paths} | {"/page": [says("200 OK", PAGE)]}
    report = from_registry(full, registry, "demo-1.0.0", "fresh-1.0.0")
    assert known(full) == before
    assert (report.refused, report.published, report.undecided) == ((), None, True)
    ((kept,), (waiting,)) = (report.kept, report.waiting)
    assert (str(kept.crate), str(waiting.crate)) == ("demo@1.0.0", "fresh@1.0.0")
    assert told in kept.reason
    assert told in waiting.reason


@pytest.mark.parametrize(
    "config",
    [
        says("200 OK", PAGE),
        says("200 OK", b"{}"),
        says("200 OK", b'{"dl": "ftp://x/"}'),
        says("200 OK", b'{"dl": 5}'),
        says("200 OK", b""),
        says("404 Not Found"),
        says("503 Service Unavailable"),
        says("302 Found", b"", "location: https://[/"),
    ],
)
def test_an_upstream_that_does_not_say_where_tarballs_are(
    config: Script, empty: MirrorDirectory, registry: SparseRegistry
) -> None:
    registry.scripts["/index/config.json"] = [config]
    with pytest.raises(TransportError, match=r"config\.json"):
        from_registry(empty, registry, "fresh-1.0.0")


def test_a_crate_that_an_upstream_no_longer_has(full: MirrorDirectory, registry: SparseRegistry) -> None:
    """The answer is clear and says less: what is here stays, the sync is done, and what never was here is refused."""
    mirror, before = full, known(full)
    lock = registry.lock("demo-1.0.0", "fresh-1.0.0")
    del registry.lines["demo"], registry.lines["fresh"]
    packages = read_lockfile(lock).registry_packages
    report = run(mirror, SparseUpstream(registry.index_url, QUICK, PATIENT), packages)
    assert [(str(one.crate), one.heard) for one in report.kept] == [("demo@1.0.0", True)]
    assert [(str(one.crate), "answered 404" in one.reason) for one in report.refused] == [("fresh@1.0.0", True)]
    assert known(mirror) == before


def test_a_full_disk_is_no_refusal(
    empty: MirrorDirectory, registry: SparseRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_room)
    with pytest.raises(StorageError, match="No space left"):
        from_registry(empty, registry, "fresh-1.0.0")


# --- through cargo ---


@pytest.mark.parametrize(
    ("complaint", "no"),
    [
        ("failed to get successful HTTP response from `http://x/` (127.0.0.1), got 403; body: got 503", True),
        ("failed to get successful HTTP response from `http://x/` (127.0.0.1), got 503; body: , got 404", False),
        ("failed to verify the checksum of `demo v1.0.0`", True),
        ("no matching package named `demo` found", False),
        ("failed to write to /x: No space left on device (os error 28)", False),
        ("cargo did not end within 180 s", False),
    ],
)
def test_what_of_cargos_complaints_is_a_no(complaint: str, no: bool) -> None:
    assert _says_no(complaint) == no


@pytest.mark.parametrize("data", [b"\x04\x02\0\0\0etag\0001.0.0\0{}\0", b"", PAGE])
def test_an_index_that_another_cargo_keeps_is_no_index(data: bytes, tmp_path: Path) -> None:
    (package,) = Tarballs([ONE]).packages
    kept = tmp_path / "registry" / "index" / "here-0" / ".cache" / "de" / "mo"
    kept.mkdir(parents=True)
    (kept / "demo").write_bytes(data)
    lines, silence = _cached_index(tmp_path, "*", package)
    assert lines == ()
    assert "in a form that this carnet does not read" in silence
    assert _cached_index(tmp_path / "elsewhere", "*", package) == ((), "cargo keeps no index of it")
