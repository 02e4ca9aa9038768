"""What a sync takes, what it refuses, and what it leaves as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import MirrorDirectory, Tarballs, make_mirror, quiet
from tests.support.worlds.claims import NAME, World

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import line_from_crate
from carnet.cargo.lockfile import CRATES_IO, LockedPackage, read_lockfile
from carnet.cargo.names import CrateId
from carnet_mirror.sync.sync import SyncReport, pubtime, sync
from carnet_mirror.upstream.cargo import parse_index_cache, without_rivals, write_project
from carnet_mirror.upstream.packages import UpstreamCrate
from carnet_mirror.upstream.sparse import SparseUpstream, fill_template

DEMO = CrateId.of("demo", "0.1.0")


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorDirectory:
    return make_mirror(tmp_path / "mirror")


def line(tarball: bytes, **changes: Any) -> bytes:
    """The line that an upstream's index has for a tarball, with some fields changed."""
    made = json.loads(line_from_crate(read_crate(tarball), pubtime="2020-02-02T02:02:02Z").to_bytes())
    return json.dumps(made | changes).encode()


def versions(mirror: MirrorDirectory) -> dict[str, Any]:
    with mirror.open() as store:
        return {str(one.id): one for name in store.crates.names() for one in store.crates.versions(name)}


def run(mirror: MirrorDirectory, upstream: Tarballs, packages: list[LockedPackage] | None = None) -> SyncReport:
    with mirror.open(write=True) as store:
        wanted = upstream.packages if packages is None else packages
        return sync(store, mirror.signer, upstream, wanted, now=mirror.now, progress=quiet)


def test_a_version_is_taken_and_published(mirror: MirrorDirectory) -> None:
    report = mirror.add(honest_crate())
    assert report.added == (DEMO,)
    assert report.published is not None
    assert list(versions(mirror)) == ["demo@0.1.0"]


def test_what_nobody_could_publish_today_is_taken_from_upstream_and_told(mirror: MirrorDirectory) -> None:
    """The registry has published it: refusing it here would only break builds."""
    assert mirror.add(honest_crate("other", "0.4.0")).findings == ()
    (note,) = mirror.add(honest_crate("other", "0.4.0+b.5")).findings
    assert "differs from 0.4.0, which is published, in its build metadata" in note.text
    (note,) = mirror.add(honest_crate("debug")).findings
    assert "the name debug is reserved" in note.text
    assert mirror.add(honest_crate("other", "0.3.0")).findings == ()


def test_again_changes_nothing(mirror: MirrorDirectory) -> None:
    crate = honest_crate()
    mirror.add(crate, index=[line(crate)])
    before = sorted(path for path in mirror.path.rglob("*.json"))
    report = mirror.add(crate, index=[line(crate)])
    assert (report.added, report.updated, report.unchanged, report.published) == ((), (), 1, None)
    assert sorted(path for path in mirror.path.rglob("*.json")) == before


def test_the_publication_time_is_the_upstreams_or_when_it_was_first_seen(mirror: MirrorDirectory) -> None:
    known, unknown = honest_crate("known"), honest_crate("unknown")
    mirror.add(known, unknown, index=[line(known), line(unknown, pubtime=None)])
    found = versions(mirror)
    assert found["known@0.1.0"].line.pubtime == "2020-02-02T02:02:02Z"
    assert found["known@0.1.0"].pubtime_is_upstreams
    assert found["unknown@0.1.0"].line.pubtime == pubtime(mirror.now)
    assert not found["unknown@0.1.0"].pubtime_is_upstreams


def test_first_seen_stays_until_the_upstream_says_more(mirror: MirrorDirectory) -> None:
    crate = honest_crate()
    first = mirror.now
    mirror.add(crate)
    mirror.now += timedelta(hours=3)
    assert mirror.add(crate).published is None
    assert versions(mirror)["demo@0.1.0"].line.pubtime == pubtime(first)
    assert mirror.add(crate, index=[line(crate)]).updated == (DEMO,)
    found = versions(mirror)["demo@0.1.0"]
    assert (found.line.pubtime, found.pubtime_is_upstreams) == ("2020-02-02T02:02:02Z", True)
    assert found.first_seen == pubtime(first)
    # Once it has spoken, it does not speak again.
    report = mirror.add(crate, index=[line(crate, pubtime="2021-01-01T00:00:00Z")])
    assert report.published is None
    assert "2021-01-01" in report.findings[0].text
    assert versions(mirror)["demo@0.1.0"].line.pubtime == "2020-02-02T02:02:02Z"


def test_a_yank_upstream_is_followed_also_for_versions_that_are_not_locked(mirror: MirrorDirectory) -> None:
    one, two = honest_crate(version="1.0.0"), honest_crate(version="2.0.0")
    mirror.add(one, two, index=[line(one), line(two)])
    upstream = Tarballs([two], [line(one, yanked=True), line(two)])
    report = run(mirror, upstream)
    assert [str(crate) for crate in report.updated] == ["demo@1.0.0"]
    assert report.unchanged == 1
    assert versions(mirror)["demo@1.0.0"].line.yanked
    report = run(mirror, Tarballs([two], [line(one), line(two, yanked=True)]))
    assert {str(crate) for crate in report.updated} == {"demo@1.0.0", "demo@2.0.0"}
    assert report.unchanged == 0


def test_another_tarball_for_a_version_is_refused_and_the_mirrors_stays(mirror: MirrorDirectory) -> None:
    honest, evil = honest_crate(), honest_crate(source="pub fn evil() {}\n")
    mirror.add(honest)
    report = mirror.add(evil, honest_crate("other"))
    assert [str(crate) for crate in report.added] == ["other@0.1.0"]
    assert "now has a tarball with sha256" in report.refused[0].reason
    assert versions(mirror)["demo@0.1.0"].line.cksum == read_crate(honest).sha256


def test_a_tarball_that_is_not_the_locks_is_refused(mirror: MirrorDirectory) -> None:
    upstream = Tarballs([honest_crate()])
    package = replace(upstream.packages[0], checksum="0" * 64)
    report = run(mirror, replace(upstream, anything=True), [package])
    assert "the lock demands 000" in report.refused[0].reason
    assert report.published is None


def test_a_package_without_a_checksum_is_taken(mirror: MirrorDirectory) -> None:
    upstream = Tarballs([honest_crate()], anything=True)
    report = run(mirror, upstream, [replace(upstream.packages[0], checksum=None)])
    assert report.added == (DEMO,)


def test_what_the_upstream_does_not_give_is_said(mirror: MirrorDirectory) -> None:
    report = run(mirror, Tarballs([]), [LockedPackage(DEMO, CRATES_IO, "0" * 64)])
    assert report.refused[0].reason == "it is not here"


def test_an_index_line_of_another_tarball_is_refused(mirror: MirrorDirectory) -> None:
    crate = honest_crate()
    report = mirror.add(crate, index=[line(crate, cksum="1" * 64)])
    assert "the upstream's index says sha256 111" in report.refused[0].reason


def test_an_index_line_with_another_dependency_is_refused(mirror: MirrorDirectory) -> None:
    crate = honest_crate()
    extra = {"name": "evil", "req": "^1", "features": [], "optional": False, "default_features": True}
    extra |= {"target": None, "kind": "normal"}
    report = mirror.add(crate, index=[line(crate, deps=[extra])])
    assert report.added == ()
    assert "evil" in report.refused[0].reason


def test_an_archive_that_breaks_a_rule_is_refused(mirror: MirrorDirectory) -> None:
    upstream = Tarballs([honest_crate()], anything=True)
    package = replace(upstream.packages[0], id=CrateId.of("another", "0.1.0"))
    report = run(mirror, upstream, [package])
    assert report.refused[0].crate.name.text == "another"


def test_another_spelling_of_a_crate_is_refused(mirror: MirrorDirectory) -> None:
    mirror.add(honest_crate("foo-bar"))
    report = mirror.add(honest_crate("foo_bar", "2.0.0"))
    assert "foo-bar, which is another spelling" in report.refused[0].reason


def test_two_spellings_in_one_lock_are_refused(mirror: MirrorDirectory) -> None:
    report = mirror.add(honest_crate("foo-bar"), honest_crate("foo_bar", "2.0.0"))
    assert [str(crate) for crate in report.added] == ["foo-bar@0.1.0"]
    assert len(report.refused) == 1


# --- what cargo is given, and what it leaves ---


def test_the_generated_lock_pins_every_version(tmp_path: Path) -> None:
    ids = [CrateId.of("a", "1.0.0"), CrateId.of("a", "2.0.0"), CrateId.of("wasi", "0.10.3+wasi-snapshot")]
    packages = [LockedPackage(one, CRATES_IO, "0" * 64) for one in ids]
    write_project(tmp_path / "project", packages)
    lock = read_lockfile((tmp_path / "project" / "Cargo.lock").read_bytes())
    assert [package.id for package in lock.registry_packages] == ids
    assert "=0.10.3" in (tmp_path / "project" / "Cargo.toml").read_text()


def test_cargos_index_cache_is_read() -> None:
    data = b"\x03\x02\0\0\0etag: x\x000.1.0\0" + b'{"a":1}' + b"\x000.2.0\0" + b'{"a":2}' + b"\0"
    assert parse_index_cache(data) == (b'{"a":1}', b'{"a":2}')
    for other in (b"", b"\x03", b"\x04" + data[1:], b"\x03\x02\0\0\0", b"nonsense" * 10):
        assert parse_index_cache(other) == ()


@pytest.mark.parametrize(
    ("template", "url"),
    [
        ("https://dl/crates", "https://dl/crates/Foo-bar/1.0.0%2Bx/download"),
        ("https://dl/{crate}-{version}.crate", "https://dl/Foo-bar-1.0.0%2Bx.crate"),
        ("https://dl/{prefix}/{lowerprefix}/{sha256-checksum}", "https://dl/Fo/o-/fo/o-/abc"),
    ],
)
def test_a_download_url_is_made_as_cargo_makes_it(template: str, url: str) -> None:
    assert fill_template(template, CrateId.of("Foo-bar", "1.0.0+x"), "abc") == url


@pytest.mark.parametrize(
    "url", ["https://x/index/", "sparse+ftp://x/", "sparse+https://x/index", "sparse+https:///", ""]
)
def test_what_is_no_sparse_index_is_refused(url: str) -> None:
    with pytest.raises(Exception, match="is not the URL of a sparse index"):
        SparseUpstream(url)


# --- claimed crates ---


class Curious(Tarballs):
    """An upstream that remembers what it was asked for."""

    asked: list[str] = []  # noqa: RUF012  -- one for the test

    def fetch(
        self, packages: Sequence[LockedPackage], scratch: Path, progress: Callable[[int], None]
    ) -> list[UpstreamCrate]:
        self.asked += [str(package.id) for package in packages]
        return super().fetch(packages, scratch, progress)


def test_an_upstream_is_never_asked_for_a_claimed_crate(tmp_path: Path) -> None:
    """Dependency confusion: somebody publishes a claimed name, with a higher version, where the mirror copies from."""
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), "1.0.0"))
    world.claim()
    ours, theirs, other = honest_crate(str(NAME), "1.0.0"), honest_crate(str(NAME), "9.0.0"), honest_crate("other")
    upstream = Curious([ours, theirs, other])
    report = sync(world.store, world.online, upstream, upstream.packages, now=world.now, progress=quiet)
    assert upstream.asked == ["other@0.1.0"]
    assert [str(crate) for crate in report.added] == ["other@0.1.0"]
    assert report.unchanged == 1  # the version that its maintainers adopted
    assert [(str(one.crate), one.reason) for one in report.refused] == [
        (f"{NAME}@9.0.0", "this crate is claimed here: its versions come from its maintainers, not from upstream")
    ]
    forged = [replace(package, checksum="0" * 64) for package in upstream.packages[:1]]
    report = sync(world.store, world.online, upstream, forged, now=world.now, progress=quiet)
    assert "its maintainers released" in report.refused[0].reason
    world.store.close()


def test_versions_that_one_project_cannot_have_are_fetched_by_several() -> None:
    """Otherwise cargo fetches nothing for anybody at once, and is started again for each package alone."""
    wanted = ["a@1.0.0", "a@1.2.0", "a@2.0.0", "b@0.1.0", "b@0.1.1-rc.1", "b@0.2.0", "c@0.0.1", "c@0.0.2", "a@1.3.0+x"]
    packages = [LockedPackage(CrateId.parse(text), CRATES_IO, None) for text in wanted]
    parts = [[str(one.id) for one in part] for part in without_rivals(packages)]
    assert parts == [
        ["a@1.0.0", "a@2.0.0", "b@0.1.0", "b@0.2.0", "c@0.0.1", "c@0.0.2"],
        ["a@1.2.0", "b@0.1.1-rc.1"],
        ["a@1.3.0+x"],
    ]
    assert without_rivals([]) == []
