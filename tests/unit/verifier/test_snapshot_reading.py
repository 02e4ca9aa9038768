"""What is remembered of a snapshot: worth its file's very bytes and their proof, and judged as the file would be."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.worlds.simulator import DAY, NOW, Simulator
from tests.unit.verifier.test_workflow import refused, root, snapshot, timestamp

from carnet.errors import ExpiredMetadata, RollbackDetected
from carnet.tuf.read import parse_role
from carnet.tuf.roles import RoleFile, Snapshot
from carnet_verifier.memory import snapshot_reading
from carnet_verifier.memory.snapshot_reading import KEPT_AS, is_of, take_up, written
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.tuf import workflow
from carnet_verifier.tuf.refresh import refresh
from carnet_verifier.tuf.workflow import TrustedRoles

FILE = snapshot(5)
READ = parse_role(FILE, Snapshot)


def reading_of(data: bytes) -> bytes:
    return written(parse_role(data, Snapshot))


def proven(*files: bytes) -> set[bytes]:
    """Proofs that the first root's online key signed these snapshots."""
    proofs: set[bytes] = set()
    for data in files:
        TrustedRoles(root(), now=NOW, proofs=proofs).recall(None, data)
    return proofs


def test_it_says_what_the_file_says() -> None:
    found = take_up(reading_of(FILE), FILE)
    assert found is not None
    assert (found.raw, found.signed) == (FILE, READ.signed)
    assert {role: tuple(meta) for role, meta in found.signed.meta.items()} == {
        role: tuple(meta) for role, meta in READ.signed.meta.items()
    }


@pytest.mark.parametrize("damage", ["another file", "cut off", "one bit", "of another making", "nothing", "no names"])
def test_what_is_damaged_is_not_taken_up(damage: str) -> None:
    whole = reading_of(FILE)
    name = Snapshot(READ.signed.version, READ.signed.expires, "1.0.31", {}, {"a b": READ.signed.meta["targets"]})
    reading = {
        "another file": reading_of(snapshot(6)),
        "cut off": whole[:-1],
        "one bit": whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:],
        "of another making": whole.replace(b"carnet reading 1", b"carnet reading 0"),
        "nothing": None,
        "no names": written(RoleFile(FILE, {}, (), name, READ.profile)),
    }[damage]
    assert take_up(reading, FILE) is None
    assert is_of(reading, FILE) == (damage in ("cut off", "one bit", "no names"))
    roles = TrustedRoles(root(), now=NOW, proofs=proven(FILE))
    roles.recall(timestamp(5, 5), FILE, reading)
    assert roles.accept_timestamp(timestamp(6, 5))
    assert roles.reuse_snapshot()
    assert roles.snapshot.signed == READ.signed


def test_it_counts_where_the_file_was_proven_under_these_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """TUF 5.3.11: what stolen keys signed is forgotten with them, whatever is remembered of it."""
    stolen = snapshot(1_000_000)
    renewed = TrustedRoles(root(online="renewed"), now=NOW, proofs=proven(stolen))
    renewed.recall(None, stolen, reading_of(stolen))
    renewed.accept_timestamp(timestamp(1, 1, by="renewed"))
    renewed.accept_snapshot(snapshot(1, by="renewed"))
    assert renewed.snapshot.signed.version == 1
    forged = TrustedRoles(root(), now=NOW)
    forged.recall(None, snapshot(9, by="somebody"), reading_of(snapshot(9, by="somebody")))
    forged.accept_timestamp(timestamp(9, 9))
    assert not forged.reuse_snapshot()


def test_it_holds_newer_snapshots_and_the_time() -> None:
    roles = TrustedRoles(root(), now=NOW, proofs=proven(FILE))
    roles.recall(None, FILE, reading_of(FILE))
    roles.accept_timestamp(timestamp(4, 4))
    refused(lambda: roles.accept_snapshot(snapshot(4)), RollbackDetected, "version 5 was seen before")
    ended = snapshot(5, expires=NOW - DAY)
    late = TrustedRoles(root(), now=NOW, proofs=proven(ended))
    late.recall(None, ended, reading_of(ended))
    late.accept_timestamp(timestamp(5, 5))
    refused(late.reuse_snapshot, ExpiredMetadata, "snapshot version 5 expired")


def test_a_refresh_keeps_it_and_the_next_one_takes_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sim = Simulator()
    sim.add_index("serde", b"one\n")
    sim.publish()
    trust = TrustDirectory.create(tmp_path / "trust", sim.root_file(), "https://mirror.example/")
    first = refresh(trust, sim, now=NOW)
    assert TrustDirectory.open(trust.path).metadata.read(KEPT_AS) == written(first.trusted.snapshot)
    taken: list[bool] = []

    def noted(reading: bytes | None, data: bytes) -> RoleFile[Snapshot] | None:
        found = snapshot_reading.take_up(reading, data)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(workflow, "take_up", noted)
    again = refresh(TrustDirectory.open(trust.path), sim, now=NOW)
    assert again.trusted.snapshot.signed == first.trusted.snapshot.signed
    sim.add_index("serde", b"two\n")
    sim.publish()
    newer = refresh(TrustDirectory.open(trust.path), sim, now=NOW)
    assert newer.trusted.snapshot.signed.version == first.trusted.snapshot.signed.version + 1
    last = refresh(TrustDirectory.open(trust.path), sim, now=NOW)
    assert last.trusted.snapshot.signed == newer.trusted.snapshot.signed
    assert taken == [True, True, True]
