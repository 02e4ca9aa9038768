"""Attacker: the mirror, its CDN or the network, with no key. Nothing wrong, old, mixed or endless is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.worlds.simulator import DAY, NOW, Simulator

from carnet.cargo.names import CrateName
from carnet.errors import (
    ExpiredMetadata,
    FormatError,
    MetadataError,
    MetadataMismatch,
    NotFound,
    RollbackDetected,
    ThresholdNotMet,
    TransportError,
)
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.tuf.refresh import TrustedRepository, refresh

SERDE, RAND = b'{"name":"serde"}\n', b'{"name":"rand"}\n'
INDEX = "index/se/rd/serde"


@pytest.fixture
def sim() -> Simulator:
    made = Simulator()
    made.add_index("serde", SERDE)
    made.add_index("rand", RAND)
    made.claim("serde", releases={"serde-1.0.0.crate": b"tarball"}, layout=b"{}")
    made.publish()
    return made


@pytest.fixture
def trust(sim: Simulator, tmp_path: Path) -> TrustDirectory:
    return TrustDirectory.create(tmp_path / "trust", sim.root_file(), "https://mirror.example/")


def look(trust: TrustDirectory, sim: Simulator) -> tuple[TrustedRepository, bytes]:
    """What a verifier does for one crate: its index file, and its claim."""
    repository = refresh(trust, sim, now=sim.now)
    data = repository.download(repository.find_target(INDEX))
    repository.claims([CrateName("serde"), CrateName("rand")])
    return repository, data


def test_untouched_the_repository_is_taken(trust: TrustDirectory, sim: Simulator) -> None:
    repository, data = look(trust, sim)
    assert data == SERDE
    claim = repository.claim(CrateName("serde"))
    assert claim is not None
    assert list(claim.crate.targets) == ["crates/8b/serde/serde-1.0.0.crate"]
    assert repository.claim(CrateName("rand")) is None
    assert look(TrustDirectory.open(trust.path), sim)[1] == SERDE


ROLES = ["timestamp", "snapshot", "targets", "index", "index-1", "claims", "claims-8b", "owner.serde", "crate.serde"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_with_other_content_is_refused(trust: TrustDirectory, sim: Simulator, role: str) -> None:
    sim.tamper(role, lambda document: document["signed"].update(expires="2099-01-01T00:00:00Z"))
    with pytest.raises(MetadataError):
        look(trust, sim)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_without_its_signatures_is_refused(trust: TrustDirectory, sim: Simulator, role: str) -> None:
    sim.tamper(role, lambda document: document["signatures"].clear())
    with pytest.raises((ThresholdNotMet, MetadataMismatch)):
        look(trust, sim)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("flip", [0, 40, -2])
def test_a_flipped_bit_is_refused(trust: TrustDirectory, sim: Simulator, role: str, flip: int) -> None:
    data = bytearray(sim.files[sim.path(role)])
    data[flip] ^= 0x04
    sim.files[sim.path(role)] = bytes(data)
    with pytest.raises((MetadataError, FormatError)):
        look(trust, sim)


@pytest.mark.parametrize("role", ROLES)
def test_a_missing_role_decides_nothing(trust: TrustDirectory, sim: Simulator, role: str) -> None:
    del sim.files[sim.path(role)]
    with pytest.raises(TransportError):
        look(trust, sim)


@pytest.mark.parametrize("role", [role for role in ROLES if role not in ("timestamp", "index-1")])
def test_a_role_that_only_its_own_keys_signed_is_not_in_the_view(
    trust: TrustDirectory, sim: Simulator, role: str
) -> None:
    sim.forge(role, lambda signed: signed.update(spec_version="1.0.99"))
    with pytest.raises(MetadataMismatch):  # well signed, but not the bytes that the snapshot names
        look(trust, sim)


@pytest.mark.parametrize("same_version", [False, True])
def test_another_bins_file_is_refused(trust: TrustDirectory, sim: Simulator, same_version: bool) -> None:
    """Bins have one key, and the snapshot has only their versions: an empty one would say that a crate is not there."""
    mine = sim.bin_of(INDEX)
    other = next(f"index-{number}" for number in range(4) if f"index-{number}" != mine)
    if same_version:
        sim.publish(other)
    assert (sim.roles[other].version == sim.roles[mine].version) is same_version
    good = sim.files[sim.path(mine)]
    sim.files[sim.path(mine)] = sim.files[sim.path(other)]
    with pytest.raises(MetadataMismatch, match=r"does not say that it is|version"):
        look(trust, sim)
    sim.files[sim.path(mine)] = good
    assert look(TrustDirectory.open(trust.path), sim)[1] == SERDE


def test_one_bad_role_is_not_fetched_again_for_every_crate(trust: TrustDirectory, sim: Simulator) -> None:
    repository = refresh(trust, sim, now=NOW)
    sim.tamper("claims", lambda document: document["signatures"].clear())
    sim.asked()
    for name in ("serde", "rand", "libc", "syn"):
        with pytest.raises(MetadataError):
            repository.claim(CrateName(name))
    assert sim.asked().count(sim.path("claims")) == 1


def test_a_file_that_was_right_for_one_bin_is_checked_for_the_next(trust: TrustDirectory, sim: Simulator) -> None:
    """Equal files are parsed once; what the snapshot promises for each of them is still demanded of each."""
    by_bin = {sim.bin_of(f"index/xx/yy/xxyy{number}"): f"index/xx/yy/xxyy{number}" for number in range(40)}
    empty = [role for role in by_bin if not sim.targets(role).targets]
    first, second = empty[:2]
    sim.publish(second)
    sim.files[sim.path(second)] = sim.files[sim.path(first)]
    repository = refresh(trust, sim, now=NOW)
    assert repository.find_targets([by_bin[first]]) == {by_bin[first]: None}
    with pytest.raises(MetadataMismatch, match=r"5\.6\.4"):
        repository.find_targets([by_bin[second]])


def test_an_older_file_under_the_new_ones_name_is_refused(trust: TrustDirectory, sim: Simulator) -> None:
    old = {role: sim.files[sim.path(role)] for role in ROLES}
    sim.publish(*(role for role in ROLES if role not in ("snapshot", "timestamp")))
    look(trust, sim)
    for role in ROLES[1:]:
        kept = sim.files[sim.path(role)]
        sim.files[sim.path(role)] = old[role]
        with pytest.raises(MetadataError):
            look(TrustDirectory.create(trust.path.parent / role, sim.root_file(), ""), sim)
        sim.files[sim.path(role)] = kept


def test_an_old_view_is_refused_by_a_client_that_saw_a_newer_one(trust: TrustDirectory, sim: Simulator) -> None:
    old = sim.copy()
    sim.publish("index-1")
    look(trust, sim)
    with pytest.raises(RollbackDetected):
        look(trust, old)
    assert look(trust, sim)[1] == SERDE  # and it did the client no harm


def test_a_frozen_view_ends_with_its_timestamp(trust: TrustDirectory, sim: Simulator) -> None:
    look(trust, sim)
    sim.now = NOW + 2 * DAY
    with pytest.raises(ExpiredMetadata, match="timestamp") as refused:
        look(trust, sim)
    assert "clock" in refused.value.hint
    sim.publish()
    assert look(trust, sim)[1] == SERDE


def test_files_of_two_views_do_not_mix(trust: TrustDirectory, sim: Simulator) -> None:
    new = sim.copy()
    new.add_index("serde", b"newer\n")
    new.publish()
    sim.files["metadata/timestamp.json"] = new.files["metadata/timestamp.json"]
    sim.files[new.path("snapshot")] = sim.files[sim.path("snapshot")]
    with pytest.raises(MetadataMismatch):
        look(trust, sim)


@pytest.mark.parametrize("data", [b"", b"tarbal", b"tarball ", b"TARBALL"])
def test_other_bytes_of_a_target_are_refused(trust: TrustDirectory, sim: Simulator, data: bytes) -> None:
    repository, _ = look(trust, sim)
    target = repository.find_target("crates/8b/serde/serde-1.0.0.crate")
    assert repository.download(target) == b"tarball"
    sim.served[f"targets/crates/8b/serde/{target.sha256}.serde-1.0.0.crate"] = data
    with pytest.raises((MetadataMismatch, TransportError)):
        repository.download(target)


def test_another_crates_bytes_are_refused(trust: TrustDirectory, sim: Simulator) -> None:
    repository, _ = look(trust, sim)
    targets = repository.find_targets([INDEX, "index/ra/nd/rand"])
    serde, rand = targets[INDEX], targets["index/ra/nd/rand"]
    assert serde is not None
    assert rand is not None
    sim.served[f"targets/index/se/rd/{serde.sha256}.serde"] = RAND
    with pytest.raises((MetadataMismatch, TransportError)):
        repository.download(serde)


def test_an_endless_file_is_never_read_past_what_was_promised(trust: TrustDirectory, sim: Simulator) -> None:
    asked: list[int] = []
    plain = sim.get

    class Counting(Simulator):
        def get(self, path: str, *, max_bytes: int) -> bytes:
            asked.append(max_bytes)
            return plain(path, max_bytes=max_bytes)

    sim.__class__ = Counting
    look(trust, sim)
    assert max(asked) <= 64_000_000
    snapshot = asked[2]
    assert snapshot == len(sim.files[sim.path("snapshot")])


def test_absence_is_proved_by_signatures_only(trust: TrustDirectory, sim: Simulator) -> None:
    repository, _ = look(trust, sim)
    with pytest.raises(NotFound):
        repository.find_target("index/no/ne/none")
    assert repository.find_targets(["index/no/ne/none"]) == {"index/no/ne/none": None}
    fresh = TrustDirectory.create(trust.path.parent / "other", sim.root_file(), "")
    sim.served[sim.path(sim.bin_of("index/no/ne/none"))] = TransportError("answered 404", status=404)
    with pytest.raises(TransportError):
        refresh(fresh, sim, now=NOW).find_target("index/no/ne/none")


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"{",
    "not an object": b"[]",
    "null": b"null",
    "deep": b'{"signed":' + b"[" * 400,
    "not UTF-8": b'{"signed":{"_type":"\xff"}}',
    "two readings": b'{"signatures":[],"signatures":[],"signed":{}}',
    "NaN": b'{"signatures":[],"signed":{"version":NaN}}',
    "lone surrogate": b'{"signatures":[],"signed":{"_type":"\\ud800"}}',
    "a page": b"<html><body>504 Gateway Time-out</body></html>",
}


@pytest.mark.parametrize("role", ["2.root", "timestamp", "snapshot", "index"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_one_of_our_errors(trust: TrustDirectory, sim: Simulator, role: str, name: str) -> None:
    path = "metadata/2.root.json" if role == "2.root" else sim.path(role)
    sim.files[path] = HOSTILE[name]
    with pytest.raises((FormatError, MetadataError)) as refused:
        look(trust, sim)
    assert "\n" not in str(refused.value)
    del sim.files[path]
    assert not (trust.path / "metadata" / f"{role}.json").exists() or role == "2.root"


def test_what_failed_is_not_trusted_later(trust: TrustDirectory, sim: Simulator) -> None:
    """Trap 11: a root that failed was cached and trusted, a timestamp was stored before it was checked."""
    before = files(trust)
    root = sim.files["metadata/1.root.json"]
    sim.files["metadata/2.root.json"] = root.replace(b'"version":1', b'"version":2')
    with pytest.raises(ThresholdNotMet):
        look(trust, sim)
    assert files(trust) == before
    del sim.files["metadata/2.root.json"]
    good = sim.files["metadata/timestamp.json"]
    sim.tamper("timestamp", lambda document: document["signed"].update(version=99))
    with pytest.raises(ThresholdNotMet):
        look(trust, sim)
    assert files(trust) == before
    sim.files["metadata/timestamp.json"] = good
    assert look(trust, sim)[1] == SERDE


def files(trust: TrustDirectory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (trust.path / "metadata").iterdir()}


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "index-1", "claims-8b"])
def test_a_cache_that_someone_else_wrote_is_not_believed(trust: TrustDirectory, sim: Simulator, role: str) -> None:
    look(trust, sim)
    good = sim.files[sim.path(role)]
    bad = good.replace(b'"expires":"202', b'"expires":"203')
    assert bad != good
    file = f"{role}.json" if role in ("timestamp", "snapshot") else "delegated.pack"
    place = trust.path / "metadata" / file
    kept = place.read_bytes()
    assert kept.count(good) == 1
    place.write_bytes(kept.replace(good, bad))
    (trust.path / "answers.pack").unlink()  # or the role would not be needed at all
    sim.asked()
    assert look(TrustDirectory.open(trust.path), sim)[1] == SERDE
    assert sim.path(role) in sim.asked()
    assert good in place.read_bytes()
    assert bad not in place.read_bytes()


def test_a_root_that_someone_else_wrote_is_refused(trust: TrustDirectory, sim: Simulator) -> None:
    look(trust, sim)
    place = trust.path / "metadata" / "root.json"
    place.write_bytes(place.read_bytes().replace(b'"expires":"2028-02', b'"expires":"2038-01'))
    with pytest.raises(ThresholdNotMet):
        look(TrustDirectory.open(trust.path), sim)


@pytest.mark.parametrize("cut", [0, 1, 14, 20, 200, -1, -100])
def test_a_cache_that_is_torn_is_none(trust: TrustDirectory, sim: Simulator, cut: int) -> None:
    look(trust, sim)
    place = trust.path / "metadata" / "delegated.pack"
    whole = place.read_bytes()
    for torn in (whole[:cut], whole[:cut] + b"\0" * 50, b"9" * 100 + whole, whole + b"x"):
        place.write_bytes(torn)
        (trust.path / "answers.pack").unlink()
        assert look(TrustDirectory.open(trust.path), sim)[1] == SERDE
        assert len(place.read_bytes()) == len(whole) or torn == whole


def test_a_warm_run_fetches_only_what_changed(trust: TrustDirectory, sim: Simulator) -> None:
    look(trust, sim)
    sim.asked()
    look(trust, sim)
    index = [path for path in sim.asked() if not path.startswith("targets/")]
    assert index == ["metadata/2.root.json", "metadata/timestamp.json"]
    sim.add_index("serde", SERDE + SERDE)
    sim.publish()
    assert look(trust, sim)[1] == SERDE + SERDE
    fetched = {path for path in sim.asked() if path.startswith("metadata/")}
    assert fetched == {
        "metadata/2.root.json",
        "metadata/timestamp.json",
        sim.path("snapshot"),
        sim.path(sim.bin_of(INDEX)),
    }
