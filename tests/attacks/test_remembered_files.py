"""Whoever can write where a crate was compared in an earlier run, and make it look as if nobody had written.

A run that finds every file's stamp as it was reads none of them. So each attack here is tried twice: as it is, when it
must be found, and with the one check that finds it taken out, when it must succeed.
"""

from __future__ import annotations

import mmap
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.admissions import admission_of

from carnet.cargo.crate import read_crate
from carnet_gate.comparison import settled
from carnet_gate.comparison.settled import SettledCrates, forget
from carnet_verifier.cargo import localregistry, stamps
from carnet_verifier.cargo.localregistry import LocalRegistry, Poisoned, compare_sources, protect, remove_tree

TOOL = honest_crate("tool", "1.0.0", files={"src/deep/data.txt": b"good"})
SOURCE = "src/deep/data.txt"


class Home:
    """A home with one crate, kept and unpacked, and runs of a gate that works with it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.registry = LocalRegistry(folder / "registry")
        self.admission, self.crate = admission_of(TOOL), read_crate(TOOL)
        self.registry.keep([(self.admission, TOOL)])
        self.registry.write_index([self.admission])
        self.tree = self.unpack("-0123456789abcdef")
        self.source = self.tree / SOURCE

    def unpack(self, root: str) -> Path:
        tree = self.home / "registry/src" / root / self.crate.id.stem
        for entry in self.crate.entries:
            (tree / entry.path).parent.mkdir(parents=True, exist_ok=True)
            (tree / entry.path).write_bytes(entry.data)
        (tree / ".cargo-ok").write_text('{"v":1}')
        return tree

    def run(self, key: str = "key", *, now: float = 1000.0) -> bool:
        """Whether the crate was settled; if not, it was compared, and is remembered.

        Raises:
            Poisoned: It was changed.
        """
        memory = SettledCrates(self.folder, Path("/work"), self.registry, self.home, {self.crate.id: key}, now=now)
        if memory.settled:
            assert memory.settled[self.crate.id].roots == (self.tree.parent,)
            return True
        kept = self.registry.open(self.admission)
        assert kept is not None
        self.registry.write_index([self.admission])
        if protect(self.home, [self.crate.id]):
            time.sleep(0.025)
        unpacked = compare_sources(self.home, {self.crate.id: kept}, synced=True)
        memory.remember([self.admission], unpacked)
        return False


@pytest.fixture
def home(tmp_path: Path) -> Home:
    if not stamps.tells(str(tmp_path)):
        pytest.skip("nothing is remembered on this file system")
    return Home(tmp_path)


def write(home: Home, text: bytes = b"EVIL") -> None:
    """Overwrite the source in place, and give it the time that it had."""
    status = home.source.stat()
    home.source.chmod(0o644)
    with home.source.open("r+b") as file:
        file.write(text)
    home.source.chmod(0o444)
    os.utime(home.source, ns=(status.st_atime_ns, status.st_mtime_ns))


def without(*fields: int) -> Callable[[os.stat_result], stamps.Stamp]:
    """Stamps that leave some of their fields out."""

    def stamp(status: os.stat_result) -> stamps.Stamp:
        told = [*stamps.stamp(status)]
        for field in fields:
            told[field] = 0
        return tuple(told)  # type: ignore[return-value]

    return stamp


DEVICE, INODE, MODE, NAMES, LENGTH, WRITTEN, CHANGED = range(7)


def test_positive_control_what_nobody_touched_is_settled(home: Home) -> None:
    assert [home.run(), home.run(), home.run()] == [False, True, True]
    assert home.source.read_bytes() == b"good"
    assert home.run()


@pytest.mark.parametrize("checked", [True, False])
def test_a_file_that_was_changed_and_backdated(home: Home, monkeypatch: pytest.MonkeyPatch, checked: bool) -> None:
    if not checked:
        monkeypatch.setattr(settled, "stamp", without(CHANGED))
        monkeypatch.setattr(localregistry, "stamp_of", lambda status: (status.st_ino, 0))
    home.run()
    write(home)
    if checked:
        with pytest.raises(Poisoned, match=r"'src/deep/data.txt' was changed"):
            home.run()
    else:
        assert home.run()


@pytest.mark.parametrize("checked", [True, False])
def test_a_mapping_that_is_held_since_an_earlier_build(
    home: Home, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    """Whoever has written through it once writes on without moving a time, until the page was written to the disk."""
    if not checked:
        monkeypatch.setattr(localregistry, "write_back", lambda descriptor: None)
        monkeypatch.setattr(localregistry, "begin_write_back", lambda descriptor: None)
    with home.source.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        os.fsync(file.fileno())
        mapping[:4] = b"good"
        time.sleep(0.025)
        home.run()
        assert home.run()
        mapping[:4] = b"EVIL"
        assert home.source.read_bytes() == b"EVIL"
        if checked:
            with pytest.raises(Poisoned, match=r"'src/deep/data.txt' was changed"):
                home.run()
        else:
            assert home.run()


@pytest.mark.parametrize("which", ["tarball", "index"])
@pytest.mark.parametrize("checked", [True, False])
def test_a_mapping_of_what_lies_beside(home: Home, monkeypatch: pytest.MonkeyPatch, which: str, checked: bool) -> None:
    if not checked:
        monkeypatch.setattr(settled, "write_back", lambda descriptor: None)
    place = home.registry.tarball(home.crate.id) if which == "tarball" else home.registry.path / "index/to/ol/tool"
    place.chmod(0o600)
    with place.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        os.fsync(file.fileno())
        mapping[:1] = mapping[:1]
        time.sleep(0.025)
        home.run()
        assert home.run()
        mapping[-2:-1] = b"X"
        if checked:
            with pytest.raises(Poisoned):
                home.run()
        else:
            assert home.run()


@pytest.mark.parametrize("checked", [True, False])
def test_a_rewrite_while_the_clock_of_files_stands_still(
    home: Home, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    """Two writes within one of its steps look like one: what was written just before it was read is not remembered."""
    protect(home.home, [home.crate.id])
    time.sleep(0.025)
    if not checked:
        monkeypatch.setattr(settled, "TICK", 0)
    now = max(path.stat().st_ctime_ns for path in home.folder.rglob("*"))  # and has stood since then
    monkeypatch.setattr(time, "time_ns", lambda: now)
    home.run()
    monkeypatch.undo()
    assert home.run() is not checked


@pytest.mark.parametrize("taken_out", [(), (CHANGED,), (INODE,), (CHANGED, INODE)])
def test_a_cache_that_was_restored(home: Home, monkeypatch: pytest.MonkeyPatch, taken_out: tuple[int, ...]) -> None:
    """Everything of it has its old times and permissions; inode numbers may be those of before."""
    monkeypatch.setattr(settled, "stamp", without(*taken_out))
    if CHANGED in taken_out:
        monkeypatch.setattr(localregistry, "stamp_of", lambda status: (0 if INODE in taken_out else status.st_ino, 0))
    elif taken_out:
        monkeypatch.setattr(localregistry, "stamp_of", lambda status: (0, status.st_ctime_ns))
    home.run()
    assert home.run()
    copy = home.tree.with_name("copy")
    shutil.copytree(home.tree, copy)
    (copy / SOURCE).chmod(0o644)
    (copy / SOURCE).write_bytes(b"EVIL")
    shutil.copystat(home.source, copy / SOURCE)
    remove_tree(home.tree)
    copy.rename(home.tree)
    if taken_out == (CHANGED, INODE):
        assert home.run()
    else:
        with pytest.raises(Poisoned, match=r"'src/deep/data.txt' was changed"):
            home.run()


def open_tree(home: Home) -> Path:
    for path in [home.tree, *home.tree.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return home.tree


def link(place: Path, elsewhere: Path) -> None:
    place.rename(elsewhere)
    place.symlink_to(elsewhere)


def replace(place: Path, data: bytes) -> None:
    place.unlink()
    place.write_bytes(data)


CHANGES: dict[str, Callable[[Home], object]] = {
    "added": lambda home: (open_tree(home) / "src/new.rs").touch(),
    "removed": lambda home: (open_tree(home) / SOURCE).unlink(),
    "renamed": lambda home: (open_tree(home) / SOURCE).rename(home.tree / "src/deep/other.txt"),
    "linked": lambda home: os.link(home.source, home.folder / "other-name"),
    "replaced by a link": lambda home: link(open_tree(home) / SOURCE, home.folder / "good"),
    "no marker": lambda home: (open_tree(home) / ".cargo-ok").write_text("x"),
    "tarball": lambda home: replace(home.registry.tarball(home.crate.id), TOOL[:-1] + b"x"),
    "index": lambda home: (home.registry.path / "index/to/ol/tool").write_text("x"),
    "another tree": lambda home: (home.unpack("-another") / SOURCE).write_bytes(b"EVIL"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found_as_if_nothing_were_remembered(home: Home, change: str) -> None:
    home.run()
    assert home.run()
    CHANGES[change](home)
    with pytest.raises((Poisoned, localregistry.Unfinished)):
        home.run()


def test_permissions_that_were_changed_are_put_right(home: Home) -> None:
    home.run()
    open_tree(home)
    assert [home.run(), home.run()] == [False, True]
    assert home.source.stat().st_mode & 0o777 == 0o444


def test_another_question_is_not_answered_from_memory(home: Home) -> None:
    home.run("key")
    assert [home.run("other"), home.run("other"), home.run("key")] == [False, True, False]
    assert home.run("key", now=2000)
    assert not home.run("key", now=999)  # a clock that went back


def test_what_only_looks_finished_is_not_remembered(home: Home) -> None:
    """Of a second tree, which cargo would unpack over, nobody has compared anything."""
    (home.unpack("-second") / ".cargo-ok").write_text("")
    assert [home.run(), home.run()] == [False, False]


@pytest.mark.parametrize("damage", ["cut off", "garbage", "another digest", "gone"])
def test_a_damaged_memory_costs_time_only(home: Home, damage: str) -> None:
    home.run()
    (memory,) = (home.folder / "settled").iterdir()
    data = memory.read_bytes()
    memory.write_bytes(
        {
            "cut off": data[:-10],
            "garbage": b"\xff" * 100,
            "another digest": data.replace(b'"key"', b'"KEY"'),
            "gone": b"",
        }[damage]
    )
    assert [home.run(), home.run()] == [False, True]


def test_a_build_that_could_write_the_memory_is_not_believed(home: Home) -> None:
    home.run()
    assert home.run()
    forget(home.folder)
    assert not home.run()


def test_nothing_is_remembered_where_stamps_tell_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "tells", lambda folder: False)
    assert [home.run(), home.run()] == [False, False]


def test_file_systems_that_do_not_write_back_are_known() -> None:
    mounts = (line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines())
    found = {place: kind for place, kind in mounts if os.access(place, os.X_OK)}  # others' folders say nothing
    kinds = {kind: stamps.tells(place) for place, kind in found.items() if kind in ("tmpfs", "proc", "overlay", "ext4")}
    assert kinds
    assert all(tells is (kind == "ext4") for kind, tells in kinds.items())
    assert not stamps.tells("/nowhere/at/all")
