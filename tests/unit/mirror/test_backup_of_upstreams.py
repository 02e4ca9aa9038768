"""What was seen of an upstream that is a mirror outlives the mirror that saw it, and an archive is nobody's word."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import quiet
from tests.support.registries.signed import SignedRegistry
from tests.support.worlds.ceremony import DirectOnlineSigner
from tests.support.worlds.changes import next_version
from tests.support.worlds.claims import World

from carnet.cargo.lockfile import CRATES_IO, LockedPackage
from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.errors import MalformedFile, RollbackDetected
from carnet_mirror.backup.backup import backup
from carnet_mirror.backup.restore import OnlineMeans, Seen, restore
from carnet_mirror.backup.upstreams import UPSTREAMS, put_back, seen_of_upstreams
from carnet_mirror.export import export
from carnet_mirror.state.store import Store
from carnet_mirror.sync.sync import sync
from carnet_mirror.upstream.mirror import remembered_upstream
from carnet_verifier.memory.trust import TrustDirectory

PLAIN, LATER = (CrateId.of(name, "0.1.0") for name in ("plain", "later"))


def take(below: World, root: bytes, place: Path, crate: CrateId) -> None:
    source = remembered_upstream(below.store.directory, place, root, lambda: below.now)
    package = LockedPackage(crate, CRATES_IO, None)
    assert sync(below.store, below.online, source, [package], now=below.now, progress=quiet).added == (crate,)


def test_an_upstream_that_goes_back_is_refused_after_a_restore_too(tmp_path: Path) -> None:
    above, below = World.make(tmp_path / "above"), World.make(tmp_path / "below")
    above.add(honest_crate("plain"))
    export(above.store, tmp_path / "older", "http://localhost")
    above.add(honest_crate("later"))
    export(above.store, tmp_path / "newer", "http://localhost")
    root, mirror = above.ceremony.root, below.store.directory
    take(below, root, tmp_path / "newer", LATER)
    backup(below.store, tmp_path / "week.tar", None, now=below.now, progress=quiet)
    below.store.close()
    shutil.rmtree(mirror)
    below.online = DirectOnlineSigner(below.online.key)
    means = OnlineMeans(lambda: nullcontext(below.online), lambda _: None, {})
    known = Seen({"timestamp": 99, "snapshot": 99})
    restore(tmp_path / "week.tar", mirror, lambda _: means, lambda _: {}, known, now=below.now, progress=quiet)
    with Store.open(mirror, write=True) as below.store:
        with pytest.raises(RollbackDetected):
            take(below, root, tmp_path / "older", PLAIN)
        take(below, root, tmp_path / "newer", PLAIN)


def test_no_root_comes_out_of_an_archive_that_the_pinned_one_does_not_prove(tmp_path: Path) -> None:
    """Whoever changes a back-up could otherwise say whom a mirror that is restored believes."""
    honest = World.make(tmp_path / "honest").ceremony
    evil, second = SignedRegistry("evil").root, next_version(honest, "root")
    memory = tmp_path / "mirror" / "upstreams" / sha256_hex(honest.root)
    TrustDirectory.create(memory, honest.root, "http://localhost/")
    kept = seen_of_upstreams(tmp_path / "mirror")
    place = f"{UPSTREAMS}{memory.name}/"
    for number, (newest, believed) in enumerate([(second, second), (evil, honest.root), (b"{", honest.root)]):
        restored = tmp_path / f"restored-{number}"
        restored.mkdir()
        put_back(restored, {**kept, f"{place}metadata/root.json": newest})
        assert TrustDirectory.open(restored / "upstreams" / memory.name).root == believed
    for changed in ({**kept, f"{place}pinned-root.json": evil}, {f"{place}pinned-root.json": honest.root}):
        with pytest.raises(MalformedFile, match="no memory of the upstream"):
            put_back(tmp_path / "restored-0", changed)
