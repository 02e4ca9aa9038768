"""A ceremony in words: what a holder is about to sign, and what changes against the version before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from carnet import strictjson
from carnet.claims.waiting import Waiting
from carnet.tuf import paths
from carnet.tuf.keys import PublicKey
from carnet.tuf.least import read_least
from carnet.tuf.roles import RoleFile, RoleKeys, Root, Signed, Targets
from carnet_signer import fields
from carnet_signer.ceremony.ceremony import OFFLINE_ROLES, Ceremony, as_root, as_targets
from carnet_signer.metadata import role_files
from carnet_signer.metadata.published_state import succinct_of

_TOP = (paths.ROOT, paths.TARGETS, paths.TIMESTAMP, paths.SNAPSHOT)
_ENTRY = ("name", "keyids", "threshold", "paths", "terminating")
_BINS = ("keyids", "threshold", "bit_length", "name_prefix")
_SHARDS = tuple(paths.claims_shard_role(shard) for shard in paths.SHARDS)


def groups(wanted: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """The roles in their order, the shards of claims together."""
    listed = set(wanted)
    shards = tuple(role for role in _SHARDS if role in listed)
    for role in OFFLINE_ROLES:
        if role in listed and role not in shards:
            yield (role,)
        elif shards and role == shards[0]:
            yield shards


def group_name(group: Sequence[str]) -> str:
    """`root`, or `claims-00 to claims-ff (256 files)`."""
    if len(group) == 1:
        return group[0]
    return f"{group[0]} to {group[-1]} ({len(group)} files)"


def who(ceremony: Ceremony, signers: RoleKeys) -> str:
    """`2 of 3: alice, bob, carol`."""
    return f"{signers.threshold} of {len(signers.keys)}: {', '.join(_called(ceremony, key) for key in signers.keys)}"


def _called(ceremony: Ceremony, key: PublicKey) -> str:
    """A holder by name; whoever has none in a root, by the whole id of their key."""
    return ceremony.name(key) if ceremony.is_named(key) else f"the unnamed key {key.keyid}"


def describe(ceremony: Ceremony, wanted: Iterable[str], now: datetime) -> list[str]:
    """What these roles say, line by line, for whoever is to sign them."""
    lines: list[str] = []
    for group in groups(wanted):
        lines += _headings(ceremony, group, now)
        if group[0] == paths.ROOT:
            lines += [f"  {line}" for line in _root(ceremony)]
        elif group[0] in _SHARDS:
            lines += [f"  {line}" for line in _shards(ceremony, group)]
        else:
            lines += [f"  {line}" for line in _targets(ceremony, group[0])]
        for role in group:
            lines += [f"  !!! ALSO IN WHAT YOU SIGN: {line}" for line in _unsaid(ceremony, role)]
    return lines


def _headings(ceremony: Ceremony, group: Sequence[str], now: datetime) -> Iterator[str]:
    """A line for the group, or one for each part of it that has another version or expiry."""
    alike: dict[tuple[int, datetime], list[str]] = {}
    for role in group:
        signed = ceremony.latest(role).signed
        alike.setdefault((signed.version, signed.expires), []).append(role)
    for (version, expires), roles in alike.items():
        whole = len(alike) == 1 or len(roles) == 1
        name = group_name(roles) if whole else f"{roles[0]} and {len(roles) - 1} others"
        yield f"{name}, version {version}, until {role_files.at(expires)} ({(expires - now).days} days)"


def _unsaid(ceremony: Ceremony, role: str) -> list[str]:
    """Whatever of a role the lines above do not speak of."""
    envelope, before = ceremony.latest(role), ceremony.before(role)
    named = [_named(one) for one in (before, envelope) if one is not None]
    keys = {key.keyid: key for signers in named for one in signers.values() for key in one.keys}
    said: list[fields.Path] = [*fields.EVERY_ROLE, *(("delegations", "keys", keyid) for keyid in keys)]
    if role == paths.ROOT:
        said += [("keys", keyid) for keyid in keys]
        now = {key.keyid for key in _all_keys(as_root(envelope))}
        gone = keys.keys() - now - _people_of(envelope)  # a name for a key that signs nothing is not spoken of
        said += [("carnet", "people", keyid) for keyid in now | gone if ceremony.is_named(keys[keyid])]
        said.append(("carnet", "waiting", fields.REST))
        said += [("roles", name, part, fields.REST) for name in _TOP for part in ("keyids", "threshold")]
        if as_root(envelope).consistent_snapshot:
            said.append(("consistent_snapshot",))
    elif role == paths.INDEX:
        said += [("delegations", "succinct_roles", part, fields.REST) for part in _BINS]
    else:
        said += [("delegations", "roles", fields.ANY, part, fields.REST) for part in _ENTRY]
        said.append(("carnet", "least", fields.REST))  # no less than before; what is less than there is, `lint` says
        said.append(("carnet", "shards", fields.REST))  # `carnet_signer.ceremony.lint` demands what it must be
    found = fields.unsaid(None if before is None else before.body, envelope.body, said)
    return [f"{role}: {line}" for line in found]


def _people_of(root: RoleFile[Signed]) -> set[str]:
    people = root.signed.carnet.get("people")
    return {*people} if isinstance(people, dict) else set()


def _named(envelope: RoleFile[Signed]) -> dict[str, RoleKeys]:
    """Whose signatures a role asks of others, by role."""
    if isinstance(envelope.signed, Root):
        return dict(envelope.signed.roles)
    delegations = as_targets(envelope).delegations
    if delegations is None:
        return {}
    if delegations.succinct is not None:
        return {delegations.succinct.prefix: delegations.succinct.signers}
    return {name: entry.signers for name, entry in delegations.roles.items()}


def _root(ceremony: Ceremony) -> Iterator[str]:
    root = ceremony.root
    before = ceremony.before(paths.ROOT)
    old = as_root(before) if before is not None else None
    for name in _TOP:
        yield f"{name:10} {who(ceremony, root.roles[name])}"
    waiting = Waiting.of(root)
    yield f"waiting    a first claim for {waiting.claim} days, a takeover for {waiting.takeover}"
    for key in _all_keys(root):
        yield f"key        {ceremony.name(key)}: {key.scheme}, key id {key.keyid}"
    if old is not None:
        if waiting != Waiting.of(old):
            before_days = Waiting.of(old)
            yield f"CHANGE     waiting: it was {before_days.claim} days and {before_days.takeover}"
        yield from _changed_keys(ceremony, old, root)


def _all_keys(root: Root) -> Iterable[PublicKey]:
    return {key.keyid: key for signers in root.roles.values() for key in signers.keys}.values()


def _changed_keys(ceremony: Ceremony, old: Root, new: Root) -> Iterator[str]:
    unchanged = True
    for name in _TOP:
        for line in _changes(ceremony, old.roles[name], new.roles[name]):
            unchanged = False
            yield f"change     {name}: {line}"
    known = {key.keyid for key in _all_keys(old)}
    for key in _all_keys(new):
        if key.keyid in known and ceremony.name(key) != ceremony.name_before(key):
            unchanged = False
            yield f"CHANGE     {ceremony.name(key)}: the holder of key {key.keyid} was {ceremony.name_before(key)}"
    if unchanged:
        yield "change     none but the expiry"


def _changes(ceremony: Ceremony, old: RoleKeys | None, new: RoleKeys) -> Iterator[str]:
    if old is None:
        return
    before, after = ({key.material: key for key in signers.keys} for signers in (old, new))
    for material, key in after.items():
        if material not in before:
            yield f"{_called(ceremony, key)} joins, with key {key.keyid}"
    for material, key in before.items():
        if material not in after:
            yield f"{ceremony.name_before(key)} leaves, with key {key.keyid}"
    for material, key in after.items():  # the id is the digest of the whole key object: another one says something else
        if material in before and key.keyid != before[material].keyid:
            yield (
                f"{ceremony.name_before(before[material])} stays, by another key object: key id {key.keyid}, it was "
                f"{before[material].keyid}, and it says {strictjson.encode(key.to_object()).decode()}"
            )
    if old.threshold != new.threshold:
        yield f"threshold {old.threshold} becomes {new.threshold}"


def _targets(ceremony: Ceremony, role: str) -> Iterator[str]:
    signed = as_targets(ceremony.latest(role))
    before = ceremony.before(role)
    old = as_targets(before) if before is not None else None
    if role == paths.INDEX:
        bins = succinct_of(signed)
        yield f"delegates to {2**bins.bit_length} bins of index files, signed by {who(ceremony, bins.signers)}"
        lines = list(_changes(ceremony, succinct_of(old).signers if old is not None else None, bins.signers))
    else:
        entries = signed.delegations.roles if signed.delegations is not None else {}
        kinds = {who(ceremony, entry.signers): list[str]() for entry in entries.values()}
        for name, entry in entries.items():
            kinds[who(ceremony, entry.signers)].append(name)
        for signers, names in kinds.items():
            listed = " and ".join(names) if len(names) < 4 else f"{names[0]} to {names[-1]} ({len(names)})"
            yield f"delegates to {listed}, each signed by {signers}"
        lines = sorted(
            {line for name in entries for line in _changes(ceremony, _entry(old, name), entries[name].signers)}
        )
    if old is not None:
        yield from (f"change     {line}" for line in lines or ["none but the expiry"])


def _entry(signed: Targets | None, name: str) -> RoleKeys | None:
    return signed.delegations.signers_of(name) if signed is not None and signed.delegations is not None else None


def _shards(ceremony: Ceremony, group: Sequence[str]) -> Iterator[str]:
    claimed, raised, lines = 0, 0, list[str]()
    for role in group:
        signed, before = as_targets(ceremony.latest(role)), ceremony.before(role)
        old = as_targets(before) if before is not None else None
        entries = signed.delegations.roles if signed.delegations is not None else {}
        claimed += len(entries)
        least = {} if old is None else read_least(old)
        raised += sum(least.get(name) != one for name, one in read_least(signed).items())
        former = old.delegations.roles if old is not None and old.delegations is not None else {}
        for name, entry in entries.items():
            if name not in former:
                lines.append(f"change     {name} is claimed, by {who(ceremony, entry.signers)}")
            lines += [f"change     {name}: {line}" for line in _changes(ceremony, _entry(old, name), entry.signers)]
        lines += [f"change     {name} is no longer claimed" for name in former if name not in entries]
    yield f"list {claimed} claimed crates" if claimed else "say that no crate is claimed"
    if raised:
        yield f"demand newer files than before of the owners or release keys of {raised} crates"
    if claimed and ceremony.claims.timestamp is not None:
        yield f"compared with the owners' files that were published on {role_files.at(ceremony.claims.made_at())}"
    yield from lines
