"""A mirror on a real file system that is small, and full: what it signed lasts, and it signs on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import MirrorDirectory, Tarballs, make_mirror, quiet

from carnet.errors import NoRoom, StorageError
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.state.disk import Disk, DiskRules
from carnet_mirror.state.store import Store
from carnet_mirror.sync.sync import sync
from carnet_mirror.upkeep import sign_again

MEGABYTE = 10**6
RULES = DiskRules(reserve=8 * MEGABYTE)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=24m,nr_inodes=60000,mode=0700", "tmpfs", str(place)]
    done = subprocess.run(mounting, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _fill(small: Path, left: int) -> Path:
    """Something else that grows until so many bytes are left."""
    filler = small / "filler"
    filler.write_bytes(b"x" * (Disk(small, RULES).free() - left))
    return filler


def _bring(mirror: MirrorDirectory, name: str) -> None:
    upstream = Tarballs([honest_crate(name)])
    with Store.open(mirror.path, write=True, rules=RULES) as store:
        sync(store, mirror.signer, upstream, upstream.packages, now=mirror.now, progress=quiet)


@pytest.mark.root
def test_intake_pauses_before_it_is_full_and_upkeep_goes_on_nearly_to_the_end(small: Path) -> None:
    mirror = make_mirror(small / "mirror")
    _bring(mirror, "before")
    filler = _fill(small, 7 * MEGABYTE)
    with pytest.raises(NoRoom):
        _bring(mirror, "during")
    for left in (7 * MEGABYTE, MEGABYTE):
        filler.unlink()
        filler = _fill(small, left)
        mirror.now += RULES.keep / 14
        with Store.open(mirror.path, write=True, rules=RULES) as store:
            signed = sign_again(store, mirror.signer, now=mirror.now)
    filler.unlink()
    filler = _fill(small, 0)  # the control: with nothing left even that ends, and nothing is lost
    mirror.now += RULES.keep / 14
    with pytest.raises(StorageError), Store.open(mirror.path, write=True, rules=RULES) as store:
        sign_again(store, mirror.signer, now=mirror.now)
    filler.unlink()
    with Store.open(mirror.path, write=True, rules=RULES) as store:
        assert sign_again(store, mirror.signer, now=mirror.now).timestamp > signed.timestamp
        assert fsck(store, now=mirror.now, progress=quiet).problems == []
    _bring(mirror, "after")
