"""Where a folder really is, and the links on the way there: whoever replaces one puts another folder in its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_MOST_LINKS = 40  # as in Linux


def real_paths(folder: Path) -> Iterator[Path]:
    """Where a folder really is, and each link on the way to it: absolute, and no folder on their way is a link.

    Args:
        folder: As it is named; it need not be there.
    """
    left = [*reversed((Path.cwd() / folder).parts[1:])]
    here, links = Path("/"), 0
    while left:
        part = left.pop()
        if part == "..":
            here = here.parent
            continue
        there = here / part
        if links < _MOST_LINKS and there.is_symlink():
            links += 1
            yield there
            target = there.readlink()
            here = Path("/") if target.is_absolute() else here
            left += reversed([one for one in target.parts if one != "/"])
        else:
            here = there
    yield here
