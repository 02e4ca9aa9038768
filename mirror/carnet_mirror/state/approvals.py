"""What clients asked for and a person has to approve of: a short list, bounded although anybody may add to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from carnet import strictjson
from carnet.cargo.asked import AskedFor
from carnet.errors import FormatError, StorageError
from carnet.strictjson import Json
from carnet_mirror.state.store import Store

_SETTING = "approvals"
MOST = 1000
"""Entries in all; who comes later is not listed until some are approved or dropped."""
MOST_OF_NETWORK = 50
_MAX_LIST = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Awaited:
    """Something that somebody asked for, and that waits for a person.

    Attributes:
        asked: Name and requirement.
        network: The network that asked first; shown to nobody but the operator.
        since: When, as `carnet.times.written` writes it.
    """

    asked: AskedFor
    network: str
    since: str


def awaited(store: Store) -> tuple[Awaited, ...]:
    """What waits, oldest first.

    Raises:
        StorageError: The mirror's database holds something else.
    """
    text = store.setting(_SETTING)
    if text is None:
        return ()
    try:
        listed = strictjson.parse_object(text.encode(), "the list of approvals", max_bytes=_MAX_LIST)["awaited"]
        return tuple(_read(entry) for entry in listed) if isinstance(listed, list) else ()
    except (FormatError, KeyError) as error:
        raise StorageError(f"the mirror's list of what waits for approval cannot be read: {error}") from None


def _read(entry: Json) -> Awaited:
    match entry:
        case {"name": str(name), "requirement": str(wanted), "network": str(network), "since": str(since)}:
            return Awaited(AskedFor.of(name, wanted), network, since)
    raise FormatError("an entry is none")


def await_approval(store: Store, asked: Iterable[tuple[AskedFor, str]], now: str) -> None:
    """Put on the list what is not there, as far as there is room for it.

    Args:
        store: The mirror, outside of a change.
        asked: Names and requirements, each with the network that asked.
        now: The time, as it is written.

    Raises:
        StorageError: Another process is writing to the mirror, or a disk failed.
    """
    wanted = list(asked)
    there = {entry.asked for entry in awaited(store)} if wanted else set()
    if all(one in there for one, _ in wanted):
        return
    with store.change():
        listed = {entry.asked: entry for entry in awaited(store)}
        of_network = Counter(entry.network for entry in listed.values())
        for one, network in wanted:
            if one not in listed and len(listed) < MOST and of_network[network] < MOST_OF_NETWORK:
                listed[one] = Awaited(one, network, now)
                of_network[network] += 1
        _put(store, list(listed.values()))


def no_longer(store: Store, asked: Iterable[AskedFor]) -> None:
    """Take from the list what was approved of, or dropped.

    Raises:
        StorageError: Another process is writing to the mirror, or a disk failed.
    """
    gone = set(asked)
    with store.change():
        _put(store, [entry for entry in awaited(store) if entry.asked not in gone])


def _put(store: Store, entries: Sequence[Awaited]) -> None:
    listed: list[Json] = [
        {
            "name": str(one.asked.name),
            "requirement": one.asked.requirement,
            "network": one.network,
            "since": one.since,
        }
        for one in entries
    ]
    store.put_setting(_SETTING, strictjson.encode({"awaited": listed}).decode())
