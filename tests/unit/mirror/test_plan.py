"""What a sync would do, said beforehand: by the upstream's index alone, and without changing anything."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import CARNET, MirrorDirectory, make_mirror, quiet
from tests.support.registries.sparse import SparseRegistry, sparse_registry

from carnet.cargo.lockfile import read_lockfile
from carnet_mirror.sync.plan import plan
from carnet_mirror.sync.sync import SyncReport, sync
from carnet_mirror.upstream.sparse import SparseUpstream


@pytest.fixture
def registry() -> Iterator[SparseRegistry]:
    with sparse_registry() as running:
        for name in ("one", "two"):
            running.add(honest_crate(name))
        yield running


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorDirectory:
    return make_mirror(tmp_path / "mirror")


def _lock(registry: SparseRegistry, *stems: str) -> bytes:
    return registry.lock(*(stems or ("one-0.1.0", "two-0.1.0")))


def _sync(mirror: MirrorDirectory, registry: SparseRegistry, lock: bytes) -> SyncReport:
    packages = read_lockfile(lock, "lock").registry_packages
    with mirror.open(write=True) as store:
        upstream = SparseUpstream(registry.index_url)
        return sync(store, mirror.signer, upstream, packages, now=mirror.now, progress=quiet)


def _plan(mirror: MirrorDirectory, registry: SparseRegistry, lock: bytes) -> SyncReport:
    packages = read_lockfile(lock, "lock").registry_packages
    with mirror.open() as store:
        return plan(store, SparseUpstream(registry.index_url), packages, now=mirror.now)


def _files(folder: Path) -> dict[str, str]:
    """The content of every file; SQLite's memory of who reads says nothing."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def test_a_plan_is_what_a_sync_does_then(mirror: MirrorDirectory, registry: SparseRegistry) -> None:
    _sync(mirror, registry, _lock(registry, "one-0.1.0"))
    registry.add(honest_crate("one"), yanked=True)
    lock = _lock(registry)
    planned = _plan(mirror, registry, lock)
    assert ([*map(str, planned.added)], [*map(str, planned.updated)]) == (["two@0.1.0"], ["one@0.1.0"])
    assert planned.published is None
    done = _sync(mirror, registry, lock)
    assert (planned.added, planned.updated, planned.unchanged) == (done.added, done.updated, done.unchanged)
    again = _plan(mirror, registry, lock)
    assert (again.added, again.updated, again.unchanged, again.refused) == ((), (), 2, ())


def test_what_the_index_refuses_or_does_not_say_is_told(mirror: MirrorDirectory, registry: SparseRegistry) -> None:
    _sync(mirror, registry, _lock(registry, "one-0.1.0"))
    registry.add(honest_crate("three"))
    registry.add(honest_crate("four"))
    registry.add(honest_crate("five"))
    lock = _lock(registry, *(f"{name}-0.1.0" for name in ("one", "two", "three", "four", "five")))
    for name in ("one", "two"):  # another tarball: of what is here, and of what is not
        registry.add(honest_crate(name, source="pub fn other() {}\n"))
    registry.lines["three"] = []
    del registry.lines["four"]
    registry.lines["five"] = [{**registry.lines["five"][0], "vers": "0.2.0"}]
    planned = _plan(mirror, registry, lock)
    reasons = {str(one.crate): one.reason for one in planned.refused}
    assert {"one@0.1.0", "two@0.1.0"} <= reasons.keys()
    assert all("the lock demands" in reasons[crate] for crate in ("one@0.1.0", "two@0.1.0"))
    waits = {str(one.crate): one.reason for one in planned.waiting}
    assert waits["five@0.1.0"] == "the upstream's index does not list it"
    assert reasons.keys() | waits.keys() == {f"{name}@0.1.0" for name in ("one", "two", "three", "four", "five")}
    assert "four@0.1.0" in reasons, "the upstream said that there is no such crate"
    assert planned.added == ()


def test_a_dry_run_fetches_no_tarball_needs_no_key_and_changes_nothing(
    mirror: MirrorDirectory, registry: SparseRegistry, tmp_path: Path
) -> None:
    (tmp_path / "Cargo.lock").write_bytes(_lock(registry))
    before = _files(mirror.path)

    def carnet(*more: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*CARNET, "mirror", "sync", "mirror", "--upstream", registry.index_url, "--dry-run", *more],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "NO_COLOR": "1", "CARNET_HOME": str(tmp_path / "home")},
        )
        assert done.returncode == code, done.stderr
        return done

    assert carnet().stdout == (
        "would add one@0.1.0\nwould add two@0.1.0\n"
        "would be: 2 added, 0 updated, 0 unchanged; the mirror has 0 versions of 0 crates\n"
        "this was a dry run: no tarball was fetched or looked at, nothing was changed\n"
    )
    said = json.loads(carnet("one@0.1", "--message-format", "json").stdout)
    assert (said["added"], said["published"], said["dry_run"]) == (["one@0.1.0"], None, True)
    assert carnet("--let-in", "let-in.toml", code=2).stderr.startswith("error: --let-in is about what a tarball says")
    assert not [path for path in registry.requests if path.startswith("/dl/")]
    assert _files(mirror.path) == before
