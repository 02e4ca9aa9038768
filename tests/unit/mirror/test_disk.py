"""A full disk pauses intake and never upkeep: what is refused, what goes on, and who is told."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import Tarballs, make_mirror, quiet
from tests.support.registries.sparse import sparse_registry
from tests.support.worlds.claims import NAME, World, body, person, sign
from tests.unit.mirror.test_pull import brought, reasons, share
from tests.unit.mirror.test_submissions import ask, behind, taking

from carnet.errors import ConfigError, NoRoom
from carnet_cli.config.mirror_file import FILE_NAME, open_mirror, read_mirror_file
from carnet_mirror.schedule import IntakePauses
from carnet_mirror.state.disk import FULL, KEEP, RESERVE, Disk, DiskRules
from carnet_mirror.sync.sync import sync
from carnet_mirror.sync.takedown import take_down
from carnet_mirror.upkeep import sign_again
from carnet_mirror.waiting import take_proposal
from carnet_mirror.web.pull import Pulls
from carnet_mirror.web.submissions import Submissions


@dataclass
class Faked:
    """What `statvfs` says.

    Attributes:
        free: Bytes.
        files: Inodes that are free.
        bound: All of them; none where a file system makes them as they are needed.
    """

    free: int = 50 * RESERVE
    files: int = 10**6
    bound: int = 10**7

    def __call__(self, _: object) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=self.free, f_frsize=1, f_favail=self.files, f_files=self.bound)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Faked:
    faked = Faked()
    monkeypatch.setattr(os, "statvfs", faked)
    return faked


@pytest.fixture
def world(tmp_path: Path, disk: Faked) -> World:
    return World.make(tmp_path)


def test_what_comes_in_is_refused_and_what_keeps_a_mirror_alive_goes_on(
    world: World, disk: Faked, capsys: pytest.CaptureFixture[str]
) -> None:
    store, online = world.store, world.online
    world.add(honest_crate(str(NAME), "0.9.0"))
    world.claim()
    signed = body(sign(world.release_proposal(), map(person, ("rita", "sven"))))
    upstream = Tarballs([honest_crate("other")])
    pauses = IntakePauses(store.disk)
    pauses.look()
    disk.free = RESERVE + len(signed) - 1  # there is room, and not for this
    with pytest.raises(NoRoom, match="would come"):
        world.release()
    disk.free = RESERVE - 1
    before = store.read("metadata/timestamp.json")
    for refused in (
        world.release,
        lambda: take_proposal(store, online, b"", source="192.0.2.0/24", now=world.now),
        lambda: sync(store, online, upstream, upstream.packages, now=world.now, progress=quiet),
    ):
        with pytest.raises(NoRoom, match="kept for its upkeep") as said:
            refused()
        assert "operating.md" in said.value.hint
    assert store.read("metadata/timestamp.json") == before
    pauses.look()
    pauses.look()
    assert capsys.readouterr().err.count("error: the mirror's disk is full") == 1
    world.later(hours=13)
    assert sign_again(store, online, now=world.now).timestamp > 1
    crate = store.crates.versions(NAME)[0].id
    take_down(store, online, crate, "it sends keys away", now=world.now)
    disk.free = 50 * RESERVE
    pauses.look()
    assert "intake goes on" in capsys.readouterr().err
    assert world.release().added == ("1.0.0",)
    assert [str(one) for one in sync(store, online, upstream, upstream.packages, now=world.now, progress=quiet).added]


def test_inodes_run_out_as_bytes_do(disk: Faked, tmp_path: Path) -> None:
    mine = Disk(tmp_path, DiskRules())
    mine.require()
    disk.files = 100
    assert mine.left() == 0
    with pytest.raises(NoRoom, match="100 more files fit"):
        mine.require()
    disk.bound = 0  # the control: a file system that has no bound of them says nothing
    mine.require()
    assert mine.left() == 49 * RESERVE


def test_a_sync_that_would_take_the_reserve_publishes_nothing(world: World, disk: Faked) -> None:
    data = honest_crate("other")
    upstream = Tarballs([data])
    disk.free = RESERVE + len(data) - 1
    with pytest.raises(NoRoom, match="would come"):
        sync(world.store, world.online, upstream, upstream.packages, now=world.now, progress=quiet)
    assert world.store.crates.count() == (0, 0)
    disk.free += 1
    assert sync(world.store, world.online, upstream, upstream.packages, now=world.now, progress=quiet).added


@pytest.mark.parametrize("free", [RESERVE - 1, 50 * RESERVE])
def test_strangers_are_told_before_anything_is_read_and_not_how_full_it_is(
    disk: Faked, tmp_path: Path, free: int
) -> None:
    disk.free = free
    mine = Disk(tmp_path, DiskRules())
    status, answer = ask(Submissions(behind, taking(), disk=mine))
    asked = ask(Pulls(behind, None, seconds=1.0, disk=mine), path="/api/v1/carnet/pull")[0] if free < RESERVE else 507  # type: ignore[arg-type]
    assert (status, asked) == ((507, 507) if free < RESERVE else (200, 507))
    if status == 507:
        assert answer["errors"] == [
            {"detail": "this mirror's disk is full: nothing is taken in until its operator has made room"}
        ]


def test_a_disk_that_fills_while_a_body_arrives_ends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Bodies may wait on the same disk: strangers who send what nobody signed do not take what is kept for upkeep."""
    looks = iter([50 * RESERVE, 50 * RESERVE, RESERVE - 1])

    def filling(place: object) -> SimpleNamespace:
        return Faked(next(looks))(place)

    monkeypatch.setattr(os, "statvfs", filling)
    app = Submissions(behind, taking(AssertionError("nothing is judged")), disk=Disk(tmp_path, DiskRules()))
    assert ask(app, [b"x" * 10, b"x" * 10, b"x" * 10])[0] == 507


def test_the_settings_are_read_strictly(tmp_path: Path, disk: Faked, world: World) -> None:
    file = tmp_path / FILE_NAME
    assert read_mirror_file(tmp_path).disk == DiskRules(RESERVE, KEEP)
    file.write_text('[disk]\nreserve = "250MB"\n[metadata]\nkeep = "72h"\n')
    assert read_mirror_file(tmp_path).disk == DiskRules(250_000_000, timedelta(days=3))
    for text, says_what in (
        ("[disk]\nreserve = 5", "reserve is no size"),
        ('[disk]\nreserve = "63MB"', "reserve is no size of 64 MB or more"),
        ('[disk]\nreserve = "1 GB"', "reserve is no size"),
        ('[disk]\nkeep = "7d"', "unknown key 'keep'"),
        ('[metadata]\nkeep = "71h"', "keep is no time of 3 days or more"),
        ('[metadata]\nkeep = "0d"', "keep is no time"),
        ("[metadata]\nkeep = 7", "keep is no time"),
        ('[metadata]\nkeep = "9999d"', "keep is no time"),
        ("metadata = 1", "is not a table"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=says_what) as refused:
            read_mirror_file(tmp_path)
        assert refused.value.hint
    (world.store.directory / FILE_NAME).write_text('[disk]\nreserve = "99TB"\n')
    with open_mirror(world.store.directory) as store, pytest.raises(NoRoom):
        store.disk.require()


def test_who_asked_for_a_pull_is_told(disk: Faked, tmp_path: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    with sparse_registry() as registry:
        registry.add(honest_crate("leaf", "1.0.0"))
        disk.free = RESERVE - 1
        (end,) = brought(mirror, registry, share("leaf"))
        assert reasons(end.undecided) == {"leaf@1.0.0": FULL}
        disk.free = 50 * RESERVE
        assert brought(mirror, registry, share("leaf"))[0].published == ("leaf@1.0.0",)
