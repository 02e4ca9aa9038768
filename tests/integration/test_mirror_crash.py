"""A publish that is killed at any point leaves the old state or the new one, and the next one goes on from there."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import Tarballs, now_in_seconds, quiet
from tests.support.worlds.ceremony import Ceremony, make_ceremony
from tests.support.worlds.online import OracleSigner

from carnet.cargo.names import CrateId
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.state.sqlite import Database
from carnet_mirror.state.store import Store
from carnet_mirror.sync.sync import SyncReport, sync
from carnet_mirror.writing import writing
from carnet_signer.metadata.publish import publish

FIRST, SECOND = honest_crate("first"), honest_crate("second")
POINTS = int(os.environ.get("CARNET_TEST_CRASH_POINTS", "20"))
"""How many of them, chosen anew in each run; 1000 takes all."""


class Killer:
    """Kills this process at its n-th write, fsync, rename, or statement of SQLite."""

    def __init__(self, point: int) -> None:
        self.point = point
        self.seen = 0

    def step(self) -> None:
        self.seen += 1
        if self.seen == self.point:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.step()
            return call(*args, **kwargs)

        return counted

    @contextmanager
    def armed(self, _: Store | None) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("write", "fsync", "rename"):
                patch.setattr(os, name, self.around(getattr(os, name)))
            patch.setattr(Database, "execute", self.around(Database.execute))
            yield


def bring(path: Path, memory: Path, ceremony: Ceremony, tarball: bytes, killer: Killer | None = None) -> SyncReport:
    """Sync one crate, with the real rules and memory of the online signer."""
    signer = OracleSigner(ceremony.online, memory)
    upstream = Tarballs([tarball])
    try:
        with Store.open(path, write=True) as store:
            arguments = (store, signer, upstream, upstream.packages)
            if killer is None:
                return sync(*arguments, now=now_in_seconds(), progress=quiet)
            with killer.armed(store):
                return sync(*arguments, now=now_in_seconds(), progress=quiet)
    finally:
        signer.close()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ceremony]:
    folder = tmp_path_factory.mktemp("crash")
    now = now_in_seconds()
    ceremony = make_ceremony(bit_length=1, now=now)
    signer = OracleSigner(ceremony.online, folder / "memory")
    with Store.create(folder / "mirror") as store, writing(store, signer, now=now):
        publish(store, signer, ceremony.change, now=now)
    signer.close()
    bring(folder / "mirror", folder / "memory", ceremony, FIRST)
    return folder, ceremony


def copy(template: Path, to: Path) -> tuple[Path, Path]:
    shutil.copytree(template, to)
    return to / "mirror", to / "memory"


def in_child(work: Callable[[], None]) -> tuple[int, bool]:
    """Run in a forked process; returns its wait status and whether it got as far as saying that it was done."""
    reading, writing_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
            os.write(writing_end, b"done")
        finally:
            os._exit(0)
    os.close(writing_end)
    said = os.read(reading, 10)
    os.close(reading)
    return os.waitpid(child, 0)[1], said == b"done"


def crates(path: Path) -> set[str]:
    with Store.open(path) as store:
        return {name.text for name in store.crates.names()}


def check(path: Path) -> None:
    with Store.open(path) as store:
        report = fsck(store, now=now_in_seconds(), progress=quiet)
    assert report.problems == []


def test_killed_at_any_point(template: tuple[Path, Ceremony], tmp_path: Path) -> None:
    folder, ceremony = template
    path, memory = copy(folder, tmp_path / "whole")
    counting = Killer(0)
    bring(path, memory, ceremony, SECOND, counting)
    assert crates(path) == {"first", "second"}
    total = counting.seen
    assert total > 40
    points = sorted(random.sample(range(1, total + 1), min(POINTS, total)))  # the seed is not fixed on purpose
    outcomes = set()
    for point in points:
        path, memory = copy(folder, tmp_path / f"at-{point}")
        status, _ = in_child(
            lambda path=path, memory=memory, point=point: void(  # type: ignore[misc]
                bring(path, memory, ceremony, SECOND, Killer(point))
            )
        )
        assert os.WIFSIGNALED(status), f"point {point} of {total}"
        found = crates(path)
        assert "first" in found, f"point {point} of {total}"
        outcomes.add("second" in found)
        check(path)
        report = bring(path, memory, ceremony, SECOND)
        assert report.refused == (), f"point {point} of {total}"
        assert crates(path) == {"first", "second"}, f"point {point} of {total}"
        check(path)
        shutil.rmtree(path)
    assert False in outcomes


def void(_: object) -> None:
    """A call whose answer is not wanted."""


def test_what_was_acknowledged_is_there(template: tuple[Path, Ceremony], tmp_path: Path) -> None:
    path, memory = copy(template[0], tmp_path / "mirror")
    reading, end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            bring(path, memory, template[1], SECOND)
            os.write(end, b"done")
            signal.pause()
        finally:
            os._exit(0)
    os.close(end)
    assert os.read(reading, 10) == b"done"
    os.close(reading)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert crates(path) == {"first", "second"}
    with Store.open(path) as store:
        assert store.crates.version(CrateId.of("second", "0.1.0")) is not None
    check(path)


def test_a_full_disk_changes_nothing(
    template: tuple[Path, Ceremony], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, memory = copy(template[0], tmp_path / "mirror")
    fsync = os.fsync
    calls = 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Exception, match="no space left"):
            bring(path, memory, template[1], SECOND)
    assert crates(path) == {"first"}
    check(path)
    bring(path, memory, template[1], SECOND)
    assert crates(path) == {"first", "second"}


def test_the_log_of_sqlite_is_emptied(template: tuple[Path, Ceremony], tmp_path: Path) -> None:
    """The database file is whole by itself: a lost log loses nothing that was acknowledged."""
    path, memory = copy(template[0], tmp_path / "mirror")
    bring(path, memory, template[1], SECOND)
    for log in path.glob("mirror.db-*"):
        log.unlink()
    with sqlite3.connect(path / "mirror.db") as connection:
        assert connection.execute("SELECT count(*) FROM crates").fetchone() == (2,)
    connection.close()
