"""All TUF metadata of a publication is made here, in one order.

1. `read_current`: what is published now, its signatures checked again (an insider with the disk adds nothing);
2. `add_release`: new files of offline roles, each checked against its delegator as a client will (TUF 5.3.4, 5.6.3);
3. `roll_bins`: the hash bins whose index files changed, and no other;
4. `roll_snapshot`: one consistent view (TUF 4.4); names never leave it;
5. `roll_timestamp`: the pointer to it (TUF 4.6), written last.

Every file is durable before the next step begins, and nothing that is published refers to it before the timestamp does:
a crash at any point leaves the old state or the new one. What was signed for a state that was never reached keeps its
version number for ever: the next run goes past it, because the online signer signs no second content for one number and
a cache may have seen the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from carnet.keys import Signature


class Publication(Protocol):
    """Where a repository's files are kept; the mirror's store, or a plain folder.

    Paths are those below the repository's base URL: `metadata/timestamp.json`, `metadata/3.index-0a.json`,
    `targets/index/se/rd/<sha256>.serde`. One process at a time may publish: the caller holds the lock.
    """

    def read(self, path: str) -> bytes | None:
        """The file's content, or None when there is none."""

    def write(self, path: str, data: bytes) -> None:
        """Create or replace a file: atomic, and durable when this returns."""

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Several files, in any order among them: each atomic, all durable when this returns."""


class OnlineSigner(Protocol):
    """The process that holds the online keys, as seen from here."""

    def last_version(self, role: str) -> int:
        """The highest version that was ever signed for a role; 0 when none was."""

    def sign(self, payloads: Mapping[str, bytes]) -> dict[str, list[Signature]]:
        """Sign several roles.

        Args:
            payloads: Role name to the canonical bytes of its `signed` part.

        Raises:
            SigningError: One of them may not be signed: none was.
        """


@dataclass(frozen=True)
class Change:
    """What is new.

    Attributes:
        index_files: Target path (`index/se/rd/serde`) to the sparse-index file's bytes. Files that are equal to the
            published ones are skipped.
        roles: Role name to the signed file of its next version: `root`, `targets`, `claims`, `claims-0a`, `index`,
            `owner.serde`, `crate.serde`. A file that is published already is skipped.
        targets: Target path to bytes that the new roles name: layouts, tarballs, bundles. Those that are published
            already may be left out.
    """

    index_files: Mapping[str, bytes] = field(default_factory=dict)
    roles: Mapping[str, bytes] = field(default_factory=dict)
    targets: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """What a publish did; clients see it from now on.

    Attributes:
        snapshot: The snapshot's version.
        timestamp: The timestamp's version.
        expires: When the timestamp ends, unless it is signed again before.
        roles: Every role that got a new version, with it; empty when there was nothing to do but the timestamp.
        bytes_written: Over all files.
        warnings: What a person should know, in words.
    """

    snapshot: int
    timestamp: int
    expires: datetime
    roles: Mapping[str, int]
    bytes_written: int
    warnings: tuple[str, ...] = ()


def publish(publication: Publication, online: OnlineSigner, change: Change, *, now: datetime) -> Published:
    """Publish a change; with an empty one, sign the timestamp again.

    The first publish brings root, targets, claims, its shards and index in `change.roles`.

    Raises:
        MetadataError: A new role file is not what its delegator demands, or what is published is not what was signed.
        FormatError: A new role file does not parse.
        SigningError: The online signer refused.
        StorageError: The disk failed; the old state stands, or the new one without a promise. Run it again.
    """
    raise NotImplementedError


def refresh_due(publication: Publication, online: OnlineSigner, *, now: datetime, bins: int = 16) -> Published:
    """Sign again what is due: the timestamp always, the snapshot from half-life on, old bins a few at a time.

    Args:
        publication: As for `publish`.
        online: As for `publish`.
        now: The time.
        bins: At most so many bins are signed again in one run.

    Raises:
        As `publish`.
    """
    raise NotImplementedError


def expiries(publication: Publication) -> dict[str, datetime]:
    """When each offline role, the snapshot and the timestamp end: for `status` and metrics; bins are left out.

    Raises:
        MetadataError: What is published is not what was signed.
    """
    raise NotImplementedError
