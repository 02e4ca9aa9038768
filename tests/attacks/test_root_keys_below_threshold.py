"""Attacker: k-1 of the root keys (here one of two). A root of theirs is never taken."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.simulator import NOW, Simulator, Who, key, keys, sign

from carnet import strictjson
from carnet.errors import ConfigError, FormatError, MetadataError, MetadataMismatch, ThresholdNotMet
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.tuf.refresh import refresh


@pytest.fixture
def sim() -> Simulator:
    return Simulator()


@pytest.fixture
def trust(sim: Simulator, tmp_path: Path) -> TrustDirectory:
    made = TrustDirectory.create(tmp_path / "trust", sim.root_file(), "https://mirror.example/")
    refresh(made, sim, now=NOW)
    return made


def root_version(trust: TrustDirectory, sim: Simulator) -> int:
    return refresh(trust, sim, now=NOW).trusted.root.signed.version


def next_root(sim: Simulator) -> dict[str, Any]:
    signed = sim.root.to_dict()
    signed["version"] += 1
    return signed


def test_a_root_signed_by_the_threshold_is_taken(trust: TrustDirectory, sim: Simulator) -> None:
    sim.publish("root")
    assert root_version(trust, sim) == 2
    assert trust.root == sim.root_file(2)


@pytest.mark.parametrize("stolen", [0, 1, 2])
def test_one_root_key_of_two_signs_nothing(trust: TrustDirectory, sim: Simulator, stolen: int) -> None:
    sim.files["metadata/2.root.json"] = sign(next_root(sim), [keys("root", 3)[stolen]])
    with pytest.raises(ThresholdNotMet):
        root_version(trust, sim)
    assert trust.root == sim.root_file(1)


def test_one_stolen_key_cannot_bring_its_own(trust: TrustDirectory, sim: Simulator) -> None:
    """The new root meets its own threshold with the thief's keys, and misses the old one."""
    evil = [keys("root", 3)[0], key("thief 1"), key("thief 2")]
    signed = next_root(sim)
    signed["keys"] |= {signer.public_key.keyid: signer.public_key.to_dict() for signer in evil}
    signed["roles"]["root"]["keyids"] = [signer.public_key.keyid for signer in evil]
    sim.files["metadata/2.root.json"] = sign(signed, evil)
    with pytest.raises(ThresholdNotMet):
        root_version(trust, sim)


def test_the_old_holders_alone_cannot_skip_the_new_ones(trust: TrustDirectory, sim: Simulator) -> None:
    signed = next_root(sim)
    fresh = keys("new root", 3)
    signed["keys"] |= {signer.public_key.keyid: signer.public_key.to_dict() for signer in fresh}
    signed["roles"]["root"]["keyids"] = [signer.public_key.keyid for signer in fresh]
    sim.files["metadata/2.root.json"] = sign(signed, keys("root", 3))
    with pytest.raises(ThresholdNotMet):
        root_version(trust, sim)
    sim.files["metadata/2.root.json"] = sign(signed, [*keys("root", 3)[:2], *fresh[:2]])
    assert root_version(trust, sim) == 2


def test_one_key_that_signs_twice_counts_once(trust: TrustDirectory, sim: Simulator) -> None:
    """Trap 11: duplicate signatures counted. The specification refuses a key id listed twice (4.2)."""
    once = keys("root", 3)[0]
    sim.files["metadata/2.root.json"] = sign(next_root(sim), [once, once])
    with pytest.raises(FormatError, match="two signatures"):
        root_version(trust, sim)


def test_one_key_under_two_ids_is_refused_in_a_root(trust: TrustDirectory, sim: Simulator, tmp_path: Path) -> None:
    """Trap 1: one public key under two key ids meets a threshold of two in python-tuf."""
    signed = next_root(sim)
    once = keys("root", 3)[0]
    twin = once.public_key.to_dict() | {"x-note": "the same key"}
    from carnet.tuf.keys import PublicKey

    twin_id = PublicKey.from_object(twin).keyid
    signed["keys"][twin_id] = twin
    signed["roles"]["snapshot"]["keyids"] = [once.public_key.keyid, twin_id]
    sim.files["metadata/2.root.json"] = sign(signed, keys("root", 3))
    with pytest.raises(FormatError, match="one key under two ids"):
        root_version(trust, sim)


@pytest.mark.parametrize("version", [1, 3, 4, 100])
def test_the_next_root_is_exactly_one_higher(trust: TrustDirectory, sim: Simulator, version: int) -> None:
    """Trap 11: a root that is not exactly N+1."""
    signed = next_root(sim) | {"version": version}
    sim.files["metadata/2.root.json"] = sign(signed, keys("root", 3))
    with pytest.raises(MetadataMismatch, match=r"5\.3\.5"):
        root_version(trust, sim)
    assert trust.root == sim.root_file(1)


def test_a_root_that_failed_is_asked_for_again(trust: TrustDirectory, sim: Simulator) -> None:
    """Trap 11: a failed root cached and trusted later."""
    sim.files["metadata/2.root.json"] = sign(next_root(sim), [keys("root", 3)[0]])
    with pytest.raises(ThresholdNotMet):
        root_version(trust, sim)
    sim.asked()
    sim.files["metadata/2.root.json"] = sign(next_root(sim), keys("root", 3)[:2])
    assert root_version(trust, sim) == 2
    assert sim.asked()[:2] == ["metadata/2.root.json", "metadata/3.root.json"]


@pytest.mark.parametrize(
    "point", ["01" + "00" * 31, "00" * 32, "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"]
)
def test_a_root_with_a_key_that_accepts_any_signature_is_refused(
    trust: TrustDirectory, sim: Simulator, point: str
) -> None:
    """Trap 2: a low-order point as public key verifies without a private key."""
    signed = next_root(sim)
    weak = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": point}}
    keyid = hashlib.sha256(strictjson.canonical(weak)).hexdigest()
    signed["keys"][keyid] = weak
    signed["roles"]["root"]["keyids"] = [*signed["roles"]["root"]["keyids"], keyid]
    sim.files["metadata/2.root.json"] = sign(signed, keys("root", 3))
    with pytest.raises(FormatError, match="low-order"):
        root_version(trust, sim)


def test_the_chain_is_walked_to_its_end(trust: TrustDirectory, sim: Simulator) -> None:
    for generation in range(4):
        fresh = Who(keys(f"generation {generation}", 3), 2)
        fresh.signing = [*fresh.signing, *sim.who["root"].signers]
        sim.set_keys("root", fresh)
        sim.publish("root")
    assert root_version(trust, sim) == 5
    other = TrustDirectory.create(trust.path.parent / "late", sim.root_file(1), "")
    assert root_version(other, sim) == 5
    assert root_version(other, sim) == 5


def test_a_chain_without_end_is_an_error(
    trust: TrustDirectory, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carnet_verifier.tuf.refresh.MAX_NEW_ROOTS", 3)
    for _ in range(3):
        sim.publish("root")
    with pytest.raises(MetadataError, match="nothing was decided"):
        root_version(trust, sim)
    assert root_version(trust, sim) == 4  # the verified ones were kept, so the next run goes on from there


@pytest.mark.parametrize("signing", [[], [0], [0, 0]])
def test_a_pinned_root_below_its_threshold_is_refused(sim: Simulator, tmp_path: Path, signing: list[int]) -> None:
    root = sign(sim.root.to_dict(), [keys("root", 3)[number] for number in signing])
    with pytest.raises(ConfigError, match="cannot be trusted"):
        TrustDirectory.create(tmp_path / "other", root, "https://mirror.example/")
    assert not (tmp_path / "other" / "trust.json").exists()
