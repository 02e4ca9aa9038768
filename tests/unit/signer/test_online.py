"""The online signer: what it signs, what it never signs, and what it remembers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.ceremony import NOW, make_key

from carnet import strictjson
from carnet.errors import SigningError, StorageError
from carnet.tuf.roles import MetaFile
from carnet.tuf.structure import role_field
from carnet_signer.metadata import role_files
from carnet_signer.online.memory import SigningMemory
from carnet_signer.online.server import Oracle

KEY = make_key("online")
SERDE = "index/se/rd/serde"
SERDE_BIN = f"index-{hashlib.sha256(SERDE.encode()).hexdigest()[:2]}"
OTHER_BIN = "index-00"
HASH = hashlib.sha256(b"").hexdigest()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[SigningMemory]:
    opened = SigningMemory(tmp_path / "memory")
    yield opened
    opened.close()


@pytest.fixture
def oracle(memory: SigningMemory) -> Oracle:
    return Oracle([KEY], memory, lambda: NOW)


def timestamp(version: int = 1, snapshot: int = 1, sha256: str = HASH, days: float = 1) -> dict[str, Any]:
    return role_files.timestamp(version, NOW + timedelta(days=days), MetaFile(snapshot, 5, {"sha256": sha256}))


def snapshot(version: int = 1, days: float = 7, **meta: int) -> dict[str, Any]:
    files = {"targets": MetaFile(1, 5, {"sha256": HASH}), "index-00": MetaFile(1)}
    files |= {role.replace("_", "."): MetaFile(number, 5, {"sha256": HASH}) for role, number in meta.items()}
    return role_files.snapshot(version, NOW + timedelta(days=days), files)


def bin_(version: int = 1, days: float = 90, listed: tuple[str, ...] = (SERDE,)) -> dict[str, Any]:
    return role_files.targets(
        version, NOW + timedelta(days=days), listed={path: role_files.target(0, HASH) for path in listed}
    )


def _said(role: str, payload: dict[str, Any]) -> dict[str, Any]:
    """A bin says which one it is, unless a test says otherwise."""
    return role_field(role) | payload if role.startswith("index-") else payload


def ask(oracle: Oracle, **payloads: dict[str, Any] | bytes) -> dict[str, Any]:
    named = {role.replace("_", "-"): value for role, value in payloads.items()}
    texts = {
        role: (value if isinstance(value, bytes) else strictjson.canonical(_said(role, value))).decode()
        for role, value in named.items()
    }
    return dict(oracle.answer(strictjson.canonical({"op": "sign", "payloads": dict(texts)})))


def test_what_may_be_signed_is_signed(oracle: Oracle) -> None:
    payload = strictjson.canonical(timestamp())
    answer = ask(oracle, timestamp=payload)
    (signature,) = answer["signatures"]["timestamp"]
    assert signature["keyid"] == KEY.public_key.keyid
    assert KEY.public_key.verifies(bytes.fromhex(signature["sig"]), payload)
    assert "signatures" in ask(oracle, snapshot=snapshot())
    assert "signatures" in ask(oracle, **{SERDE_BIN: bin_(), OTHER_BIN: bin_(listed=())})


def test_the_same_payload_again_is_answered_and_another_is_not(oracle: Oracle) -> None:
    first = ask(oracle, timestamp=timestamp(version=5))
    assert ask(oracle, timestamp=timestamp(version=5)) == first
    assert "with other content" in ask(oracle, timestamp=timestamp(version=5, days=0.5))["error"]
    assert "older than 5" in ask(oracle, timestamp=timestamp(version=4))["error"]
    assert "too far above 5" in ask(oracle, timestamp=timestamp(version=2**60))["error"]
    assert "signatures" in ask(oracle, timestamp=timestamp(version=6))


@pytest.mark.parametrize(
    "role",
    ["root", "targets", "claims", "claims-0a", "index", "owner.serde", "crate.serde", "index-0g", ""],
)
def test_roles_of_others_are_refused(oracle: Oracle, role: str) -> None:
    payload = strictjson.canonical(bin_(listed=())).decode()
    answer = oracle.answer(strictjson.canonical({"op": "sign", "payloads": {role: payload}}))
    assert "do not sign" in str(answer["error"])


@pytest.mark.parametrize(
    ("role", "payload", "reason"),
    [
        ("timestamp", snapshot(), "type 'snapshot', not timestamp"),
        ("snapshot", timestamp(), "type 'timestamp', not snapshot"),
        (SERDE_BIN, timestamp(), "type 'timestamp', not targets"),
        ("timestamp", timestamp(days=1.1), "not within 1 days"),
        ("timestamp", timestamp(days=-1), "not within 1 days"),
        ("snapshot", snapshot(days=8), "not within 7 days"),
        (SERDE_BIN, bin_(days=91), "not within 90 days"),
        ("timestamp", timestamp() | {"extra": 1}, "exactly the fields"),
        ("timestamp", timestamp() | {"spec_version": "1.0.30"}, "exactly the fields"),
        (SERDE_BIN, bin_() | {"delegations": {"keys": {}, "roles": []}}, "exactly the fields"),
        (SERDE_BIN, bin_(listed=("crates/00/serde/serde-1.0.0.crate",)), "not an index file"),
        (SERDE_BIN, bin_(listed=("index/../x",)), "unsafe"),
        (OTHER_BIN, bin_(), "another bin"),
        (OTHER_BIN, bin_(listed=()) | role_field(SERDE_BIN), "does not say that it is"),
        (OTHER_BIN, bin_(listed=()) | {"carnet": {"role": OTHER_BIN, "more": 1}}, "does not say that it is"),
        (SERDE_BIN, bin_() | {"targets": {SERDE: role_files.target(0, HASH, {})}}, "more than its length"),
        ("timestamp", role_files.timestamp(1, NOW + timedelta(days=1), MetaFile(1)), "must have exactly"),
        ("snapshot", role_files.snapshot(1, NOW + timedelta(days=1), {"targets": MetaFile(1)}), "must have exactly"),
        ("timestamp", json.dumps(timestamp()).encode(), "not canonical"),
        ("timestamp", strictjson.canonical(timestamp()).replace(b'"version"', b'"version":1,"version"', 1), "twice"),
        ("timestamp", b"[]", "not a JSON object"),
    ],
)
def test_what_may_not_be_signed_is_refused_and_forgotten(
    oracle: Oracle, memory: SigningMemory, role: str, payload: dict[str, Any] | bytes, reason: str
) -> None:
    answer = ask(oracle, **{role: payload})
    assert reason in answer["error"]
    assert "signatures" not in answer
    assert memory.last(role) is None


def test_one_refused_payload_refuses_them_all(oracle: Oracle, memory: SigningMemory) -> None:
    assert "error" in ask(oracle, timestamp=timestamp(), snapshot=snapshot(days=8))
    assert memory.last("timestamp") is None


def test_published_names_stay_and_their_versions_do_not_fall(oracle: Oracle) -> None:
    def publish(version: int, **meta: int) -> dict[str, Any]:
        signed = ask(oracle, snapshot=snapshot(version, **meta))
        if "error" in signed:
            return signed
        payload = strictjson.canonical(snapshot(version, **meta))
        file = role_files.file_bytes(payload, [KEY.sign(payload)])
        return ask(oracle, timestamp=timestamp(version, version, hashlib.sha256(file).hexdigest()))

    assert "signatures" in publish(1, crate_serde=3)
    assert "loses crate.serde" in publish(2)["error"]
    assert "back from 3 to 2" in publish(2, crate_serde=2)["error"]
    swapped = snapshot(2, crate_serde=3)
    swapped["meta"]["crate.serde.json"]["hashes"]["sha256"] = "0" * 64
    assert "changes crate.serde and not its version" in ask(oracle, snapshot=swapped)["error"]
    assert "signatures" in publish(2, crate_serde=4)
    # A snapshot that no timestamp names was never published: what it had may be left out again.
    assert "signatures" in ask(oracle, snapshot=snapshot(3, crate_serde=4, crate_other=1))
    assert "signatures" in publish(4, crate_serde=5)


def test_a_timestamp_names_no_older_and_no_foreign_snapshot(oracle: Oracle) -> None:
    assert "signatures" in ask(oracle, timestamp=timestamp(1, snapshot=7))
    assert "7 was named before" in ask(oracle, timestamp=timestamp(2, snapshot=6))["error"]
    assert "7 was named before" in ask(oracle, timestamp=timestamp(2, snapshot=7, sha256="0" * 64))["error"]
    assert "signatures" in ask(oracle, snapshot=snapshot(8))
    assert "not signed here" in ask(oracle, timestamp=timestamp(2, snapshot=8, sha256="0" * 64))["error"]
    payload = strictjson.canonical(snapshot(8))
    file = role_files.file_bytes(payload, [KEY.sign(payload)])
    assert "signatures" in ask(oracle, timestamp=timestamp(2, 8, hashlib.sha256(file).hexdigest()))


def publish_first(oracle: Oracle) -> None:
    payload = strictjson.canonical(snapshot(owner_serde=1))
    file = role_files.file_bytes(payload, [KEY.sign(payload)])
    assert "signatures" in ask(oracle, snapshot=payload)
    assert "signatures" in ask(oracle, timestamp=timestamp(snapshot=1, sha256=hashlib.sha256(file).hexdigest()))


def test_a_timestamp_names_no_snapshot_that_was_never_signed(oracle: Oracle) -> None:
    """Else what the snapshot before listed would be forgotten, and nothing would keep the next one from going back."""
    publish_first(oracle)
    assert "not signed here" in ask(oracle, timestamp=timestamp(2, snapshot=2, sha256="0" * 64))["error"]
    assert "not signed here" in ask(oracle, timestamp=timestamp(2, snapshot=2**50, sha256="0" * 64))["error"]
    assert "loses owner.serde" in ask(oracle, snapshot=snapshot(3))["error"]
    assert "signatures" in ask(oracle, snapshot=snapshot(3, owner_serde=1))


def test_nothing_leaps_to_where_no_later_version_is_left(oracle: Oracle) -> None:
    """Clients remember what they saw: whoever breaks into the mirror must not be able to shut them out for good."""
    publish_first(oracle)
    far = 2**50
    for payloads, reason in (
        ({"snapshot": snapshot(2, owner_serde=far)}, "takes owner.serde from 1"),
        ({"snapshot": snapshot(2, owner_serde=1, owner_rand=far)}, "takes owner.rand from 0"),
        ({OTHER_BIN: bin_(far, listed=())}, "too far above 1"),
        ({SERDE_BIN: bin_(far)}, "too far above 0"),
    ):
        assert reason in ask(oracle, **payloads)["error"]
    assert "signatures" in ask(oracle, snapshot=snapshot(2, owner_serde=2, owner_rand=1))
    assert "signatures" in ask(oracle, **{SERDE_BIN: bin_(3), OTHER_BIN: bin_(4, listed=())})


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"\xff", b'{"op":"sign"}', b'{"op":"sign","payloads":{"timestamp":1}}', b'{"op":"export-key"}',
     b'{"op":"last","roles":[1]}', b'{"op":"last","roles":["a"],"more":1}', b"[" * 100_000],
)  # fmt: skip
def test_nonsense_is_answered_with_a_reason(oracle: Oracle, line: bytes) -> None:
    assert set(oracle.answer(line)) == {"error", "hint"}


# --- the memory ---


def test_the_memory_outlives_the_process(tmp_path: Path) -> None:
    for version in (1, 2):
        memory = SigningMemory(tmp_path / "memory")
        oracle = Oracle([KEY], memory, lambda: NOW)
        assert "signatures" in ask(oracle, timestamp=timestamp(version), snapshot=snapshot(version))
        memory.close()
    memory = SigningMemory(tmp_path / "memory")
    oracle = Oracle([KEY], memory, lambda: NOW)
    assert "older" in ask(oracle, timestamp=timestamp(1))["error"]
    assert oracle.answer(b'{"op":"last","roles":["timestamp","index-00"]}') == {
        "versions": {"timestamp": 2, "index-00": 0},
        "named": [1, HASH],
    }
    memory.close()


def test_a_torn_last_line_is_dropped_and_damage_is_not_overlooked(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    memory = SigningMemory(folder)
    ask(Oracle([KEY], memory, lambda: NOW), timestamp=timestamp(4))
    memory.close()
    log = folder / "signed.log"
    log.write_bytes(log.read_bytes() + b'{"payload":"')
    memory = SigningMemory(folder)
    entry = memory.last("timestamp")
    assert entry is not None
    assert entry.version == 4
    memory.close()
    log.write_bytes(b"damage\n" + log.read_bytes())
    with pytest.raises(SigningError, match="is damaged"):
        SigningMemory(folder)


def test_one_repository_has_one_signer(tmp_path: Path) -> None:
    memory = SigningMemory(tmp_path / "memory")
    with pytest.raises(SigningError, match="another online signer"):
        SigningMemory(tmp_path / "memory")
    memory.close()
    SigningMemory(tmp_path / "memory").close()


def test_no_signature_leaves_before_it_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SigningMemory(tmp_path / "memory")
    oracle = Oracle([KEY], memory, lambda: NOW)

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(StorageError, match="input/output error"):
            ask(oracle, timestamp=timestamp())
    # After a failed fsync nobody knows what lies on the disk: it is not tried again.
    with pytest.raises(StorageError, match="started again"):
        ask(oracle, timestamp=timestamp())
    memory.close()
    memory = SigningMemory(tmp_path / "memory")
    assert "signatures" in ask(Oracle([KEY], memory, lambda: NOW), timestamp=timestamp())
    memory.close()
