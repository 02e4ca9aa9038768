"""What a role may say: each delegates to exactly whom it should, and lists exactly what it may.

TUF leaves a role free to delegate further and to list any path within its patterns. Here the tree is fixed
(`carnet.tuf.tree`), so whatever departs from it is refused, not ignored: a registry that could slip a role or a target
in between a crate's owners and their releases would be as good as an owner.

TUF metadata does not name the role that it is of, and all bins have one key, as all shards of claims have the same
keys: one that lists nothing would pass for any other; people may own several crates. So each says, in the field
`carnet` of its signed part, which role it speaks for (docs/formats.md, "What a file speaks for").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from carnet.errors import MetadataMismatch
from carnet.strictjson import Json, JsonObject
from carnet.tuf import paths
from carnet.tuf.least import Least, check_least_form, least_field
from carnet.tuf.roles import FIELD, DelegatedRole, Targets
from carnet.tuf.tree import Place, RoleKind, place_of

_WHY_NOT = "another role's file was put in its place; or the repository is of an older form and has to be signed again"


def check_structure(role: str, signed: Targets) -> None:
    """Demand that a targets role is as the trust model has it.

    Raises:
        MetadataMismatch: It delegates to someone else, in another way, or lists a target that is not its to list.
    """
    place = place_of(role)
    check = _CHECKS.get(place.kind)
    if check is None:
        raise MetadataMismatch(f"{role} is no targets role")
    check(place, signed)


def _check_targets_role(place: Place, signed: Targets) -> None:
    _lists_nothing(place, signed)
    found = tuple((entry.name, entry.paths) for entry in _roles(place, signed).values())
    if found != tuple((role, place_of(role).patterns) for role in (paths.CLAIMS, paths.INDEX)):
        raise MetadataMismatch("targets does not delegate to exactly claims and index, with their paths, in this order")


def _check_claims_role(place: Place, signed: Targets) -> None:
    _lists_nothing(place, signed)
    for entry in _roles(place, signed).values():
        shard = _place_below(place, entry)
        if shard is None:
            raise MetadataMismatch(f"claims delegates to {entry.name[:80]!a}, which is no shard of claims")
        if entry.paths != shard.patterns:
            raise MetadataMismatch(f"claims delegates to {entry.name} with paths that are not its own")


def _check_index_role(place: Place, signed: Targets) -> None:
    _lists_nothing(place, signed)
    delegations = signed.delegations
    if delegations is None or delegations.succinct is None or delegations.succinct.prefix != paths.INDEX_BIN_PREFIX:
        raise MetadataMismatch("index does not delegate to hash bins called index")


def _check_shard(place: Place, signed: Targets) -> None:
    _lists_nothing(place, signed)
    entries = _roles(place, signed)
    said = shards_of(signed)
    if place.shard not in said:
        raise MetadataMismatch(
            f"the file that is to be {place.role} does not say that it speaks for that shard", hint=_WHY_NOT
        )
    if (entries or signed.carnet.get("least")) and len(said) != 1:
        raise MetadataMismatch(f"{place.role} has entries, and speaks for other shards as well")
    for entry in entries.values():
        owner = place_of(entry.name)
        if owner.kind != RoleKind.OWNER:
            raise MetadataMismatch(f"{place.role} delegates to {entry.name[:80]!a}, which is no owner role")
        if owner.parent != place.role:
            raise MetadataMismatch(f"{place.role} delegates to {entry.name}, whose shard is {owner.shard}")
        _check_entry(place, entry, owner)
    check_least_form(place.role, signed)


def _check_owner(place: Place, signed: Targets) -> None:
    _names_itself(place, signed)
    entries = tuple(_roles(place, signed).values())
    crate = _place_below(place, entries[0]) if len(entries) == 1 else None
    if crate is None:
        raise MetadataMismatch(f"{place.role} does not delegate to exactly its crate's role")
    _check_entry(place, entries[0], crate)
    # The release keys list tarballs; the owners list layouts, and would otherwise be searched first.
    _check_targets(place, signed, place.patterns[1:])


def _check_crate(place: Place, signed: Targets) -> None:
    _names_itself(place, signed)
    _delegates_nothing(place, signed)
    _check_targets(place, signed, place.patterns)


def _check_bin(place: Place, signed: Targets) -> None:
    _names_itself(place, signed)
    _delegates_nothing(place, signed)
    _check_targets(place, signed, place.patterns)


_CHECKS = {
    RoleKind.TARGETS: _check_targets_role,
    RoleKind.CLAIMS: _check_claims_role,
    RoleKind.SHARD: _check_shard,
    RoleKind.OWNER: _check_owner,
    RoleKind.CRATE: _check_crate,
    RoleKind.INDEX: _check_index_role,
    RoleKind.BIN: _check_bin,
}


def role_field(role: str) -> JsonObject:
    """What a bin, an owner role or a crate role says that it is, as a field of its signed part."""
    return {FIELD: {"role": role}}


def shard_field(shards: Iterable[str], least: Mapping[str, Least] | None = None) -> JsonObject:
    """Which shards of claims a file speaks for, and the least versions of its names, as a field of its signed part.

    Args:
        shards: Their two hex digits. A shard that has, or once had, an entry has a file of its own: otherwise the file
            that says of many shards that they are empty could be shown in its place. The shards that never had one
            share a file.
        least: By canonical name, for every name of the shard (`carnet.tuf.least`).
    """
    speaks_for: JsonObject = {"shards": list[Json](sorted(shards))}
    return {FIELD: speaks_for | least_field(least or {})}


def shards_of(signed: Targets) -> tuple[str, ...]:
    """The shards of claims that a file says it speaks for; empty when it does not say."""
    said: Any = signed.carnet.get("shards")
    return tuple(said) if isinstance(said, list) and {*map(type, said)} <= {str} else ()


def _names_itself(place: Place, signed: Targets) -> None:
    if signed.carnet.get("role") != place.role:
        raise MetadataMismatch(f"the file that is to be {place.role} does not say that it is", hint=_WHY_NOT)


def _place_below(place: Place, entry: DelegatedRole) -> Place | None:
    """Where the role of an entry stands, if that is right below the role that has the entry."""
    below = place_of(entry.name)
    return below if below.parent == place.role else None


def _check_entry(place: Place, entry: DelegatedRole, below: Place) -> None:
    if entry.paths != below.patterns:
        raise MetadataMismatch(f"{place.role} delegates to {entry.name} with paths that are not exactly its own")
    if not entry.terminating:
        raise MetadataMismatch(f"{place.role} delegates to {entry.name} without terminating the search there")


def _roles(place: Place, signed: Targets) -> dict[str, DelegatedRole]:
    if signed.delegations is None:
        return {}
    if signed.delegations.succinct is not None:
        raise MetadataMismatch(f"{place.role} delegates to hash bins, which only index does")
    return dict(signed.delegations.roles)


def _delegates_nothing(place: Place, signed: Targets) -> None:
    if signed.delegations is not None and (signed.delegations.roles or signed.delegations.succinct is not None):
        raise MetadataMismatch(f"{place.role} delegates, and must not")


def _lists_nothing(place: Place, signed: Targets) -> None:
    if signed.targets:
        path = next(iter(signed.targets))
        raise MetadataMismatch(f"{place.role} lists the target {path[:80]!a}, and must list none")


def _check_targets(place: Place, signed: Targets, patterns: tuple[str, ...]) -> None:
    for path in signed.targets:
        if not paths.matches_any(patterns, path):
            raise MetadataMismatch(f"{place.role} lists the target {path[:80]!a}, which is not its own")
