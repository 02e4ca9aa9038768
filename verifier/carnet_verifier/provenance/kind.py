"""Provenance as a kind of evidence: the owners' layout, carried out or not, for a release that comes with a bundle.

It needs the tarball, and two sorts of signed files beside it: the bundle of links, and the layouts that vouch for this
very tarball. A release without a bundle, or of owners without a layout, has nothing that could be looked at: its level
is `maintainer`, and the rules compare that with what is asked. Evidence that is there and does not hold is refused, not
ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carnet.level import Level
from carnet.tuf import paths
from carnet_evidence.kind import Evidence, Kind, Material

if TYPE_CHECKING:
    # Most locks hold no claimed crate at all: what reads evidence is imported with the first one.
    from carnet.claims.releases import Demands, OwnedLayoutFile, SignedRelease
    from carnet_verifier.provenance.provenance import Provenance


def files_beside(demands: Demands, release: SignedRelease) -> dict[str, str]:
    """The signed files that say how a release came about, target path to sha256; empty when nothing can be said."""
    layouts = vouching_layouts(demands, release)
    if release.bundle is None or not layouts:
        return {}
    return {paths.bundle_path(release.id): release.bundle.sha256} | {
        layout.path: layout.file.sha256 for layout in layouts
    }


def level_of(release: SignedRelease | None, evidence: Evidence) -> Level | None:
    """What stands behind a version; None while the evidence that decides it was not gathered.

    Args:
        release: What the maintainers signed for it; None when the crate is unclaimed.
        evidence: What was gathered.
    """
    if PROVENANCE not in evidence:
        return None
    provenance = evidence.of(PROVENANCE)
    if provenance is not None:
        return provenance.level
    return Level.REGISTRY if release is None else Level.MAINTAINER


def vouching_layouts(demands: Demands, release: SignedRelease) -> list[OwnedLayoutFile]:
    """The layouts that a release may have been made under."""
    return [layout for layout in demands.layouts if layout.vouches_for(release.tarball.sha256)]


def _concerns(material: Material) -> bool:
    release, demands = material.release, material.demands
    return release is not None and demands is not None and bool(files_beside(demands, release))


def _gather(material: Material) -> Provenance | None:
    if material.release is None or material.demands is None or material.tarball is None:
        return None
    from carnet_verifier.provenance.carried_out import owned_layout, prove

    listed = vouching_layouts(material.demands, material.release)
    layouts = [owned_layout(layout, material.beside[layout.path]) for layout in listed]
    return prove(material.tarball, material.release, layouts, material.beside)


PROVENANCE: Kind[Provenance | None] = Kind("provenance", frozenset(("claim", "tarball")), _gather, _concerns)
"""The steps that a release went through; None when there is nothing to look at."""
