"""What a client remembers: damage to what protects it is an error, damage to what only makes it fast is forgotten."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.simulator import NOW, Simulator

from carnet.cargo.names import CrateName
from carnet.errors import ConfigError, StorageError
from carnet_verifier.memory.pack import _HEAD, FileCache, PackedDirectory, _unpack, replace_file
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.fetch import HttpFetcher
from carnet_verifier.tuf.refresh import refresh

SERDE = CrateName("serde")


@pytest.fixture(scope="module")
def sim() -> Simulator:
    sim = Simulator()
    sim.claim("serde", releases={"serde-1.0.0.crate": b"tarball"})
    sim.publish()
    return sim


@pytest.fixture
def trust(tmp_path: Path, sim: Simulator) -> TrustDirectory:
    trust = TrustDirectory.create(tmp_path / "trust", sim.root_file(), "https://mirror.example/")
    assert refresh(trust, sim, now=NOW).claim(SERDE) is not None
    trust.remember_levels({SERDE: 2})
    return trust


def damaged(trust: TrustDirectory, data: bytes) -> TrustDirectory:
    (trust.path / "seen.json").write_bytes(data)
    return TrustDirectory.open(trust.path)


def seen(trust: TrustDirectory) -> Any:
    return json.loads((trust.path / "seen.json").read_bytes())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"a":1,"a":2}', b"\xff", b'{"refreshed":NaN}'])
def test_a_memory_that_is_damaged_is_an_error_and_never_an_empty_one(trust: TrustDirectory, data: bytes) -> None:
    trust = damaged(trust, data)
    for ask in (trust.last_refresh, lambda: trust.owners([SERDE]), lambda: trust.highest_levels([SERDE])):
        with pytest.raises(StorageError, match=r"seen\.json is damaged") as refused:
            ask()
        assert "restore it from a copy" in str(refused.value.hint)


@pytest.mark.parametrize("instead", ["a folder", "a circle"])
def test_a_memory_that_cannot_be_read_is_an_error(trust: TrustDirectory, instead: str) -> None:
    place = trust.path / "seen.json"
    place.unlink()
    if instead == "a folder":
        place.mkdir()
    else:
        place.symlink_to(place)
    with pytest.raises(StorageError, match=r"seen\.json"):
        TrustDirectory.open(trust.path).last_refresh()


@pytest.mark.parametrize("time", ["", "yesterday", "2027-13-01T00:00:00+00:00"])
def test_a_time_that_is_none_is_damage(trust: TrustDirectory, time: str) -> None:
    assert trust.last_refresh() == datetime(2027, 3, 1, 12, tzinfo=UTC)
    trust = damaged(trust, json.dumps(seen(trust) | {"refreshed": time}).encode())
    with pytest.raises(StorageError, match=r"damaged: its time .* is not a time"):
        trust.last_refresh()


@pytest.mark.parametrize("owners", [{}, [], 1, {"version": 1, "threshold": 1, "keys": {"0" * 64: {}}}], ids=str)
def test_owners_that_are_none_are_damage(trust: TrustDirectory, owners: Any) -> None:
    assert trust.owners([SERDE])[SERDE].version == 1
    document = seen(trust)
    document["crates"]["serde"]["owners"] = owners
    trust = damaged(trust, json.dumps(document).encode())
    with pytest.raises(StorageError, match=r"seen\.json is damaged"):
        trust.owners([SERDE])


# --- what only makes it fast ---

FILES = {"index": b"one\n", "targets": b"", "claims": b"one\n"}
PROOF = bytes(range(32))


def pack(folder: Path) -> Path:
    kept = PackedDirectory(folder)
    kept.proofs.add(PROOF)
    kept.cache(FILES)
    kept.flush()
    return folder / "delegated.pack"


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "another making": lambda data: data.replace(b"pack 1", b"pack 2"),
    "no number": lambda data: data.replace(b"\n1\n", b"\nx\n"),
    "proofs below zero": lambda data: data.replace(b"\n1\n", b"\n-1\n"),
    "proofs without end": lambda data: data.replace(b"\n1\n", b"\n100001\n"),
    "more proofs than bytes": lambda data: data.replace(b"\n1\n", b"\n99\n"),
    "cut off in a proof": lambda data: data[:30],
    "cut off in a name": lambda data: data[:50],
    "cut off in a file": lambda data: data[:-2],
    "a file longer than it is": lambda data: data.replace(b"4 index", b"5 index"),
    "a file shorter than it is": lambda data: data.replace(b"4 index", b"3 index"),
    "a file below zero": lambda data: data.replace(b"4 index", b"-4 index"),
    "a file that leads back": lambda data: data.replace(b"0 targets", b"-10 targets"),
    "a length that is none": lambda data: data.replace(b"4 index", b"x index"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_torn_pack_is_none(how: str, tmp_path: Path) -> None:
    place = pack(tmp_path)
    whole = PackedDirectory(tmp_path)
    assert (whole.proofs, {name: whole.read(name) for name in FILES}) == ({PROOF}, FILES)
    data = place.read_bytes()
    broken = BROKEN[how](data)
    assert broken != data
    place.write_bytes(broken)
    torn = PackedDirectory(tmp_path)
    assert (torn.proofs, {name: torn.read(name) for name in FILES}) == (set(), dict.fromkeys(FILES))
    place.replace(tmp_path / "files")
    assert FileCache(tmp_path / "files").get("index") is None


def test_a_file_that_cannot_be_replaced_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "place"
    (place / "inside").mkdir(parents=True)
    with pytest.raises(StorageError, match="place: "):
        replace_file(str(place), b"data")
    with pytest.raises(StorageError, match="no such file"):
        replace_file(str(tmp_path / "missing/place"), b"data")
    assert list(tmp_path.iterdir()) == [place]


def test_a_proxy_is_spoken_to_in_the_clear() -> None:
    """TLS in TLS is not what a proxy means; to take an https:// one for an http:// one would send to another port."""
    for url in ("https://proxy.example/", "https://proxy.example:8080"):
        with pytest.raises(ConfigError, match="is not http://"):
            HttpFetcher("https://mirror.example/", proxy=url)
    for url in ("http://proxy.example/", "proxy.example:8080"):
        HttpFetcher("https://mirror.example/", proxy=url).close()


@pytest.mark.parametrize("entry", [b"1\n1\n", b"0 a\n\n", b"1 a b\nx\n"])
def test_a_pack_of_files_too_small_to_be_roles_is_none(tmp_path: Path, entry: bytes) -> None:
    """What a few bytes make costs as much as a role: such a pack is forgotten before most of it is read."""
    few, many = (_HEAD + b"0\n" + entry * number for number in (4_000, 40_000))
    _unpack(few)
    with pytest.raises(ValueError, match=r"^$"):
        _unpack(many)
    (tmp_path / "delegated.pack").write_bytes(many)
    assert PackedDirectory(tmp_path).read("a") is None
