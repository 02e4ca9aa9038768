"""What a client remembers survives crashes at any point, other processes, and threads."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey
from tests.support.worlds.simulator import NOW, Simulator, Who, key

from carnet.cargo.names import CrateName
from carnet.errors import ConfigError, RollbackDetected, StorageError
from carnet.tuf.keys import PublicKey
from carnet_verifier.memory import trust as trust_module
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.tuf.refresh import refresh

SERDE = CrateName("serde")


@pytest.fixture
def sim() -> Simulator:
    made = Simulator()
    made.add_index("serde", b"{}\n")
    made.claim("serde")
    made.publish()
    return made


@pytest.fixture
def trust(sim: Simulator, tmp_path: Path) -> TrustDirectory:
    return TrustDirectory.create(tmp_path / "trust", sim.root_file(), "https://mirror.example/")


def test_a_trust_directory_is_made_once(trust: TrustDirectory, sim: Simulator) -> None:
    with pytest.raises(ConfigError, match="already trusts"):
        TrustDirectory.create(trust.path, sim.root_file(), "https://other.example/")
    assert TrustDirectory.open(trust.path).url == "https://mirror.example/"
    assert TrustDirectory.open(trust.path).root == sim.root_file()


def test_no_trust_directory_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trusts no repository") as refused:
        TrustDirectory.open(tmp_path)
    assert "carnet trust add" in refused.value.hint


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"url":1}', b"{}"])
def test_a_damaged_trust_directory_is_an_error(trust: TrustDirectory, data: bytes) -> None:
    (trust.path / "trust.json").write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        TrustDirectory.open(trust.path)


@pytest.mark.parametrize("root", [b"", b"{}", b"[]", b"not JSON"])
def test_what_is_no_root_is_not_trusted(tmp_path: Path, root: bytes) -> None:
    with pytest.raises(ConfigError, match="cannot be trusted"):
        TrustDirectory.create(tmp_path / "trust", root, "")
    assert not (tmp_path / "trust").exists()


def test_a_lost_root_is_told(trust: TrustDirectory, sim: Simulator) -> None:
    (trust.path / "metadata" / "root.json").unlink()
    with pytest.raises(StorageError, match="missing"):
        refresh(trust, sim, now=NOW)


# --- levels and owners ---


def test_levels_only_rise(trust: TrustDirectory) -> None:
    assert trust.highest_levels([SERDE]) == {}
    for level, highest in ((1, 1), (3, 3), (2, 3), (0, 3)):
        trust.remember_levels({SERDE: level})
        assert TrustDirectory.open(trust.path).highest_levels([CrateName("SERDE")]) == {CrateName("SERDE"): highest}
    assert trust.highest_levels([CrateName("rand"), SERDE]) == {SERDE: 3}


def test_levels_and_owners_are_kept_beside_each_other(trust: TrustDirectory, sim: Simulator) -> None:
    trust.remember_levels({SERDE: 2})
    claim = refresh(trust, sim, now=NOW).claim(SERDE)
    assert claim is not None
    again = TrustDirectory.open(trust.path)
    assert again.highest_levels([SERDE]) == {SERDE: 2}
    assert again.owners([SERDE, CrateName("rand")]).keys() == {SERDE}
    assert again.owners([SERDE])[SERDE].version == claim.owner.version


def noted(note: str) -> CryptoSigner:
    """A key with a word of its owner's own: it is part of the key, and of its id."""
    signer = key("noted")
    fields = signer.public_key.to_dict() | {"note": note}
    return CryptoSigner(signer._private_key, SSlibKey.from_dict(PublicKey.from_object(fields).keyid, fields))


@pytest.mark.parametrize(
    "owner",
    [CryptoSigner.generate_ecdsa(), noted("two\nlines"), noted('\x00\x1f\x7f"\\ \u2028')],
    ids=["pem", "lines", "odd"],
)
def test_an_owner_whose_key_has_control_characters_spoils_no_memory(
    trust: TrustDirectory, sim: Simulator, owner: CryptoSigner
) -> None:
    """A key in PEM has line breaks. Canonical JSON keeps them as they are, and is no JSON that anybody reads then."""
    rand = sim.claim("rand", owners=Who([owner], 1))
    sim.publish()
    for _ in range(2):
        opened = TrustDirectory.open(trust.path)
        claim = refresh(opened, sim, now=NOW).claim(rand)
        assert claim is not None
        assert not claim.takeover
        opened.remember_levels({SERDE: 2})
    again = TrustDirectory.open(trust.path)
    assert again.highest_levels([SERDE, rand]) == {SERDE: 2}
    assert [found.keyid for found in again.owners([rand])[rand].signers.keys] == [owner.public_key.keyid]
    sim.hand_over(rand, Who([key("thief")], 1), agreed=False)
    sim.publish()
    stolen = refresh(again, sim, now=NOW).claim(rand)
    assert stolen is not None
    assert stolen.takeover


def test_a_memory_that_could_not_be_read_again_is_not_written(
    trust: TrustDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust.remember_levels({SERDE: 2})
    monkeypatch.setattr(trust_module, "_MAX_SEEN", 400)
    with pytest.raises(StorageError, match="would become larger than 400 bytes"):
        trust.remember_levels({CrateName(f"crate-{number}"): 2 for number in range(50)})
    assert TrustDirectory.open(trust.path).highest_levels([SERDE, CrateName("crate-0")]) == {SERDE: 2}


def test_what_another_process_remembered_is_seen(trust: TrustDirectory) -> None:
    other = TrustDirectory.open(trust.path)
    assert trust.highest_levels([SERDE]) == {}
    other.remember_levels({SERDE: 1})
    assert trust.highest_levels([SERDE]) == {SERDE: 1}
    trust.remember_levels({CrateName("rand"): 2})
    assert other.highest_levels([SERDE, CrateName("rand")]) == {SERDE: 1, CrateName("rand"): 2}


@pytest.mark.parametrize("tear", [b"", b"carnet pack 1\n", b"carnet pack 1\n0\n5 aa\nhello", b"x" * 100])
def test_index_files_are_kept_by_digest_and_a_torn_pack_is_none(trust: TrustDirectory, tear: bytes) -> None:
    files = {"aa": b"hello\n", "bb": b"", "cc": b"hello\n"}
    trust.index_files.put(files)
    again = TrustDirectory.open(trust.path).index_files
    assert {name: again.get(name) for name in (*files, "dd")} == {**files, "dd": None}
    again.put({"dd": b"more"})
    assert TrustDirectory.open(trust.path).index_files.get("aa") == b"hello\n"
    (trust.path / "index.pack").write_bytes(tear)
    assert TrustDirectory.open(trust.path).index_files.get("aa") is None


def test_what_killed_writes_left_behind_is_removed_once_it_is_old(trust: TrustDirectory) -> None:
    old, new, other = (
        trust.path / "index.pack-0123456789abcdef",
        trust.path / "metadata" / "delegated.pack-0123456789abcdef",
        trust.path / "index.pack-mine",
    )
    for place in (old, new, other):
        place.write_bytes(b"half")
    for place in (old, other):
        os.utime(place, (0, 0))
    trust.remember_refresh(NOW)
    assert [place.exists() for place in (old, new, other)] == [False, True, True]


# --- crashes (trap 7) ---


class Crash(BaseException):
    """The process is gone: no handler may tidy up after it."""


def crash_at(monkeypatch: pytest.MonkeyPatch, step: int) -> Callable[[], bool]:
    """Die at the n-th system call that changes the disk; says whether it came to that."""
    left = step
    dead = False

    def dying(name: str) -> None:
        plain = getattr(os, name)

        def call(*args: Any, **more: Any) -> Any:
            nonlocal left, dead
            if dead:
                raise Crash
            if left == 0:
                dead = True
                if name == "write":  # half of it reached the disk
                    plain(args[0], bytes(args[1])[: len(args[1]) // 2])
                raise Crash
            left -= 1
            return plain(*args, **more)

        monkeypatch.setattr(os, name, call)

    for name in ("write", "fsync", "rename", "replace", "unlink", "link"):
        dying(name)
    return lambda: dead


def test_a_crash_at_any_point_loses_no_protection(sim: Simulator, tmp_path: Path) -> None:
    """Whatever was interrupted: the client opens again, goes on, and is not led back before what it had trusted."""
    old = sim.copy()
    sim.publish("root", "index-0")
    crashes = 0
    for step in range(200):
        trust = TrustDirectory.create(tmp_path / f"trust-{step}", sim.root_file(), "https://mirror.example/")
        refresh(trust, old, now=NOW)
        with pytest.MonkeyPatch.context() as patch:
            crashed = crash_at(patch, step)
            with contextlib.suppress(Crash):
                refresh(trust, sim, now=NOW).find_target("index/se/rd/serde")
            dead = crashed()
        kept = {path.name: path.read_bytes() for path in (trust.path / "metadata").glob("*.json")}
        assert set(kept) == {"root.json", "timestamp.json", "snapshot.json"}
        published = set(old.files.values()) | set(sim.files.values())
        assert set(kept.values()) <= published  # the old file or the new one, whole
        after = TrustDirectory.open(trust.path)
        if kept["timestamp.json"] == sim.files["metadata/timestamp.json"]:
            with pytest.raises(RollbackDetected):
                refresh(after, old, now=NOW)
        assert refresh(after, sim, now=NOW).find_target("index/se/rd/serde")
        with pytest.raises(RollbackDetected):
            refresh(TrustDirectory.open(trust.path), old, now=NOW)
        crashes += dead
        if not dead:
            break
    assert crashes > 8  # three files and the memory, each written, forced out and renamed


def test_a_crash_while_it_is_made_leaves_none(sim: Simulator, tmp_path: Path) -> None:
    for step in range(60):
        place = tmp_path / f"trust-{step}"
        with pytest.MonkeyPatch.context() as patch:
            crashed = crash_at(patch, step)
            with contextlib.suppress(Crash):
                TrustDirectory.create(place, sim.root_file(), "https://mirror.example/")
            dead = crashed()
        if (place / "trust.json").exists():
            refresh(TrustDirectory.open(place), sim, now=NOW)
        else:
            refresh(TrustDirectory.create(place, sim.root_file(), "https://mirror.example/"), sim, now=NOW)
        if not dead:
            assert step > 8
            return
    pytest.fail("it never came to an end")


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_what_the_disk_did_not_take_is_not_acted_on(
    trust: TrustDirectory, sim: Simulator, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(trust, sim, now=NOW)
    sim.publish()

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, broken)
        with pytest.raises(StorageError, match="input/output error"):
            refresh(trust, sim, now=NOW)
    assert refresh(trust, sim, now=NOW)


# --- others at the same time (trap 6) ---


def _refresh_often(path: Path, sim: Simulator, results: Any) -> None:
    try:
        for _ in range(8):
            repository = refresh(TrustDirectory.open(path), sim, now=NOW)
            repository.find_target("index/se/rd/serde")
            repository.claim(SERDE)
        results.put("done")
    except BaseException as error:
        results.put(repr(error))
        raise


def test_processes_share_a_trust_directory(trust: TrustDirectory, sim: Simulator) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_refresh_often, args=(trust.path, sim, results)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == ["done"] * 4
    for process in processes:
        process.join()


def test_threads_share_a_repository(trust: TrustDirectory, sim: Simulator) -> None:
    for number in range(20):
        sim.add_index(f"crate-{number}", b"{}\n")
    sim.publish()
    repository = refresh(trust, sim, now=NOW)
    names = [CrateName(f"crate-{number % 20}") for number in range(60)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda name: repository.find_target(f"index/cr/at/{name}"), names))
        claims = list(pool.map(repository.claim, names))
    assert [target.path for target in found] == [f"index/cr/at/{name}" for name in names]
    assert set(claims) == {None}


def test_a_lock_that_is_held_is_waited_for_and_then_told(trust: TrustDirectory) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with TrustDirectory.open(trust.path).locked():
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    start = time.monotonic()
    with pytest.raises(StorageError, match="another carnet process"), trust.locked(timeout=0.2):
        pass
    assert 0.15 < time.monotonic() - start < 5
    done.set()
    thread.join()
    with trust.locked(timeout=5), trust.locked(timeout=0):  # free again, and the holder may enter twice
        pass
