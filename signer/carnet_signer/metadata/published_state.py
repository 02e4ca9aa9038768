"""What a publication holds now, as far as its signatures reach.

A publish builds on the files of the one before. They lie on a disk that others may write to, so each is checked again
before anything is taken from it: otherwise an edited bin would be signed anew by the online key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from carnet.digests import sha256_hex
from carnet.errors import MetadataMismatch, ThresholdNotMet
from carnet.tuf import paths
from carnet.tuf.next_version import check_root
from carnet.tuf.read import parse_role
from carnet.tuf.roles import RoleFile, RoleKeys, Root, Signed, Snapshot, SuccinctRoles, Targets, Timestamp
from carnet_signer.metadata.publication import Publication


def metadata_path(role: str, version: int | None) -> str:
    """Where a publication keeps a role's file."""
    return paths.METADATA_PREFIX + paths.metadata_name(role, version)


def target_path(path: str, sha256: str) -> str:
    """Where a publication keeps a target."""
    return paths.TARGETS_PREFIX + paths.hashed_path(path, sha256)


@dataclass(frozen=True)
class PublishedState:
    """The published state; empty before the first publish.

    Attributes:
        publication: Where it is kept.
        roots: Every root, in order, each signed by the one before and by itself.
        timestamp: As published.
        snapshot: As published, or the one that a signed timestamp names which a crash kept from being written.
    """

    publication: Publication
    roots: tuple[RoleFile[Root], ...] = ()
    timestamp: RoleFile[Timestamp] | None = None
    snapshot: RoleFile[Snapshot] | None = None
    _roles: dict[str, RoleFile[Targets]] = field(default_factory=dict, repr=False)

    def version(self, role: str) -> int:
        """The published version of a targets role; 0 when there is none."""
        meta = self.snapshot.signed.meta.get(role) if self.snapshot is not None else None
        return 0 if meta is None else meta.version

    def role(self, role: str) -> RoleFile[Targets] | None:
        """An offline role as published: exactly the bytes that the snapshot names. None when there is none.

        Raises:
            MetadataMismatch: The file is missing, or is not the one that was signed.
        """
        if self.snapshot is None or role not in self.snapshot.signed.meta:
            return None
        if role not in self._roles:
            meta = self.snapshot.signed.meta[role]
            data = _read(self.publication, metadata_path(role, meta.version))
            if sha256_hex(data) != meta.hashes.get("sha256"):
                raise MetadataMismatch(f"{metadata_path(role, meta.version)} is not the file that the snapshot names")
            self._roles[role] = parse_role(data, Targets, what=role)
        return self._roles[role]

    def bin(self, name: str, signers: RoleKeys) -> RoleFile[Targets]:
        """A hash bin as published, its signatures checked: the snapshot names only its version.

        Raises:
            MetadataMismatch: The file is missing or of another version.
            ThresholdNotMet: It is not signed by the keys that were in charge.
        """
        version = self.version(name)
        envelope = parse_role(
            _read(self.publication, metadata_path(name, version)),
            Targets,
            what=name,
        )
        if envelope.signed.version != version:
            raise MetadataMismatch(f"{metadata_path(name, version)} is of version {envelope.signed.version}")
        signers.check(envelope, name, "5.6.3")
        return envelope

    def bins(self) -> SuccinctRoles | None:
        """How the index is split, or None before the first publish."""
        index = self.role(paths.INDEX)
        return succinct_of(index.signed) if index is not None else None


def succinct_of(index: Targets) -> SuccinctRoles:
    """The bins that the index role delegates to.

    Raises:
        MetadataMismatch: It delegates to none.
    """
    if index.delegations is None or index.delegations.succinct is None:
        raise MetadataMismatch("index does not delegate to hash bins")
    return index.delegations.succinct


def read_published_state(
    publication: Publication, named: tuple[int, str] | None = None, new_root: bytes | None = None
) -> PublishedState:
    """Read what is published and check it from the first root on.

    Args:
        publication: Where it is kept.
        named: Version and sha256 of the snapshot that the newest *signed* timestamp names. When a crash kept that
            timestamp from being written, everything it names was written before: the state is completed, not undone.
        new_root: The next root, when one is about to be published. Its online keys may have signed already: a new root
            is written after what they sign, and a crash may have come between.

    Raises:
        MetadataError: A file is missing or is not what was signed.
        FormatError: A file does not parse.
    """
    roots = read_roots(publication)
    data = publication.read(metadata_path(paths.TIMESTAMP, None))
    if data is None:
        return PublishedState(publication, roots)
    if not roots:
        raise MetadataMismatch("there is a timestamp and no root")
    newest = [roots[-1].signed]
    if new_root is not None:
        following = parse_role(new_root, Root)
        if following.message != roots[-1].message:
            check_root(roots[-1].signed, following)
            newest.append(following.signed)
    timestamp = parse_role(data, Timestamp)
    _check_online(timestamp, paths.TIMESTAMP, newest)
    promised = timestamp.signed.snapshot
    data = _read(publication, metadata_path(paths.SNAPSHOT, promised.version))
    if sha256_hex(data) != promised.hashes.get("sha256"):
        raise MetadataMismatch("the snapshot is not the file that the timestamp names")
    if named is not None and named[0] > promised.version:
        signed = publication.read(metadata_path(paths.SNAPSHOT, named[0]))
        if signed is not None and sha256_hex(signed) == named[1]:
            data = signed
    snapshot = parse_role(data, Snapshot)
    _check_online(snapshot, paths.SNAPSHOT, newest)
    return PublishedState(publication, roots, timestamp, snapshot)


def read_roots(publication: Publication) -> tuple[RoleFile[Root], ...]:
    """Every published root, each checked against the one before (TUF 5.3.4, 5.3.5).

    Raises:
        MetadataError: The chain is broken.
        FormatError: A root does not parse.
    """
    found: list[RoleFile[Root]] = []
    while (data := publication.read(metadata_path(paths.ROOT, len(found) + 1))) is not None:
        envelope = parse_role(data, Root)
        check_root(found[-1].signed if found else None, envelope)
        found.append(envelope)
    return tuple(found)


def _check_online(envelope: RoleFile[Signed], role: str, newest: Iterable[Root]) -> None:
    """The keys of the published root, or of the one that is about to follow; never those of a root before."""
    refused: ThresholdNotMet | None = None
    for root in newest:
        try:
            return root.roles[role].check(envelope, role, "5.4.2")
        except ThresholdNotMet as error:
            refused = refused or error
    raise ThresholdNotMet(
        f"{refused}",
        hint="if the online key was being replaced when this stopped, publish the ceremony with the new root again",
    )


def _read(publication: Publication, path: str) -> bytes:
    data = publication.read(path)
    if data is None:
        raise MetadataMismatch(f"{path} is missing, though signed metadata names it")
    return data
