"""What is wrong with a ceremony, before anybody puts a signature under it.

Signatures say that many people agreed; they do not say that anybody looked. The folder was written by others, so each
thing that would make the thresholds worthless, or the repository unusable, stops the signing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from carnet import times
from carnet.errors import CarnetError, SigningError
from carnet.people import check_people
from carnet.tuf import paths, structure
from carnet.tuf.example_keys import refuse_example_keys
from carnet.tuf.least import read_least
from carnet.tuf.next_version import check_root, check_shard
from carnet.tuf.roles import RoleKeys, Root, Targets
from carnet.tuf.tree import RoleKind, place_of
from carnet_signer.ceremony.ceremony import (
    MAX_BIT_LENGTH,
    OFFLINE_ROLES,
    Ceremony,
    as_root,
    as_root_file,
    as_targets,
    online_roots,
)
from carnet_signer.metadata import role_files
from carnet_signer.metadata.published_state import succinct_of

_SLACK = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class CeremonyFinding:
    """Something that a person should know before signing.

    Attributes:
        text: What, in one line.
        stops: Whether it stops the signing; otherwise it is a warning.
    """

    text: str
    stops: bool = True


def lint(ceremony: Ceremony, now: datetime, *, insecure_example_keys: bool = False) -> list[CeremonyFinding]:
    """Look for everything that should stop or worry a signer, in the newest version of every role."""
    found: list[CeremonyFinding] = []
    missing = [role for role in OFFLINE_ROLES if role not in ceremony.files]
    if missing:
        return [
            CeremonyFinding(
                f"the ceremony has no {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
            )
        ]
    try:
        for role in OFFLINE_ROLES:
            signed = ceremony.latest(role).signed
            if isinstance(signed, Targets):
                structure.check_structure(role, signed)
        found += _versions(ceremony)
        found += _expiries(ceremony, now)
        found += _keys(ceremony, insecure_example_keys)
        found += _delegations(ceremony)
        found += _least(ceremony)
        found += _shared_files(ceremony)
    except CarnetError as error:
        found.append(CeremonyFinding(str(error)))
    return found


def refuse(findings: list[CeremonyFinding]) -> None:
    """Stop when a finding says so.

    Raises:
        SigningError: With the first of them.
    """
    stopping = [finding for finding in findings if finding.stops]
    if stopping:
        more = f" (and {len(stopping) - 1} more)" if len(stopping) > 1 else ""
        raise SigningError(
            f"{stopping[0].text}{more}", hint="nothing was signed; ask whoever made these files, over another channel"
        )


def _versions(ceremony: Ceremony) -> Iterator[CeremonyFinding]:
    for role in OFFLINE_ROLES:
        version = ceremony.latest(role).signed.version
        if version > 1 and ceremony.before(role) is None and not ceremony.final(role):
            yield CeremonyFinding(
                f"version {version} of {role} is to be signed, and version {version - 1} is not here to compare"
            )
    versions = ceremony.files[paths.ROOT]
    for version in sorted(versions)[:-1]:
        before = versions.get(version - 1)
        if version == 1 or before is not None:
            check_root(as_root(before) if before is not None else None, as_root_file(versions[version]))
    for role in OFFLINE_ROLES[1:]:
        before = ceremony.before(role)
        if before is None:
            continue
        lost = _delegates(as_targets(before)) - _delegates(as_targets(ceremony.latest(role)))
        if lost:
            yield CeremonyFinding(
                f"{role} no longer delegates to {sorted(lost)[0]}", stops=not role.startswith("claims-")
            )


def _least(ceremony: Ceremony) -> Iterator[CeremonyFinding]:
    """Every shard that is to be signed demands no less than before, and no more than the owners' files here have."""
    aged = False
    for role in OFFLINE_ROLES:
        if place_of(role).kind != RoleKind.SHARD or ceremony.final(role):
            continue
        file = ceremony.before(role)
        before = None if file is None else as_targets(file)
        after = as_targets(ceremony.latest(role))
        if before is not None and before.delegations is not None and not aged:
            ceremony.claims.check_age(online_roots(ceremony), times.moved(after.expires, -role_files.OFFLINE_LIFE))
            aged = True
        standing = {} if before is None else ceremony.claims.standing(before)
        there = {one: version for name, least in standing.items() for one, version in least.by_role(name)}
        # New owners come with a claim that everybody could see, and never with a ceremony.
        check_shard(role, before, after, about=None, version=there.get)
        for name, least in read_least(after).items():
            for one, version in least.by_role(name):
                if version < there.get(one, 0):
                    yield CeremonyFinding(
                        f"{role} demands version {version} of {one}, and version {there[one]} is here: make it anew",
                        stops=False,
                    )


def _delegates(signed: Targets) -> set[str]:
    return set(signed.delegations.roles) if signed.delegations is not None else set()


def _expiries(ceremony: Ceremony, now: datetime) -> Iterator[CeremonyFinding]:
    for role in OFFLINE_ROLES:
        signed = ceremony.latest(role).signed
        life = role_files.ROOT_LIFE if role == paths.ROOT else role_files.OFFLINE_LIFE
        if signed.expires <= now:
            yield CeremonyFinding(f"{role} expired on {role_files.at(signed.expires)}")
        elif signed.expires > now + life + _SLACK:
            yield CeremonyFinding(
                f"{role} would be valid until {role_files.at(signed.expires)}: longer than {life.days} days"
            )


def _keys(ceremony: Ceremony, insecure_example_keys: bool) -> Iterator[CeremonyFinding]:
    root = ceremony.root
    index = succinct_of(as_targets(ceremony.latest(paths.INDEX)))
    offline, online = dict(_offline(ceremony, root)), _online(root, index.signers)
    everyone = [key for signers in (*offline.values(), *online.values()) for key in signers.keys]
    refuse_example_keys(everyone, allow=insecure_example_keys)
    ids: dict[bytes, str] = {}
    for key in everyone:
        if ids.setdefault(key.material, key.keyid) != key.keyid:
            yield CeremonyFinding(f"one key goes by two ids: {key.keyid[:16]} and {ids[key.material][:16]}")
    kept_online = {key.material for signers in online.values() for key in signers.keys}
    for role, signers in offline.items():
        shared = next((key for key in signers.keys if key.material in kept_online), None)
        if shared is not None:
            yield CeremonyFinding(
                f"{ceremony.name(shared)} is an online key and would sign {role}, which is signed offline"
            )
    names = [ceremony.name(key) for key in {key.material: key for key in everyone}.values()]
    if len(set(names)) < len(names):
        yield CeremonyFinding("two keys go by the same name")
    check_people(names)
    yield from _thresholds(root.roles[paths.ROOT])


def _offline(ceremony: Ceremony, root: Root) -> Iterator[tuple[str, RoleKeys]]:
    yield paths.ROOT, root.roles[paths.ROOT]
    yield paths.TARGETS, root.roles[paths.TARGETS]
    for delegator in (paths.TARGETS, paths.CLAIMS):
        delegations = as_targets(ceremony.latest(delegator)).delegations
        for name, entry in delegations.roles.items() if delegations is not None else ():
            yield name, entry.signers


def _online(root: Root, bins: RoleKeys) -> dict[str, RoleKeys]:
    return {
        paths.TIMESTAMP: root.roles[paths.TIMESTAMP],
        paths.SNAPSHOT: root.roles[paths.SNAPSHOT],
        "the index bins": bins,
    }


def _thresholds(holders: RoleKeys) -> Iterator[CeremonyFinding]:
    count, threshold = len(holders.keys), holders.threshold
    if threshold == 1:
        yield CeremonyFinding("one holder alone decides about everything (threshold 1)", stops=False)
    elif threshold == count:
        yield CeremonyFinding(
            f"all {count} holders must sign: if one key is lost, nobody can ever sign again", stops=False
        )


def _delegations(ceremony: Ceremony) -> Iterator[CeremonyFinding]:
    root = ceremony.root
    holders = root.roles[paths.ROOT]
    for role, signers in _offline(ceremony, root):
        if not signers.same_as(holders):
            yield CeremonyFinding(f"{role} is signed by others than the root: {_who(ceremony, signers)}", stops=False)
    for delegator in (paths.TARGETS, paths.CLAIMS):
        delegations = as_targets(ceremony.latest(delegator)).delegations
        for name, entry in delegations.roles.items() if delegations is not None else ():
            if entry.terminating:
                yield CeremonyFinding(
                    f"{delegator} delegates to {name} as terminating: nothing after it would be found"
                )
    shards = _delegates(as_targets(ceremony.latest(paths.CLAIMS)))
    if len(shards) != len(paths.SHARDS):
        yield CeremonyFinding(f"claims delegates to {len(shards)} shards, not to {len(paths.SHARDS)}")
    index = succinct_of(as_targets(ceremony.latest(paths.INDEX)))
    if index.bit_length > MAX_BIT_LENGTH:
        yield CeremonyFinding(f"index has 2^{index.bit_length} bins")
    before = ceremony.before(paths.INDEX)
    if before is not None and succinct_of(as_targets(before)).bit_length != index.bit_length:
        yield CeremonyFinding("index would change the number of its bins")
    for role, signers in _online(root, index.signers).items():
        if not signers.same_as(root.roles[paths.TIMESTAMP]):
            yield CeremonyFinding(
                f"{role} has another online key than timestamp: {_who(ceremony, signers)}", stops=False
            )


def _shared_files(ceremony: Ceremony) -> Iterator[CeremonyFinding]:
    """A file that speaks for a shard which has another one could be shown in that one's place."""
    saying: dict[tuple[str, ...], set[str]] = {}
    for shard in paths.SHARDS:
        shards = structure.shards_of(as_targets(ceremony.latest(paths.claims_shard_role(shard))))
        saying.setdefault(shards, set()).add(shard)
    for shards, those in saying.items():
        odd = sorted({*shards} - those)
        for role in map(paths.claims_shard_role, sorted(those)) if odd else ():
            if not ceremony.final(role):
                yield CeremonyFinding(f"the next {role} would speak for the shard {odd[0][:8]!a} as well")


def _who(ceremony: Ceremony, signers: RoleKeys) -> str:
    return f"{signers.threshold} of {len(signers.keys)}: {', '.join(ceremony.name(key) for key in signers.keys)}"
