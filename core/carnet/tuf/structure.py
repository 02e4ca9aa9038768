"""The trust model's tree of roles: each role delegates to exactly whom it should, and lists exactly what it may.

TUF leaves a role free to delegate further and to list any path within its patterns. Here the tree is fixed, so whatever
departs from it is refused, not ignored: a registry that could slip a role or a target in between a crate's owners and
their releases would be as good as an owner.

TUF metadata does not name the role that it is of, and all bins have one key, as all shards of claims have the same
keys: one that lists nothing would pass for any other. So each says, in the field `carnet` of its signed part, which
role it speaks for (docs/formats.md, "What a file speaks for").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from carnet.cargo.names import CrateName
from carnet.errors import FormatError, MetadataMismatch
from carnet.strictjson import Json, JsonObject
from carnet.tuf import paths
from carnet.tuf.roles import DelegatedRole, Targets

FIELD = "carnet"
"""The signed field that holds what carnet says beside TUF's own fields."""

_WHY_NOT = "another role's file was put in its place; or the repository is of an older form and has to be signed again"
_OWNER, _CRATE = "owner.", "crate."
_INDEX_BIN = f"{paths.INDEX_BIN_PREFIX}-"
_SHARD = "claims-"


def check_structure(role: str, signed: Targets) -> None:
    """Demand that a targets role is as the trust model has it.

    Raises:
        MetadataMismatch: It delegates to someone else, in another way, or lists a target that is not its to list.
    """
    if role == paths.TARGETS:
        _lists_nothing(role, signed)
        found = tuple(_roles(role, signed).values())
        expected = ((paths.CLAIMS, paths.CLAIMS_PATTERNS), (paths.INDEX, paths.INDEX_PATTERNS))
        if tuple((entry.name, entry.paths) for entry in found) != expected:
            raise MetadataMismatch(
                "targets does not delegate to exactly claims and index, with their paths, in this order"
            )
    elif role == paths.CLAIMS:
        _lists_nothing(role, signed)
        for entry in _roles(role, signed).values():
            shard = entry.name.removeprefix(_SHARD)
            if shard not in _SHARDS or entry.name != paths.claims_shard_role(shard):
                raise MetadataMismatch(f"claims delegates to {entry.name[:80]!a}, which is no shard of claims")
            if entry.paths != paths.shard_patterns(shard):
                raise MetadataMismatch(f"claims delegates to {entry.name} with paths that are not its own")
    elif role == paths.INDEX:
        _lists_nothing(role, signed)
        if (
            signed.delegations is None
            or signed.delegations.succinct is None
            or signed.delegations.succinct.prefix != paths.INDEX_BIN_PREFIX
        ):
            raise MetadataMismatch("index does not delegate to hash bins called index")
    elif role.startswith(_SHARD):
        _lists_nothing(role, signed)
        entries = _roles(role, signed)
        _check_shards(role, signed, alone=bool(entries))
        for entry in entries.values():
            _check_shard_entry(role, entry)
    elif role.startswith(_OWNER):
        _check_owner(role, signed)
    elif role.startswith(_CRATE):
        _delegates_nothing(role, signed)
        _check_targets(role, signed, paths.crate_patterns(_crate_name(role, _CRATE)))
    elif role.startswith(_INDEX_BIN):
        if _said(signed, "role") != role:
            raise MetadataMismatch(f"the file that is to be {role} does not say that it is", hint=_WHY_NOT)
        _delegates_nothing(role, signed)
        _check_targets(role, signed, paths.INDEX_PATTERNS)
    else:
        raise MetadataMismatch(f"the role {role[:80]!a} has no place in the trust model")


def bin_field(role: str) -> JsonObject:
    """What a bin says that it is, as a field of its signed part."""
    return {FIELD: {"role": role}}


def shard_field(shards: Iterable[str]) -> JsonObject:
    """Which shards of claims a file speaks for, as a field of its signed part.

    Args:
        shards: Their two hex digits. A shard that has, or once had, an entry has a file of its own: otherwise the file
            that says of many shards that they are empty could be shown in its place. The shards that never had one
            share a file.
    """
    return {FIELD: {"shards": list[Json](sorted(shards))}}


def shards_of(signed: Targets) -> tuple[str, ...]:
    """The shards of claims that a file says it speaks for; empty when it does not say."""
    said = _said(signed, "shards")
    return tuple(said) if isinstance(said, list) and {*map(type, said)} <= {str} else ()


def _said(signed: Targets, what: str) -> Any:
    field = signed.extra.get(FIELD)
    return field.get(what) if isinstance(field, dict) else None


def _check_shards(role: str, signed: Targets, *, alone: bool) -> None:
    shard, said = role.removeprefix(_SHARD), shards_of(signed)
    if shard not in said:
        raise MetadataMismatch(
            f"the file that is to be {role} does not say that it speaks for that shard", hint=_WHY_NOT
        )
    if alone and len(said) != 1:
        raise MetadataMismatch(f"{role} has entries, and speaks for other shards as well")


_SHARDS = frozenset(paths.SHARDS)


def _check_shard_entry(shard_role: str, entry: DelegatedRole) -> None:
    name = _crate_name(entry.name, _OWNER)
    if paths.claims_shard_role(name.shard) != shard_role:
        raise MetadataMismatch(f"{shard_role} delegates to {entry.name}, whose shard is {name.shard}")
    _check_entry(shard_role, entry, paths.owner_patterns(name))


def _check_owner(role: str, signed: Targets) -> None:
    name = _crate_name(role, _OWNER)
    found = _roles(role, signed)
    if tuple(found) != (paths.crate_role(name),):
        raise MetadataMismatch(f"{role} does not delegate to exactly {paths.crate_role(name)}")
    _check_entry(role, found[paths.crate_role(name)], paths.crate_patterns(name))
    # The release keys list tarballs; the owners list layouts, and would otherwise be searched first.
    _check_targets(role, signed, paths.owner_patterns(name)[1:])


def _check_entry(role: str, entry: DelegatedRole, expected: tuple[str, ...]) -> None:
    if entry.paths != expected:
        raise MetadataMismatch(f"{role} delegates to {entry.name} with paths that are not exactly its own")
    if not entry.terminating:
        raise MetadataMismatch(f"{role} delegates to {entry.name} without terminating the search there")


def _crate_name(role: str, prefix: str) -> CrateName:
    text = role.removeprefix(prefix)
    try:
        name = CrateName(text)
    except FormatError:
        name = None
    if name is None or not role.startswith(prefix) or name.canonical != text:
        raise MetadataMismatch(f"the role {role[:80]!a} is not {prefix}<canonical crate name>")
    return name


def _roles(role: str, signed: Targets) -> dict[str, DelegatedRole]:
    if signed.delegations is None:
        return {}
    if signed.delegations.succinct is not None:
        raise MetadataMismatch(f"{role} delegates to hash bins, which only index does")
    return dict(signed.delegations.roles)


def _delegates_nothing(role: str, signed: Targets) -> None:
    if signed.delegations is not None and (signed.delegations.roles or signed.delegations.succinct is not None):
        raise MetadataMismatch(f"{role} delegates, and must not")


def _lists_nothing(role: str, signed: Targets) -> None:
    if signed.targets:
        path = next(iter(signed.targets))
        raise MetadataMismatch(f"{role} lists the target {path[:80]!a}, and must list none")


def _check_targets(role: str, signed: Targets, patterns: tuple[str, ...]) -> None:
    for path in signed.targets:
        if not paths.matches_any(patterns, path):
            raise MetadataMismatch(f"{role} lists the target {path[:80]!a}, which is not its own")
