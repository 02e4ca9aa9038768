"""Since when a version of a role is published: from the snapshots that were signed since the first one."""

from __future__ import annotations

from datetime import datetime

from carnet import times
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Snapshot
from carnet_signer.metadata.published_state import PublishedState, metadata_path
from carnet_signer.metadata.role_files import SNAPSHOT_LIFE


def first_published(current: PublishedState, role: str, version: int) -> datetime | None:
    """When a version of a role, or a later one, was published first.

    What a role says of its own time is its signers' word; the snapshots are those of this repository's online keys.

    Args:
        current: What is published.
        role: The role.
        version: The version.

    Returns:
        The time at which the first snapshot with it was signed; None when it is not published, or when a snapshot of
        before is not kept.

    Raises:
        FormatError: A snapshot does not parse.
    """
    if current.snapshot is None or current.version(role) < version:
        return None
    found = current.snapshot.signed
    low, high = 1, found.version
    while low < high:
        middle = (low + high) // 2
        data = current.publication.read(metadata_path(paths.SNAPSHOT, middle))
        if data is None:
            return None
        snapshot = parse_role(data, Snapshot, what=f"snapshot {middle}").signed
        listed = snapshot.meta.get(role)
        if listed is not None and listed.version >= version:
            found, high = snapshot, middle
        else:
            low = middle + 1
    return times.moved(found.expires, -SNAPSHOT_LIFE)
