"""The least versions of a claim's roles, which shards of claims carry: below them, nobody believes a snapshot.

Owner and crate roles live for three years, and only the snapshot says which of their versions is the newest; its keys
are online. So the shards, which people sign every 90 days, say below which version none of them may be:

::

    "carnet": {"shards": ["8b"], "least": {"serde": {"owner": 3, "crate": 41}}}

    drafting     every name, from the owner's and the crate's *file* (`carnet.claims.standing`)    next_least
    following    no lower than before, no higher than what there is; no name is dropped            check_next
    believing    the snapshot lists no lower version of a claimed crate's roles                     check_listed

A name stays for ever. One that nobody owns any more is its own tombstone: `given_up`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from carnet.cargo.names import CrateName
from carnet.errors import MetadataMismatch, RollbackDetected
from carnet.strictjson import Json, JsonObject
from carnet.tuf import paths
from carnet.tuf.roles import Targets
from carnet.tuf.tree import place_of
from carnet.value import value

_FIELD = "least"
_OLDER = "the repository is of an older form, and has to be signed again"
_PARTS = frozenset(("owner", "crate"))


@value
class Least:
    """The least versions of one name's roles.

    Attributes:
        owner: Of `owner.<name>`; 1 or more.
        crate: Of `crate.<name>`; 1 or more.
    """

    owner: int
    crate: int

    def by_role(self, name: str) -> tuple[tuple[str, int], tuple[str, int]]:
        """Each role with its least version; `name` is canonical."""
        crate = CrateName(name)
        return (paths.owner_role(crate), self.owner), (paths.crate_role(crate), self.crate)


# --- the field ---


def least_field(least: Mapping[str, Least]) -> JsonObject:
    """What a shard says of its names, to be merged into its field `carnet`; nothing for a shard without names."""
    listed: JsonObject = {name: {"owner": one.owner, "crate": one.crate} for name, one in sorted(least.items())}
    return {_FIELD: listed} if listed else {}


def read_least(shard: Targets) -> dict[str, Least]:
    """The least versions that a shard's file lists, by canonical name.

    Raises:
        MetadataMismatch: They are not two versions for each name.
    """
    listed = shard.carnet.get(_FIELD, {})
    if not isinstance(listed, dict):
        raise MetadataMismatch("carnet.least is not an object")
    return {name: _read(name, entry) for name, entry in listed.items()}


def least_of(shard: Targets, name: CrateName) -> Least | None:
    """The least versions of one name's roles; None when nobody ever claimed it.

    Raises:
        MetadataMismatch: They are not two versions.
    """
    listed = shard.carnet.get(_FIELD, {})
    entry = listed.get(name.canonical) if isinstance(listed, dict) else None
    return None if entry is None else _read(name.canonical, entry)


def _read(name: str, entry: Json) -> Least:
    if isinstance(entry, dict) and entry.keys() == _PARTS:
        owner, crate = entry["owner"], entry["crate"]
        if type(owner) is int and type(crate) is int and owner >= 1 and crate >= 1:
            return Least(owner, crate)
    raise MetadataMismatch(
        f"carnet.least does not give {name[:80]!a} a version of its owner role and of its crate role"
    )


def check_least_form(role: str, shard: Targets) -> None:
    """Demand least versions for every name that a shard delegates to, and for names of that shard alone.

    Raises:
        MetadataMismatch: One is missing, as in every repository of the older form; or one has no place there.
    """
    listed = read_least(shard)
    for name in listed:
        if place_of(f"owner.{name}").parent != role:
            raise MetadataMismatch(f"{role} gives least versions for {name[:80]!a}, whose shard is another")
    for entry in () if shard.delegations is None else shard.delegations.roles:
        if entry.removeprefix("owner.") not in listed:
            raise MetadataMismatch(f"{role} delegates to {entry} without the least version of its file: {_OLDER}")


# --- drafting ---


def next_least(shard: Targets | None, standing: Mapping[str, Least]) -> dict[str, Least]:
    """The least versions for the next version of a shard.

    Args:
        shard: The version before; None when there is none.
        standing: The versions that there are, of every claimed name: from the files of `carnet.claims.standing`, and
            from the drafts of what is published together with the shard.

    Returns:
        Those, and for the names that nobody owns any more what they had.

    Raises:
        RollbackDetected: There is only something older than what the version before demands: it is not the newest.
        MetadataMismatch: The version before does not say two versions for each name.
    """
    before = {} if shard is None else read_least(shard)
    for name in before.keys() & standing.keys():
        _check_not_lower("the next shard", before[name], standing[name], name)
    return before | dict(standing)


# --- following ---


def check_next(role: str, before: Targets | None, after: Targets, version: Callable[[str], int | None]) -> None:
    """Demand that a shard's next version drops no name, lowers no least version, and raises none above what there is.

    Args:
        role: The shard's role.
        before: The published version; None when there is none.
        after: The version that is to follow.
        version: The version of an owner or crate role that there is, or will be with it; None or 0 when there is none.

    Raises:
        RollbackDetected: A least version would be lower: old roles would be believed again.
        MetadataMismatch: A name would be dropped, or no role could ever satisfy clients.
    """
    old = {} if before is None else read_least(before)
    new = read_least(after)
    for name in old:
        if name not in new:
            raise MetadataMismatch(
                f"the next {role} drops the least versions of {name}: a name that was claimed once stays for ever",
                hint="make it anew from the published shards: `carnet root update`, or `carnet claim`",
            )
    for name, least in new.items():
        was = dict(old[name].by_role(name)) if name in old else {}
        if name in old:
            _check_not_lower(f"the next {role}", old[name], least, name)
        for one, lowest in least.by_role(name):
            there = (version(one) or 0) if lowest > was.get(one, 0) else lowest
            if lowest > there:
                raise MetadataMismatch(
                    f"the next {role} demands version {lowest} of {one}, and {there or 'none'} is the newest there is",
                    hint="clients would refuse the crate until it exists: publish that first, or make the shard anew",
                )


def _check_not_lower(what: str, before: Least, after: Least, name: str) -> None:
    for (role, was), (_, now) in zip(before.by_role(name), after.by_role(name), strict=True):
        if now < was:
            raise RollbackDetected(
                f"{what} would believe version {now} of {role} again: {was} is the least before",
                hint="whoever drafts it was shown old files, or wants old keys back: start from what is published",
            )


# --- believing ---


def check_listed(role: str, shard: Targets, name: CrateName, version: Callable[[str], int | None]) -> None:
    """Demand that a snapshot holds nothing back of one crate's claim, as far as its shard knows.

    Args:
        role: The shard's role.
        shard: What the shard says, verified.
        name: The crate.
        version: The version of a role that the snapshot lists; None when it lists none.

    Raises:
        RollbackDetected: The crate is claimed, and its roles are older than people saw them when they signed the shard.
        MetadataMismatch: The snapshot has owners of whom the shard knows nothing, or the shard is of the older form.
    """
    owner, least = paths.owner_role(name), least_of(shard, name)
    delegated = shard.delegations is not None and owner in shard.delegations.roles
    if least is None:
        if delegated:
            raise MetadataMismatch(f"{role} delegates to {owner} without the least version of its file: {_OLDER}")
        if version(owner) is not None:
            raise MetadataMismatch(
                f"the snapshot lists {owner}, and {role} says that nobody ever claimed {name}",
                hint="an old shard is shown with it, or whoever holds the online keys made it up; tell the operator",
            )
        return
    for one, lowest in least.by_role(name.canonical) if delegated else ():
        there = version(one)
        if there is not None and there < lowest:
            raise RollbackDetected(
                f"the snapshot lists version {there} of {one}; the registry's holders saw version {lowest}",
                hint="whoever holds the online keys shows an older state, whose keys may be revoked; tell the operator",
            )


def given_up(shard: Targets, name: CrateName) -> bool:
    """Whether a shard says that a crate was claimed once and is nobody's now."""
    owner = paths.owner_role(name)
    return least_of(shard, name) is not None and (shard.delegations is None or owner not in shard.delegations.roles)
