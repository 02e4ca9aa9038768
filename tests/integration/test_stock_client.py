"""python-tuf's own client accepts everything that is published: at first, after changes, and through a rotation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.machines.stock_client import read_target, stock_client
from tests.support.worlds.ceremony import make_ceremony, make_key
from tests.support.worlds.changes import NAME, TARBALL, TARBALL_PATH, TwoOnlineKeys, claim, new_online_key, signed_of
from tests.support.worlds.publication import MemoryPublication
from tuf.api.exceptions import ExpiredMetadataError

from carnet.tuf import paths
from carnet.tuf.least import Least, read_least
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Targets
from carnet.tuf.structure import shard_field
from carnet_signer.metadata.publish import Change, publish, refresh_due

NOW = datetime.now(UTC).replace(microsecond=0)  # python-tuf's client reads the clock
SERDE = "index/se/rd/serde"


def test_every_step_of_a_repositorys_life_is_accepted(tmp_path: Path) -> None:
    ceremony, publication = make_ceremony(now=NOW), MemoryPublication()
    online = TwoOnlineKeys(ceremony.online, make_key("online-2"))

    def look_up(path: str) -> bytes | None:
        client = stock_client(publication, ceremony.root, tmp_path)
        client.refresh()
        return read_target(client, path)

    publish(publication, online, replace(ceremony.change, index_files={SERDE: b"one\n"}), now=NOW)
    assert look_up(SERDE) == b"one\n"
    assert look_up("index/an/yh/anyhow") is None
    publish(publication, online, Change({SERDE: b"two\n", "index/an/yh/anyhow": b"line\n"}), now=NOW)
    assert look_up(SERDE) == b"two\n"
    assert look_up("index/an/yh/anyhow") == b"line\n"
    refresh_due(publication, online, now=NOW + timedelta(days=50))
    assert look_up(SERDE) == b"two\n"
    publish(publication, online, claim(ceremony), now=NOW)
    assert look_up(TARBALL_PATH) == TARBALL
    least = {NAME.canonical: Least(1, 1)}
    shard = paths.claims_shard_role(NAME.shard)
    assert read_least(parse_role(publication.files[f"metadata/2.{shard}.json"], Targets).signed) == least
    publish(publication, online, new_online_key(ceremony, make_key("online-2"), ceremony.holders[1:]), now=NOW)
    assert look_up(SERDE) == b"two\n"
    assert look_up(TARBALL_PATH) == TARBALL
    fresh = stock_client(publication, ceremony.root, tmp_path / "fresh")
    fresh.refresh()
    assert read_target(fresh, SERDE) == b"two\n"
    assert read_target(fresh, TARBALL_PATH) == TARBALL
    given_up = signed_of(ceremony.files[shard]) | {"version": 3} | shard_field([NAME.shard], least)
    publish(publication, online, Change(roles={shard: ceremony.sign(given_up)}, about=NAME), now=NOW)
    assert look_up(TARBALL_PATH) is None
    assert look_up(SERDE) == b"two\n"


def test_a_timestamp_ends_after_a_day(tmp_path: Path) -> None:
    ceremony, publication = make_ceremony(now=NOW), MemoryPublication()
    publish(publication, ceremony.signer(), ceremony.change, now=NOW - timedelta(hours=25))
    with pytest.raises(ExpiredMetadataError, match=r"timestamp\.json is expired"):
        stock_client(publication, ceremony.root, tmp_path).refresh()


def test_a_large_snapshot_passes_the_stock_limit(tmp_path: Path) -> None:
    """The timestamp names the snapshot's length: a stock client's own limit is for those that do not."""
    ceremony, publication = make_ceremony(now=NOW, bit_length=10), MemoryPublication()
    publish(publication, ceremony.signer(), ceremony.change, now=NOW)
    assert len(publication.files["metadata/1.snapshot.json"]) > 30_000
    client = stock_client(publication, ceremony.root, tmp_path, snapshot_max_length=30_000)
    client.refresh()
    assert read_target(client, SERDE) is None
