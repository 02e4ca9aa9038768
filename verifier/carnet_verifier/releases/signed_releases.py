"""Claimed crates: the registry lists versions, and only what the maintainers signed counts.

A registry's online keys sign index files. For a claimed crate they can say nothing new with them: a line is taken when
the maintainers signed its identity, refused for that version alone when they did not, and a file that lacks a line they
signed is refused as a whole, because hiding a fix is as good as breaking it (but for versions that they adopted by
checksum: a mirror brings those when it can). The yank state is the maintainers'; what
the registry says beside it is shown as the registry's.

In two steps, the second on what the first returned:

    1. `read_signed_releases`     the claim's roles, parsed                                        -> SignedReleases
    2. `attest`          one line of the registry's against them                          -> SignedRelease

Whether the owners' layout was carried out is a kind of evidence: `carnet_verifier.provenance.kind`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carnet.cargo.index_file import IndexFile, IndexLine
from carnet.errors import MetadataMismatch, NotFound, VerificationError
from carnet_verifier.claims.owners import Claim
from carnet_verifier.tuf.repository import TrustedRepository, TrustedTarget

# Most locks hold no claimed crate at all: what reads claims and evidence is imported with the first one.
if TYPE_CHECKING:
    from carnet.claims.releases import Demands, OwnedLayoutFile, Releases, SignedRelease
    from carnet_verifier.provenance.provenance import OwnedLayout

_TELL = "whoever holds the mirror's online keys changed it; tell its operator"


@dataclass(frozen=True)
class SignedReleases:
    """What the owners and the release keys of one crate signed.

    Attributes:
        claim: The verified roles.
        releases: Every version.
        demands: What the owners ask of them.
    """

    claim: Claim
    releases: Releases
    demands: Demands
    _layouts: dict[tuple[str, bytes], OwnedLayout] = field(default_factory=dict, repr=False, compare=False)

    def layout(self, listed: OwnedLayoutFile, data: bytes) -> OwnedLayout:
        """One of the owners' layouts, the same value for every release that was made under it: it is parsed once.

        Raises:
            FormatError: Its path is not one of a layout.
        """
        from carnet_verifier.provenance.carried_out import owned_layout

        known = self._layouts.get((listed.path, data))
        if known is None:
            known = self._layouts[listed.path, data] = owned_layout(listed, data)
        return known


@dataclass(frozen=True, slots=True)
class JudgedLine:
    """One line of the registry's index file for a claimed crate.

    Attributes:
        line: The line, with the yank state that the maintainers signed; the registry's own where it is refused.
        refusal: Why this version is not let in, or None.
        note: What a person should know, or None.
    """

    line: IndexLine
    refusal: VerificationError | None = None
    note: str | None = None


def read_signed_releases(claim: Claim) -> SignedReleases:
    """1. Parse what the claim's verified roles say.

    Raises:
        FormatError: A role lists what is not its to list.
    """
    from carnet.claims.releases import Demands, Releases

    return SignedReleases(claim, Releases.of(claim.name, claim.crate), Demands.of(claim.name, claim.owner))


def check_complete(signed: SignedReleases, index: IndexFile) -> None:
    """Demand that no version that was signed is missing from an index file.

    One that was adopted by its checksum may be missing: nobody said that its tarball was here when it was signed.

    Raises:
        MetadataMismatch: The registry hides one: the whole file is refused.
    """
    listed = {line.id for line in index.readable}
    for release in signed.releases:
        if release.id not in listed and not release.by_checksum:
            raise MetadataMismatch(
                f"the index of {signed.releases.name} hides {release.id}, which its maintainers signed",
                hint="the mirror, or whoever holds its online keys, left it out; tell its operator",
            )


def attest(signed: SignedReleases, line: IndexLine) -> SignedRelease:
    """2. Find what the maintainers signed for a line, and demand that the line is that.

    Raises:
        NotFound: They never signed this version.
        MetadataMismatch: Another tarball, another line, or signed for another registry.
    """
    release = signed.releases.get(line.id.version)
    if release is None or release.id != line.id:
        newest = ", ".join(str(version) for version in list(signed.releases.versions)[-3:]) or "no version at all"
        raise NotFound(
            f"{line.id} was not signed by the maintainers of {signed.releases.name}, who sign every version",
            hint=f"the registry alone lists it; the newest signed: {newest}",
        )
    if release.registry != signed.claim.facts.registry:
        raise MetadataMismatch(
            f"{line.id} was signed for the registry {release.registry[:60]!a}, "
            f"the crate belongs to {signed.claim.facts.registry[:60]!a}"
        )
    if release.tarball.sha256 != line.cksum:
        raise MetadataMismatch(
            f"{line.id} has checksum {line.cksum} in the index, its maintainers signed {release.tarball.sha256}",
            hint=_TELL,
        )
    if release.index != line.identity():
        raise MetadataMismatch(
            f"the index line of {line.id} is not the one that its maintainers signed",
            hint=f"its dependencies or features differ: {_TELL}",
        )
    return release


def judge_index(signed: SignedReleases, index: IndexFile) -> tuple[JudgedLine, ...]:
    """Judge every line of an index file: the lines that cargo may resolve with are those without a refusal.

    Raises:
        MetadataMismatch: The file hides a version.
    """
    check_complete(signed, index)
    judged = []
    for line in index.readable:
        try:
            release = attest(signed, line)
        except VerificationError as error:
            judged.append(JudgedLine(line, refusal=error))
        else:
            judged.append(JudgedLine(line.with_(yanked=release.yanked), note=yank_note(release, line)))
    return tuple(judged)


def yank_note(release: SignedRelease, line: IndexLine) -> str | None:
    """Where the registry and the maintainers disagree about a yank, in words; None where they agree."""
    if line.yanked and not release.yanked:
        return f"the registry marks {line.id} as yanked; its maintainers did not sign that"
    if release.yanked and not line.yanked:
        return f"the maintainers of {line.id.name} yanked {line.id}; the registry does not say so"
    return None


def find_signed(repository: TrustedRepository, files: Mapping[str, str]) -> list[TrustedTarget]:
    """Look up files that the claim's roles list.

    The search for a path ends in the crate's own roles; anything else would be a hole in the tree of roles.

    Args:
        repository: The verified view.
        files: Target path to the sha256 that was signed.

    Raises:
        NotFound: Verified metadata lists no such target.
        MetadataMismatch: It lists another digest than was signed.
        TransportError: Nothing was decided.
    """
    found = repository.find_targets(files)
    targets = []
    for path, sha256 in files.items():
        target = found[path]
        if target is None:
            raise NotFound(f"signed metadata lists no target {path[:120]!a}")
        if target.sha256 != sha256:
            raise MetadataMismatch(f"{target.role} lists {path[:120]} with another digest than was signed")
        targets.append(target)
    return targets
