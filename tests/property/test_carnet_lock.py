"""Laws of `carnet.lock`: whatever is written, merged by git and read again, nothing of it goes backwards."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.worlds.release import git

from carnet.errors import CarnetError, FormatError, RollbackDetected
from carnet.level import Level
from carnet_verifier.memory.carnet_lock import CarnetLock, SeenCrate, SeenOnline, SeenRoot

NOW = datetime(2026, 11, 27, 9, tzinfo=UTC)
NAMES = [f"crate{number:02}" for number in range(12)]


def crate(level: int, owner: int, releases: int) -> SeenCrate:
    """As an honest repository shows it: one version of the owner role names the same owners to everybody."""
    people = {f"{owner:02x}{number:062x}": f"owner-{owner}-{number}" for number in range(1 + owner % 3)}
    return SeenCrate(Level(level), owner, releases, 1 + owner % 2 if len(people) > 1 else 1, people)


def root(version: int) -> SeenRoot:
    return SeenRoot(version, f"{version:064x}")


crates = st.builds(crate, st.integers(1, 4), st.integers(1, 4), st.integers(1, 9))
online = st.builds(SeenOnline, st.integers(1, 30), st.sampled_from([("a" * 64,), ("b" * 64,), ("a" * 64, "b" * 64)]))
locks = st.builds(
    CarnetLock,
    st.just("0" * 64),
    st.integers(1, 3).map(root),
    online,
    online,
    st.integers(0, 10**6).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    st.dictionaries(st.sampled_from(NAMES), crates, max_size=6),
)


@settings(max_examples=40, deadline=None)
@given(locks, locks)
def test_what_is_joined_says_no_less_than_either(one: CarnetLock, other: CarnetLock) -> None:
    assert CarnetLock.from_bytes(one.to_bytes()) == one
    joined = one.joined(other)
    assert joined == other.joined(one), "whichever side is called ours"
    assert joined.to_bytes() == CarnetLock.from_bytes(joined.to_bytes()).to_bytes()
    for side in (one, other, joined):
        joined.check_no_less_than(side, "a side")
    assert joined.root.version == max(one.root.version, other.root.version)
    for name in one.crates.keys() | other.crates.keys():
        sides = [side.crates[name] for side in (one, other) if name in side.crates]
        found = joined.crates[name]
        assert (found.level, found.owner, found.releases) == tuple(
            max(getattr(side, what) for side in sides) for what in ("level", "owner", "releases")
        )


@settings(max_examples=40, deadline=None)
@given(locks.filter(lambda lock: bool(lock.crates)), st.data())
def test_whatever_is_lowered_or_taken_out_is_seen(lock: CarnetLock, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(lock.crates)))
    known = lock.crates[name]
    ways: list[CarnetLock] = [
        replace(lock, crates={other: kept for other, kept in lock.crates.items() if other != name}),
        replace(lock, refreshed=lock.refreshed - timedelta(seconds=1)),
        replace(lock, timestamp=replace(lock.timestamp, version=lock.timestamp.version - 1)),
        replace(lock, snapshot=replace(lock.snapshot, version=lock.snapshot.version - 1)),
        replace(lock, root=root(lock.root.version - 1)),
        replace(lock, root=replace(lock.root, sha256="f" * 64)),
        replace(lock, repository="1" * 64),
        replace(
            lock,
            crates={
                **lock.crates,
                name: replace(
                    known, level=Level(max(known.level - 1, 1)), releases=known.releases - (known.level == 1)
                ),
            },
        ),
        replace(lock, crates={**lock.crates, name: replace(known, owner=known.owner - 1)}),
        replace(lock, crates={**lock.crates, name: replace(known, releases=known.releases - 1)}),
        replace(lock, crates={**lock.crates, name: replace(known, threshold=1, owners={"e" * 64: "mallory"})}),
    ]
    lock.check_no_less_than(lock, "itself")
    for less in ways:
        with pytest.raises((RollbackDetected, FormatError)) as refused:
            less.check_no_less_than(lock, "main.lock")
        assert "\n" not in str(refused.value)
        assert "git" in refused.value.hint


# --- merged by git ---


@settings(max_examples=25, deadline=None)
@given(locks, locks, locks)
def test_a_merge_by_git_forgets_nothing_or_is_refused(base: CarnetLock, one: CarnetLock, other: CarnetLock) -> None:
    """Two branches that went on from one file, as `carnet verify --update-memory` goes on: never to less."""
    ours, theirs = base.joined(one), base.joined(other)
    with tempfile.TemporaryDirectory() as folder:
        sides = [Path(folder, name) for name in ("ours", "base", "theirs")]
        for file, lock in zip(sides, (ours, base, theirs), strict=True):
            file.write_bytes(lock.to_bytes())
        done = subprocess.run(["git", "merge-file", "-p", *sides], capture_output=True, check=False)
    merged = done.stdout
    if done.returncode == 0:
        made = CarnetLock.from_bytes(merged)
    else:
        with pytest.raises(FormatError, match="marks of a merge") as refused:
            CarnetLock.from_bytes(merged)
        assert "`carnet verify --update-memory` joins both sides" in refused.value.hint
        made = CarnetLock.from_merge(merged)
    for side in (base, ours, theirs):
        made.check_no_less_than(side, "a side")


def test_two_branches_in_a_real_repository(tmp_path: Path) -> None:
    file = tmp_path / "carnet.lock"
    base = CarnetLock("0" * 64, root(1), seen(5), seen(5), NOW, {name: crate(1, 1, 1) for name in NAMES})
    later = replace(base, timestamp=seen(9), snapshot=seen(9), refreshed=NOW + timedelta(hours=1))
    grown = replace(base, crates={**base.crates, "crate11": crate(2, 2, 5)})

    def commit(lock: CarnetLock) -> None:
        file.write_bytes(lock.to_bytes())
        git(tmp_path, "add", "carnet.lock")
        git(tmp_path, "commit", "-q", "-m", "carnet.lock")

    git(tmp_path, "init", "-q", "-b", "main")
    commit(base)
    git(tmp_path, "checkout", "-q", "-b", "topic")
    commit(grown)
    git(tmp_path, "checkout", "-q", "main")
    commit(later)
    git(tmp_path, "merge", "-q", "topic")
    assert CarnetLock.from_bytes(file.read_bytes()) == later.joined(grown), "lines apart: git merges them by itself"
    git(tmp_path, "checkout", "-q", "-b", "other", "topic")
    commit(replace(grown, timestamp=seen(12), snapshot=seen(11), refreshed=NOW + timedelta(hours=2)))
    with pytest.raises(subprocess.CalledProcessError):
        git(tmp_path, "merge", "-q", "main")
    with pytest.raises(CarnetError, match="marks of a merge"):
        CarnetLock.from_bytes(file.read_bytes())
    joined = CarnetLock.from_merge(file.read_bytes())
    assert (joined.timestamp, joined.snapshot, joined.crates) == (seen(12), seen(11), grown.crates)


def seen(version: int) -> SeenOnline:
    return SeenOnline(version, ("a" * 64,))
