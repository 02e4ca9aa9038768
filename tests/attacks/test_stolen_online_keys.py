"""Attacker: the online keys (timestamp, snapshot, bins). Nothing of a claimed crate changes.

What such a thief can do to unclaimed crates is openly the registry's word. Here is what TUF's level shows; that index
lines of claimed crates are held against what their maintainers signed is shown with the gate.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.simulator import DAY, NOW, Simulator, key, sign

from carnet.cargo.crate import CrateLimits
from carnet.cargo.index_line import MAX_FILE
from carnet.cargo.names import CrateName
from carnet.errors import CarnetError, ExpiredMetadata, MetadataMismatch, RollbackDetected, ThresholdNotMet
from carnet.intoto.bundle import MAX_BUNDLE
from carnet.tuf import paths
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.tuf.refresh import read_repository, refresh
from carnet_verifier.tuf.repository import MAX_TARGET, TrustedRepository

SERDE = CrateName("serde")
SHARD = paths.claims_shard_role(SERDE.shard)
STOLEN = ("timestamp", "snapshot", "bins")


@pytest.fixture
def sim() -> Simulator:
    made = Simulator()
    made.add_index("serde", b"honest\n")
    made.claim("serde", releases={"serde-1.0.0.crate": b"tarball"})
    made.publish()
    return made


@pytest.fixture
def trust(sim: Simulator, tmp_path: Path) -> TrustDirectory:
    return TrustDirectory.create(tmp_path / "trust", sim.root_file(), "https://mirror.example/")


def claimed(repository: TrustedRepository) -> list[str]:
    claim = repository.claim(SERDE)
    assert claim is not None
    return list(claim.crate.targets)


def test_what_they_can_sign_is_taken_for_unclaimed_crates(trust: TrustDirectory, sim: Simulator) -> None:
    """The positive control: the thief's snapshot, timestamp and bins are well signed."""
    sim.add_index("rand", b"whatever the thief likes\n")
    sim.publish()
    repository = refresh(trust, sim, now=NOW)
    assert repository.download(repository.find_target("index/ra/nd/rand")) == b"whatever the thief likes\n"
    assert claimed(repository) == ["crates/8b/serde/serde-1.0.0.crate"]


def look(trust: TrustDirectory, sim: Simulator) -> None:
    repository = refresh(trust, sim, now=NOW)
    repository.find_target("index/se/rd/serde")
    claimed(repository)


def more(signed: dict[str, Any]) -> None:
    signed["version"] += 1
    signed["expires"] = "2029-01-01T00:00:00Z"


@pytest.mark.parametrize("role", ["targets", "claims", SHARD, "owner.serde", "crate.serde", "index"])
def test_offline_roles_cannot_be_signed_with_online_keys(trust: TrustDirectory, sim: Simulator, role: str) -> None:
    refresh(trust, sim, now=NOW)
    online = [key(f"{name} 0") for name in STOLEN]
    signed = sim.roles[role].to_dict()
    more(signed)
    sim.roles[role].version += 1
    sim.files[sim.path(role)] = sign(signed, online)
    sim.vouch(role)
    with pytest.raises(ThresholdNotMet):
        look(trust, sim)


def test_a_file_without_end_is_not_even_asked_for(trust: TrustDirectory, sim: Simulator) -> None:
    path = sim.add_index("rand", b"honest\n")
    sim.publish()
    repository = refresh(trust, sim, now=NOW)
    assert repository.download(repository.find_target(path)) == b"honest\n"
    sim.targets(sim.bin_of(path)).targets[path].length = 10**12
    sim.publish(sim.bin_of(path))
    repository = refresh(trust, sim, now=NOW)
    target = repository.find_target(path)
    before = len(sim.requests)
    with pytest.raises(MetadataMismatch, match="no target is larger"):
        repository.download(target)
    assert len(sim.requests) == before
    assert CrateLimits().compressed <= MAX_TARGET
    assert max(MAX_FILE, MAX_BUNDLE) <= MAX_TARGET


def test_a_claim_cannot_be_left_out(trust: TrustDirectory, sim: Simulator) -> None:
    """Leaving a shard, an owner or a crate role out of the snapshot shows nothing as unclaimed."""
    for role in (SHARD, "owner.serde", "crate.serde"):
        evil = sim.copy()
        del evil.roles["snapshot"].meta[f"{role}.json"]  # type: ignore[attr-defined]
        evil.vouch()
        with pytest.raises(MetadataMismatch, match="snapshot does not list"):
            read_repository(evil.root_file(), evil, now=NOW).claim(SERDE)


@pytest.mark.parametrize("role", [SHARD, "owner.serde", "crate.serde"])
def test_an_older_version_is_refused_by_a_client_that_saw_the_newer(
    trust: TrustDirectory, sim: Simulator, role: str
) -> None:
    old = sim.roles[role].version, sim.files[sim.path(role)]
    sim.publish(role)
    assert claimed(refresh(trust, sim, now=NOW))
    sim.roles[role].version, sim.files[sim.path(role)] = old
    sim.vouch(role)
    with pytest.raises(RollbackDetected):
        refresh(trust, sim, now=NOW)


def test_a_fresh_client_is_held_in_the_past_no_longer_than_offline_roles_live(sim: Simulator) -> None:
    """The limit that the threat model names: 90 days."""
    old = sim.copy()
    late = NOW + 89 * DAY
    old.publish(now=late)
    assert claimed(read_repository(old.root_file(), old, now=late))
    old.publish(now=NOW + 90 * DAY)
    with pytest.raises(ExpiredMetadata):
        read_repository(old.root_file(), old, now=old.now)


def _path(path: str) -> Callable[[dict[str, Any]], object]:
    target = {"length": 4, "hashes": {"sha256": "0" * 64}}
    return lambda signed: signed["targets"].update({path: target})


def _delegate(signed: dict[str, Any]) -> None:
    role = {"name": "owner.serde", "keyids": [], "threshold": 1, "terminating": True, "paths": ["crates/8b/serde/*"]}
    signed["delegations"] = {"keys": {}, "roles": [role]}


@pytest.mark.parametrize(
    "change",
    [
        _path("crates/8b/serde/serde-1.0.1.crate"),
        _path("layouts/8b/serde/2.layout.json"),
        _path("somewhere/else"),
        _delegate,
    ],
    ids=["tarball", "layout", "elsewhere", "delegation"],
)
def test_a_bin_cannot_reach_into_a_claim(
    trust: TrustDirectory, sim: Simulator, change: Callable[[dict[str, Any]], object]
) -> None:
    role = sim.bin_of("index/se/rd/serde")
    sim.forge(role, change)
    sim.vouch(role)
    repository = refresh(trust, sim, now=NOW)
    with pytest.raises(CarnetError):
        repository.find_target("index/se/rd/serde")
    assert claimed(repository) == ["crates/8b/serde/serde-1.0.0.crate"]


# --- a file of one role in the place of another ---


def show_instead(sim: Simulator, role: str, other: str) -> None:
    """Let the snapshot name one role's file for another role, and forget the claim."""
    meta: Any = sim.roles["snapshot"]
    meta.meta[f"{role}.json"] = meta.meta[f"{other}.json"]
    sim.files[f"metadata/{sim.roles[other].version}.{role}.json"] = sim.files[sim.path(other)]
    for dropped in ("owner.serde", "crate.serde"):
        meta.meta.pop(f"{dropped}.json", None)
    sim.vouch()


def renewed(sim: Simulator) -> Simulator:
    """The holders have signed all their roles again since the claim, as they do every 90 days."""
    sim.publish(*(role for role in sim.roles if role.startswith(("targets", "claims", "index"))))
    return sim


def test_an_empty_shard_does_not_stand_for_the_one_with_the_claim(sim: Simulator) -> None:
    """All shards have the same keys; one that lists nothing would say of every crate that nobody has claimed it."""
    renewed(sim)
    assert claimed(read_repository(sim.root_file(), sim, now=NOW))
    show_instead(sim, SHARD, "claims-00")
    with pytest.raises(MetadataMismatch, match="does not say that it speaks for that shard"):
        read_repository(sim.root_file(), sim, now=NOW).claim(SERDE)


def test_an_empty_shard_stands_for_another_empty_one(sim: Simulator) -> None:
    """The positive control: shards that never had an entry share one file."""
    renewed(sim)
    show_instead(sim, "claims-01", "claims-00")
    assert sim.files[sim.path("claims-01")] == sim.files[sim.path("claims-00")]
    name = next(name for name in map(CrateName, map("x{}".format, range(9999))) if name.shard == "01")
    assert read_repository(sim.root_file(), sim, now=NOW).claim(name) is None


def test_a_shard_whose_claims_were_given_up_stands_for_itself_only(sim: Simulator) -> None:
    other = next(name for name in map(CrateName, map("x{}".format, range(9999))) if name.shard not in ("8b", "00"))
    sim.claim(other.text)
    sim.publish()
    sim.release_name(other)
    sim.publish()
    show_instead(sim, SHARD, f"claims-{other.shard}")
    with pytest.raises(MetadataMismatch, match="does not say that it speaks for that shard"):
        read_repository(sim.root_file(), sim, now=NOW).claim(SERDE)


@pytest.mark.parametrize("said", [None, {}, {"shards": "8b"}, {"shards": []}, {"shards": ["8c"]}, {"shards": [139]}])
def test_a_shard_that_does_not_say_so_is_none(sim: Simulator, said: object) -> None:
    sim.forge(SHARD, lambda signed: signed.update(carnet=said))
    sim.vouch(SHARD)
    with pytest.raises(MetadataMismatch, match="does not say that it speaks for that shard"):
        read_repository(sim.root_file(), sim, now=NOW).claim(SERDE)


def test_a_shard_with_entries_speaks_for_no_other(sim: Simulator) -> None:
    sim.forge(SHARD, lambda signed: signed.update(carnet={"shards": ["8b", "8c"]}))
    sim.vouch(SHARD)
    with pytest.raises(MetadataMismatch, match="speaks for other shards as well"):
        read_repository(sim.root_file(), sim, now=NOW).claim(SERDE)
