"""Tarballs of admitted crates: compared before they are read, and read one at a time."""

from __future__ import annotations

import gc
import weakref

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.admissions import attributed_of
from tests.support.worlds.simulator import NOW, Simulator

from carnet.errors import MetadataMismatch
from carnet.tuf import paths
from carnet_verifier.tarballs import fetch_crates
from carnet_verifier.tuf.refresh import read_repository

TARBALLS = [honest_crate("demo", f"0.{number}.0") for number in range(3)]


def test_tarballs_are_unpacked_one_at_a_time() -> None:
    """Sixteen that unpack to half a gigabyte each would not fit into memory together."""
    sim = Simulator()
    wanted = [attributed_of(data) for data in TARBALLS]
    sim.files |= {paths.download_path(one.crate): data for one, data in zip(wanted, TARBALLS, strict=True)}
    seen: list[weakref.ref[object]] = []
    for crate in fetch_crates(read_repository(sim.root_file(), sim, now=NOW), wanted):
        gc.collect()
        assert crate.data == TARBALLS[len(seen)]
        assert sum(one() is not None for one in seen) <= 1, "at most the one before is still held"
        seen.append(weakref.ref(crate.file))
    assert len(seen) == len(TARBALLS)


def test_other_bytes_than_the_admitted_are_refused() -> None:
    sim = Simulator()
    wanted = attributed_of(TARBALLS[0])
    sim.files[paths.download_path(wanted.crate)] = TARBALLS[1]
    with pytest.raises(MetadataMismatch, match="admitted was"):
        list(fetch_crates(read_repository(sim.root_file(), sim, now=NOW), [wanted]))
