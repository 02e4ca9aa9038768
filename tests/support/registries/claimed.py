"""A served mirror with one claimed crate, of which one version is released."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import MirrorDirectory, RunningMirror, serving
from tests.support.worlds.ceremony import make_ceremony
from tests.support.worlds.claims import World

from carnet_mirror.state.store import Store
from carnet_mirror.writing import publish, writing
from carnet_signer.metadata.new_roles import Change

CLAIMED = honest_crate("demo-lib", "1.0.0")


@contextmanager
def claimed_mirror(folder: Path, *unclaimed: bytes) -> Iterator[RunningMirror]:
    """Serve one; at level `maintainer` is `CLAIMED`, and beside it are crates that nobody claims."""
    now = datetime.now(UTC).replace(microsecond=0)
    ceremony = make_ceremony(bit_length=1, now=now)
    online = ceremony.signer()
    with Store.create(folder / "mirror") as store:
        with writing(store, online, now=now):
            publish(store, online, Change(roles=ceremony.files), now=now)
        world = World(folder, ceremony, online, store, now)
        world.claim()
        world.release(tarball=CLAIMED)
        if unclaimed:
            world.add(*unclaimed)
    with serving(MirrorDirectory(folder / "mirror", ceremony, online, now)) as mirror:
        yield mirror
