"""Syncing by the clock: what a turn brings, and that turns never overlap, end at once and come again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import MirrorDirectory, make_mirror, quiet
from tests.support.registries.sparse import SparseRegistry, sparse_registry

from carnet.cargo.asked import AskedFor
from carnet.cargo.lockfile import read_lockfile
from carnet.errors import ConfigError, StorageError
from carnet_cli.config.mirror_file import FILE_NAME, read_mirror_file
from carnet_mirror.pull.rules import PullRules
from carnet_mirror.pull.scheduled import Brought, Scheduled, sync_what_is_named
from carnet_mirror.pull.settings import SyncSettings
from carnet_mirror.upstream.sparse import SparseUpstream
from carnet_mirror.upstream.stopping import Stopped
from carnet_verifier.policy.policy import Pattern

_OLD = PullRules((Pattern("*"),))


@pytest.fixture
def registry() -> Iterator[SparseRegistry]:
    with sparse_registry() as running:
        running.add(honest_crate("leaf"))
        running.add(honest_crate("branch", extra='[dependencies]\nleaf = "0.1"\n'))
        running.add(honest_crate("locked"))
        yield running


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorDirectory:
    return make_mirror(tmp_path / "mirror")


def _turn(
    mirror: MirrorDirectory, registry: SparseRegistry, *crates: str, lock: bytes = b"", yanks: bool = False
) -> Brought:
    asked = tuple(map(AskedFor.parse, crates))
    settings = SyncSettings("", timedelta(hours=1), asked, (), yanks, _OLD)
    locked = read_lockfile(lock, "lock").registry_packages if lock else ()
    upstream = SparseUpstream(registry.index_url)
    with mirror.open(write=True) as store:
        return sync_what_is_named(store, mirror.signer, upstream, settings, locked, now=mirror.now, progress=quiet)


def _added(brought: Brought) -> list[str]:
    return [*map(str, brought.report.added)]


def test_a_turn_brings_what_is_new_and_fetches_nothing_that_is_here(
    mirror: MirrorDirectory, registry: SparseRegistry
) -> None:
    first = _turn(mirror, registry, "branch", lock=registry.lock("locked-0.1.0"))
    assert _added(first) == ["branch@0.1.0", "leaf@0.1.0", "locked@0.1.0"]
    registry.requests.clear()
    again = _turn(mirror, registry, "branch", lock=registry.lock("locked-0.1.0"))
    assert (again.report.unchanged, again.report.published) == (3, None)
    assert not [path for path in registry.requests if path.startswith("/dl/")]
    registry.add(honest_crate("branch", "0.1.1"))
    registry.add(honest_crate("leaf"), yanked=True)
    assert _added(_turn(mirror, registry, "branch")) == ["branch@0.1.1"]
    followed = _turn(mirror, registry, yanks=True)
    assert [*map(str, followed.report.updated)] == ["leaf@0.1.0"]


def test_a_version_that_is_too_young_waits_unless_a_lock_names_it(
    mirror: MirrorDirectory, registry: SparseRegistry
) -> None:
    registry.add(honest_crate("leaf", "0.1.1"), pubtime=f"{mirror.now - timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}")
    assert _added(_turn(mirror, registry, "leaf")) == ["leaf@0.1.0"]
    assert _added(_turn(mirror, registry, lock=registry.lock("leaf-0.1.1"))) == ["leaf@0.1.1"]


def test_what_is_refused_and_what_is_not_to_be_had_is_told_at_each_turn(
    mirror: MirrorDirectory, registry: SparseRegistry
) -> None:
    lock = registry.lock("locked-0.1.0")
    registry.add(honest_crate("locked", source="pub fn other() {}\n"))
    for _ in range(2):
        brought = _turn(mirror, registry, "leaf", "nowhere", lock=lock)
        assert [str(one.crate) for one in brought.report.refused] == ["locked@0.1.0"]
        assert [str(one.asked) for one in brought.missing] == ["nowhere@*"]


# --- the clock ---


def test_a_turn_that_fails_is_told_and_the_next_one_comes(capfd: pytest.CaptureFixture[str]) -> None:
    turns, came = [StorageError("the disk is full"), ValueError("a bug")], threading.Event()

    def run(_: Stopped) -> None:
        if turns:
            raise turns.pop(0)
        came.set()

    scheduled = Scheduled(run, timedelta(milliseconds=10), threading.Lock())
    scheduled.start()
    assert came.wait(60)
    scheduled.stop()
    said = capfd.readouterr().err
    assert "the scheduled sync failed, and is tried again at its next turn: the disk is full" in said
    assert "its next turn: ValueError: a bug" in said


def test_nothing_else_is_brought_meanwhile_and_the_end_of_serving_ends_it(capfd: pytest.CaptureFixture[str]) -> None:
    turn, began, ended = threading.Lock(), threading.Event(), threading.Event()

    def run(stopped: Stopped) -> None:
        assert turn.locked()
        began.set()
        while not stopped():
            ended.wait(0.01)
        ended.set()

    scheduled = Scheduled(run, timedelta(milliseconds=10), turn)
    with turn:  # a pull is under way
        scheduled.start()
        assert not began.wait(0.3)
    assert began.wait(60)
    scheduled.halt()
    assert ended.wait(60)
    scheduled.stop()
    assert not turn.locked()
    waiting = Scheduled(run, timedelta(milliseconds=10), turn)
    with turn:
        waiting.start()
        waiting.stop()
    assert capfd.readouterr().err == "", "that it stopped is no failure"


# --- mirror.toml ---


def test_the_table_is_read_strictly(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    file.write_text(
        '[sync]\nevery = "90m"\nupstream = "cargo"\ncrates = ["serde@1"]\nlockfiles = ["a/Cargo.lock", "/b"]\n'
    )
    read = read_mirror_file(tmp_path)
    assert read.pull is None
    assert read.sync == SyncSettings(
        "cargo",
        timedelta(minutes=90),
        (AskedFor.parse("serde@1"),),
        (tmp_path / "a/Cargo.lock", Path("/b")),
        False,
        PullRules((Pattern("*"),), least_age=timedelta(days=3)),
    )
    good = 'upstream = "cargo"\nyanks = true\n'
    for text, says_what in (
        (good, "does not say how often"),
        (f"{good}every = 60", "does not say how often"),
        (f'{good}every = "0m"', "does not say how often"),
        (f'{good}every = "1h30m"', "does not say how often"),
        ('every = "1h"\nupstream = "cargo"', "names nothing"),
        ('every = "1h"\nyanks = true', "upstream is neither"),
        ('every = "1h"\nupstream = "cargo"\nyanks = 1', "neither true nor false"),
        ('every = "1h"\nupstream = "cargo"\ncrates = "serde"', "not a list"),
        ('every = "1h"\nupstream = "cargo"\ncrates = ["serde@"]', "crates: "),
        ('every = "1h"\nupstream = "cargo"\nyanks = true\nallow = ["*"]', "unknown key 'allow'"),
    ):
        file.write_text(f"[sync]\n{text}\n")
        with pytest.raises(ConfigError, match=says_what) as refused:
            read_mirror_file(tmp_path)
        assert refused.value.hint
