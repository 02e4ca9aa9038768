"""The years of a mirror, with a clock of their own: publishes, absences, holders on time and late, clients who look.

Everything but the clock and the network is real: the store, the upkeep that `serve` and `refresh` call, the clients.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.crates.archives import honest_crate
from tests.support.worlds.ceremony import NOW, make_ceremony
from tests.support.worlds.changes import signed_of
from tests.support.worlds.claims import World

from carnet.cargo.names import CrateName
from carnet.errors import CarnetError, ExpiredMetadata
from carnet.tuf import paths
from carnet_mirror.schedule import Reminders, claims_that_end, expiries
from carnet_mirror.state.store import Store
from carnet_mirror.upkeep import is_due, sign_again
from carnet_signer.metadata import role_files
from carnet_signer.metadata.publish import publish

DAY = timedelta(days=1)
OFFLINE = (paths.TARGETS, paths.CLAIMS, paths.INDEX, *map(paths.claims_shard_role, paths.SHARDS))


@dataclass(frozen=True)
class Life:
    """How somebody runs a mirror.

    Attributes:
        name: For people.
        bit_length: There are 2 to the power of this many bins.
        gaps: The time from one publish to the next; None where nothing is ever published.
        holders: How long before the offline roles end their holders sign the next ones; negative when they are late.
        away: When the mirror is switched off, and for how long.
        years: How long it is looked at.
        reads_every: How often somebody reads what `serve` tells.
        begins: How long after the ceremony it is looked at for the first time.
    """

    name: str
    bit_length: int = 8
    gaps: Callable[[random.Random], timedelta] | None = None
    holders: timedelta = 20 * DAY
    away: tuple[timedelta, timedelta] | None = None
    years: float = 3
    reads_every: timedelta = DAY
    begins: timedelta = timedelta(0)


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        publishes: How many there were.
        most_bins: The most that one of them signed, the first and those after an absence left aside.
        youngest: The least that was left of any bin's life when somebody looked, while the mirror ran.
        looks: How often a client looked while the mirror was there.
        refused: Which looks were refused, and why.
        late: The days on which holders were late.
        told: What the log of `serve` told, and how many days ahead.
        size: Bytes below the mirror's directory at the end.
    """

    publishes: int = 0
    most_bins: int = 0
    youngest: timedelta = role_files.BIN_LIFE
    looks: int = 0
    refused: list[tuple[datetime, CarnetError]] = field(default_factory=list)
    late: list[tuple[datetime, datetime]] = field(default_factory=list)
    told: list[tuple[str, int]] = field(default_factory=list)
    size: int = 0

    def unexplained(self) -> list[tuple[datetime, CarnetError]]:
        """Refusals on days on which the holders were not late."""
        return [
            one
            for one in self.refused
            if not (isinstance(one[1], ExpiredMetadata) and any(start <= one[0] < end for start, end in self.late))
        ]


class Simulation:
    """One life.

    Args:
        life: Which.
        folder: Where the mirror and the clients' memories are.
        seed: Of everything that happens by chance.
    """

    def __init__(self, life: Life, folder: Path, seed: int = 1) -> None:
        self._life = life
        self._chance = random.Random(seed)
        ceremony = make_ceremony(bit_length=life.bit_length)
        online = ceremony.signer()
        store = Store.create(folder / "mirror")
        with store.change():
            publish(store, online, ceremony.change, now=NOW)
        self._world = World(folder, ceremony, online, store)
        self._folder = folder
        self._ends = {"root": NOW + role_files.ROOT_LIFE, "others": NOW + role_files.OFFLINE_LIFE}
        self._reminders = Reminders()
        self._known: dict[tuple[str, int], datetime] = {}
        self._outcome = Outcome()
        self._newest = "crate-0"
        self._world.now += life.begins
        self._reminded = NOW

    def run(self) -> Outcome:
        """Let the years pass."""
        end = NOW + self._life.years * 365 * DAY
        away = iter([] if self._life.away is None else [self._life.away])
        gone = next(away, None)
        for what in self._events(end):
            if gone is not None and self._world.now >= NOW + gone[0]:
                self._world.now += gone[1]
                gone = None
                self._holders_while_away()
                self._upkeep(after_absence=True)
            what()
        self._outcome.size = sum(file.stat().st_size for file in (self._folder / "mirror").rglob("*") if file.is_file())
        return self._outcome

    # --- what happens ---

    def _events(self, end: datetime) -> Iterator[Callable[[], None]]:
        """In the order of time; the clock stands at each when it is handed out."""
        tick, look = timedelta(hours=12), 1.75 * DAY
        pending: list[tuple[datetime, timedelta | None, Callable[[], None]]] = [
            (self._world.now + tick, tick, self._tick),
            (self._world.now + look, look, self._look),
        ]
        if self._life.gaps is not None:
            pending.append((self._world.now + self._life.gaps(self._chance), None, self._publish))
        while True:
            pending.sort(key=lambda one: one[0])
            moment, every, what = pending.pop(0)
            self._world.now = max(self._world.now, moment)
            if self._world.now >= end:
                return
            yield what
            gap = every if every is not None or self._life.gaps is None else self._life.gaps(self._chance)
            assert gap is not None
            pending.append((self._world.now + gap, every, what))

    def _tick(self) -> None:
        """What `serve` does a few times a day; and the holders, when they are due."""
        self._holders()
        if is_due(self._world.store, now=self._world.now):
            self._upkeep()
        store, now = self._world.store, self._world.now
        if now < self._reminded + self._life.reads_every:
            return
        self._reminded = now
        for one in self._reminders.due([*expiries(store, self._known), *claims_that_end(store, now=now)], now=now):
            assert not one.online, f"{one.role} {one.warning(now)}"
            self._outcome.told.append((one.role, (one.expires - now).days))

    def _upkeep(self, *, after_absence: bool = False) -> None:
        done = sign_again(self._world.store, self._world.online, now=self._world.now)
        assert not done.left
        self._count(done.roles, after_absence)

    def _publish(self) -> None:
        before = dict(self._world.online.versions)
        # Of a few crates: their bins are signed anyway, and all the others only when they are due.
        self._newest = f"crate-{self._outcome.publishes % 3}"
        self._world.add(honest_crate(self._newest, f"1.0.{self._outcome.publishes}"))
        signed = {role: version for role, version in self._world.online.versions.items() if before.get(role) != version}
        self._count(signed, False)

    def _count(self, roles: Any, after_absence: bool) -> None:
        self._outcome.publishes += 1
        if not after_absence:
            self._outcome.most_bins = max(self._outcome.most_bins, sum(role.startswith("index-") for role in roles))

    def _holders(self) -> None:
        now, ahead = self._world.now, self._life.holders
        due = [which for which, ends in self._ends.items() if now >= ends - ahead]
        if due:
            for which in due:
                if self._ends[which] < now:
                    self._outcome.late.append((self._ends[which], now + timedelta(seconds=1)))
            self._rotate(due)

    def _holders_while_away(self) -> None:
        """They have met, if it was time, and their files lie there when the mirror is switched on again."""
        if due := [
            which for which, ends in self._ends.items() if self._world.now >= ends - max(self._life.holders, DAY)
        ]:
            self._rotate(due)

    def _rotate(self, which: list[str]) -> None:
        now, roles = self._world.now, {}
        for role in (*((paths.ROOT,) if "root" in which else ()), *(OFFLINE if "others" in which else ())):
            version = self._version(role)
            published = self._world.store.read(f"metadata/{version}.{role}.json")
            assert published is not None
            life = role_files.ROOT_LIFE if role == paths.ROOT else role_files.OFFLINE_LIFE
            signed = signed_of(published) | {"version": version + 1, "expires": role_files.at(now + life)}
            roles[role] = self._world.ceremony.sign(signed)
        sign_again(self._world.store, self._world.online, now=now, roles=roles)
        lives = {"root": role_files.ROOT_LIFE, "others": role_files.OFFLINE_LIFE}
        self._ends |= {one: now + lives[one] for one in which}

    def _version(self, role: str) -> int:
        version = 1
        while self._world.store.read(f"metadata/{version + 1}.{role}.json") is not None:
            version += 1
        return version

    # --- who looks ---

    def _look(self) -> None:
        """A client that looks every day, one that looks now and then, and one that never did before."""
        who = ["daily"]
        who += ["seldom"] if self._chance.random() < 0.05 else []
        names = [self._newest, *(f"crate-{self._chance.randrange(5000)}" for _ in range(3))]
        for client in (*who, None):
            self._outcome.looks += 1
            try:
                view = self._world.fresh() if client is None else self._world.client(client)
                for name in names:
                    view.find_targets([paths.index_path(CrateName(name))])
            except CarnetError as error:
                self._outcome.refused.append((self._world.now, error))
        bins = next(one for one in expiries(self._world.store, self._known) if one.role == "index-*")
        self._outcome.youngest = min(self._outcome.youngest, bins.expires - self._world.now)
