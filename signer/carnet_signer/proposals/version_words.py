"""What a proposal does to the versions of its crate, in words: one line for each version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from carnet import strictjson
from carnet.claims.releases import Differences, Releases, SignedRelease
from carnet.digests import sha256_hex
from carnet_signer.proposals.proposal import Proposal

_MOST = 100
"""Versions that are adopted by checksum, each of which gets a line: a crate may have thousands. The newest do: builds
take those, so that whoever slips one into what an upstream lists would have it be one of them."""


def changed(proposal: Proposal, changes: Differences) -> Iterator[str]:
    """What changes, with everything that would be signed of it."""
    brought = {sha256_hex(data) for path, data in proposal.targets.items() if path.endswith(".crate")}
    listed = [release for release in changes.added if release.by_checksum]
    here = [release for release in changes.added if not release.by_checksum]
    adopted = [release for release in here if release.tarball.sha256 not in brought]
    yield from (f"new: {_release(release)}" for release in here if release not in adopted)
    if adopted and proposal.adopted is None:
        yield f"{len(adopted)} versions, OF WHICH NOBODY CHECKED THAT THEY ARE PUBLISHED, are adopted by digest:"
    elif adopted:
        yield f"{len(adopted)} versions that are published already are adopted as they are, by digest:"
    yield from map(_release, adopted)
    yield from _by_checksum(proposal, listed)
    yield from (f"YANKED: {release.id}" for release in changes.yanked)
    yield from (f"no longer yanked: {release.id}" for release in changes.unyanked)
    yield from (f"new evidence: {release.id}, {_bundle(release)}" for release in changes.evidence)


def _by_checksum(proposal: Proposal, listed: Sequence[SignedRelease]) -> Iterator[str]:
    if listed and proposal.adopted is None:
        yield f"{len(listed)} versions, OF WHICH NOBODY CHECKED THAT AN UPSTREAM LISTS THEM, are adopted by checksum:"
    elif listed:
        yield (
            f"{len(listed)} versions that the mirror's upstream lists are adopted by checksum; nobody here has looked "
            "at their tarballs, which the mirror brings when somebody asks for them:"
        )
    for release in listed[-_MOST:]:
        yanked = ", yanked" if release.yanked else ""
        yield f"{release.id}, sha256 {release.tarball.sha256}, index line sha256 {release.index}{yanked}"
    if len(listed) > _MOST:
        words = Releases(listed[0].id.name, {one.id.version: one for one in listed}).to_words()
        yield (
            f"and {len(listed) - _MOST} older ones, from {listed[0].id} on; all {len(listed)} of them, as they would "
            f"be signed, have the sha256 {sha256_hex(strictjson.canonical(words))}"
        )


def left_out(proposal: Proposal) -> tuple[str, ...]:
    """The versions that the mirror's upstream lists and a first claim does not adopt."""
    crates = () if proposal.adopted is None else proposal.adopted.left_out
    if not crates:
        return ()
    named = ", ".join(str(crate.version) for crate in crates[:_MOST])
    more = f" and {len(crates) - _MOST} more" if len(crates) > _MOST else ""
    return (
        f"{len(crates)} versions: {named}{more}",
        "no client gets them any more, whatever pins them, until `carnet claim adopt` signs them in",
    )


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
