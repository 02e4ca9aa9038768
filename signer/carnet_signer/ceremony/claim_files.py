"""What a ceremony's folder holds of claimed crates: their owners' and release keys' files, and how old it is.

A shard of claims that is signed again says of each of its crates below which version nobody believes its roles
(docs/formats.md, "Least versions"). The versions are those of the crates' own files, which lie in the folder as
`<N>.owner.<name>.json` and `<N>.crate.<name>.json`: each is signed by those whom the role above it names, so anybody
may put one there. Beside them lie the timestamp and the snapshot that they were published with: these say how old the
files are, and that none is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from carnet import times
from carnet.cargo.names import CrateName
from carnet.claims.standing import read_standing, read_standing_of
from carnet.digests import sha256_hex
from carnet.errors import FormatError, MetadataMismatch, SigningError, ThresholdNotMet
from carnet.tuf import paths
from carnet.tuf.least import Least
from carnet.tuf.read import parse_role
from carnet.tuf.roles import RoleFile, Root, Snapshot, Targets, Timestamp
from carnet.tuf.structure import check_structure
from carnet.tuf.tree import place_of, roles_of
from carnet_signer.metadata import role_files

MAX_AGE = timedelta(days=7)
"""How old the files may be when the shards are drafted."""
_SLACK = timedelta(days=1)
_FILE = re.compile(r"([1-9][0-9]{0,9})\.(snapshot|(?:owner|crate)\.[a-z0-9_]+)\.json\Z")
_TIMESTAMP = paths.metadata_name(paths.TIMESTAMP, None)
_AGAIN = (
    "`carnet root update DIR URL` brings what the repository has published, the owners' files among it; "
    "where it cannot, `carnet root rotate --keep-shards` leaves the shards as they are"
)


def is_one(name: str) -> bool:
    """Whether a file of a ceremony's folder, by its name, is one of these."""
    return name == _TIMESTAMP or _FILE.match(name) is not None


def newest(names: Iterable[str]) -> list[str]:
    """Out of such files, the newest of each role."""
    found: dict[str, tuple[int, str]] = {}
    for name in filter(is_one, names):
        match = _FILE.match(name)
        role, version = (paths.TIMESTAMP, 0) if match is None else (match[2], int(match[1]))
        found[role] = max(found.get(role, (-1, "")), (version, name))
    return [name for _, name in found.values()]


@dataclass(frozen=True)
class ClaimFiles:
    """The newest of these files in a folder, parsed; nothing about them is trusted yet.

    Attributes:
        roles: Owner and crate roles by name.
        timestamp: The timestamp that they were published with; None in a folder without claims.
        snapshot: The snapshot that it names.
    """

    roles: Mapping[str, RoleFile[Targets]] = field(default_factory=dict)
    timestamp: RoleFile[Timestamp] | None = None
    snapshot: RoleFile[Snapshot] | None = None

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> ClaimFiles:
        """Read them by their names in the folder; of a role that is there twice, the newest.

        Raises:
            FormatError: A file does not parse, or is not of the version that its name says.
        """
        roles: dict[str, RoleFile[Targets]] = {}
        timestamp = snapshot = None
        for name in newest(files):
            match = _FILE.match(name)
            if match is None:
                timestamp = parse_role(files[name], Timestamp, what=name)
                continue
            if match[2] == paths.SNAPSHOT:
                snapshot = parse_role(files[name], Snapshot, what=name)
                version = snapshot.signed.version
            else:
                roles[match[2]] = parse_role(files[name], Targets, what=name)
                version = roles[match[2]].signed.version
            if version != int(match[1]):
                raise FormatError(f"{name} says that it is of version {version}")
        return cls(roles, timestamp, snapshot)

    def files(self) -> dict[str, bytes]:
        """As they lie in a folder."""
        found = {paths.metadata_name(role, file.signed.version): file.raw for role, file in self.roles.items()}
        if self.timestamp is not None:
            found[_TIMESTAMP] = self.timestamp.raw
        if self.snapshot is not None:
            found[paths.metadata_name(paths.SNAPSHOT, self.snapshot.signed.version)] = self.snapshot.raw
        return found

    def with_newer(self, other: ClaimFiles) -> ClaimFiles:
        """These, with what is newer in another folder; timestamp and snapshot together."""
        newer = {
            role: file
            for role, file in other.roles.items()
            if role not in self.roles or self.roles[role].signed.version < file.signed.version
        }
        ours = 0 if self.timestamp is None else self.timestamp.signed.version
        theirs = 0 if other.timestamp is None else other.timestamp.signed.version
        when = other if theirs > ours else self
        return ClaimFiles({**self.roles, **newer}, when.timestamp, when.snapshot)

    def missing_from(self, other: ClaimFiles) -> dict[str, bytes]:
        """What is to be written, by name in the folder, so that these become `self.with_newer(other)`."""
        ours = self.files()
        return {name: data for name, data in self.with_newer(other).files().items() if ours.get(name) != data}

    # --- what they say ---

    def made_at(self) -> datetime:
        """When what lies here was published.

        Raises:
            SigningError: There is no timestamp.
        """
        if self.timestamp is None:
            raise SigningError("the owners' files of the claimed crates are not in the ceremony", hint=_AGAIN)
        return times.moved(self.timestamp.signed.expires, -role_files.TIMESTAMP_LIFE)

    def check_age(self, roots: Iterable[Root], drafted: datetime) -> None:
        """Demand that what lies here was published at most `MAX_AGE` before the shards were drafted.

        Args:
            roots: The roots whose online keys may have signed timestamp and snapshot: any one of them.
            drafted: When the shards were drafted: from then on their expiry counts.

        Raises:
            SigningError: There is no timestamp, or it is too old, or of the future.
            VerificationError: Timestamp or snapshot is not signed by the online keys of any of the roots, or the
                snapshot is another one.
        """
        made = self.made_at()
        if drafted - made > MAX_AGE:
            raise SigningError(
                f"the owners' files in the ceremony are of {made:%Y-%m-%d}, {(drafted - made).days} days before the "
                f"shards are drafted; {MAX_AGE.days} are the most",
                hint=_AGAIN,
            )
        if made > times.moved(drafted, _SLACK):
            raise SigningError(f"the timestamp in the ceremony is of the future: {role_files.at(made)}", hint=_AGAIN)
        snapshot = self.snapshot
        if self.timestamp is None or snapshot is None:
            raise SigningError("the snapshot that the owners' files were published with is missing", hint=_AGAIN)
        for role, file in ((paths.TIMESTAMP, self.timestamp), (paths.SNAPSHOT, snapshot)):
            if not any(root.roles[role].met_by(file) for root in roots):
                raise ThresholdNotMet(f"{role} in the ceremony is not signed by the online keys", hint=_AGAIN)
        if self.timestamp.signed.snapshot.hashes.get("sha256") != sha256_hex(snapshot.raw):
            raise MetadataMismatch("the snapshot in the ceremony is not the one that the timestamp names", hint=_AGAIN)

    def standing(self, shard: Targets) -> dict[str, Least]:
        """The versions of the roles of every crate that a shard delegates to its owners, from their files.

        Raises:
            VerificationError: A file is missing, not signed as it should be, or older than the one that was published
                with the others.
        """
        found = read_standing(shard, self.roles)
        listed = {} if self.snapshot is None else self.snapshot.signed.meta
        for name, least in found.items():
            for role, version in least.by_role(name):
                if role in listed and version < listed[role].version:
                    raise MetadataMismatch(
                        f"the file of {role} in the ceremony is of version {version}, and {listed[role].version} was "
                        "published with the others",
                        hint=_AGAIN,
                    )
        return found


def handed_in(known: ClaimFiles, files: Iterable[bytes], shards: Mapping[str, Targets]) -> ClaimFiles:
    """Take owners' and crates' files that their signers hand to the ceremony themselves, past the mirror.

    Args:
        known: What the ceremony has already.
        files: Theirs, every version since the known one; an owner role with new release keys comes with a crate role
            that these signed.
        shards: The newest version of each shard, by role.

    Returns:
        What it has then.

    Raises:
        FormatError: One is no file of an owner or crate role.
        VerificationError: A version is not signed by those whom the role above it names, or is older than what is
            there, or there twice; or one between the known one and the newest is missing.
    """
    chains: dict[CrateName, dict[str, dict[int, RoleFile[Targets]]]] = {}
    for data in files:
        file = parse_role(data, Targets, what="the file")
        role, version = str(file.signed.carnet.get("role"))[:80], file.signed.version
        crate = place_of(role).crate if is_one(f"{version}.{role}.json") else None
        if crate is None:
            raise FormatError("a file is no owner role and no crate role", hint="such as `7.owner.serde.json`")
        there = known.roles.get(role)
        if there is not None and version < there.signed.version:
            raise MetadataMismatch(f"the ceremony has version {there.signed.version} of {role}: {version} is older")
        versions = chains.setdefault(crate, {}).setdefault(role, {})
        if versions.setdefault(version, file).message != file.message:
            raise MetadataMismatch(
                f"two different files are version {version} of {role}",
                hint="ask its signers which of them is published",
            )
    taken = known
    for name, chain in chains.items():
        newest = dict(known.roles)
        for role, handed in chain.items():
            _check_chain(role, known.roles.get(role), handed)
            newest[role] = handed[max(handed)]
        shard = shards[paths.claims_shard_role(name.shard)]
        read_standing_of(name, shard, newest)
        _check_each(name, shard, known.roles, chain)
        taken = taken.with_newer(ClaimFiles({role: newest[role] for role in chain}))
    return taken


def _check_each(
    name: CrateName,
    shard: Targets,
    known: Mapping[str, RoleFile[Targets]],
    chains: Mapping[str, Mapping[int, RoleFile[Targets]]],
) -> None:
    """Demand of every version, not only of the newest, that a mirror could have published it.

    Owners stay the same without another shard, so they signed all of their role's; a version of the crate role has the
    signatures of release keys that some version of the owner role named.
    """
    _, owner, crate = roles_of(name)
    owners = chains.get(owner, {})
    naming = [file.signed for file in (*([known[owner]] if owner in known else ()), *owners.values())]
    for role, above in ((owner, [shard]), (crate, naming)):
        for version, file in chains.get(role, {}).items():
            check_structure(role, file.signed)
            named = [signed.delegations.signers_of(role) for signed in above if signed.delegations is not None]
            if not any(signers is not None and signers.met_by(file) for signers in named):
                raise ThresholdNotMet(
                    f"version {version} of {role} is not signed by those whom the role above it names",
                    hint="no mirror would publish it, nor what follows on it: hand in the file that is published",
                )


def _check_chain(role: str, known: RoleFile[Targets] | None, chain: Mapping[int, RoleFile[Targets]]) -> None:
    """Demand every version between the known one and the newest: a mirror publishes none before the one before it.

    Shards that demand a version that no mirror can publish are published by no mirror either, and hold every crate in
    them up.
    """
    at = 0 if known is None else known.signed.version
    missing = next((version for version in range(at + 1, max(chain, default=at)) if version not in chain), None)
    if missing is not None:
        raise MetadataMismatch(
            f"version {max(chain)} of {role} does not follow on what is known: version {missing} is not here, and {at} "
            "is the newest that the ceremony has",
            hint=f"no mirror would publish a shard that demands it: publish it first, or hand in {missing}.{role}.json "
            "and every other version up to it as well",
        )
