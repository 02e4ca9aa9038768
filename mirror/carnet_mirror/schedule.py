"""When a mirror signs again what would expire.

The timestamp lives a day and is signed again from half of its life on; which hash bins a publish takes with it, says
`carnet_signer.metadata.due`. What people have to sign, they are told 30, 14 and 7 days ahead.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from carnet.cargo.names import CrateName
from carnet.errors import CarnetError
from carnet.intoto.values import Layout
from carnet.tuf.paths import INDEX, TARGETS_PREFIX
from carnet.tuf.roles import Targets
from carnet.tuf.tree import RoleKind, place_of
from carnet_mirror import log
from carnet_mirror.state.disk import Disk
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_signer.metadata.role_files import BIN_LIFE, SNAPSHOT_LIFE, TIMESTAMP_LIFE

WARNING = timedelta(days=30)
"""How long before an offline role ends people are told: they have to meet for it."""
TICK = 60.0
"""Seconds between two looks at what is due."""
_REMIND_EVERY = 6 * 3600.0
STAGES = (timedelta(days=30), timedelta(days=14), timedelta(days=7), timedelta(0))
"""Before the end, when they are told of it again."""
LIVES = {"timestamp": TIMESTAMP_LIFE, "snapshot": SNAPSHOT_LIFE, "index-*": BIN_LIFE}
"""Of what the mirror signs by itself, from half of it on."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """When one role ends.

    Attributes:
        role: Its name; all hash bins together go by `index-*`, with the one that ends first.
        version: The current one.
        expires: When it ends.
        online: Whether the mirror signs it by itself; otherwise people have to.
    """

    role: str
    version: int
    expires: datetime
    online: bool

    def warning(self, now: datetime) -> str:
        """What a person should know about it at `now`; empty when all is well."""
        if self.expires <= now:
            return "expired"
        if self.online and self.expires - now < LIVES[self.role] / 4:
            return "should have been signed again"
        if not self.online and self.expires - now <= WARNING:
            days = (self.expires - now).days
            return f"expires in {days} day{'' if days == 1 else 's'}"
        return ""


def timestamp_due(expires: datetime, now: datetime) -> bool:
    """Whether the timestamp is to be signed again."""
    return expires - now <= TIMESTAMP_LIFE / 2


def bin_count(store: Store) -> int:
    """How many hash bins a mirror has.

    Raises:
        StorageError: Nothing is published.
        FormatError: What is published does not parse.
    """
    index = UnverifiedView(store).targets(INDEX)
    succinct = None if index is None or index.delegations is None else index.delegations.succinct
    return 0 if succinct is None else 1 << succinct.bit_length


def expiries(store: Store, known: dict[tuple[str, int], datetime] | None = None) -> list[Expiry]:
    """When each role ends, in the order of the trust model; bins as one line, claims' owners and crates left out.

    Args:
        store: The mirror.
        known: When files end that were read before, by role and version: whoever looks often gives the same one each
            time, and no file is read twice. It holds what is current, and is brought up to date.

    Raises:
        StorageError: Nothing is published, or a file is missing.
        FormatError: What is published does not parse.
    """
    view = UnverifiedView(store)
    root = view.root()
    found = [Expiry("root", root.version, root.expires, online=False)]
    found.append(Expiry("timestamp", view.timestamp.version, view.timestamp.expires, online=True))
    found.append(Expiry("snapshot", view.snapshot.version, view.snapshot.expires, online=True))
    bins: list[Expiry] = []
    shards: list[Expiry] = []
    before = {} if known is None else known.copy()
    read: dict[tuple[str, int], datetime] = {}
    for role, meta in view.snapshot.meta.items():
        kind = place_of(role).kind
        expires = before.get((role, meta.version))
        if expires is None and kind not in (RoleKind.OWNER, RoleKind.CRATE):
            expires = view.expires(role)
        if expires is None:
            continue
        read[role, meta.version] = expires
        if kind == RoleKind.BIN:
            bins.append(Expiry("index-*", meta.version, expires, online=True))
        elif kind == RoleKind.SHARD:
            shards.append(Expiry("claims-*", meta.version, expires, online=False))
        else:
            found.append(Expiry(role, meta.version, expires, online=False))
    for group in (shards, bins):
        if group:
            found.append(min(group, key=lambda one: one.expires))
    if known is not None:
        known.clear()
        known.update(read)
    return found


def claims_that_end(store: Store, *, now: datetime) -> list[Expiry]:
    """The owner and crate roles and the layouts of claimed crates that have ended, or end soon; by name.

    Raises:
        StorageError: Nothing is published, or a file is missing.
        FormatError: What is published does not parse.
    """
    view = UnverifiedView(store)
    roles = [role for role in view.snapshot.meta if place_of(role).kind in (RoleKind.OWNER, RoleKind.CRATE)]
    claimed = view.claimed({CrateName(role.partition(".")[2]) for role in roles})
    found: list[Expiry] = []
    for role in sorted(roles):
        targets = view.targets(role)
        if targets is None or role.partition(".")[2] not in claimed:  # names that were given up keep their files
            continue
        found.append(Expiry(role, targets.version, targets.expires, online=False))
        found += _layout(store, role, targets)
    return [one for one in found if one.warning(now)]


def _layout(store: Store, role: str, targets: Targets) -> list[Expiry]:
    """When the layouts end that an owner role lists; no release is accepted under one that has ended."""
    found: list[Expiry] = []
    for path, target in targets.targets.items():
        folder, _, file = path.rpartition("/")
        if not path.startswith("layouts/"):
            continue
        data = store.read(f"{TARGETS_PREFIX}{folder}/{target.hashes['sha256']}.{file}")
        if data is not None:
            expires = Layout.from_envelope(data).expires
            found.append(Expiry(f"layout of {role.partition('.')[2]}", targets.version, expires, online=False))
    return found[-1:]


class Reminders:
    """What somebody who reads a log is told of the ends of roles: of each once at every stage, and not every minute."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[datetime, int]] = {}

    def due(self, roles: Iterable[Expiry], *, now: datetime) -> list[Expiry]:
        """Those of which there is something new to tell.

        Args:
            roles: When each role ends.
            now: The time.
        """
        new = []
        for one in roles:
            stage = sum(one.expires - now <= left for left in STAGES)
            if one.warning(now) and self._told.get(one.role) != (one.expires, stage):
                self._told[one.role] = one.expires, stage
                new.append(one)
        return new


class IntakePauses:
    """Tells a log when intake is paused because the disk is full, and when it goes on: once each.

    Args:
        disk: The mirror's.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._paused = False

    def look(self) -> None:
        """Look at the disk; quick.

        Raises:
            StorageError: The system does not say how much is free.
        """
        shortage = self._disk.shortage()
        if shortage is not None and not self._paused:
            log.error(shortage)
        elif shortage is None and self._paused:
            log.warn("there is room on the mirror's disk again: intake goes on")
        self._paused = shortage is not None


async def keep_fresh(
    due: Callable[[], bool],
    sign: Callable[[], None],
    complain: Callable[[str], None],
    tick: float = TICK,
    *,
    remind: Callable[[], None] = lambda: None,
    look: Callable[[], None] = lambda: None,
) -> None:
    """Sign again whenever it is due, for as long as a mirror serves.

    Args:
        due: Whether it is time; quick.
        sign: Signs again; runs in a thread.
        complain: Gets one line when something failed; it is tried again at the next tick.
        tick: Seconds between two looks.
        remind: Tells of what people have to sign; runs in a thread, at first and then a few times a day, since nothing
            is due where others publish often.
        look: Looks at each tick whether there is something else to tell; quick.
    """
    reminded = -math.inf
    while True:
        try:
            look()
        except CarnetError as error:
            complain(f"{error}")
        try:
            if due():
                await asyncio.to_thread(sign)
            if time.monotonic() - reminded >= _REMIND_EVERY:
                reminded = time.monotonic()
                await asyncio.to_thread(remind)
        except CarnetError as error:
            complain(f"signing again failed: {error}")
        await asyncio.sleep(tick)
