"""The tree of roles: what a role's name says, and that names without a place are refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.cargo.names import CrateName
from carnet.errors import MetadataMismatch
from carnet.tuf import paths
from carnet.tuf.tree import RoleKind, Signers, is_bin, parent_of, place_of, roles_of, way_to, way_to_claim

PLACES = {
    "root": (RoleKind.ROOT, None, 0, Signers.HOLDERS),
    "timestamp": (RoleKind.TIMESTAMP, "root", 1, Signers.ONLINE),
    "snapshot": (RoleKind.SNAPSHOT, "root", 1, Signers.ONLINE),
    "targets": (RoleKind.TARGETS, "root", 1, Signers.HOLDERS),
    "claims": (RoleKind.CLAIMS, "targets", 2, Signers.HOLDERS),
    "claims-8b": (RoleKind.SHARD, "claims", 3, Signers.HOLDERS),
    "owner.serde": (RoleKind.OWNER, "claims-8b", 4, Signers.OWNERS),
    "crate.serde": (RoleKind.CRATE, "owner.serde", 5, Signers.RELEASERS),
    "index": (RoleKind.INDEX, "targets", 2, Signers.HOLDERS),
    "index-0": (RoleKind.BIN, "index", 3, Signers.ONLINE),
    "index-3fff": (RoleKind.BIN, "index", 3, Signers.ONLINE),
}


@pytest.mark.parametrize("role", PLACES)
def test_a_role_stands_where_the_trust_model_has_it(role: str) -> None:
    place = place_of(role)
    assert (place.kind, place.parent, place.depth, place.signers) == PLACES[role]
    assert place.online == (place.signers == Signers.ONLINE)
    assert is_bin(role) == (place.kind == RoleKind.BIN)


@pytest.mark.parametrize(
    "role",
    [
        *("", "maintainers", "claims-", "claims-8B", "claims-8bb", "claims-g0", "index-", "index-g", "index-123456789"),
        *("index-0\n", "owner.", "owner.Serde", "owner.serde-json", "owner.a/b", "owner", "crate.", "crate.é", "Root"),
    ],
)
def test_a_name_without_a_place_is_refused(role: str) -> None:
    for question in (place_of, parent_of, way_to):
        with pytest.raises(MetadataMismatch):
            question(role)


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot"])
def test_only_targets_roles_have_a_way(role: str) -> None:
    with pytest.raises(MetadataMismatch):
        way_to(role)


def test_root_names_its_own_keys() -> None:
    with pytest.raises(MetadataMismatch):
        parent_of("root")


NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,40}", fullmatch=True)


@given(NAMES)
def test_the_way_leads_from_parent_to_child_and_narrows(text: str) -> None:
    name = CrateName(text)
    way = way_to(paths.crate_role(name))
    assert way == way_to_claim(name)
    assert way[2:] == roles_of(name)
    assert way[0] == "targets"
    for above, role in pairwise(way):
        assert parent_of(role) == above
        assert place_of(role).depth == place_of(above).depth + 1
    tarball = f"crates/{name.shard}/{name.canonical}/file"
    for role in way[1:]:
        assert paths.matches_any(place_of(role).patterns, tarball)
    other = CrateName(f"{text}x")
    assert not paths.matches_any(place_of(way[-1]).patterns, f"crates/{other.shard}/{other.canonical}/file")


@given(NAMES)
def test_a_place_says_which_crate_and_shard_it_is_about(text: str) -> None:
    name = CrateName(text)
    shard, owner, crate = map(place_of, roles_of(name))
    assert shard.crate is None
    assert owner.crate == crate.crate
    assert owner.crate is not None
    assert owner.crate.canonical == name.canonical
    assert shard.shard == owner.shard == crate.shard == name.shard
