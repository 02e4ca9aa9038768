"""What each step of `carnet_verifier.admit` hands to the next one: evidence, made by that step and by nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from carnet.cargo.names import CrateId, CrateName
from carnet.level import Level
from carnet.value import value
from carnet_verifier.policy.policy import Verdict
from carnet_verifier.tuf.repository import TrustedTarget

if TYPE_CHECKING:
    # What only claimed crates need is imported when there is one: start-up time counts.
    from carnet.cargo.index_file import IndexFile, IndexLine
    from carnet.claims.releases import SignedRelease
    from carnet_verifier.claims.owners import Claim
    from carnet_verifier.claims.signed_releases import Established, Signed


@value
class Wanted:
    """A crate that somebody asks for.

    Attributes:
        id: Which one.
        checksum: The sha256 that the lock has for its tarball, or None when nothing is pinned.
    """

    id: CrateId
    checksum: str | None = None


@value
class Listed:
    """After step 2: the signed index lists the crate's file."""

    wanted: Wanted
    target: TrustedTarget


@value
class Indexed:
    """After step 3: the index file, as it was signed."""

    wanted: Wanted
    target: TrustedTarget
    index: IndexFile


@value
class Vouched:
    """After step 4: the registry's word for one version, which is the one that the lock pins."""

    wanted: Wanted
    target: TrustedTarget
    index: IndexFile
    line: IndexLine


@value
class Attributed:
    """After step 5: whose word it is.

    Attributes:
        vouched: What the registry says.
        claim: Who owns the crate; None is the signed proof that nobody does.
        release: What the maintainers signed for this version; None when the crate is unclaimed.
        signed: Everything that the claim's owners and release keys signed; None when the crate is unclaimed.
        released: Whether the crate was claimed once and given up.
    """

    vouched: Vouched
    claim: Claim | None
    release: SignedRelease | None
    signed: Signed | None = None
    released: bool = False

    @property
    def crate(self) -> CrateId:
        """Which crate."""
        return self.vouched.line.id

    @property
    def yanked(self) -> bool:
        """What cargo is told: of a claimed crate, what its maintainers say."""
        return self.vouched.line.yanked if self.release is None else self.release.yanked

    @property
    def shown(self) -> tuple[IndexLine, ...]:
        """Every line of the crate that counts, yanked as those say whose word it is."""
        if self.signed is None:
            return self.vouched.index.lines
        from carnet_verifier.claims.signed_releases import judge_index

        judged = judge_index(self.signed, self.vouched.index)
        return tuple(one.line for one in judged if one.refusal is None)

    @property
    def yanked_by(self) -> str | None:
        """Who took the version back; the maintainers' word comes first."""
        if self.release is not None and self.release.yanked:
            return "its maintainers"
        if not self.vouched.line.yanked:
            return None
        return "the registry" if self.release is None else "the registry, and not by its maintainers"


@value
class Proven:
    """After step 6: how much stands behind the version.

    Attributes:
        attributed: Whose word it is.
        level: The level that was reached.
        owner_least_level: The level that the owners ask of their releases, or None.
        summary: What the provenance check established, in words; empty below level `provenance`.
        established: The evidence itself; None when the crate is unclaimed.
    """

    attributed: Attributed
    level: Level
    owner_least_level: Level | None = None
    summary: tuple[str, ...] = ()
    established: Established | None = None

    @property
    def exempt(self) -> bool:
        """Whether the owners let this version stand without evidence: it is older than the layout, no downgrade."""
        return self.established is not None and self.established.adopted


@value
class Judged:
    """After step 7: what the policy says."""

    proven: Proven
    verdict: Verdict


@value
class Admission:
    """After step 8: a crate that may reach the compiler. Only `admit` makes one.

    Attributes:
        crate: Which one.
        level: What stands behind it.
        sha256: Of its tarball.
        line: Its index line, with the yank state that counts.
        verdict: What the policy remarked.
        proven: All the evidence.
    """

    crate: CrateId
    level: Level
    sha256: str
    line: IndexLine
    verdict: Verdict
    proven: Proven


class Memory(Protocol):
    """What a client remembers of each crate; `carnet_verifier.memory.trust.TrustDirectory` is one."""

    def highest_levels(self, names: Iterable[CrateName]) -> Mapping[CrateName, int]:
        """The highest level at which a version of a crate was ever admitted; those never seen are left out."""
        ...

    def remember_levels(self, levels: Mapping[CrateName, int]) -> None:
        """Remember levels durably; one that is lower than remembered changes nothing."""
        ...


class ListCache(Protocol):
    """Bytes of index files by their sha256, kept from earlier runs; they are hashed again before they are used."""

    def get(self, sha256: str) -> bytes | None:
        """The bytes kept under a digest, or None."""
        ...

    def put(self, files: Mapping[str, bytes]) -> None:
        """Keep files by their digest."""
        ...
