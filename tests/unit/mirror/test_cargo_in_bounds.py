"""cargo as an upstream is started a bounded number of times, and ended when it has fetched what there is room for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.sparse import SparseRegistry, sparse_registry

from carnet.cargo.lockfile import CRATES_IO, LockedPackage
from carnet.cargo.names import CrateId
from carnet_mirror.upstream.cargo import CargoUpstream, without_rivals

pytestmark = pytest.mark.cargo


@pytest.fixture(scope="module")
def registry() -> Iterator[SparseRegistry]:
    with sparse_registry() as running:
        for name in ("one-sys", "two-sys", "three-sys"):
            linking = (
                f'links = "z"\nbuild = "build.rs"\n[dependencies]\n{"leaf" if name == "one-sys" else "twig"} = "1"\n'
            )
            running.add(honest_crate(name, extra=linking, files={"build.rs": b"fn main() {}\n"}))
        for name in ("leaf", "twig"):
            running.add(honest_crate(name, "1.0.0"))
        yield running


def upstream(registry: SparseRegistry, folder: Path, room: int | None = None) -> tuple[CargoUpstream, Path]:
    """It, and the file to which each start of cargo adds a line."""
    runs, cargo = folder / "runs", folder / "cargo"
    cargo.write_text(f'#!/bin/sh\necho "$1" >> "{runs}"\nexec cargo "$@"\n')
    cargo.chmod(0o755)
    home = registry.cargo_home(folder / "home")
    return CargoUpstream(str(cargo), home, dict(os.environ) | {"CARGO_NET_RETRY": "0"}, room=room), runs


def packages(*texts: str) -> list[LockedPackage]:
    return [LockedPackage(CrateId.parse(text), CRATES_IO, None) for text in texts]


def fetched(source: CargoUpstream, scratch: Path, *texts: str) -> dict[str, str]:
    """What did not come, and why."""
    scratch.mkdir()
    found = source.fetch(packages(*texts), scratch, lambda _: None)
    return {str(one.package.id): one.reason for one in found if one.tarball is None}


def test_packages_that_link_one_library_come_in_as_many_projects_as_there_are_of_them(
    registry: SparseRegistry, tmp_path: Path
) -> None:
    source, runs = upstream(registry, tmp_path)
    wanted = ("one-sys@0.1.0", "leaf@1.0.0", "two-sys@0.1.0", "three-sys@0.1.0", "twig@1.0.0")
    assert fetched(source, tmp_path / "scratch", *wanted) == {}
    assert len(runs.read_text().splitlines()) == 1 + 3, "one that says so, and one for each"


def test_it_is_not_started_again_once_there_is_no_room(registry: SparseRegistry, tmp_path: Path) -> None:
    source, runs = upstream(registry, tmp_path, room=100)
    missing = fetched(source, tmp_path / "scratch", "leaf@1.0.0", "leaf@1.0.1", "twig@1.0.0")
    assert len(runs.read_text().splitlines()) == 1
    assert "room" in missing["leaf@1.0.1"]


def test_it_is_ended_while_it_fetches_more_than_there_is_room_for(registry: SparseRegistry, tmp_path: Path) -> None:
    """A cargo that has fetched too much and goes on: left alone it would leave a mark."""
    source, _ = upstream(registry, tmp_path, room=100)
    cache, mark = "$CARGO_HOME/registry/cache/one", tmp_path / "mark"
    fetches = f'mkdir -p "{cache}" && head -c 1000 /dev/zero > "{cache}/leaf-1.0.0.crate"'
    Path(source.cargo).write_text(f'#!/bin/sh\n{fetches}\nsleep 5 2> /dev/null\ntouch "{mark}"\n')
    assert "room" in fetched(source, tmp_path / "scratch", "leaf@1.0.0", "twig@1.0.0")["twig@1.0.0"]
    assert not mark.exists()


def test_more_that_link_one_library_than_any_lock_has_start_nothing_for_each() -> None:
    many = packages(*(f"p{number}@1.0.0" for number in range(100)))
    parts = without_rivals(many, {one.id: "z" for one in many[:40]})
    assert len(parts) == 40
    assert [len(part) for part in parts[:2]] == [61, 1]
