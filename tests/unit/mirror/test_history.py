"""The whole history of a crate comes before its claim, which adopts by checksum what is here."""

from __future__ import annotations

from pathlib import Path

from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import quiet
from tests.support.registries.sparse import sparse_registry
from tests.support.worlds.claims import NAME, World

from carnet.cargo.asked import AskedFor
from carnet_mirror.sync.closure import close, history
from carnet_mirror.sync.sync import sync
from carnet_mirror.upstream.sparse import SparseUpstream

_VERSIONS = ("0.9.0", "1.0.0-rc.1", "1.0.0", "1.0.19")


def test_a_claim_after_it_adopts_every_version_and_locks_that_pin_old_ones_go_on(tmp_path: Path) -> None:
    world, asked = World.make(tmp_path), [AskedFor.parse(str(NAME))]
    with sparse_registry() as registry:
        for version in _VERSIONS:
            registry.add(honest_crate(str(NAME), version), yanked=version == "1.0.0")
        registry.add(honest_crate("unasked"))
        upstream = SparseUpstream(registry.index_url)
        assert [str(one.id.version) for one in close(world.store, upstream, asked).packages] == ["1.0.19"]
        some = history(world.store, upstream, [AskedFor.parse(f"{NAME}@^1")]).packages
        assert [str(one.id.version) for one in some] == ["1.0.0", "1.0.19"]
        every = history(world.store, upstream, asked).packages
        assert [str(one.id.version) for one in every] == list(_VERSIONS)
        report = sync(world.store, world.online, upstream, every, now=world.now, progress=quiet)
        assert len(report.added) == len(_VERSIONS)
        world.claim()
        registry.requests.clear()
        again = sync(world.store, world.online, upstream, every, now=world.now, progress=quiet)
        assert (again.unchanged, again.refused) == (len(_VERSIONS), ()), (
            "what a lock pins is there, and its maintainers'"
        )
        assert history(world.store, upstream, asked).packages == ()
        assert registry.requests == [], "a claimed crate is not looked for upstream"
    world.store.close()
