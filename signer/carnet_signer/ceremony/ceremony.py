"""The offline ceremony: root, targets, claims and its shards, index, signed by people who need never meet.

A ceremony is a folder of metadata files, `<N>.<role>.json`, and nothing else. Whoever has a copy can see what is to be
signed and by whom, sign it, and hand it on; copies that were signed in parallel are merged. A role's newest file is
*final* when everybody who must agree has signed:

* root N: the threshold of root N itself, and of root N-1 (TUF 5.3.4);
* targets: the threshold that the newest root names; and, in the version that comes with a change of holders, also the
  threshold before, so that clients with either root accept it while the two are being published;
* claims, index: the threshold that the newest targets names; a shard: the one that the newest claims names.

Files come from other people and are parsed as strictly as those of a mirror.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from carnet import strictjson
from carnet.claims.waiting import Waiting
from carnet.errors import ConfigError, FormatError, SigningError
from carnet.people import check_people
from carnet.strictjson import JsonObject
from carnet.tuf import paths
from carnet.tuf.keys import PublicKey, Signature
from carnet.tuf.roles import FIELD, RoleFile, RoleKeys, Root, Signed, Targets
from carnet.tuf.structure import shard_field
from carnet.tuf.tree import RoleKind, parent_of, place_of
from carnet_signer.ceremony.claim_files import ClaimFiles
from carnet_signer.ceremony.shards import shard_fields
from carnet_signer.keys.signer import Signer
from carnet_signer.metadata import role_files
from carnet_signer.metadata.published_state import succinct_of
from carnet_signer.quorum import Quorum

MAX_FILE = 16_000_000
MAX_BIT_LENGTH = 16
OFFLINE_ROLES = (
    paths.ROOT,
    paths.TARGETS,
    paths.CLAIMS,
    *(paths.claims_shard_role(shard) for shard in paths.SHARDS),
    paths.INDEX,
)
"""In the order in which they are shown and signed."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}\Z")


@dataclass(frozen=True)
class Holder:
    """A person with a key, or the online key.

    Attributes:
        name: What the others call them; it is written into the root, so that checklists name people.
        key: The public key.
    """

    name: str
    key: PublicKey

    def __post_init__(self) -> None:
        if _NAME.match(self.name) is None:
            raise ConfigError(
                f"{self.name!a} cannot name a holder",
                hint="a name has letters, digits and `.`, `_`, `@`, `+`, `-`: rename the .pub file",
            )


@dataclass(frozen=True)
class Plan:
    """Who is to decide.

    Attributes:
        holders: The offline keys.
        threshold: How many of them sign every offline file.
        online: The keys of timestamp, snapshot and bins; any one of them signs. Two only while one replaces the other.
        bit_length: The index has 2 to the power of this many bins.
        waiting: How long first claims and takeovers are public before they count.
    """

    holders: tuple[Holder, ...]
    threshold: int
    online: tuple[Holder, ...]
    bit_length: int
    waiting: Waiting = field(default_factory=Waiting)

    def __post_init__(self) -> None:
        everyone = [*self.holders, *self.online]
        if not self.online:
            raise ConfigError("a repository needs an online key", hint="`--online online.pub`")
        if not 1 <= self.threshold <= len(self.holders):
            raise ConfigError(
                f"a threshold of {self.threshold} cannot be met by {len(self.holders)} holders",
                hint="name more holders, or a lower --threshold",
            )
        if not 1 <= self.bit_length <= MAX_BIT_LENGTH:
            raise ConfigError(
                f"the index has from 2 to {2**MAX_BIT_LENGTH} bins, and their number is a power of two",
                hint="such as --bins 256 or --bins 16384",
            )
        if len({holder.key.material for holder in everyone}) < len(everyone):
            raise ConfigError(
                "the same key is given twice",
                hint="each holder and the online signer have a key of their own: a threshold counts people",
            )
        if len({holder.name.casefold() for holder in everyone}) < len(everyone):
            raise ConfigError("two keys have the same name", hint="rename one of the .pub files")
        try:
            check_people(holder.name for holder in everyone)
        except FormatError as error:
            raise ConfigError(str(error), hint="rename one of the .pub files") from None

    @property
    def offline_keys(self) -> RoleKeys:
        """Who signs the offline roles."""
        return RoleKeys(tuple(holder.key for holder in self.holders), self.threshold)

    @property
    def online_keys(self) -> RoleKeys:
        """Who signs timestamp, snapshot and bins."""
        return RoleKeys(tuple(holder.key for holder in self.online), 1)

    @property
    def people(self) -> JsonObject:
        """Key id to name, as the root carries it."""
        return {holder.key.keyid: holder.name for holder in (*self.holders, *self.online)}


@dataclass(frozen=True)
class Ceremony:
    """Every file of a ceremony's folder, parsed; nothing about it is trusted yet.

    Attributes:
        files: By role, then by version.
        claims: Owners' and release keys' files of the claimed crates.
    """

    files: Mapping[str, Mapping[int, RoleFile[Signed]]] = field(repr=False)
    claims: ClaimFiles = field(default_factory=ClaimFiles, repr=False)
    _seen: dict[str, tuple[Quorum, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def latest(self, role: str) -> RoleFile[Signed]:
        """The newest version of a role.

        Raises:
            FormatError: The folder has none.
        """
        versions = self.files.get(role)
        if not versions:
            raise FormatError(f"the ceremony has no {role}", hint="take the whole folder from whoever gave it to you")
        return versions[max(versions)]

    def before(self, role: str) -> RoleFile[Signed] | None:
        """The version before the newest, where it is there."""
        return self.files[role].get(self.latest(role).signed.version - 1)

    @property
    def root(self) -> Root:
        """The newest root."""
        return as_root(self.latest(paths.ROOT))

    def name(self, key: PublicKey) -> str:
        """What a key's holder is called in the roots; `unnamed-` and its id when nowhere."""
        for version in sorted(self.files.get(paths.ROOT, {}), reverse=True):
            name = _name_in(self.files[paths.ROOT][version], key)
            if name is not None:
                return name
        return _unnamed(key)

    def name_before(self, key: PublicKey) -> str:
        """What the root before the newest calls a key's holder; whoever drafts the newest has no say in that."""
        before = self.before(paths.ROOT)
        return (None if before is None else _name_in(before, key)) or self.name(key)

    def is_named(self, key: PublicKey) -> bool:
        """Whether one of the roots has a name for a key's holder."""
        return self.name(key) != _unnamed(key)

    def quorums(self, role: str) -> tuple[Quorum, ...]:
        """Whose thresholds a role's newest file needs, and who has signed."""
        if role not in self._seen:
            envelope = self.latest(role)
            self._seen[role] = tuple(
                Quorum.of(envelope, signers, role=role, who=who) for who, signers in self._thresholds(role)
            )
        return self._seen[role]

    def final(self, role: str) -> bool:
        """Whether a role's newest file has every signature it needs."""
        return all(quorum.met for quorum in self.quorums(role))

    def pending(self) -> list[str]:
        """The roles whose newest file still needs signatures."""
        return [role for role in OFFLINE_ROLES if not self.final(role)]

    def _thresholds(self, role: str) -> Iterator[tuple[str, RoleKeys]]:
        if role == paths.ROOT:
            yield "the holders", self.root.roles[paths.ROOT]
            before = self.before(role)
            if before is not None and not as_root(before).roles[paths.ROOT].same_as(self.root.roles[paths.ROOT]):
                yield "the holders before", as_root(before).roles[paths.ROOT]
        elif role == paths.TARGETS:
            yield "the holders", self.root.roles[paths.TARGETS]
            before_root = self.before(paths.ROOT)
            if before_root is not None and self._hands_over(as_root(before_root).roles[paths.TARGETS]):
                yield "the holders before", as_root(before_root).roles[paths.TARGETS]
        else:
            delegator = parent_of(role)
            delegations = as_targets(self.latest(delegator)).delegations
            signers = delegations.signers_of(role) if delegations is not None else None
            if signers is None:
                raise FormatError(f"{delegator} does not delegate to {role}")
            yield "the holders", signers

    def _hands_over(self, old: RoleKeys) -> bool:
        """Whether the newest targets is the first after a change of holders: the one before still names the old."""
        before = self.before(paths.TARGETS)
        if before is None or old.same_as(self.root.roles[paths.TARGETS]):
            return False
        delegations = as_targets(before).delegations
        claims = delegations.signers_of(paths.CLAIMS) if delegations is not None else None
        return claims is not None and claims.same_as(old)


def _name_in(root: RoleFile[Signed], key: PublicKey) -> str | None:
    people = root.signed.carnet.get("people")
    name = people.get(key.keyid) if isinstance(people, dict) else None
    return name if isinstance(name, str) and _NAME.match(name) else None


def _unnamed(key: PublicKey) -> str:
    return f"unnamed-{key.keyid[:16]}"


# --- making files ---


def start(plan: Plan, now: datetime) -> dict[str, bytes]:
    """The unsigned first version of every offline role, by file name."""
    says = dict.fromkeys(paths.SHARDS, shard_field(paths.SHARDS))
    return _unsigned({role: _make(role, 1, plan, now, None, says) for role in OFFLINE_ROLES})


def plan_of(ceremony: Ceremony) -> Plan:
    """Who decides according to the newest root and index."""
    root = ceremony.root
    offline, online = root.roles[paths.ROOT], root.roles[paths.TIMESTAMP]
    return Plan(
        tuple(Holder(ceremony.name(key), key) for key in offline.keys),
        offline.threshold,
        tuple(Holder(ceremony.name(key), key) for key in online.keys),
        succinct_of(as_targets(ceremony.latest(paths.INDEX))).bit_length,
        Waiting.of(root),
    )


def advance(
    ceremony: Ceremony, plan: Plan, now: datetime, *, new_root: bool, keep_shards: bool = False
) -> dict[str, bytes]:
    """The unsigned next version of every offline role, by file name; claims keep what they say.

    Args:
        ceremony: Where every role is final; next versions that nobody has signed yet are made anew.
        plan: Who is to decide from now on.
        now: From when the new expiries count.
        new_root: Whether there is to be a next root as well.
        keep_shards: Whether the shards of claims stay as they are and live no longer: the owners' files are not needed.

    Raises:
        SigningError: Something is still being signed; or the owners' files of claimed crates are missing or too old.
        VerificationError: An owner's or a crate's file is missing, or is not signed as it should be.
        ConfigError: The number of bins would change, or others than before would have to have signed the shards.
    """
    ceremony = _without_unsigned(ceremony)
    pending = ceremony.pending()
    if pending:
        raise SigningError(
            f"version {ceremony.latest(pending[0]).signed.version} of {pending[0]} still waits for signatures",
            hint="finish it first: `carnet root status` says who is missing",
        )
    if plan.bit_length != plan_of(ceremony).bit_length:
        raise ConfigError("the number of bins is fixed when a repository is made", hint="leave --bins out")
    if keep_shards and not plan.offline_keys.same_as(plan_of(ceremony).offline_keys):
        raise ConfigError(
            "new holders have to sign the shards of claims as well: they cannot stay as they are",
            hint="leave out what keeps the shards",
        )
    says = {} if keep_shards else _shard_fields(ceremony, now)
    made = {}
    for role in OFFLINE_ROLES:
        kept = keep_shards and place_of(role).kind == RoleKind.SHARD
        if not kept and (role != paths.ROOT or new_root):
            last = ceremony.latest(role)
            made[role] = _make(role, last.signed.version + 1, plan, now, last, says)
    return _unsigned(made)


def _shard_fields(ceremony: Ceremony, now: datetime) -> dict[str, JsonObject]:
    shards = {shard: as_targets(ceremony.latest(paths.claims_shard_role(shard))) for shard in paths.SHARDS}
    if any(signed.delegations is not None for signed in shards.values()):
        ceremony.claims.check_age(online_roots(ceremony), now)
    return shard_fields(shards, ceremony.claims)


def _without_unsigned(ceremony: Ceremony) -> Ceremony:
    files: dict[str, dict[int, RoleFile[Signed]]] = {}
    for role, versions in ceremony.files.items():
        newest = max(versions)
        drop = newest > 1 and not versions[newest].signatures
        files[role] = {version: envelope for version, envelope in versions.items() if not (drop and version == newest)}
    return replace(ceremony, files=files)


def _make(
    role: str, version: int, plan: Plan, now: datetime, last: RoleFile[Signed] | None, says: Mapping[str, JsonObject]
) -> JsonObject:
    offline, expires = plan.offline_keys, now + role_files.OFFLINE_LIFE
    if role == paths.ROOT:
        top = dict.fromkeys((paths.ROOT, paths.TARGETS), offline)
        top |= dict.fromkeys((paths.TIMESTAMP, paths.SNAPSHOT), plan.online_keys)
        words: JsonObject = {"people": plan.people}
        extra: JsonObject = {FIELD: words | plan.waiting.to_object()}
        return role_files.root(version, now + role_files.ROOT_LIFE, top, extra)
    if role == paths.TARGETS:
        delegations = role_files.delegate_by_name(
            role_files.delegation(name, offline, place_of(name).patterns, terminating=False)
            for name in (paths.CLAIMS, paths.INDEX)
        )
        return role_files.targets(version, expires, delegations=delegations)
    if role == paths.CLAIMS:
        delegations = role_files.delegate_by_name(
            role_files.delegation(
                paths.claims_shard_role(shard), offline, paths.shard_patterns(shard), terminating=False
            )
            for shard in paths.SHARDS
        )
        return role_files.targets(version, expires, delegations=delegations)
    if role == paths.INDEX:
        return role_files.targets(
            version, expires, delegations=role_files.delegate_to_bins(plan.online_keys, plan.bit_length)
        )
    shard = place_of(role).shard
    if shard is None:
        raise FormatError(f"{role} is no role of a ceremony")
    if last is None:
        return role_files.targets(version, expires, extra=says[shard])
    kept = strictjson.parse_object(last.raw, role, max_bytes=MAX_FILE)["signed"]
    if not isinstance(kept, dict):
        raise FormatError(f"{role}: signed is not an object")
    return kept | {"version": version, "expires": role_files.at(expires)} | says[shard]


def _unsigned(made: Mapping[str, JsonObject]) -> dict[str, bytes]:
    files = {}
    for role, signed in made.items():
        version = signed["version"]
        files[paths.metadata_name(role, version if isinstance(version, int) else 0)] = role_files.file_bytes(
            strictjson.canonical(signed, role), []
        )
    return files


# --- signing ---


def to_sign(ceremony: Ceremony, key: PublicKey) -> list[str]:
    """The roles whose newest file waits for this key's signature."""
    return [
        role
        for role in OFFLINE_ROLES
        if any(
            not quorum.met and key.material in {other.material for other in quorum.missing}
            for quorum in ceremony.quorums(role)
        )
    ]


def takes_part(ceremony: Ceremony, key: PublicKey) -> bool:
    """Whether a key is one of those that sign the newest files."""
    return any(
        key.material == other.material
        for role in OFFLINE_ROLES
        for quorum in ceremony.quorums(role)
        for other in quorum.signers.keys
    )


def sign(ceremony: Ceremony, wanted: Iterable[str], signer: Signer) -> dict[str, bytes]:
    """Sign the newest files of these roles.

    Returns:
        The files with the new signature, by file name.
    """
    made = {}
    for role in wanted:
        envelope = ceremony.latest(role)
        signatures = [*_valid(ceremony, role, envelope.signatures), signer.sign(envelope.message)]
        made[paths.metadata_name(role, envelope.signed.version)] = _with_signatures(envelope, signatures)
    return made


def merge(ours: Ceremony, theirs: Ceremony) -> dict[str, bytes]:
    """Take over the signatures and the newer files of another copy.

    Returns:
        The files to be written, by file name: those that are new or gained a signature.

    Raises:
        SigningError: The copies have different files of the same version.
    """
    both: dict[str, dict[int, RoleFile[Signed]]] = {role: dict(versions) for role, versions in ours.files.items()}
    for role in OFFLINE_ROLES:
        for version, envelope in theirs.files.get(role, {}).items():
            known = both.setdefault(role, {}).get(version)
            if known is None:
                both[role][version] = envelope
            elif known.message != envelope.message:
                raise SigningError(
                    f"the two copies have different files of version {version} of {role}",
                    hint="find out which one is meant, and delete the other with its signatures",
                )
            else:
                listed = {signature.keyid: signature for signature in known.signatures}
                union = [*known.signatures, *(one for one in envelope.signatures if one.keyid not in listed)]
                # A copy may have spoiled somebody's signature: then the other's counts.
                union += [one for one in envelope.signatures if listed.get(one.keyid, one) != one]
                both[role][version] = replace(known, signatures=tuple(union))
    merged = Ceremony(both, ours.claims.with_newer(theirs.claims))
    made = ours.claims.missing_from(theirs.claims)
    for role, versions in both.items():
        for version, envelope in versions.items():
            known = ours.files.get(role, {}).get(version)
            newest = version == merged.latest(role).signed.version
            raw = _with_signatures(envelope, _valid(merged, role, envelope.signatures)) if newest else envelope.raw
            if known is None or (newest and len(envelope.signatures) > len(known.signatures) and raw != known.raw):
                made[paths.metadata_name(role, version)] = raw
    return made


def newest_final_root(ceremony: Ceremony) -> bytes:
    """The newest root that its own holders have signed: what a repository is looked at from.

    Raises:
        SigningError: There is none.
    """
    final = _final_roots(ceremony)
    if not final:
        raise SigningError("no root in the ceremony has its signatures yet")
    return final[0].raw


def online_roots(ceremony: Ceremony) -> tuple[Root, ...]:
    """The roots whose online keys may have signed what is published: the newest, which may not be yet, and the last."""
    return tuple(as_root(envelope) for envelope in _final_roots(ceremony)[:2])


def _final_roots(ceremony: Ceremony) -> list[RoleFile[Signed]]:
    """The roots that their own holders have signed, newest first."""
    versions = ceremony.files[paths.ROOT]
    ordered = [versions[version] for version in sorted(versions, reverse=True)]
    return [envelope for envelope in ordered if as_root(envelope).roles[paths.ROOT].met_by(envelope)]


def _valid(ceremony: Ceremony, role: str, signatures: Iterable[Signature]) -> list[Signature]:
    """The signatures that are somebody's who is asked for, one for each key."""
    message = ceremony.latest(role).message
    by_id = {key.keyid: key for quorum in ceremony.quorums(role) for key in quorum.signers.keys}
    found: dict[str, Signature] = {}
    for signature in signatures:
        key = by_id.get(signature.keyid)
        if key is not None and signature.keyid not in found and key.verifies(signature.sig, message):
            found[signature.keyid] = signature
    return list(found.values())


def _with_signatures(envelope: RoleFile[Signed], signatures: Iterable[Signature]) -> bytes:
    """The file with these signatures in an order that does not depend on who signed first."""
    return role_files.file_bytes(envelope.message, sorted(signatures, key=lambda signature: signature.keyid))


def as_root(envelope: RoleFile[Signed]) -> Root:
    """The root in a file that was read as one."""
    if not isinstance(envelope.signed, Root):
        raise FormatError("not a root")
    return envelope.signed


def as_targets(envelope: RoleFile[Signed]) -> Targets:
    """The targets role in a file that was read as one."""
    if not isinstance(envelope.signed, Targets):
        raise FormatError("not a targets role")
    return envelope.signed


def as_root_file(envelope: RoleFile[Signed]) -> RoleFile[Root]:
    """The same file, as one whose content is known to be a root."""
    return RoleFile(envelope.raw, envelope.body, envelope.signatures, as_root(envelope), envelope.profile)
