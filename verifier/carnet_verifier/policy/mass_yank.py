"""A mass yank with a new release: how somebody with a stolen account pushes people from good versions to a bad one.

On crates.io, in August 2026, it took 86 minutes and 2,285 downloads. Of a claimed crate no registry account can yank;
of an unclaimed one the pattern can be seen in its index file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from carnet.cargo.index_file import IndexLine

NEW = timedelta(days=14)
"""A release is new for so long."""
LEAST = 3
"""Fewer yanks than this are nothing unusual."""
SHARE = 0.75
"""How many of the earlier versions are yanked when it is an alarm."""


def mass_yank(
    line: IndexLine, lines: Callable[[], Sequence[IndexLine]], *, published: datetime | None, now: datetime
) -> str | None:
    """Whether a new version stands where nearly all earlier ones were taken back.

    Args:
        line: The version that somebody wants.
        lines: Gives every version of its crate; asked only when the wanted one is new, for old crates have hundreds.
        published: When the version was published, as far as the registry says.
        now: The time.

    Returns:
        What was seen, in words; None when nothing was.
    """
    if published is None or line.yanked or now - published > NEW:
        return None
    earlier = [one for one in lines() if one.id.version < line.id.version]
    yanked = [one for one in earlier if one.yanked]
    if len(yanked) < LEAST or len(yanked) < SHARE * len(earlier):
        return None
    return f"{line.id} is new, and {len(yanked)} of the {len(earlier)} versions before it were yanked"
