"""Syncing by the clock while a mirror serves: what its operator names, without anybody asking.

The upstream's index is asked first, as for a dry run, and only what is new of it is fetched: a turn that finds nothing
costs index requests alone.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from carnet.cargo.index_line import IndexLine
from carnet.cargo.lockfile import CRATES_IO, LockedPackage
from carnet.cargo.names import CrateId
from carnet.errors import CarnetError, TransportError
from carnet.progress import Progress
from carnet_mirror.pull.settings import SyncSettings
from carnet_mirror.state.records import StoredVersion
from carnet_mirror.state.store import Store
from carnet_mirror.sync.claimed import ClaimedCrates
from carnet_mirror.sync.closure import Missing, Taking, close
from carnet_mirror.sync.outcome import SyncReport
from carnet_mirror.sync.plan import plan
from carnet_mirror.sync.sync import sync
from carnet_mirror.upstream.packages import IndexedUpstream
from carnet_mirror.upstream.stopping import Stopped
from carnet_signer.metadata.publish import OnlineSigner

_STOPPED_WITHIN = 5.0
_JITTER = 0.1
"""Of the time between two turns: so many mirrors do not come to one upstream at the same minute."""
_LOOK_EVERY = 0.2


@dataclass(frozen=True, slots=True)
class Brought:
    """What came of one turn.

    Attributes:
        report: What was taken, left and refused.
        missing: What was named, or is depended on, and is not to be had.
    """

    report: SyncReport
    missing: tuple[Missing, ...]


def sync_what_is_named(
    store: Store,
    online: OnlineSigner,
    upstream: IndexedUpstream,
    settings: SyncSettings,
    locked: Sequence[LockedPackage],
    *,
    now: datetime,
    progress: Progress,
) -> Brought:
    """Bring what an operator's schedule names and the mirror has not, or has otherwise.

    Args:
        store: The mirror, opened for writing.
        online: Signs what is published.
        upstream: Where to take it from.
        settings: What is named.
        locked: The packages of the locks that are named. They come as they are: somebody has chosen them.
        now: The time.
        progress: Is told how far it is.

    Raises:
        TransportError: The upstream said nothing at all.
        VerificationError: It is too much.
        StorageError: Another process is writing to the mirror, or a disk failed; nothing was published.
        SigningError: The online signer refused; nothing was published.
        ConfigError: The upstream cannot be used as it is configured.
    """
    taking = Taking(why_no_version=lambda line: settings.rules.why_no_version(line, now))
    closed = close(store, upstream, settings.crates, taking=taking)
    chosen = {package.id: package for package in (*_here(store, settings), *locked)}
    wanted = {package.id: package for package in closed.packages} | chosen
    planned = plan(store, upstream, list(wanted.values()), now=now)
    new = [wanted[crate] for crate in planned.added]
    new += _as_stored(_to_hear_of(store, planned, {package.id for package in new}))
    claimed = ClaimedCrates(store, store.crates.names()) if settings.yanks else None
    looked = [] if claimed is None else [name for name in store.crates.names() if name in claimed]
    if not new and not looked:
        return Brought(planned, closed.missing)

    def require(line: IndexLine) -> None:
        if line.id not in chosen:
            settings.rules.require(line, now)

    done = sync(
        store, online, upstream, new, now=now, progress=progress, require=require, index=upstream, histories=looked
    )
    whole = replace(
        done,
        unchanged=planned.unchanged,
        refused=planned.refused + done.refused,
        waiting=planned.waiting + done.waiting,
    )
    return Brought(whole, closed.missing)


def _here(store: Store, settings: SyncSettings) -> list[LockedPackage]:
    """What the mirror has already, where its yank states are to be followed; what it only lists is not brought."""
    return _as_stored(store.crates.here()) if settings.yanks else []


def _to_hear_of(store: Store, planned: SyncReport, but: set[CrateId]) -> list[StoredVersion]:
    """Versions that are here, to fetch so that the change is heard of: of one that is only listed, one beside it."""
    found: dict[CrateId, StoredVersion] = {}
    for crate in (*planned.updated, *planned.taken_down):
        versions = [one for one in store.crates.versions(crate.name) if one.is_here]
        chosen = next((one for one in versions if one.id == crate), versions[0] if versions else None)
        if chosen is not None and chosen.id not in but:
            found[chosen.id] = chosen
    return list(found.values())


def _as_stored(versions: Sequence[StoredVersion]) -> list[LockedPackage]:
    return [LockedPackage(one.id, CRATES_IO, one.line.cksum) for one in versions]


class Scheduled:
    """The clock, and the thread in which its turns run; the first one is soon after the start.

    Args:
        run: Does the work of a turn, and is told whether to stop.
        every: From the end of one turn to the next one; up to a tenth is added.
        turn: Held while it works: whoever brings something else meanwhile waits.
    """

    def __init__(self, run: Callable[[Stopped], None], every: timedelta, turn: threading.Lock) -> None:
        self._run = run
        self._every = every.total_seconds()
        self._turn = turn
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="scheduled sync")

    def start(self) -> None:
        """Begin to count."""
        self._thread.start()

    def halt(self) -> None:
        """Begin no other turn, and let the one that is under way know; `stop` waits for it."""
        self._stopped.set()

    def stop(self) -> None:
        """Begin no other turn, and wait for a moment for the one that is under way, as for a pull."""
        self.halt()
        self._thread.join(_STOPPED_WITHIN)

    def _work(self) -> None:
        pause = self._jitter()
        while not self._stopped.wait(pause):
            try:
                with taking_turns(self._turn, self._stopped.is_set):
                    self._run(self._stopped.is_set)
            except CarnetError as error:
                self._failed(f"{error}")
            except Exception as error:  # noqa: BLE001  -- the next turn comes all the same
                self._failed(f"{type(error).__name__}: {error}")
            pause = self._every + self._jitter()

    def _jitter(self) -> float:
        return random.uniform(0.0, self._every * _JITTER)  # noqa: S311  -- it is no secret

    def _failed(self, why: str) -> None:
        if not self._stopped.is_set():
            print(
                f"error: the scheduled sync failed, and is tried again at its next turn: {why}",
                file=sys.stderr,
                flush=True,
            )


@contextmanager
def taking_turns(turn: threading.Lock, stopped: Stopped) -> Iterator[None]:
    """Wait until nobody else brings anything, and let nobody else in the block.

    Raises:
        TransportError: The mirror stopped serving before that.
    """
    while not turn.acquire(timeout=_LOOK_EVERY):
        if stopped():
            raise TransportError("the mirror stopped serving", hint="ask again when it serves")
    try:
        yield
    finally:
        turn.release()
