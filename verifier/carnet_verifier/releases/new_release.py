"""A release that is about to be signed, held against what its owners ask, as the mirror and every client will do."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from carnet.cargo.crate import CrateFile
from carnet.cargo.names import CrateName
from carnet.claims.releases import Demands
from carnet.intoto.bundle import Bundle
from carnet.tuf.roles import Targets
from carnet_verifier.provenance.carried_out import owned_layout
from carnet_verifier.provenance.provenance import Provenance, check_provenance

if TYPE_CHECKING:
    from carnet_verifier.tuf.repository import TrustedRepository


def layout_in_force(repository: TrustedRepository, name: CrateName, owner: Targets) -> bytes | None:
    """The layout file that new releases are held against.

    Args:
        repository: Where it is.
        name: The crate.
        owner: Its verified owner role.

    Returns:
        The file; None when the owners ask for no steps.

    Raises:
        MetadataError: It is not what the owners signed.
        TransportError: Nothing was decided.
    """
    in_force = Demands.of(name, owner).in_force
    return None if in_force is None else repository.download(repository.find_target(in_force.path))


def check_steps(crate: CrateFile, owner: Targets, evidence: Bundle, *, accepted_at: datetime) -> Provenance | None:
    """See that the owners' layout was carried out for a tarball that nobody has signed yet.

    Args:
        crate: The tarball.
        owner: The crate's verified owner role.
        evidence: The layout and the links of its steps.
        accepted_at: The time: the layout must not have expired.

    Returns:
        The evidence; None when the owners ask for no steps.

    Raises:
        ProvenanceError: The evidence does not hold.
    """
    in_force = Demands.of(crate.id.name, owner).in_force
    if in_force is None:
        return None
    layout = owned_layout(in_force, evidence.layout)
    return check_provenance(crate, [layout], evidence, accepted_at=accepted_at)
