"""What a proposal does to the versions of its crate, in words: one line for each version."""

from __future__ import annotations

from collections.abc import Iterator

from carnet.claims.releases import Differences, SignedRelease
from carnet.digests import sha256_hex
from carnet_signer.proposals.proposal import Proposal


def changed(proposal: Proposal, changes: Differences) -> Iterator[str]:
    """What changes, with everything that would be signed of it."""
    brought = {sha256_hex(data) for path, data in proposal.targets.items() if path.endswith(".crate")}
    adopted = [release for release in changes.added if release.tarball.sha256 not in brought]
    yield from (f"new: {_release(release)}" for release in changes.added if release not in adopted)
    if adopted and proposal.adopted is None:
        yield f"{len(adopted)} versions, OF WHICH NOBODY CHECKED THAT THEY ARE PUBLISHED, are adopted by digest:"
    elif adopted:
        yield f"{len(adopted)} versions that are published already are adopted as they are, by digest:"
    yield from map(_release, adopted)
    yield from (f"YANKED: {release.id}" for release in changes.yanked)
    yield from (f"no longer yanked: {release.id}" for release in changes.unyanked)
    yield from (f"new evidence: {release.id}, {_bundle(release)}" for release in changes.evidence)


def yanked_otherwise(proposal: Proposal) -> Iterator[str]:
    """The versions that a first claim adopts in another yank state than the one that is published."""
    if proposal.adopted is not None:
        yield from (
            f"{one.id} is yanked in the index, and the claim gives it again" for one in proposal.adopted.unyanked
        )
        yield from (f"{one.id} is not yanked in the index, and the claim yanks it" for one in proposal.adopted.yanked)


def _release(release: SignedRelease) -> str:
    yanked = ", yanked" if release.yanked else ""
    return (
        f"{release.id}, {release.tarball.length} bytes, sha256 {release.tarball.sha256}, "
        f"index line sha256 {release.index}, {_bundle(release)}{yanked}"
    )


def _bundle(release: SignedRelease) -> str:
    if release.bundle is None:
        return "without evidence"
    return f"with its evidence, {release.bundle.length} bytes, sha256 {release.bundle.sha256}"
