"""What a mirror that answers wrongly is told of: which address it was, what may be behind it, and what to type.

The checks know no address, and only whoever opened the repository knows it. So each error of theirs passes here on its
way to the user.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from carnet.errors import (
    CarnetError,
    FormatError,
    MetadataError,
    MetadataMismatch,
    RollbackDetected,
    ThresholdNotMet,
    TransportError,
)
from carnet.tuf import paths

_MOVED = "if the mirror moved, `carnet trust move URL` goes on at its new address"


@contextmanager
def of_mirror(url: str) -> Iterator[None]:
    """Let the errors of a refresh come out with the address of the mirror, and a hint where they have none.

    Args:
        url: The repository's base URL, with a slash at its end.

    Raises:
        CarnetError: What the block raises, of the same class.
    """
    try:
        yield
    except TransportError as error:
        if error.absent and not error.hint:
            error.hint = f"no mirror of carnet's answers there: check the address in a browser; {_MOVED}"
        raise
    except (FormatError, MetadataError) as error:
        error.args = (f"{url}: {error}",)
        error.hint = error.hint or _way_on(error, url)
        raise


def _way_on(error: CarnetError, url: str) -> str:
    if isinstance(error, ThresholdNotMet):
        return (
            "another repository than the one that you trust answers there, or somebody stands between: ask its "
            f"operator for the address and the root file; {_MOVED}"
        )
    if isinstance(error, RollbackDetected):
        return (
            "an old copy of the mirror answers there, or one that was restored from a backup: ask its operator, who "
            "finds out with `carnet mirror fsck DIR`; nothing older than what was seen is believed"
        )
    if isinstance(error, FormatError):
        return (
            "something else than a mirror answers there, such as a login page or a proxy: "
            f"`curl {url}{paths.METADATA_PREFIX}{paths.metadata_name(paths.TIMESTAMP, None)}` shows what; {_MOVED}"
        )
    if isinstance(error, MetadataMismatch):
        return (
            "its files do not fit together, as in the middle of a copy: try again in a minute, then ask its operator, "
            "who finds out with `carnet mirror fsck DIR`"
        )
    return "ask its operator to look at it with `carnet mirror status DIR`"
