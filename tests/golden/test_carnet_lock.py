"""`carnet.lock` is in projects' repositories: the same memory gives the same bytes, today and in a year."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from carnet.level import Level
from carnet_verifier.memory.carnet_lock import CarnetLock, SeenCrate, SeenOnline, SeenRoot

FILE = Path(__file__).parent / "carnet.lock"
FORMATS = Path(__file__).parents[2] / "docs/formats.md"
_ONLINE = ("1" * 64,)
MEANT = CarnetLock(
    "a" * 64,
    SeenRoot(3, "b" * 64),
    SeenOnline(1207, _ONLINE),
    SeenOnline(311, _ONLINE),
    datetime(2026, 11, 27, 9, tzinfo=UTC),
    {"serde": SeenCrate(Level.MAINTAINER, 2, 9, 2, {"2" * 64: "alice", "3" * 64: "bob"})},
)


def test_the_file_is_read_and_written_as_ever() -> None:
    assert CarnetLock.from_bytes(FILE.read_bytes()) == MEANT
    assert MEANT.to_bytes() == FILE.read_bytes()


def test_the_reference_shows_this_file() -> None:
    section = FORMATS.read_text().partition("\n## `carnet.lock`\n")[2]
    shown = re.search(r"```\n(.*?)```", section, re.DOTALL)
    assert shown is not None
    places = iter(["a" * 64, "b" * 64, "1" * 64, "1" * 64, "2" * 64, "3" * 64])
    assert re.sub(r"<[^>]+>", lambda _: next(places), shown[1]).encode() == FILE.read_bytes()
