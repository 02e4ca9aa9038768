"""What each step of `carnet_verifier.line` hands to the next one: made by that step, and by nothing else.

The constructors are closed (`carnet.made`): a step that was skipped leaves nothing that the next one could take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from carnet.cargo.names import CrateId, CrateName
from carnet.errors import CarnetError
from carnet.level import Level
from carnet.made import made_by
from carnet.value import field, value
from carnet_evidence.kind import Evidence, Material
from carnet_verifier.policy.verdict import Verdict
from carnet_verifier.tuf.repository import TrustedTarget

if TYPE_CHECKING:
    # What only claimed crates need is imported when there is one: start-up time counts.
    from datetime import datetime

    from carnet.cargo.crate import CrateFile
    from carnet.cargo.index_file import IndexFile, IndexLine
    from carnet.cargo.let_in import LetIn
    from carnet.claims.releases import SignedRelease
    from carnet_verifier.claims.owners import Claim
    from carnet_verifier.releases.signed_releases import SignedReleases


@value
class Wanted:
    """A crate that somebody asks for.

    Attributes:
        id: Which one.
        checksum: The sha256 that the lock has for its tarball, or None when nothing is pinned.
        locked: Whether a lock asks for it.
    """

    id: CrateId
    checksum: str | None = None
    locked: bool = False


@made_by("open_index")
@value
class Indexed:
    """After step 3: a crate's index file, as it was signed."""

    target: TrustedTarget
    index: IndexFile


@made_by("vouch")
@value
class Vouched:
    """After step 4: the registry's word for one version, which is the one that the lock pins."""

    wanted: Wanted
    target: TrustedTarget
    index: IndexFile
    line: IndexLine


@made_by("attribute")
@value
class Attributed:
    """After step 5: whose word it is.

    Attributes:
        vouched: What the registry says.
        claim: Who owns the crate; None is the signed proof that nobody does.
        release: What the maintainers signed for this version; None when the crate is unclaimed.
        signed: Everything that the claim's owners and release keys signed; None when the crate is unclaimed.
        released: Whether the crate was claimed once and given up.
        let_in: What the mirror's operator says of the version, when its index line is not its manifest's.
    """

    vouched: Vouched
    claim: Claim | None
    release: SignedRelease | None
    signed: SignedReleases | None = None
    released: bool = False
    let_in: LetIn | None = None

    @property
    def crate(self) -> CrateId:
        """Which crate."""
        return self.vouched.line.id

    @property
    def sha256(self) -> str:
        """Of its tarball: the registry and, of a claimed crate, its maintainers say so."""
        return self.vouched.line.cksum

    @property
    def line(self) -> IndexLine:
        """Its index line, yanked as those say whose word it is."""
        return self.vouched.line.with_(yanked=self.yanked)

    @property
    def yanked(self) -> bool:
        """What cargo is told: of a claimed crate, what its maintainers say."""
        return self.vouched.line.yanked if self.release is None else self.release.yanked

    @property
    def yanked_by(self) -> str | None:
        """Who took the version back; the maintainers' word comes first."""
        if self.release is not None and self.release.yanked:
            return "its maintainers"
        if not self.vouched.line.yanked:
            return None
        return "the registry" if self.release is None else "the registry, and not by its maintainers"

    @property
    def owner_least_level(self) -> Level | None:
        """The level that the owners ask of this version, or None when nobody owns it."""
        if self.signed is None or self.release is None:
            return None
        return self.signed.demands.least_level(self.release)

    @property
    def exempt(self) -> bool:
        """Whether the owners let this version stand without evidence: it is older than the layout, no downgrade."""
        return self.signed is not None and self.sha256 in self.signed.demands.adopted

    def shown(self) -> tuple[IndexLine, ...]:
        """Every line of the crate that counts, yanked as those say whose word it is."""
        if self.signed is None:
            return self.vouched.index.readable
        from carnet_verifier.releases.signed_releases import judge_index

        judged = judge_index(self.signed, self.vouched.index)
        return tuple(one.line for one in judged if one.refusal is None)

    def material(self, now: datetime, crate: VerifiedCrate | None = None) -> Material:
        """What evidence is gathered from.

        Args:
            now: The time of the check.
            crate: The tarball, when it was fetched.

        Raises:
            MetadataMismatch: It is another version's.
        """
        demands = None if self.signed is None else self.signed.demands
        if crate is None:
            return Material(self.vouched.line, self.shown, now, self.release, demands, None, {})
        return Material(self.vouched.line, self.shown, now, self.release, demands, crate.file, crate.beside)


@made_by("download")
@value(eq=False)
class VerifiedCrate:
    """After step 6: a tarball whose bytes are the ones that metadata vouches for, read once.

    Attributes:
        file: What it holds.
        data: The `.crate`, byte for byte.
        beside: The signed files that say how it came about, by target path: its bundle, the owners' layouts.
    """

    file: CrateFile
    data: bytes = field(repr=False)
    beside: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def id(self) -> CrateId:
        """Which crate."""
        return self.file.id


@made_by("judge")
@value
class Judged:
    """After step 8: what the policy says, and of what."""

    attributed: Attributed
    evidence: Evidence
    verdict: Verdict

    @property
    def waits_for_bytes(self) -> bool:
        """Whether nothing can be admitted before the tarball is looked at: for a rule, or for the level itself."""
        return self.verdict.level is None or bool(self.verdict.waiting)


@made_by("admit")
@value
class Admission:
    """After step 9: a crate that may reach the compiler.

    It does not hold the tarball: a lock's worth of them, unpacked, would not fit into memory.

    Attributes:
        crate: Which one.
        level: What stands behind it.
        sha256: Of its tarball.
        line: Its index line, with the yank state that counts.
        verdict: What the policy remarked.
        attributed: Whose word it is.
        evidence: What was found about it.
    """

    crate: CrateId
    level: Level
    sha256: str
    line: IndexLine
    verdict: Verdict
    attributed: Attributed
    evidence: Evidence


@value
class Outcome:
    """What became of one crate among many: an admission, or the error that stopped it.

    Attributes:
        wanted: What was asked for.
        result: What became of it.
        tarball: The tarball, when it had to be read to decide and the crate was admitted. Whoever needs it takes it
            now, and keeps it in a form of which a lock's worth fits into memory.
    """

    wanted: Wanted
    result: Admission | CarnetError
    tarball: VerifiedCrate | None = None

    @property
    def admission(self) -> Admission | None:
        """The admission, when it was admitted."""
        return self.result if isinstance(self.result, Admission) else None

    @property
    def error(self) -> CarnetError | None:
        """Why it was not admitted."""
        return self.result if isinstance(self.result, CarnetError) else None


class LevelMemory(Protocol):
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


class KeptTarballs(Protocol):
    """Tarballs kept from earlier runs; `carnet_verifier.cargo.localregistry.LocalRegistry` is one."""

    def read(self, crate: CrateId, sha256: str) -> bytes | None:
        """The bytes kept for a crate, or None when there are none.

        Raises:
            MetadataMismatch: What is kept has another digest: somebody wrote there.
        """
        ...
