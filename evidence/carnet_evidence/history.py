"""A crate's history: when a version was published, and whether an account thief may be at work.

On crates.io, in August 2026, an account that was taken over yanked the good versions to push people to a bad one: 86
minutes, 2,285 downloads. Of a claimed crate no registry account can yank; of an unclaimed one the pattern can be seen
in its index file.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from carnet import times
from carnet_evidence.kind import Kind, Material

NEW = timedelta(days=14)
"""A release is new for so long."""
LEAST = 3
"""Fewer yanks than this are nothing unusual."""
SHARE = 0.75
"""How many of the earlier versions are yanked when it is an alarm."""


def _published(material: Material) -> datetime | None:
    pubtime = material.line.pubtime
    return None if pubtime is None else times.read(pubtime, f"{material.line.id}: pubtime")


def _mass_yank(material: Material) -> str | None:
    line, published = material.line, _published(material)
    if published is None or line.yanked or material.now - published > NEW:
        return None
    earlier = [one for one in material.history() if one.id.version < line.id.version]
    yanked = [one for one in earlier if one.yanked]
    if len(yanked) < LEAST or len(yanked) < SHARE * len(earlier):
        return None
    return f"{line.id} is new, and {len(yanked)} of the {len(earlier)} versions before it were yanked"


PUBLISHED: Kind[datetime | None] = Kind("published", frozenset(("line",)), _published)
"""When the registry says that the version was published; None when it does not say."""

MASS_YANK: Kind[str | None] = Kind("mass-yank", frozenset(("line", "history")), _mass_yank)
"""A new version that stands where nearly all earlier ones were taken back, in words; None when nothing was seen."""
