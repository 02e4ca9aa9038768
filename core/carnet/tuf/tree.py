"""The trust model's tree of roles: of each role its kind, who delegates to it, the way down to it, and who signs it.

::

    root
    ├── timestamp
    ├── snapshot
    └── targets
        ├── claims
        │   └── claims-<hh>              the registry's holders
        │       └── owner.<name>         the crate's owners
        │           └── crate.<name>     the crate's release keys
        └── index
            └── index-<hex>              online

All of it follows from a role's name (docs/trust-model.md, "What is signed by whom"); nothing is read and nothing is
trusted here. What each role may say is in `carnet.tuf.structure`, how its name is written in `carnet.tuf.paths`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from carnet.cargo.names import CrateName
from carnet.errors import FormatError, MetadataMismatch
from carnet.tuf import paths
from carnet.value import value

_OWNER, _CRATE, _SHARD = "owner.", "crate.", paths.claims_shard_role("")
_SHARDS = frozenset(paths.claims_shard_role(shard) for shard in paths.SHARDS)
_BIN = f"{paths.INDEX_BIN_PREFIX}-"
_HEX = frozenset("0123456789abcdef")


class RoleKind:
    """What a role is for. Names, because enumerations start slowly, and every look at a lock needs these."""

    ROOT: Final = "root"
    TIMESTAMP: Final = "timestamp"
    SNAPSHOT: Final = "snapshot"
    TARGETS: Final = "targets"
    CLAIMS: Final = "claims"
    SHARD: Final = "shard"
    OWNER: Final = "owner"
    CRATE: Final = "crate"
    INDEX: Final = "index"
    BIN: Final = "bin"


class Signers:
    """Whose keys sign a role, in words."""

    HOLDERS: Final = "the registry's holders"
    OWNERS: Final = "the crate's owners"
    RELEASERS: Final = "the crate's release keys"
    ONLINE: Final = "the online keys"


_TOP = frozenset(
    (
        RoleKind.ROOT,
        RoleKind.TIMESTAMP,
        RoleKind.SNAPSHOT,
        RoleKind.TARGETS,
        RoleKind.CLAIMS,
        RoleKind.INDEX,
    )
)
"""The kinds of which there is one role, which has the kind's name."""
_PARENTS = {
    RoleKind.TIMESTAMP: paths.ROOT,
    RoleKind.SNAPSHOT: paths.ROOT,
    RoleKind.TARGETS: paths.ROOT,
    RoleKind.CLAIMS: paths.TARGETS,
    RoleKind.INDEX: paths.TARGETS,
    RoleKind.SHARD: paths.CLAIMS,
    RoleKind.BIN: paths.INDEX,
}
_DEPTHS = {
    RoleKind.ROOT: 0,
    RoleKind.TIMESTAMP: 1,
    RoleKind.SNAPSHOT: 1,
    RoleKind.TARGETS: 1,
    RoleKind.CLAIMS: 2,
    RoleKind.INDEX: 2,
    RoleKind.SHARD: 3,
    RoleKind.BIN: 3,
    RoleKind.OWNER: 4,
    RoleKind.CRATE: 5,
}
_ONLINE = frozenset((RoleKind.TIMESTAMP, RoleKind.SNAPSHOT, RoleKind.BIN))


@value
class Place:
    """Where a role stands in the tree. `place_of` makes it.

    Attributes:
        role: Its name.
        kind: What it is for: one of `RoleKind`.
        parent: The role that names its keys; None for root, which names its own.
        crate: The crate that it is about; None when it is about more than one.
    """

    role: str
    kind: str
    parent: str | None
    crate: CrateName | None = None

    @property
    def depth(self) -> int:
        """How many roles stand above it."""
        return _DEPTHS[self.kind]

    @property
    def online(self) -> bool:
        """Whether the online keys sign it; every other role is signed by people."""
        return self.kind in _ONLINE

    @property
    def signers(self) -> str:
        """Whose keys sign it: one of `Signers`."""
        if self.online:
            return Signers.ONLINE
        if self.kind == RoleKind.OWNER:
            return Signers.OWNERS
        return Signers.RELEASERS if self.kind == RoleKind.CRATE else Signers.HOLDERS

    @property
    def shard(self) -> str | None:
        """The two hex digits of a shard, or of the shard that a crate belongs to; None for any other role."""
        if self.kind == RoleKind.SHARD:
            return self.role.removeprefix(_SHARD)
        return None if self.crate is None else self.crate.shard

    @property
    def patterns(self) -> tuple[str, ...]:
        """The target paths that its delegator lets it sign for; empty for a role that no delegation names."""
        if self.kind == RoleKind.CLAIMS:
            return paths.CLAIMS_PATTERNS
        if self.kind in (RoleKind.INDEX, RoleKind.BIN):
            return paths.INDEX_PATTERNS
        if self.kind == RoleKind.SHARD:
            return paths.shard_patterns(self.role.removeprefix(_SHARD))
        if self.crate is None:
            return ()
        return paths.owner_patterns(self.crate) if self.kind == RoleKind.OWNER else paths.crate_patterns(self.crate)


# One look at a lock asks some 600 times about 150 roles; 4,096 are a large lock's, and what has no place is not kept.
@lru_cache(4096)
def place_of(role: str) -> Place:
    """Where a role stands.

    Raises:
        MetadataMismatch: It has no place in the trust model.
    """
    if role in _TOP:
        return Place(role, role, _PARENTS.get(role))
    if role in _SHARDS:
        return Place(role, RoleKind.SHARD, paths.CLAIMS)
    if is_bin(role):
        return Place(role, RoleKind.BIN, paths.INDEX)
    if role.startswith(_OWNER):
        name = _crate_name(role, _OWNER)
        return Place(role, RoleKind.OWNER, paths.claims_shard_role(name.shard), name)
    if role.startswith(_CRATE):
        name = _crate_name(role, _CRATE)
        return Place(role, RoleKind.CRATE, paths.owner_role(name), name)
    raise MetadataMismatch(f"the role {role[:80]!a} has no place in the trust model")


def is_bin(role: str) -> bool:
    """Whether a role is a hash bin: `place_of(role).kind == RoleKind.BIN`, for lists of many thousand names."""
    # TAP 15 numbers bins in hex; 2^32 of them are the most that it allows.
    return role.startswith(_BIN) and 1 <= len(role) - len(_BIN) <= 8 and _HEX.issuperset(role[len(_BIN) :])


def parent_of(role: str) -> str:
    """The role that names a role's keys.

    Raises:
        MetadataMismatch: It has no place in the trust model, or is root, which names its own keys.
    """
    parent = place_of(role).parent
    if parent is None:
        raise MetadataMismatch(f"no role delegates to {role}")
    return parent


def way_to(role: str) -> tuple[str, ...]:
    """The targets roles on the way from the top-level one down to a role, both included.

    Raises:
        MetadataMismatch: It has no place in the trust model, or is no targets role.
    """
    found = [role]
    while found[-1] != paths.TARGETS:
        parent = place_of(found[-1]).parent
        if parent is None or parent == paths.ROOT:
            raise MetadataMismatch(f"{role} is no targets role")
        found.append(parent)
    return tuple(reversed(found))


def way_to_claim(name: CrateName) -> tuple[str, str, str, str, str]:
    """The roles on the way to the one that the release keys of a crate sign: `way_to`, of a name that is known."""
    return (paths.TARGETS, paths.CLAIMS, *roles_of(name))


def roles_of(name: CrateName) -> tuple[str, str, str]:
    """The roles that say everything about one crate: its shard, its owners', its release keys'."""
    return (paths.claims_shard_role(name.shard), paths.owner_role(name), paths.crate_role(name))


def _crate_name(role: str, prefix: str) -> CrateName:
    text = role.removeprefix(prefix)
    try:
        name = CrateName(text)
    except FormatError:
        name = None
    if name is None or name.canonical != text:
        raise MetadataMismatch(f"the role {role[:80]!a} is not {prefix}<canonical crate name>")
    return name
