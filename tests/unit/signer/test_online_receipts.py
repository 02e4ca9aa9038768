"""The online signer and receipts: exactly a receipt, of now, over bytes that are no role's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.ceremony import NOW, make_key

from carnet import strictjson
from carnet.cargo.names import CrateName
from carnet.claims.receipt import PAYLOAD_TYPE, ClaimReceipt, Proposed, message
from carnet.claims.waiting import CLAIM
from carnet.tuf.roles import MetaFile
from carnet_signer.metadata import role_files
from carnet_signer.online.memory import SigningMemory
from carnet_signer.online.server import Oracle

KEY = make_key("online")
RECEIPT = ClaimReceipt(Proposed(CrateName("serde"), CLAIM, "0" * 64), NOW)


@pytest.fixture
def oracle(tmp_path: Path) -> Iterator[Oracle]:
    memory = SigningMemory(tmp_path / "memory")
    yield Oracle([KEY], memory, lambda: NOW)
    memory.close()


def ask(oracle: Oracle, payload: bytes) -> dict[str, Any]:
    return dict(oracle.answer(strictjson.canonical({"op": "receipt", "payload": payload.decode()})))


def changed(**fields: object) -> bytes:
    value = strictjson.parse_object(RECEIPT.payload, "a receipt", max_bytes=10**6)
    return strictjson.canonical(value | fields)


def test_a_receipt_is_signed_as_nothing_else_is(oracle: Oracle) -> None:
    (signature,) = ask(oracle, RECEIPT.payload)["signatures"]
    made = bytes.fromhex(signature["sig"])
    assert KEY.public_key.verifies(made, message(RECEIPT.payload))
    assert not KEY.public_key.verifies(made, RECEIPT.payload)
    assert message(RECEIPT.payload).startswith(b"DSSEv1 35 " + PAYLOAD_TYPE.encode())


@pytest.mark.parametrize(
    "payload",
    [
        role_files.timestamp(1, NOW + timedelta(days=1), MetaFile(1, 5, {"sha256": "0" * 64})),
        {"_type": "link", "name": "tag"},
        {},
    ],
)
def test_what_is_no_receipt_is_not_signed_as_one(oracle: Oracle, payload: dict[str, Any]) -> None:
    assert "error" in ask(oracle, strictjson.canonical(payload))


@pytest.mark.parametrize(
    "payload",
    [
        changed(time="2026-11-23T11:54:59Z"),
        changed(time="2026-11-23T12:05:01Z"),
        changed(time="2026-11-23T12:00:00"),
        changed(time="9999-12-31T23:59:59Z"),
        changed(more=1),
        changed(version=2),
        changed(version=True),
        changed(kind="release"),
        changed(crate="Serde"),
        changed(crate="other crate"),
        changed(decided=""),
        changed(roles={"owner.serde": "0" * 64}),
        changed(decided="G" * 64),
        changed(decided="0" * 63),
        changed(decided=1),
        RECEIPT.payload + b" ",
        b"[]",
    ],
)
def test_a_receipt_of_another_time_or_form_is_not_signed(oracle: Oracle, payload: bytes) -> None:
    assert "error" in ask(oracle, payload)


def test_a_receipt_is_no_role_and_leaves_nothing_to_remember(oracle: Oracle) -> None:
    line = {"op": "sign", "payloads": {"receipt": RECEIPT.payload.decode()}}
    assert "do not sign" in str(dict(oracle.answer(strictjson.canonical(line)))["error"])
    more = {"op": "receipt", "payload": RECEIPT.payload.decode(), "role": "timestamp"}
    assert "error" in oracle.answer(strictjson.canonical(more))
    assert ask(oracle, RECEIPT.payload) == ask(oracle, RECEIPT.payload)
