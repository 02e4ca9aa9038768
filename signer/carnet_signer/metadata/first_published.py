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
        The time at which the first snapshot with it was signed, of those that are kept; None when it is not published.
        It may have been published before the oldest one that is kept.

    Raises:
        FormatError: A snapshot does not parse.
    """
    if current.snapshot is None or current.version(role) < version:
        return None
    found = current.snapshot.signed
    low, high = 1, found.version
    while low < high:
        middle = (low + high) // 2
        snapshot = _next_kept(current, middle, high)
        if snapshot is None:  # none from there on but the one that is known to have it
            high = middle
            continue
        listed = snapshot.meta.get(role)
        if listed is not None and listed.version >= version:
            found, high = snapshot, middle
        else:
            low = snapshot.version + 1
    return times.moved(found.expires, -SNAPSHOT_LIFE)


def _next_kept(current: PublishedState, first: int, end: int) -> Snapshot | None:
    """The first snapshot that is kept, from one version on and before another."""
    for version in range(first, end):
        data = current.publication.read(metadata_path(paths.SNAPSHOT, version))
        if data is not None:
            return parse_role(data, Snapshot, what=f"snapshot {version}").signed
    return None
