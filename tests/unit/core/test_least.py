"""The least versions in a shard of claims: their form, what may follow them, and what a snapshot may list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.worlds.ceremony import make_key, quorum

from carnet.cargo.names import CrateName
from carnet.errors import MetadataMismatch, RollbackDetected
from carnet.tuf import paths
from carnet.tuf.least import Least, check_listed, check_next, given_up, least_of, next_least, read_least
from carnet.tuf.roles import DelegatedRole, Delegations, Targets
from carnet.tuf.structure import check_structure, shard_field

SERDE, SHARD = CrateName("serde"), "claims-8b"
OWNER, CRATE = "owner.serde", "crate.serde"
SIGNERS = quorum([make_key("owner")], 1)


def shard(least: dict[str, Any] | None, *, claimed: bool = True, shards: tuple[str, ...] = ("8b",)) -> Targets:
    entry = DelegatedRole(OWNER, SIGNERS, True, paths.owner_patterns(SERDE))
    said = shard_field(shards)
    if least is not None:
        said["carnet"]["least"] = least  # type: ignore[index, call-overload]
    expires = datetime(2027, 1, 1, tzinfo=UTC) + timedelta(days=90)
    return Targets(2, expires, "1.0.31", said, {}, Delegations({OWNER: entry}) if claimed else None)


def serde(owner: object = 3, crate: object = 41) -> dict[str, Any]:
    return {"serde": {"owner": owner, "crate": crate}}


def test_they_are_read_and_written() -> None:
    found = shard(serde())
    check_structure(SHARD, found)
    assert read_least(found) == {"serde": Least(3, 41)}
    assert least_of(found, CrateName("Serde")) == Least(3, 41)
    assert shard_field(["8b"], read_least(found)) == found.extra
    assert (given_up(found, SERDE), given_up(shard(serde(), claimed=False), SERDE)) == (False, True)
    assert shard_field(["8b"], {}) == {"carnet": {"shards": ["8b"]}}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (shard(None), "of an older form, and has to be signed again"),
        (shard({}), "of an older form, and has to be signed again"),
        (shard([]), "of an older form|is not an object"),  # type: ignore[arg-type]
        (shard(serde(owner=0)), "does not give"),
        (shard(serde(crate="41")), "does not give"),
        (shard(serde(crate=True)), "does not give"),
        (shard({"serde": {"owner": 1, "crate": 1, "more": 1}}), "does not give"),
        (shard(serde() | {"rand": {"owner": 1, "crate": 1}}), "whose shard is another"),
        (shard(serde() | {"Serde": {"owner": 1, "crate": 1}}), "canonical crate name"),
        (shard(serde(), claimed=False, shards=("8a", "8b")), "speaks for other shards as well"),
    ],
)
def test_another_form_is_refused(bad: Targets, why: str) -> None:
    with pytest.raises(MetadataMismatch, match=why):
        check_structure(SHARD, bad)


@pytest.mark.parametrize(
    ("claimed", "least", "listed", "refused"),
    [
        (True, serde(), {OWNER: 3, CRATE: 41}, None),
        (True, serde(), {OWNER: 9, CRATE: 99}, None),
        (True, serde(), {OWNER: 2, CRATE: 41}, RollbackDetected),
        (True, serde(), {OWNER: 3, CRATE: 40}, RollbackDetected),
        (True, None, {OWNER: 3, CRATE: 41}, MetadataMismatch),
        (True, None, {}, MetadataMismatch),
        (False, serde(), {OWNER: 1, CRATE: 1}, None),
        (False, None, {}, None),
        (False, None, {OWNER: 1}, MetadataMismatch),
    ],
)
def test_what_a_snapshot_may_list(
    claimed: bool, least: dict[str, Any] | None, listed: dict[str, int], refused: type[Exception] | None
) -> None:
    if refused is None:
        check_listed(SHARD, shard(least, claimed=claimed), SERDE, listed.get)
        return
    with pytest.raises(refused):
        check_listed(SHARD, shard(least, claimed=claimed), SERDE, listed.get)


def test_what_may_follow() -> None:
    there = {OWNER: 4, CRATE: 42}
    before = shard(serde())
    for good in (serde(), serde(4), serde(4, 42)):
        check_next(SHARD, before, shard(good), there.get)
        check_next(SHARD, None, shard(good), there.get)
    check_next(SHARD, before, shard(serde(), claimed=False), lambda _: None)
    for bad in (serde(2), serde(3, 40)):
        with pytest.raises(RollbackDetected, match="again"):
            check_next(SHARD, before, shard(bad), there.get)
    for bad in (serde(5), serde(3, 43)):
        with pytest.raises(MetadataMismatch, match="is the newest there is"):
            check_next(SHARD, before, shard(bad), there.get)
    with pytest.raises(MetadataMismatch, match="stays for ever"):
        check_next(SHARD, before, shard(None, claimed=False), there.get)


def test_what_is_drafted() -> None:
    before = shard(serde() | {"gone": {"owner": 7, "crate": 8}})
    assert next_least(before, {"serde": Least(3, 42)}) == {"gone": Least(7, 8), "serde": Least(3, 42)}
    assert next_least(None, {"serde": Least(1, 1)}) == {"serde": Least(1, 1)}
    with pytest.raises(RollbackDetected):
        next_least(before, {"serde": Least(2, 42)})
