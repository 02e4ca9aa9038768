"""What a next version of a role must be: nothing is skipped, repeated or expired, and nobody else's owners change."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.worlds.ceremony import NOW, make_key

from carnet.cargo.names import CrateName
from carnet.errors import ExpiredMetadata, MetadataMismatch, RollbackDetected
from carnet.strictjson import JsonObject
from carnet.tuf import paths
from carnet.tuf.keys import PublicKey
from carnet.tuf.next_version import check_owners_kept, check_role, check_version
from carnet.tuf.roles import DelegatedRole, Delegations, RoleKeys, SuccinctRoles, Targets
from carnet.tuf.structure import shard_field

SERDE, NEIGHBOUR = CrateName("serde"), CrateName("serde-neighbour")
SHARD = paths.claims_shard_role(SERDE.shard)
ALICE, BOB, CAROL = (make_key(name).public_key for name in ("alice", "bob", "carol"))
VERSIONS = st.integers(min_value=1, max_value=2**40)


def shard(owners: dict[CrateName, RoleKeys], version: int = 1) -> Targets:
    entries = {
        paths.owner_role(name): DelegatedRole(paths.owner_role(name), keys, True, paths.owner_patterns(name))
        for name, keys in owners.items()
    }
    delegations = Delegations(entries, None) if entries else None
    return Targets(version, NOW + timedelta(days=90), "1.0.31", shard_field([SERDE.shard]), {}, delegations)


def index(bits: int, version: int) -> Targets:
    succinct = SuccinctRoles(RoleKeys((ALICE,), 1), bits, paths.INDEX_BIN_PREFIX)
    return Targets(version, NOW + timedelta(days=90), "1.0.31", {}, {}, Delegations({}, succinct))


@given(VERSIONS, VERSIONS)
def test_only_the_very_next_version_follows(version: int, before: int) -> None:
    if version == before + 1:
        check_version("claims", version, before)
        return
    with pytest.raises(RollbackDetected if version <= before else MetadataMismatch):
        check_version("claims", version, before)


def test_the_first_version_is_one() -> None:
    check_role(SHARD, None, shard({}), now=NOW)
    with pytest.raises(MetadataMismatch):
        check_role(SHARD, None, shard({}, 2), now=NOW)


def test_it_ends_later_than_now() -> None:
    check_role(SHARD, shard({}), shard({}, 2), now=NOW)
    with pytest.raises(ExpiredMetadata):
        check_role(SHARD, shard({}), shard({}, 2), now=NOW + timedelta(days=90))


def test_it_says_what_its_place_lets_it_say() -> None:
    with pytest.raises(MetadataMismatch):
        check_role(paths.claims_shard_role("00"), shard({}), shard({}, 2), now=NOW)


def test_the_number_of_bins_is_fixed() -> None:
    check_role(paths.INDEX, index(4, 1), index(4, 2), now=NOW)
    with pytest.raises(MetadataMismatch, match=r"2\^4 bins and would get 2\^5"):
        check_role(paths.INDEX, index(4, 1), index(5, 2), now=NOW)


BEFORE = {SERDE: RoleKeys((ALICE, BOB), 2), NEIGHBOUR: RoleKeys((BOB, CAROL), 1)}


def under_another_id(key: PublicKey) -> PublicKey:
    """The same key material, whose object has a field more: signatures under its old id no longer count."""
    value: JsonObject = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": key.public}, "note": "spare"}
    return PublicKey.from_object(value)


@pytest.mark.parametrize(
    "others",
    [
        {},
        {NEIGHBOUR: RoleKeys((BOB, CAROL), 2)},
        {NEIGHBOUR: RoleKeys((BOB,), 1)},
        {NEIGHBOUR: RoleKeys((BOB, ALICE), 1)},
        {NEIGHBOUR: RoleKeys((BOB, under_another_id(CAROL)), 1)},
        {NEIGHBOUR: BEFORE[NEIGHBOUR], CrateName("serde-third"): RoleKeys((ALICE,), 1)},
    ],
    ids=["dropped", "threshold", "fewer", "another", "another id", "one more"],
)
@pytest.mark.parametrize("about", [SERDE, None])
def test_nobody_elses_owners_change(others: dict[CrateName, RoleKeys], about: CrateName | None) -> None:
    assert under_another_id(CAROL).material == CAROL.material
    own = {} if about is None else {SERDE: RoleKeys((CAROL,), 1)}
    kept = {NEIGHBOUR: RoleKeys((CAROL, BOB), 1)}
    check_owners_kept(SHARD, shard(BEFORE), shard(BEFORE | kept | own, 2), about=about)
    with pytest.raises(MetadataMismatch, match="not about"):
        check_owners_kept(SHARD, shard(BEFORE), shard({SERDE: BEFORE[SERDE]} | own | others, 2), about=about)


def test_a_crate_may_give_itself_up_and_come_back() -> None:
    without = {NEIGHBOUR: BEFORE[NEIGHBOUR]}
    check_owners_kept(SHARD, shard(BEFORE), shard(without, 2), about=SERDE)
    check_owners_kept(SHARD, shard(without), shard(BEFORE, 2), about=CrateName("SERDE"))
    for before, after in ((BEFORE, without), (without, BEFORE)):
        with pytest.raises(MetadataMismatch):
            check_owners_kept(SHARD, shard(before), shard(after, 2), about=None)
