"""Which hash bins a publication signs again, so that none ever ends and they do not come due together.

Each bin has a turn in every round, a quarter of a bin's life: the first when the round begins, the last when it ends. A
publication takes the bins whose turn has come since the timestamp before it, and of those signs again the ones in the
second half of their life, or a day before it. So however often something is published, each bin is looked at once in a
round, a publication takes as many as time has passed for, and what was signed in one moment is signed again over a
whole round. A bin whose turn comes has a quarter of its life left at least, where a timestamp is signed once a day.

What nobody published for is found by its age: a bin in the last quarter of its life has missed its turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from carnet_signer.metadata import role_files
from carnet_signer.metadata.published_state import PublishedState, metadata_path

ROUND = role_files.BIN_LIFE / 4
MISSED = role_files.BIN_LIFE / 4
"""What is left of the life of a bin that has missed its turn."""
TAKEN = role_files.BIN_LIFE / 2 + role_files.TIMESTAMP_LIFE
"""What is left, at most, of the life of a bin that is signed at its turn. One that is passed over has its next turn a
round later, and is looked at up to a timestamp's life after that."""
_EXPIRES = b',"expires":"'
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def turns(bins: int, since: datetime, now: datetime) -> Iterable[int]:
    """Which of so many bins have their turn after `since`, up to `now`; all of them where the clock was set back."""
    first, last = (int((moment - _EPOCH) / ROUND * bins) for moment in (since, now))
    if now < since or last - first >= bins:
        return range(bins)
    return (number % bins for number in range(first + 1, last + 1))


def due_bins(current: PublishedState, now: datetime) -> list[str]:
    """The bins that a publication at `now` signs again, those first that end first."""
    succinct = current.bins()
    if succinct is None or current.timestamp is None:
        return []
    since = current.timestamp.signed.expires - role_files.TIMESTAMP_LIFE
    names = (succinct.name(number) for number in turns(1 << succinct.bit_length, since, now))
    return [name for _, name in sorted(_ending(current, names, now + TAKEN))]


def missed_bins(current: PublishedState, now: datetime) -> list[str]:
    """The bins that have missed their turn, those that end first first."""
    succinct = current.bins()
    names = () if succinct is None else succinct.names()
    return [name for _, name in sorted(_ending(current, names, now + MISSED))]


def _ending(current: PublishedState, names: Iterable[str], limit: datetime) -> list[tuple[bytes, str]]:
    """Those that end by `limit`, with when."""
    written, found = role_files.at(limit).encode(), []
    for name in names:
        data = current.publication.read(metadata_path(name, current.version(name))) or b""
        start = data.find(_EXPIRES) + len(_EXPIRES)  # a look is enough: the file is checked when it is signed again
        expires = data[start : start + len(written)]
        if expires <= written:
            found.append((expires, name))
    return found
