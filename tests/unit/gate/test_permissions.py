"""What a build opened to others is told; what nobody opened is not, whatever the permissions were before."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from carnet_gate.comparison.permissions import Permissions, compare, look, open_to_others
from carnet_verifier.cargo.localregistry import Poisoned


class Place:
    """A home of carnet's, and a folder of the user's configuration, each below folders of their own."""

    def __init__(self, folder: Path) -> None:
        self.above = folder / "share"
        self.home = self.above / "carnet"
        self.pinned = self.home / "trust/0123/pinned-root.json"
        self.unpacked = self.home / "cargo/0123/home/registry/src/index/leaf-1.0.0"
        self.deciding = folder / "config/carnet"
        for path in (self.pinned.parent / "metadata", self.unpacked, self.deciding):
            path.mkdir(parents=True)
        for path in (self.pinned, self.deciding / "carnet.toml"):
            path.write_text("")
        for path in (self.home, *self.home.rglob("*")):
            path.chmod(0o700)

    def look(self) -> Permissions:
        return look(self.home, [self.deciding, self.deciding.with_name("none")])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


OPENED: dict[str, Callable[[Place], Path]] = {
    "the home": lambda place: place.home,
    "a memory": lambda place: place.pinned.parent,
    "metadata": lambda place: place.pinned.parent / "metadata",
    "the pinned root": lambda place: place.pinned,
    "where cargo unpacks": lambda place: place.home / "cargo/0123/home/registry",
    "a folder above": lambda place: place.above,
    "the user's own word": lambda place: place.deciding / "carnet.toml",
    "the user's folder": lambda place: place.deciding,
    "above the user's folder": lambda place: place.deciding.parent,
}


@pytest.mark.parametrize("what", OPENED)
@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_what_is_opened_is_found(place: Place, what: str, mode: int) -> None:
    path = OPENED[what](place)
    path.chmod(0o700)
    before = place.look()
    path.chmod(mode)
    with pytest.raises(Poisoned, match="was opened to others while cargo ran") as caught:
        compare(before, place.look())
    assert str(path) in str(caught.value)
    assert f"chmod 0700 {path}" in caught.value.hint
    assert (str(path) in open_to_others(place.home)) == (place.home in (path, *path.parents))


def test_a_home_that_was_open_for_a_while_is_found(place: Place) -> None:
    """Nobody can set the time of the last change, which a change of permissions moves."""
    before = place.look()
    place.home.chmod(0o777)
    place.home.chmod(0o700)
    os.utime(place.home, ns=(1, 1))
    with pytest.raises(Poisoned, match="changed and changed back"):
        compare(before, place.look())


def test_another_home_in_its_place_is_found(place: Place) -> None:
    before = place.look()
    place.home.rename(place.above / "away")
    (place.home / "trust").mkdir(parents=True)
    (place.home / "cargo").mkdir()
    with pytest.raises(Poisoned, match="was replaced while cargo ran"):
        compare(before, place.look())


def test_what_others_do_meanwhile_is_nothing_that_a_build_did(place: Place) -> None:
    place.deciding.parent.chmod(0o770)  # where every user has a group of their own
    before = place.look()
    (place.home / "signed").mkdir(mode=0o700)  # by another carnet, whose first signature it is
    new = place.pinned.with_name(".carnet-0")
    new.write_text("{}")
    new.chmod(0o600)
    new.rename(place.pinned)
    place.unpacked.chmod(0o777)  # cargo's, and compared with its tarball
    (place.pinned.parent / "metadata").chmod(0o500)
    compare(before, place.look())
    assert [*open_to_others(place.home)] == []
