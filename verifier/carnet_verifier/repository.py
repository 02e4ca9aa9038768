"""One consistent, verified view of a repository: looking up targets, downloading them, and reading claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from carnet.metadata import DelegatedRole, Targets
from carnet.names import CrateName
from carnet.strictjson import JsonObject


@dataclass(frozen=True, slots=True)
class TrustedTarget:
    """What verified metadata says of one target.

    Attributes:
        path: Its target path.
        length: In bytes.
        hashes: Algorithm to hex digest; `sha256` among them in the product profile.
        custom: The signer's own words.
        role: The role that lists it.
        role_version: That role's version.
    """

    path: str
    length: int
    hashes: Mapping[str, str]
    custom: JsonObject
    role: str
    role_version: int

    @property
    def sha256(self) -> str:
        """The sha256 in hex."""
        raise NotImplementedError


class Handover(Enum):
    """How the owners of a claim follow those that this client saw before."""

    FIRST_SEEN = "first-seen"
    """This client saw no owners of the crate before: it takes the registry's word for them."""
    SAME = "same"
    """The owners' keys and threshold are the ones seen before."""
    HANDED_OVER = "handed-over"
    """They changed, and the threshold of the previous owners signed the change."""
    TAKEOVER = "takeover"
    """They changed, and the previous owners did not sign: the registry alone decided."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed crate: who owns it, who releases it, and what they signed, all verified.

    Attributes:
        name: The crate.
        owner: What `owner.<name>` says: the layout, as a target.
        owner_delegation: The owners' keys and threshold, as the claims shard lists them.
        crate: What `crate.<name>` says: every version. None when the name was released (a tombstone): nothing may be
            published under it.
        crate_delegation: The release keys and threshold, as the owners list them; None with a tombstone.
        handover: How these owners follow the ones seen before.
    """

    name: CrateName
    owner: Targets
    owner_delegation: DelegatedRole
    crate: Targets | None
    crate_delegation: DelegatedRole | None
    handover: Handover

    @property
    def released(self) -> bool:
        """Whether this is a tombstone: claimed once, given up, never free again."""
        return self.crate is None

    @property
    def takeover(self) -> bool:
        """Whether the registry replaced the owners without their signatures."""
        return self.handover is Handover.TAKEOVER


class TrustedRepository:
    """A verified view: root, timestamp, snapshot and targets are checked; the rest is checked when it is looked at.

    Made by `carnet_verifier.refresh` only.
    """

    @property
    def expires(self) -> datetime:
        """When this view ends: the earliest expiry among root, timestamp, snapshot and targets."""
        raise NotImplementedError

    def version(self, role: str) -> int | None:
        """The version of a role in this view, or None when it has none."""
        raise NotImplementedError

    def find_target(self, path: str) -> TrustedTarget:
        """Look a target up, in preorder over the delegations (TUF 5.6.7).

        Raises:
            NotFound: Verified metadata says that there is no such target.
            MetadataError: A role on the way failed a check, or the search reached its limit.
            TransportError: A role on the way could not be fetched: nothing was decided.
        """
        raise NotImplementedError

    def find_targets(self, paths: Iterable[str]) -> dict[str, TrustedTarget | None]:
        """Look several targets up, fetching what is needed concurrently; None is signed proof of absence.

        Raises:
            MetadataError: As `find_target`.
            TransportError: As `find_target`.
        """
        raise NotImplementedError

    def download(self, target: TrustedTarget) -> bytes:
        """Fetch a target and check its length and hashes (TUF 5.7).

        Raises:
            MetadataMismatch: The bytes are not the ones that were signed.
            TransportError: They could not be fetched.
        """
        raise NotImplementedError

    def download_many(self, targets: Sequence[TrustedTarget]) -> list[bytes]:
        """Fetch several targets concurrently; each as `download`."""
        raise NotImplementedError

    def claim(self, name: CrateName) -> Claim | None:
        """Who owns a crate, from the signed claims; None is the signed proof that nobody does.

        Raises:
            MetadataError: A role on the way failed a check, or a delegation is not exactly the trust model's.
            TransportError: A role on the way could not be fetched: nothing was decided.
        """
        raise NotImplementedError

    def claims(self, names: Iterable[CrateName]) -> dict[CrateName, Claim | None]:
        """Several claims, fetching what is needed concurrently; each as `claim`."""
        raise NotImplementedError
