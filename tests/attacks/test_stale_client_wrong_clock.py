"""Attacker: time. A client that was away for years, a clock that is wrong, online keys that ran ahead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.worlds.simulator import DAY, NOW, Simulator, Who, keys

from carnet.errors import ExpiredMetadata, MetadataMismatch, RollbackDetected, StorageError
from carnet.tuf.roles import MetaFile, Timestamp
from carnet_signer.metadata.role_files import TIMESTAMP_LIFE
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.tuf.refresh import LONGEST_LIFE, refresh, remarks_on_clock


@pytest.fixture
def sim() -> Simulator:
    made = Simulator()
    made.add_index("serde", b"{}\n")
    made.publish()
    return made


@pytest.fixture
def trust(sim: Simulator, tmp_path: Path) -> TrustDirectory:
    return TrustDirectory.create(tmp_path / "trust", sim.root_file(), "https://mirror.example/")


def test_a_client_that_was_away_walks_the_roots_to_the_newest(trust: TrustDirectory, sim: Simulator) -> None:
    """Roots on the way have expired; only the last one must not have (TUF 5.3.10)."""
    refresh(trust, sim, now=NOW)
    for year in range(1, 5):
        sim.publish(*sim.roles.keys() - {"snapshot", "timestamp"}, now=NOW + 300 * year * DAY)
        for role in ("targets", "claims", "index"):
            sim.roles[role].expires = sim.now + 90 * DAY
    sim.publish("targets", "claims", "index")
    assert refresh(trust, sim, now=sim.now).trusted.root.signed.version == 5


def test_an_expired_last_root_is_refused_after_it_was_kept(trust: TrustDirectory, sim: Simulator) -> None:
    sim.publish("root")
    late = NOW + 400 * DAY
    with pytest.raises(ExpiredMetadata, match=r"root .*5\.3\.10"):
        refresh(trust, sim, now=late)
    assert trust.root == sim.root_file(2)
    sim.publish("root", now=late)
    for role in ("targets", "claims", "index"):
        sim.roles[role].expires = late + 90 * DAY
    sim.publish("targets", "claims", "index")
    assert refresh(trust, sim, now=late).trusted.root.signed.version == 3


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_each_top_level_role_expires(
    trust: TrustDirectory, sim: Simulator, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = dict.fromkeys(("root", "timestamp", "snapshot", "targets", "claims", "index"), 400) | {role: 1}
    monkeypatch.setattr("tests.support.worlds.simulator.LIFETIMES", days)
    sim.publish("root", "targets", "claims", "index")
    refresh(trust, sim, now=NOW + DAY - timedelta(seconds=1))
    with pytest.raises(ExpiredMetadata, match=f"^{role} version"):
        refresh(trust, sim, now=NOW + DAY)
    fresh = TrustDirectory.create(trust.path.parent / "fresh", sim.root_file(), "")
    with pytest.raises(ExpiredMetadata, match=f"^{role} version"):
        refresh(fresh, sim, now=NOW + DAY)


def test_a_delegated_role_expires(trust: TrustDirectory, sim: Simulator) -> None:
    end = NOW + 90 * DAY
    for name in ("targets", "claims"):
        sim.roles[name].expires = end + DAY
    sim.publish("targets", "claims", "root", now=end)
    repository = refresh(trust, sim, now=end)
    with pytest.raises(ExpiredMetadata, match="role index"):
        repository.find_target("index/se/rd/serde")


def test_rollback_is_refused_across_restarts(trust: TrustDirectory, sim: Simulator) -> None:
    old = sim.copy()
    sim.publish("index-0")
    refresh(TrustDirectory.open(trust.path), sim, now=NOW)
    for _ in range(2):
        with pytest.raises(RollbackDetected, match=r"5\.4\.3"):
            refresh(TrustDirectory.open(trust.path), old, now=NOW)


def timestamp(sim: Simulator, version: int, snapshot: dict[str, object]) -> None:
    """A well-signed timestamp of this version that names this snapshot."""
    meta = {"snapshot.json": snapshot}
    sim.forge("timestamp", lambda signed: signed.update(version=version, meta=meta))


def test_an_older_timestamp_of_the_same_snapshot_is_refused(trust: TrustDirectory, sim: Simulator) -> None:
    """Stolen online keys could keep a client from seeing that the timestamp was renewed (TUF 5.4.3.1)."""
    named = sim.roles["timestamp"].to_dict()["meta"]["snapshot.json"]
    timestamp(sim, 7, named)
    refresh(trust, sim, now=NOW)
    timestamp(sim, 6, named)
    with pytest.raises(RollbackDetected, match=r"timestamp has version 6; version 7"):
        refresh(trust, sim, now=NOW)
    timestamp(sim, 7, named)
    refresh(trust, sim, now=NOW)


def test_a_newer_timestamp_that_names_an_older_snapshot_is_refused(trust: TrustDirectory, sim: Simulator) -> None:
    """TUF 5.4.3.2: before anything of that snapshot is fetched."""
    old = sim.roles["timestamp"].to_dict()["meta"]["snapshot.json"]
    sim.publish()
    refresh(trust, sim, now=NOW)
    sim.asked()
    timestamp(sim, 9, old)
    with pytest.raises(RollbackDetected, match=r"timestamp names snapshot version"):
        refresh(trust, sim, now=NOW)
    assert sim.asked() == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_a_snapshot_of_a_lower_version_is_refused_though_the_timestamps_keys_are_new(
    trust: TrustDirectory, sim: Simulator
) -> None:
    """python-tuf forgets the snapshot's version with the timestamp; its own keys still stand for it."""
    old = sim.copy()
    sim.publish()
    refresh(trust, sim, now=NOW)
    old.set_keys("timestamp", Who(keys("new timestamp", 1), 1))
    old.roles["snapshot"].version -= 1
    old.files.pop(f"metadata/{old.roles['snapshot'].version + 1}.snapshot.json")
    old.publish()
    with pytest.raises(RollbackDetected, match=r"^snapshot has version"):
        refresh(trust, old, now=NOW)


def test_a_snapshot_of_another_version_than_named_is_refused(trust: TrustDirectory, sim: Simulator) -> None:
    """TUF 5.5.4, where the timestamp gives no hash."""
    version = sim.roles["snapshot"].version
    timestamp(sim, 9, {"version": version})
    refresh(trust, sim, now=NOW)
    timestamp(sim, 10, {"version": version + 1})
    sim.files[f"metadata/{version + 1}.snapshot.json"] = sim.files[f"metadata/{version}.snapshot.json"]
    with pytest.raises(MetadataMismatch, match=r"5\.5\.4"):
        refresh(trust, sim, now=NOW)


def test_a_snapshot_that_lowers_one_role_is_refused(trust: TrustDirectory, sim: Simulator) -> None:
    """With the online keys: timestamp and snapshot go up, one bin goes down (TUF 5.5.5)."""
    old = sim.copy()
    sim.add_index("serde", b"newer\n")
    sim.publish()
    refresh(trust, sim, now=NOW)
    role = sim.bin_of("index/se/rd/serde")
    sim.roles["snapshot"].meta[f"{role}.json"] = old.roles["snapshot"].meta[f"{role}.json"]  # type: ignore[attr-defined]
    sim.publish()
    with pytest.raises(RollbackDetected, match=r"5\.5\.5"):
        refresh(trust, sim, now=NOW)


def test_a_snapshot_that_lost_a_role_is_refused(trust: TrustDirectory, sim: Simulator) -> None:
    refresh(trust, sim, now=NOW)
    del sim.roles["snapshot"].meta["claims-8b.json"]  # type: ignore[attr-defined]
    sim.publish()
    with pytest.raises(RollbackDetected, match="lost"):
        refresh(trust, sim, now=NOW)


def test_online_keys_that_ran_ahead_are_recovered_from_by_replacing_them(trust: TrustDirectory, sim: Simulator) -> None:
    """TUF 5.3.11: what replaced keys signed is forgotten, so that honest versions count again."""
    for role in ("timestamp", "snapshot"):
        sim.roles[role].version = 1_000_000
    sim.publish()
    refresh(trust, sim, now=NOW)
    for role in ("timestamp", "snapshot"):
        sim.roles[role].version = 5
    sim.publish()
    with pytest.raises(RollbackDetected):
        refresh(trust, sim, now=NOW)
    for role in ("timestamp", "snapshot"):
        sim.set_keys(role, Who(keys(f"new {role}", 1), 1))
    sim.publish()
    assert refresh(trust, sim, now=NOW).trusted.snapshot.signed.version < 10


def test_a_clock_before_carnet_existed_is_reported(trust: TrustDirectory, sim: Simulator) -> None:
    with pytest.raises(ExpiredMetadata, match="clock says 1970") as refused:
        refresh(trust, sim, now=datetime(1970, 1, 1, tzinfo=UTC))
    assert "set this machine's clock" in refused.value.hint
    assert sim.asked() == []


def test_a_clock_that_was_set_back_is_reported(trust: TrustDirectory, sim: Simulator) -> None:
    refresh(trust, sim, now=NOW)
    with pytest.raises(ExpiredMetadata, match="last refresh was at"):
        refresh(trust, sim, now=NOW - 2 * DAY)
    refresh(trust, sim, now=NOW - timedelta(hours=12))  # clocks differ a little, and time zones are got wrong


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        (timedelta(0), ""),
        (timedelta(minutes=59), ""),
        (timedelta(hours=-20), ""),
        (timedelta(hours=2, minutes=30), "signed at least 2 hours later"),
        (timedelta(days=2), "signed at least 2 days later"),
        (timedelta(days=400), "signed at least 400 days later"),
    ],
)
def test_a_clock_that_is_behind_is_told_where_a_timestamp_shows_it(behind: timedelta, said: str) -> None:
    """On a machine without a memory nothing else does; and it decides nothing."""
    timestamp = Timestamp(1, NOW + TIMESTAMP_LIFE, "1.0.31", {}, MetaFile(1))
    told = remarks_on_clock(timestamp, NOW - behind)
    assert len(told) == bool(said)
    assert said in "".join(told)


def test_the_life_of_a_timestamp_is_the_signers() -> None:
    assert LONGEST_LIFE == TIMESTAMP_LIFE


def test_a_clock_far_ahead_says_so(trust: TrustDirectory, sim: Simulator) -> None:
    with pytest.raises(ExpiredMetadata, match="clock says 2099") as refused:
        refresh(trust, sim, now=datetime(2099, 1, 1, tzinfo=UTC))
    assert "clock" in refused.value.hint
    refresh(trust, sim, now=NOW)  # and that time is not remembered


def test_a_damaged_memory_is_not_taken_for_none(trust: TrustDirectory, sim: Simulator) -> None:
    """Without its memory a client could be led back: damage is told, not skipped."""
    refresh(trust, sim, now=NOW)
    for name in ("metadata/timestamp.json", "metadata/snapshot.json", "seen.json"):
        place = trust.path / name
        good = place.read_bytes()
        place.write_bytes(good[: len(good) // 2])
        with pytest.raises(StorageError, match="damaged"):
            refresh(trust, sim, now=NOW)
        place.write_bytes(good)
    refresh(trust, sim, now=NOW)
