"""`carnet mirror pending` and `carnet watch`: what waits, for the operator and for everybody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.machines.command import carnet, done, refused
from tests.support.worlds.claims import NAME, World, facts

from carnet.claims.waiting import Waiting
from carnet_cli.config import home
from carnet_mirror.web import client
from carnet_mirror.web.pending import PendingPages

REASON = "300 names in one night"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A registry in which two claims of one name wait, asked without a network and at its own time."""
    world = World.make(tmp_path, waits=Waiting(claim=7, takeover=30))
    monkeypatch.setattr(home, "now", lambda: world.now)
    world.propose(world.claim_proposal(), source="192.0.2.0/24")
    world.propose(world.claim_proposal(who=facts(owners=("mallory", "bob", "carol"))), source="203.0.113.0/24")
    return world


def listed(mirror: Path) -> list[dict[str, object]]:
    ran = done("mirror", "pending", mirror, "--message-format", "json")
    return [json.loads(line) for line in ran.out.splitlines()]


def test_an_operator_sees_who_sent_it_and_drops_what_crowds(world: World) -> None:
    mirror = world.folder / "mirror"
    text = done("mirror", "pending", mirror).out
    for part in ("claim of demo_lib, public since 2026-11-23T12:00:00Z", "mallory", "from 203.0.113.0/24"):
        assert part in text
    two = listed(mirror)
    assert [one["dropped"] for one in two] == [None, None]
    (bad,) = (one for one in two if one["network"] == "203.0.113.0/24")
    ran = done("mirror", "pending", mirror, "--drop", bad["digest"], "--reason", REASON)
    assert f"dropped by the operator on 2026-11-23T12:00:00Z, and waits still: {REASON}" in ran.out
    assert "demo_lib" in ran.out
    assert [one["dropped"] for one in listed(mirror) if one["network"] == "192.0.2.0/24"] == [None]
    dropped = json.loads(
        done(
            "mirror", "pending", mirror, "--drop", NAME, "--reason", "more", "--message-format", "json"
        ).out.splitlines()[-1]
    )
    assert dropped["dropped"]["reason"] in (REASON, "more")


@pytest.mark.parametrize(
    ("reason", "arguments"),
    [
        ("belong together", ("--drop", "demo-lib")),
        ("belong together", ("--reason", "x")),
        ("nothing waits under 'serde'", ("--drop", "serde", "--reason", "x")),
        ("nothing waits under '00", ("--drop", "0" * 64, "--reason", "x")),
        ("one line", ("--drop", "demo-lib", "--reason", "two\nlines")),
        ("nothing waits under 'a b'", ("--drop", "a b", "--reason", "x")),
    ],
)
def test_what_cannot_be_dropped_changes_nothing(world: World, reason: str, arguments: tuple[str, ...]) -> None:
    refused(2, reason, "mirror", "pending", world.folder / "mirror", *arguments)
    assert [one["dropped"] for one in listed(world.folder / "mirror")] == [None, None]


def test_nothing_waits(tmp_path: Path) -> None:
    empty = World.make(tmp_path)
    assert done("mirror", "pending", empty.folder / "mirror").out == "nothing waits\n"


def test_everybody_sees_what_was_dropped_and_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    done("mirror", "pending", world.folder / "mirror", "--drop", NAME, "--reason", REASON)
    pages = PendingPages(world.store)
    monkeypatch.setattr(PendingPages, "_listed", lambda _, after: world.store.pending.entries(world.now, after=after))

    def ask(_method: str, _url: str, path: str, *_more: object) -> object:
        page, _, query = path.partition("?")
        found = pages.page(page, query)
        assert found is not None
        return json.loads(found[0])

    monkeypatch.setattr(client, "_ask", ask)
    ran = carnet("watch", "demo-lib", "--mirror", "http://localhost")
    assert ran.status == 1
    assert ran.out.count(f"waits still: {REASON}") == 2
