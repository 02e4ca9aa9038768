"""A mirror that serves and syncs by the clock: nobody asks, and what its file names is there."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.crates.archives import honest_crate
from tests.support.registries.live import live_registry
from tests.support.registries.sparse import sparse_registry


def test_what_mirror_toml_names_comes_by_itself_and_serve_ends_in_order(tmp_path: Path) -> None:
    with sparse_registry() as upstream:
        for name in ("named", "locked"):
            upstream.add(honest_crate(name))
        (tmp_path / "Cargo.lock").write_bytes(upstream.lock("locked-0.1.0"))
        settings = (
            f'[sync]\nevery = "1m"\nupstream = "{upstream.index_url}"\ncrates = ["named"]\n'
            'lockfiles = ["../../Cargo.lock"]\n'
        )
        with live_registry(tmp_path / "registry", trusted=False, pulls=settings) as registry:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                with registry.mirror.directory.open() as store:
                    names = {str(name) for name in store.crates.names()}
                if names:
                    break
                time.sleep(0.2)
            assert names == {"named", "locked"}
            assert registry.mirror.stop() == 0
