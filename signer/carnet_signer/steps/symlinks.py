"""Where symbolic links of a commit lead, without a file system: a commit can have very many that lead far around."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from carnet.errors import FormatError
from carnet.intoto.values import MAX_ARTIFACT_PATH

_MAX_HOPS = 40
_MAX_STEPS = 25_000
"""Parts of paths that are gone along for all links of a commit together; five each is much."""


def ends(links: Mapping[str, str]) -> dict[str, str | None]:
    """Where each link leads when every link on the way is followed; None when it leaves the repository.

    Args:
        links: Path of each link -> its target.

    Raises:
        FormatError: To find out takes longer than links of any source do.
    """
    found: dict[str, str | None] = {}
    left = _MAX_STEPS
    for path in links:
        found[path], steps = _follow(path, links, left)
        left -= steps
        if left < 0:
            raise FormatError(
                f"the commit's symbolic links have more than {_MAX_STEPS} parts to follow",
                hint="links lead to links in very many places; look at what the repository holds before you trust it",
            )
    return found


def _follow(path: str, links: Mapping[str, str], most: int) -> tuple[str | None, int]:
    """Where a path leads, and in how many steps; more than `most` are not taken."""
    pending = path.split("/")[::-1]
    here, hops, steps = "", 0, 0
    while pending:
        part = pending.pop()
        steps += 1
        if steps > most:
            return None, steps
        if part in ("", "."):
            continue
        if part == "..":
            if not here:
                return None, steps
            here = here.rpartition("/")[0]
            continue
        above, here = here, f"{here}/{part}" if here else part
        if len(here) > MAX_ARTIFACT_PATH:  # which no file of the commit has
            return None, steps
        target = links.get(here)
        if target is not None:
            hops += 1
            if hops > _MAX_HOPS or target.startswith("/"):
                return None, steps
            here = above
            pending += target.split("/")[::-1]
    return here, steps


def below(folder: str, paths: Sequence[str]) -> Iterator[str]:
    """The paths in a folder and in those below it.

    Args:
        folder: A path.
        paths: Sorted: those of one folder stand together.
    """
    start = f"{folder}/"
    for number in range(bisect_left(paths, start), len(paths)):
        if not paths[number].startswith(start):
            return
        yield paths[number]
