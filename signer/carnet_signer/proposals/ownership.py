"""Who owns a crate: claiming it, changing owners, release keys or layout, giving it up.

What is made here are unsigned next versions of up to three roles, always for one snapshot (docs/formats.md, "A claim"):

    the shard `claims-<hh>`    names the owners; the registry's offline holders sign it
    `owner.<name>`             names the release keys and the layout; the owners sign it
    `crate.<name>`             lists every version; the release keys sign it

Everything starts from roles that the caller has verified. `carnet_signer.proposals.review` says in words what they come
to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from carnet.cargo.index_line import IndexFile
from carnet.cargo.names import CrateName, Version
from carnet.claims.decided import inherited
from carnet.claims.history import History, ListedVersion
from carnet.claims.holders import ClaimFacts, Holders
from carnet.claims.releases import Demands, Digest, Releases, SignedRelease
from carnet.claims.standing import read_standing
from carnet.claims.takeover import told
from carnet.digests import sha256_hex
from carnet.errors import ConfigError, FormatError
from carnet.intoto.duties import Terms
from carnet.strictjson import Json, JsonObject
from carnet.tuf import paths
from carnet.tuf.keys import PublicKey
from carnet.tuf.least import Least, next_least
from carnet.tuf.roles import FIELD, DelegatedRole, RoleFile, RoleKeys, Targets
from carnet.tuf.structure import shard_field
from carnet.tuf.tree import roles_of
from carnet_signer.metadata import role_files
from carnet_signer.own_view import VerifiedView
from carnet_signer.proposals.proposal import Proposal, Request, draft

RENEWABLE = timedelta(days=365)
"""Owner and crate roles live three years: in the last of these they may be signed anew with nothing changed."""


@dataclass(frozen=True, slots=True)
class NewLayout:
    """A layout that the owners are to put in force.

    Attributes:
        data: The signed layout file, as `carnet layout sign` wrote it.
        terms: What they demand beside it.
        origins: Where its people's keys come from, by key id, as whoever wrote it says.
    """

    data: bytes
    terms: Terms
    origins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PublishedClaim:
    """The verified roles that a proposal starts from.

    Attributes:
        targets: The top-level targets role.
        claims: The role above the shards.
        shard: The crate's shard.
        owner: The owner role, or None when the crate is unclaimed.
        crate: The crate role, or None.
        given_up: Whether the name was claimed once and given up: its roles stay in the snapshot for ever.
        neighbours: The owner and crate roles of every claimed crate of the shard, this one among them, when the shard
            is to have a next version: it says of all of them below which version nobody believes them.
    """

    targets: RoleFile[Targets]
    claims: RoleFile[Targets]
    shard: RoleFile[Targets]
    owner: RoleFile[Targets] | None = None
    crate: RoleFile[Targets] | None = None
    given_up: bool = False
    neighbours: Mapping[str, RoleFile[Targets]] = field(default_factory=dict, repr=False)

    def by_role(self, name: CrateName) -> dict[str, RoleFile[Targets]]:
        """By role name, as `Proposal.base` holds them."""
        shard, owner, crate = roles_of(name)
        found = {**self.neighbours, paths.TARGETS: self.targets, paths.CLAIMS: self.claims, shard: self.shard}
        if self.owner is not None:
            found[owner] = self.owner
        if self.crate is not None:
            found[crate] = self.crate
        return found


def read_published(view: VerifiedView, name: CrateName, *, neighbours: bool = False) -> PublishedClaim:
    """The verified roles of one crate; its own may have ended, because whoever renews them starts from them.

    Args:
        view: What is published.
        name: The crate.
        neighbours: Whether the shard is to have a next version, which needs the roles of all its crates.

    Raises:
        VerificationError: A role failed a check.
    """
    shard, owner, crate = roles_of(name)
    view = view.for_renewal()
    shard_role = view.role(shard)
    claimed = _entry(shard_role, name) is not None
    return PublishedClaim(
        view.role(paths.TARGETS),
        view.role(paths.CLAIMS),
        shard_role,
        view.role(owner) if claimed else None,
        view.role(crate) if claimed else None,
        given_up=not claimed and view.version(owner) is not None,
        neighbours=view.claimed_files([shard]) if neighbours else {},
    )


def team(members: Iterable[tuple[str, PublicKey]], threshold: int) -> Holders:
    """People with one key each.

    Raises:
        ConfigError: A person or a key twice, or a threshold that they cannot meet.
    """
    members = list(members)
    keys = [key for _, key in members]
    for person, key in members:
        if sum(other.material == key.material for other in keys) > 1:
            raise ConfigError(f"the key of {person} is listed twice", hint="each person needs a key of their own")
    if not 1 <= threshold <= len(keys):
        raise ConfigError(
            f"a threshold of {threshold} cannot be met by {len(keys)} keys",
            hint="name more people and their keys, or a lower threshold",
        )
    try:
        return Holders(RoleKeys(tuple(keys), threshold), {key.keyid: person for person, key in members})
    except FormatError as error:
        raise ConfigError(str(error), hint="write PERSON=KEYFILE.pub once for each person") from None


def adopt(
    index: IndexFile | None, lengths: Mapping[str, int], registry: str, history: History | None = None
) -> Releases | None:
    """The versions that are published already, by digest, and those that the upstream lists, by checksum.

    Args:
        index: The crate's verified index file, or None when the registry has none.
        lengths: Bytes of each tarball that the mirror has, by sha256; what it only lists is adopted by checksum.
        registry: The registry's id.
        history: What the registry says that its upstream lists, verified; None when it says nothing of that.
    """
    if index is None or not index.readable:
        return None
    found: dict[Version, SignedRelease] = {}
    for line in sorted(index.readable, key=lambda line: line.id.version):
        tarball = Digest(lengths.get(line.cksum), line.cksum)
        found[line.id.version] = SignedRelease(line.id, tarball, line.identity(), line.yanked, registry)
    name = index.readable[0].id.name
    for one in history or ():
        if one.id.name == name and one.id.version not in found:
            found[one.id.version] = by_checksum(one, registry)
    return Releases(name, {version: found[version] for version in sorted(found)})


def by_checksum(listed: ListedVersion, registry: str) -> SignedRelease:
    """A version that an upstream lists, as it is adopted."""
    return SignedRelease(listed.id, Digest(None, listed.cksum), listed.index, listed.yanked, registry)


def new_claim(
    published: PublishedClaim,
    request: Request,
    facts: ClaimFacts,
    *,
    adopted: Releases | None,
    layout: NewLayout | None,
    now: datetime,
) -> Proposal:
    """The first version of a claim's three roles.

    Raises:
        ConfigError: The crate is claimed already.
    """
    name = request.crate
    if _entry(published.shard, name) is not None:
        raise ConfigError(f"{name} is claimed already", hint="its owners change things with `carnet claim handover`")
    if published.given_up:
        raise ConfigError(
            f"{name} was claimed and given up: such a name is never free again",
            hint="publish under another name",
        )
    releases = adopted or Releases(name, {})
    listed, files = _with_layout(name, 1, {}, layout)
    exempt = sorted(inherited(Demands((), frozenset()), releases, new_layout=layout is not None).adopted)
    _, owner, crate = roles_of(name)
    drafts = {
        owner: draft(owner, _owner(name, 1, facts, listed, exempt, now)),
        crate: crate_draft(name, 1, releases, now),
    }
    drafts |= _shard(published, name, facts.owners.signers, drafts, now)
    return Proposal(request, drafts, published.by_role(name), files)


def adopt_listed(
    published: PublishedClaim, name: CrateName, listed: Iterable[ListedVersion], *, now: datetime
) -> Proposal:
    """Sign versions of a claimed crate in that its upstream lists, by checksum: the next version of its crate role.

    Where a layout is in force the owner role follows: owners alone let a version stand without its evidence.

    Args:
        published: The crate's roles, verified.
        name: The crate.
        listed: The versions, from the registry's verified history of it.
        now: The time.

    Raises:
        ConfigError: The crate is not claimed.
        FormatError: A version is signed already.
    """
    if published.owner is None or published.crate is None:
        raise ConfigError(f"{name} is not claimed", hint="claim it with `carnet claim new`")
    _, owner, crate = roles_of(name)
    facts, demands = ClaimFacts.of(published.owner.signed), Demands.of(name, published.owner.signed)
    releases, exempt = Releases.of(name, published.crate.signed), set(demands.adopted)
    for one in listed:
        releases = releases.with_release(by_checksum(one, facts.registry))
        exempt.add(one.cksum)
    drafts = {crate: crate_draft(name, published.crate.signed.version + 1, releases, now)}
    if not demands.layouts:
        return Proposal(Request("release", name, role_files.at(now)), drafts, published.by_role(name))
    layouts: JsonObject = {
        layout.path: role_files.target(layout.file.known_length, layout.file.sha256, layout.custom)
        for layout in demands.layouts
    }
    facts = replace(facts, taken_over=told(facts, now))
    drafts[owner] = draft(owner, _owner(name, published.owner.signed.version + 1, facts, layouts, sorted(exempt), now))
    return Proposal(Request("owners", name, role_files.at(now)), drafts, published.by_role(name))


@dataclass(frozen=True)
class OwnerChanges:
    """What is to be another in the next version of an owner role; None stays as it is.

    Attributes:
        owners: Who owns the crate.
        releasers: Who releases it.
        layout: The layout of new releases.
    """

    owners: Holders | None = None
    releasers: Holders | None = None
    layout: NewLayout | None = None


def next_owner(published: PublishedClaim, request: Request, changes: OwnerChanges, *, now: datetime) -> Proposal:
    """The next version of an owner role, and of what must follow it.

    The shard follows when the owners change. The crate role follows when the release keys do, unless those who have
    signed it are still enough, and when its time is over. In the last year of either role nothing needs to change:
    they are drafted for three years more. Releases that stand keep their level: a replaced layout goes on vouching for
    the tarballs that were released under it, and for no others.

    Raises:
        ConfigError: The crate is unclaimed, or nothing would change.
    """
    name = request.crate
    if published.owner is None or published.crate is None or _entry(published.shard, name) is None:
        raise ConfigError(f"{name} is not claimed", hint="claim it with `carnet claim new`")
    before = ClaimFacts.of(published.owner.signed)
    owners = changes.owners or before.owners
    replaces = request.takeover and not owners.signers.same_as(before.owners.signers)
    mark = now.replace(microsecond=0) if replaces else told(before, now)
    facts = ClaimFacts(owners, changes.releasers or before.releasers, before.registry, mark)
    ends = min(published.owner.signed.expires, published.crate.signed.expires)
    if changes.layout is None and _same(facts, before) and ends > now + RENEWABLE:
        raise ConfigError(
            f"nothing would change, and what {name} has ends on {ends:%Y-%m-%d}",
            hint=f"name new owners, new release keys or a new layout; from {RENEWABLE.days} days before it ends, it is "
            "renewed as it is",
        )
    return _next(published, published.owner, published.crate, request, facts, changes.layout, now)


def follow(
    published: PublishedClaim, request: Request, facts: ClaimFacts, layout: NewLayout | None, *, now: datetime
) -> Proposal:
    """Draft a takeover again on what is published now, its decision as it was.

    Args:
        published: The crate's roles, verified.
        request: What is asked.
        facts: Of the draft that waits, its mark included.
        layout: The one that it brings.
        now: The time.

    Raises:
        ConfigError: The crate is nobody's any more, or has these owners already.
    """
    name = request.crate
    if published.owner is None or published.crate is None:
        raise ConfigError(f"{name} is not claimed", hint="claim it with `carnet claim new`")
    if facts.owners.signers.same_as(ClaimFacts.of(published.owner.signed).owners.signers):
        raise ConfigError(f"{name} has these owners already", hint="nothing of this folder is needed any more")
    return _next(published, published.owner, published.crate, request, facts, layout, now)


def _next(
    published: PublishedClaim,
    before: RoleFile[Targets],
    standing: RoleFile[Targets],
    request: Request,
    facts: ClaimFacts,
    layout: NewLayout | None,
    now: datetime,
) -> Proposal:
    name, version = request.crate, before.signed.version + 1
    releases = Releases.of(name, standing.signed)
    kept = inherited(Demands.of(name, before.signed), releases, new_layout=layout is not None)
    listed: JsonObject = {
        one.path: role_files.target(one.file.known_length, one.file.sha256, one.custom) for one in kept.layouts
    }
    listed, files = _with_layout(name, version, listed, layout)
    _, owner, crate = roles_of(name)
    drafts = {owner: draft(owner, _owner(name, version, facts, listed, sorted(kept.adopted), now))}
    same = layout is None and _same(facts, ClaimFacts.of(before.signed))
    if not facts.releasers.signers.met_by(standing) or standing.signed.expired(now + RENEWABLE if same else now):
        drafts[crate] = crate_draft(name, standing.signed.version + 1, releases, now)
    if not facts.owners.signers.same_as(ClaimFacts.of(before.signed).owners.signers):
        drafts |= _shard(published, name, facts.owners.signers, drafts, now)
    return Proposal(request, drafts, published.by_role(name), files)


def _same(now: ClaimFacts, before: ClaimFacts) -> bool:
    """Whether nobody and nothing changes but the mark that tells of a takeover, whose time may be over."""
    one, other = now.releasers, before.releasers
    same = replace(now, taken_over=before.taken_over).to_object() == before.to_object()
    return same and one.people == other.people and one.signers.same_as(other.signers)


def give_up(published: PublishedClaim, request: Request, *, now: datetime) -> Proposal:
    """The shard without the claim. The two other roles stay in the snapshot for ever, as a tombstone.

    Raises:
        ConfigError: The crate is unclaimed.
    """
    name = request.crate
    if _entry(published.shard, name) is None:
        raise ConfigError(
            f"{name} is not claimed", hint="`carnet claim new NAME` claims it; check the spelling if it should be"
        )
    return Proposal(request, _shard(published, name, None, {}, now), published.by_role(name))


def crate_draft(name: CrateName, version: int, releases: Releases, now: datetime) -> RoleFile[Targets]:
    """A version of the crate role, which lists these versions of the crate; unsigned."""
    role = paths.crate_role(name)
    words: JsonObject = {FIELD: releases.to_words() | {"role": role}}
    return draft(
        role, role_files.targets(version, now + role_files.CLAIM_LIFE, listed=releases.to_targets(), extra=words)
    )


def _entry(shard: RoleFile[Targets], name: CrateName) -> DelegatedRole | None:
    delegations = shard.signed.delegations
    return None if delegations is None else delegations.roles.get(paths.owner_role(name))


def _shard(
    published: PublishedClaim,
    name: CrateName,
    owners: RoleKeys | None,
    drafts: Mapping[str, RoleFile[Targets]],
    now: datetime,
) -> dict[str, RoleFile[Targets]]:
    """The next version of a shard with one entry set to these owners, or taken out.

    It lives 90 days more, and so it says anew of every crate in it what there is: the versions of the published files,
    and of the drafts that come with it.

    Raises:
        MetadataMismatch: A published file of a crate in it is missing.
        ThresholdNotMet: One is not signed by those whom the role above it names.
    """
    shard, (role, *own) = published.shard, roles_of(name)
    standing = read_standing(shard.signed, published.by_role(name))
    if owners is not None:
        after = {**published.by_role(name), **drafts}
        standing[name.canonical] = Least(*(after[one].signed.version for one in own))
    entries = dict(shard.signed.delegations.roles) if shard.signed.delegations is not None else {}
    entries.pop(paths.owner_role(name), None)
    if owners is not None:
        entries[paths.owner_role(name)] = DelegatedRole(
            paths.owner_role(name), owners, True, paths.owner_patterns(name)
        )
    delegations = role_files.delegate_by_name(
        role_files.delegation(entry.name, entry.signers, entry.paths or (), terminating=entry.terminating)
        for _, entry in sorted(entries.items())
    )
    signed = role_files.targets(
        shard.signed.version + 1,
        now + role_files.OFFLINE_LIFE,
        delegations=delegations if entries else None,
        extra=dict(shard.signed.extra) | shard_field([name.shard], next_least(shard.signed, standing)),
    )
    return {role: draft(role, signed)}


def _owner(
    name: CrateName, version: int, facts: ClaimFacts, listed: JsonObject, adopted: Sequence[str], now: datetime
) -> JsonObject:
    crate = role_files.delegation(
        paths.crate_role(name), facts.releasers.signers, paths.crate_patterns(name), terminating=True
    )
    words = facts.to_object() | {"role": paths.owner_role(name)}
    if adopted:
        words["adopted"] = list[Json](adopted)
    return role_files.targets(
        version,
        now + role_files.CLAIM_LIFE,
        listed=listed,
        delegations=role_files.delegate_by_name([crate]),
        extra={FIELD: words},
    )


def _with_layout(
    name: CrateName, version: int, listed: JsonObject, layout: NewLayout | None
) -> tuple[JsonObject, dict[str, bytes]]:
    """The owner role's targets with a new layout in force, and the layout's file."""
    if layout is None:
        return listed, {}
    path = paths.layout_path(name, version)
    entry = role_files.target(len(layout.data), sha256_hex(layout.data), layout.terms.to_custom())
    return {**listed, path: entry}, {path: layout.data}
