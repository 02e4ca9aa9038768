"""Answers of earlier runs: used while everything that they follow from is the same, and never a moment longer."""

from __future__ import annotations

import hashlib
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.simulator import DAY, NOW, Simulator, Who, keys

from carnet import strictjson
from carnet.cargo.names import CrateName
from carnet.errors import ExpiredMetadata
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.tuf.refresh import TrustedRepository, refresh

INDEX = "index/se/rd/serde"
SERDE, RAND = CrateName("serde"), CrateName("rand")
SHARD = "claims-8b"


@pytest.fixture
def sim() -> Simulator:
    made = Simulator()
    made.add_index("serde", b"one\n")
    made.publish()
    return made


@pytest.fixture
def trust(sim: Simulator, tmp_path: Path) -> TrustDirectory:
    made = TrustDirectory.create(tmp_path / "trust", sim.root_file(), "https://mirror.example/")
    look(made, sim)
    return made


def look(trust: TrustDirectory, sim: Simulator, now: datetime = NOW) -> TrustedRepository:
    repository = refresh(TrustDirectory.open(trust.path), sim, now=now)
    repository.look_up([INDEX], [SERDE, RAND])
    return repository


def forget_roles(trust: TrustDirectory) -> None:
    """What is left to answer from is the answers: everything else has to be fetched."""
    (trust.path / "metadata" / "delegated.pack").unlink()


def fetched(trust: TrustDirectory, sim: Simulator, now: datetime = NOW) -> set[str]:
    """The delegated roles that a look has to fetch when no role is kept."""
    forget_roles(trust)
    sim.asked()
    look(trust, sim, now)
    names = {path.split("/")[1].removesuffix(".json").partition(".")[2] for path in sim.asked() if "metadata/" in path}
    return names - {"root", "json", "snapshot", "targets", ""}


def test_what_was_found_is_found_again_without_its_roles(trust: TrustDirectory, sim: Simulator) -> None:
    target = look(trust, sim).find_target(INDEX)
    assert fetched(trust, sim) == set()
    again = look(trust, sim)
    assert again.find_target(INDEX) == target
    assert again.claims([SERDE, RAND]) == {SERDE: None, RAND: None}


def test_without_answers_all_of_them_are_fetched(trust: TrustDirectory, sim: Simulator) -> None:
    (trust.path / "answers.pack").unlink()
    assert fetched(trust, sim) == {"claims", SHARD, "index", sim.bin_of(INDEX)}


def test_a_bin_that_changed_is_looked_at(trust: TrustDirectory, sim: Simulator) -> None:
    sim.add_index("serde", b"two\n")
    sim.publish()
    assert fetched(trust, sim) == {"index", sim.bin_of(INDEX)}
    repository = look(trust, sim)
    assert repository.download(repository.find_target(INDEX)) == b"two\n"


def test_a_target_that_was_taken_away_is_gone(trust: TrustDirectory, sim: Simulator) -> None:
    role = sim.bin_of(INDEX)
    del sim.targets(role).targets[INDEX]
    sim.publish(role)
    assert refresh(trust, sim, now=NOW).find_targets([INDEX]) == {INDEX: None}


def test_a_crate_that_was_claimed_is_no_longer_nobodys(trust: TrustDirectory, sim: Simulator) -> None:
    assert look(trust, sim).claim(SERDE) is None
    sim.claim("serde")
    sim.publish()
    repository = look(trust, sim)
    assert repository.claim(SERDE) is not None
    assert repository.claim(RAND) is None
    assert fetched(trust, sim) == {"claims", SHARD, "owner.serde", "crate.serde"}


@pytest.mark.parametrize(("role", "looked_at"), [("index", {"index", "bin"}), ("claims", {"claims", SHARD})])
def test_other_keys_for_a_delegated_role_are_looked_at(
    trust: TrustDirectory, sim: Simulator, role: str, looked_at: set[str]
) -> None:
    sim.set_keys(role, Who(keys(f"new {role}", 2), 1))
    sim.publish()
    assert fetched(trust, sim) >= {sim.bin_of(INDEX) if name == "bin" else name for name in looked_at}


def test_a_new_root_answers_nothing_by_what_followed_from_the_old_one(trust: TrustDirectory, sim: Simulator) -> None:
    sim.publish("root")
    assert fetched(trust, sim) >= {"index", sim.bin_of(INDEX), "claims", SHARD}


@pytest.mark.parametrize("role", ["index-1", SHARD, "claims", "index"])
def test_a_role_that_expired_answers_nothing(tmp_path: Path, role: str) -> None:
    sim = Simulator()
    assert sim.bin_of(sim.add_index("serde", b"one\n")) == "index-1"
    sim.roles[role].expires = NOW + 10 * DAY
    sim.publish(role)
    trust = TrustDirectory.create(tmp_path / "trust", sim.root_file(), "https://mirror.example/")
    sim.publish(now=NOW + 9 * DAY)
    look(trust, sim, NOW + 9 * DAY)
    sim.publish(now=NOW + 10 * DAY)
    with pytest.raises(ExpiredMetadata, match=role):
        look(trust, sim, NOW + 10 * DAY)


@pytest.mark.parametrize("cut", [0, 1, 17, 90, 200, -1])
def test_a_torn_file_is_none(trust: TrustDirectory, sim: Simulator, cut: int) -> None:
    place = trust.path / "answers.pack"
    whole = place.read_bytes()
    for torn in (whole[:cut], whole[:cut] + b"\0" * 50, b"9" * 100 + whole, whole + b"x"):
        place.write_bytes(torn)
        look(trust, sim)
        assert place.read_bytes() == whole


def test_a_flipped_bit_is_noticed(trust: TrustDirectory, sim: Simulator) -> None:
    place = trust.path / "answers.pack"
    whole = place.read_bytes()
    digest = hashlib.sha256(b"one\n").hexdigest().encode()
    assert digest in whole
    place.write_bytes(whole.replace(digest, b"0" * 64))
    repository = look(trust, sim)
    assert repository.download(repository.find_target(INDEX)) == b"one\n"


def test_answers_of_another_form_are_none(trust: TrustDirectory, sim: Simulator) -> None:
    place = trust.path / "answers.pack"
    whole = place.read_bytes()
    assert whole.startswith(b"carnet answers 3 ")
    for other in (b"carnet answers 1 ", b"carnet answers 4 "):
        place.write_bytes(whole.replace(b"carnet answers 3 ", other))
        look(trust, sim)
        assert place.read_bytes() == whole


MALFORMED: list[dict[str, Any]] = [
    {},
    {"root": None},
    {"roles": []},
    {"roles": {"targets": {}}},
    {"roles": {"targets": {"expires": "x"}}},
    {"targets": {INDEX: 1}},
    {"targets": {INDEX: [[], 1, "x"]}},
    {"targets": {INDEX: [["targets"], "x", "x"]}},
    {"unclaimed": {"a": [["x"]]}},
]


@pytest.mark.parametrize("change", MALFORMED)
def test_a_whole_file_of_another_form_is_none(trust: TrustDirectory, sim: Simulator, change: dict[str, Any]) -> None:
    place = trust.path / "answers.pack"
    head, _, data = place.read_bytes().partition(b"\n")
    document = strictjson.parse_object(data, "answers", max_bytes=10**6)
    for name, value in change.items():
        kept = document[name]
        document[name] = {**kept, **value} if isinstance(kept, dict) and isinstance(value, dict) else value
    changed = strictjson.canonical(document if change else {})
    place.write_bytes(head[:-64] + hashlib.sha256(changed).hexdigest().encode() + b"\n" + changed)
    repository = look(trust, sim)
    assert repository.download(repository.find_target(INDEX)) == b"one\n"


def test_a_single_look_up_writes_nothing(trust: TrustDirectory, sim: Simulator) -> None:
    """A proxy looks crates up one by one; all answers are written together."""
    place = trust.path / "answers.pack"
    before = place.stat()
    sim.add_index("rand", b"x")
    sim.publish()
    refresh(trust, sim, now=NOW).find_target("index/ra/nd/rand")
    assert place.stat().st_ino == before.st_ino


def test_threads_may_look_at_once(trust: TrustDirectory, sim: Simulator) -> None:
    for number in range(40):
        sim.add_index(f"crate-{number}", b"x")
    sim.publish()
    repository = refresh(trust, sim, now=NOW)
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for other in range(number, 40, 4):
                repository.look_up([f"index/cr/at/crate-{other}"], [CrateName(f"crate-{other}")])
        except BaseException as error:  # noqa: BLE001  -- the test says what it was
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    data = (trust.path / "answers.pack").read_bytes().partition(b"\n")[2]
    kept = strictjson.parse_object(data, "answers", max_bytes=10**6)
    assert isinstance(kept["targets"], dict)
    assert {f"index/cr/at/crate-{number}" for number in range(40)} <= kept["targets"].keys()
