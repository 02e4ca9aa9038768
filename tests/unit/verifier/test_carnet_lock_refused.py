"""What is no `carnet.lock`: each part of a line that is something else, and too much of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from carnet.errors import FormatError
from carnet_verifier.memory import carnet_lock
from carnet_verifier.memory.carnet_lock import CarnetLock

WHOLE = (Path(__file__).parents[2] / "golden/carnet.lock").read_bytes()
OWNERS = b'"owners":{"' + b"2" * 64 + b'":"alice"'


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (OWNERS, b'"owners":{"alice":"alice"', "owners in line 6 is not an object from key ids to owner ids"),
        (OWNERS, b'"owners":{"' + b"2" * 64 + b'":1', "owners in line 6 is not an object from key ids to owner ids"),
        (OWNERS, b'"owners":{"' + b"2" * 64 + b'":"a\\nb"', "an owner id"),
        (b'"owner":2', b'"owner":"2"', "line 6 needs crate, level, owner, releases, threshold and owners"),
        (b',"releases":9', b"", "line 6 needs crate, level, owner, releases, threshold and owners"),
        (b'"releases":9', b'"more":1,"releases":9', "line 6 needs crate, level, owner, releases, threshold and owners"),
        (b'"releases":9', b'"releases":0', "a version is not a number from 1 on"),
        (b'"releases":9', b'"releases":true', "a version is not a number from 1 on"),
        (b'"version":311', b'"version":-1', "a version is not a number from 1 on"),
        (b'"version":311', b'"version":"311"', "timestamp and snapshot need a version and the ids of the keys"),
        (b'{"signers":["' + b"1" * 64 + b'"],"version":1207}', b'{"signers":[],"version":1207}', "ids of the keys"),
        (b'{"signers":["' + b"1" * 64 + b'"],"version":1207}', b'{"signers":["1"],"version":1207}', "ids of the keys"),
    ],
)
def test_a_line_that_says_something_else(old: bytes, new: bytes, why: str) -> None:
    assert old in WHOLE
    with pytest.raises(FormatError, match=why):
        CarnetLock.from_bytes(WHOLE.replace(old, new, 1))


def test_no_more_is_read_than_a_project_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carnet_lock, "MAX_FILE", len(WHOLE))
    assert len(CarnetLock.from_bytes(WHOLE).crates) == 1
    monkeypatch.setattr(carnet_lock, "MAX_FILE", len(WHOLE) - 1)
    with pytest.raises(FormatError, match="is larger than"):
        CarnetLock.from_bytes(WHOLE)
    monkeypatch.undo()
    monkeypatch.setattr(carnet_lock, "_MAX_CRATES", 0)
    with pytest.raises(FormatError, match="more than 0 crates"):
        CarnetLock.from_bytes(WHOLE)
