"""Real cargo fetches from a small registry into a mirror, and another real cargo builds from the mirror."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import MirrorDirectory, make_mirror, quiet, serving
from tests.support.registries.sparse import SparseRegistry, sparse_registry

from carnet.cargo.lockfile import read_lockfile
from carnet_mirror.sync.sync import SyncReport, sync
from carnet_mirror.upstream.cargo import CargoUpstream
from carnet_mirror.upstream.packages import Upstream
from carnet_mirror.upstream.sparse import SparseUpstream


@pytest.fixture
def registry() -> Iterator[SparseRegistry]:
    with sparse_registry() as running:
        yield running


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorDirectory:
    return make_mirror(tmp_path / "mirror")


@pytest.fixture(params=[pytest.param("cargo", marks=pytest.mark.cargo), "sparse"])
def upstream(request: pytest.FixtureRequest, registry: SparseRegistry, tmp_path: Path) -> Upstream:
    if request.param == "sparse":
        return SparseUpstream(registry.index_url)
    return CargoUpstream("cargo", registry.cargo_home(tmp_path / "user-home"), dict(os.environ))


def run(mirror: MirrorDirectory, upstream: Upstream, lock: bytes) -> SyncReport:
    packages = read_lockfile(lock).registry_packages
    with mirror.open(write=True) as store:
        return sync(store, mirror.signer, upstream, packages, now=mirror.now, progress=quiet)


def names(crates: tuple[object, ...]) -> list[str]:
    return sorted(str(crate) for crate in crates)


def fill(registry: SparseRegistry) -> bytes:
    """Everything that makes `cargo fetch` leave something out, in one lock."""
    windows = '[target."cfg(windows)".dependencies]\nonly-windows = "1"\n'
    optional = '[dependencies]\nextra = { version = "1", optional = true }\n[features]\ndefault = []\n'
    registry.add(honest_crate("both", "1.0.0"))
    registry.add(honest_crate("both", "2.0.0"))
    registry.add(honest_crate("both", "2.1.0"))  # newer than what is locked
    registry.add(honest_crate("only-windows", "1.0.0"))
    registry.add(honest_crate("portable", "1.0.0", extra=windows))
    registry.add(honest_crate("extra", "1.0.0"))
    registry.add(honest_crate("featured", "1.0.0", extra=optional))
    registry.add(honest_crate("gone", "0.3.0"), yanked=True)
    registry.add(honest_crate("built", "0.1.0+with.metadata"))
    registry.add(honest_crate("undated", "1.0.0"), pubtime=None)
    stems = ["both-1.0.0", "both-2.0.0", "only-windows-1.0.0", "portable-1.0.0", "extra-1.0.0", "featured-1.0.0"]
    return registry.lock(*stems, "gone-0.3.0", "built-0.1.0+with.metadata", "undated-1.0.0")


def test_every_locked_crate_comes_through(
    registry: SparseRegistry, mirror: MirrorDirectory, upstream: Upstream
) -> None:
    lock = fill(registry)
    report = run(mirror, upstream, lock)
    assert report.refused == ()
    assert names(report.added) == names(tuple(package.id for package in read_lockfile(lock).packages))
    with mirror.open() as store:
        kept = {str(one.id): one for name in store.crates.names() for one in store.crates.versions(name)}
    assert kept["gone@0.3.0"].line.yanked
    assert kept["both@1.0.0"].line.pubtime == "2020-02-02T02:02:02Z"
    assert kept["both@1.0.0"].pubtime_is_upstreams
    assert not kept["undated@1.0.0"].pubtime_is_upstreams
    assert "both@2.1.0" not in kept
    again = run(mirror, upstream, lock)
    assert (again.published, again.unchanged, again.refused) == (None, len(kept), ())


def test_one_that_is_refused_stops_no_other(
    registry: SparseRegistry, mirror: MirrorDirectory, upstream: Upstream
) -> None:
    registry.add(honest_crate("good"))
    registry.add(honest_crate("missing", extra="[features]\nsome = []\nmore = []\n"))
    registry.add(honest_crate("swapped"))
    asks = '[dependencies]\nmissing = { version = "0.1", features = ["some", "more"] }\n'
    registry.add(honest_crate("depends", extra=asks))
    lock = registry.lock("good-0.1.0", "missing-0.1.0", "swapped-0.1.0", "depends-0.1.0")
    registry.refused["missing-0.1.0"] = 403
    registry.add(honest_crate("swapped", source="pub fn evil() {}\n"))
    report = run(mirror, upstream, lock)
    assert names(report.added) == ["depends@0.1.0", "good@0.1.0"]
    reasons = {str(one.crate): one.reason for one in report.refused}
    assert set(reasons) == {"missing@0.1.0", "swapped@0.1.0"}
    assert "403" in reasons["missing@0.1.0"]
    assert "the lock demands" in reasons["swapped@0.1.0"]


def test_an_upstream_whose_tarball_is_not_its_indexes(
    registry: SparseRegistry, mirror: MirrorDirectory, upstream: Upstream
) -> None:
    registry.add(honest_crate("good"))
    registry.add(honest_crate("swapped"))
    lock = registry.lock("good-0.1.0", "swapped-0.1.0", checksums=False)
    registry.tarballs["swapped-0.1.0"] = honest_crate("swapped", source="pub fn evil() {}\n")
    report = run(mirror, upstream, lock)
    assert names(report.added) == ["good@0.1.0"]
    assert names(tuple(one.crate for one in report.refused)) == ["swapped@0.1.0"]


@pytest.mark.cargo
def test_a_projects_own_configuration_has_no_say(
    registry: SparseRegistry, mirror: MirrorDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the directory that the sync is started in, nor the temporary one, is read for configuration."""
    registry.add(honest_crate("good"))
    evil = '[source.crates-io]\nreplace-with = "evil"\n[source.evil]\nregistry = "sparse+http://127.0.0.1:9/"\n'
    project, temporary = tmp_path / "project", tmp_path / "tmp"
    for folder in (project, temporary):
        (folder / ".cargo").mkdir(parents=True)
        (folder / ".cargo" / "config.toml").write_text(evil)
        (folder / "rust-toolchain.toml").write_text('[toolchain]\nchannel = "evil"\n')
        (folder / "Cargo.toml").write_text("[workspace]\nmembers = []\n")
    monkeypatch.chdir(project)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    upstream = CargoUpstream("cargo", registry.cargo_home(tmp_path / "user-home"), dict(os.environ))
    report = run(mirror, upstream, registry.lock("good-0.1.0"))
    assert names(report.added) == ["good@0.1.0"]


@pytest.mark.cargo
def test_an_upstream_that_is_not_there_is_one_line(
    registry: SparseRegistry, mirror: MirrorDirectory, tmp_path: Path
) -> None:
    for name in "abcde":
        registry.add(honest_crate(name))
    lock = registry.lock(*(f"{name}-0.1.0" for name in "abcde"))
    home = registry.cargo_home(tmp_path / "user-home")
    (home / "config.toml").write_text((home / "config.toml").read_text().replace(registry.url, "http://127.0.0.1:9"))
    upstream = CargoUpstream("cargo", home, dict(os.environ) | {"CARGO_NET_RETRY": "0"})
    with pytest.raises(Exception, match="cargo could not fetch anything") as caught:
        run(mirror, upstream, lock)
    assert "\n" not in str(caught.value)


@pytest.mark.cargo
def test_cargo_builds_from_the_mirror(registry: SparseRegistry, mirror: MirrorDirectory, tmp_path: Path) -> None:
    """Unmodified cargo, through source replacement, with the lock as it was."""
    registry.add(honest_crate("leaf", "1.0.0"))
    registry.add(honest_crate("middle", "0.3.0", extra='[dependencies]\nleaf = "1"\n'))
    lock = registry.lock("leaf-1.0.0", "middle-0.3.0")
    assert not run(mirror, SparseUpstream(registry.index_url), lock).refused
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "src" / "lib.rs").touch()
    (project / "Cargo.toml").write_text(
        '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\nmiddle = "0.3"\n'
    )
    home = tmp_path / "home"
    home.mkdir()
    with serving(mirror) as running:
        (home / "config.toml").write_text(
            f'[source.crates-io]\nreplace-with = "mirror"\n[source.mirror]\nregistry = "{running.index_url}"\n'
        )
        environment = {**os.environ, "CARGO_HOME": str(home)}
        for _ in range(2):
            command = ["cargo", "fetch", "--quiet"]
            done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")
        requests = running.requests()
    assert "GET /api/v1/crates/middle/0.3.0/download 200" in requests
    assert "GET /index/le/af/leaf 200" in requests
    assert "github.com/rust-lang/crates.io-index" in (project / "Cargo.lock").read_text()
