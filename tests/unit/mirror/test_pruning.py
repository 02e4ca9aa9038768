"""What is superseded goes after a week: the disk is bounded, and whoever may still ask for something finds it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import MirrorDirectory, make_mirror, quiet

from carnet.errors import StorageError
from carnet_mirror import pruning
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.fsck.rebuild import Anchors, rebuild
from carnet_mirror.pruning import prune
from carnet_mirror.state.disk import KEEP
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_mirror.upkeep import sign_again
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.refresh import read_repository

DAYS = 12
HALF_A_DAY = timedelta(hours=12)


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorDirectory:
    return make_mirror(tmp_path / "mirror", [honest_crate("first", "1.0.0")])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> MirrorDirectory:
    """Eleven days of a mirror from which nothing was ever taken away."""
    mirror = make_mirror(tmp_path_factory.mktemp("grown") / "mirror", [honest_crate("first", "1.0.0")])
    with pytest.MonkeyPatch.context() as off:
        off.setattr(pruning, "prune", lambda store, **_: 0)
        for _ in _live(mirror, 11):
            pass
    return mirror


@pytest.fixture
def grown(template: MirrorDirectory, tmp_path: Path) -> MirrorDirectory:
    """A copy of it, whose signer remembers what that one's does."""
    shutil.copytree(template.path, tmp_path / "grown")
    signer = template.ceremony.signer()
    signer.versions, signer.named = dict(template.signer.versions), template.signer.named
    return MirrorDirectory(tmp_path / "grown", template.ceremony, signer, template.now)


def _live(mirror: MirrorDirectory, days: int, first: int = 0) -> Iterator[None]:
    """A release of one crate each day, and an upkeep twice a day."""
    for day in range(first, first + days):
        for _ in range(2):
            mirror.now += HALF_A_DAY
            with mirror.open(write=True) as store:
                sign_again(store, mirror.signer, now=mirror.now)
        mirror.add(honest_crate("first", f"1.0.{day + 1}"), honest_crate("first", "1.0.0"))
        yield


def _names(mirror: MirrorDirectory, pattern: str) -> set[str]:
    return {path.name for path in mirror.path.glob(pattern)}


def _sound(mirror: MirrorDirectory) -> list[str]:
    with mirror.open() as store:
        report = fsck(store, now=mirror.now, progress=quiet)
    assert report.problems == []
    return report.notes


def test_the_disk_is_bounded_and_was_not_without(mirror: MirrorDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    for _ in _live(mirror, DAYS):
        sizes.append(len(_names(mirror, "metadata/*.snapshot.json")) + len(_names(mirror, "targets/index/**/*.first")))
    assert max(sizes[9:]) <= sizes[8] + 2
    assert len(_names(mirror, "targets/index/**/*.first")) <= KEEP.days + 2
    assert _names(mirror, "metadata/1.root.json")
    assert _sound(mirror) == []
    (mirror.path / "mirror.db").unlink()
    means = Anchors(mirror.root, lambda: contextlib.nullcontext(mirror.signer), lambda store: None, {})
    assert rebuild(mirror.path, lambda _: means, now=mirror.now, progress=quiet).made
    monkeypatch.setattr(pruning, "prune", lambda store, **_: 0)
    before = len(_names(mirror, "metadata/*.snapshot.json"))
    for _ in _live(mirror, 5, DAYS):
        pass
    assert len(_names(mirror, "metadata/*.snapshot.json")) > before + 4  # the control


def test_a_client_that_begins_with_a_live_timestamp_finds_all_of_it(grown: MirrorDirectory) -> None:
    mirror = grown
    mirror.now += HALF_A_DAY
    with mirror.open(write=True) as store:
        sign_again(store, mirror.signer, now=mirror.now)
        assert _names(mirror, "metadata/1.snapshot.json") == set()
        timestamp = store.read("metadata/timestamp.json")
        assert timestamp is not None
        began = mirror.now
    for _ in _live(mirror, 1, 11):
        pass
    with mirror.open() as store:

        def read(path: str) -> bytes | None:
            return timestamp if path == "metadata/timestamp.json" else store.served(path)

        view = read_repository(mirror.root, ReadFetcher(read), now=began + timedelta(hours=23))
        (target,) = view.find_targets(["index/fi/rs/first"]).values()
        assert target is not None
        assert view.download(target).count(b"\n") == 12


def test_a_clock_that_jumps_ahead_takes_nothing_away(mirror: MirrorDirectory) -> None:
    *_, _last = _live(mirror, 3)
    before = _names(mirror, "metadata/*.json")
    with mirror.open(write=True) as store:
        sign_again(store, mirror.signer, now=mirror.now + timedelta(days=20))
    assert before - {"timestamp.json"} <= _names(mirror, "metadata/*.json")


class Killed(BaseException):
    """Here somebody pulled the plug."""


@pytest.mark.parametrize("point", ["after the rows", "between two files"])
def test_killed_in_the_middle_it_is_sound_and_goes_on(
    grown: MirrorDirectory, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = grown
    unlink, left = Path.unlink, 0 if point == "after the rows" else 3

    def killed(path: Path, *arguments: Any, **options: Any) -> None:
        nonlocal left
        if path.parent.name == "metadata" or "index" in path.parts:
            left -= 1
            if left < 0:
                raise Killed
        unlink(path, *arguments, **options)

    with monkeypatch.context() as kill, mirror.open(write=True) as store:
        kill.setattr(Path, "unlink", killed)
        with pytest.raises(Killed):
            sign_again(store, mirror.signer, now=mirror.now + HALF_A_DAY)
    assert len(_sound(mirror)) == 1  # files are left over, and nothing else is said
    for _ in _live(mirror, 1, 11):
        pass
    assert [note for note in _sound(mirror) if "metadata/" in note] == []
    assert len(_names(mirror, "metadata/*.snapshot.json")) <= KEEP.days + 4


def test_what_is_damaged_keeps_nobody_from_signing_again(
    grown: MirrorDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = grown
    bins = sorted((mirror.path / "metadata").glob("2.index-*.json"))
    for path in bins:
        path.unlink()
    with mirror.open(write=True) as store:
        done = sign_again(store, mirror.signer, now=mirror.now + HALF_A_DAY)
        assert UnverifiedView(store).timestamp.version == done.timestamp
    assert "what was superseded stays" in capsys.readouterr().err


def test_no_more_goes_in_one_run_than_is_asked(grown: MirrorDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = grown
    with mirror.open(write=True) as store, store.change():
        runs = [prune(store, most=4) for _ in range(12)]
        assert max(runs) <= 6
        assert runs[-1] == 0
        assert sum(runs) > 6
        assert UnverifiedView(store).snapshot.meta
    _sound(mirror)


def test_nothing_is_taken_away_outside_of_a_change(mirror: MirrorDirectory) -> None:
    with Store.open(mirror.path, write=True) as store, pytest.raises(StorageError, match="outside of a change"):
        store.prune(["metadata/1.snapshot.json"])
