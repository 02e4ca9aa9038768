"""Who waits for what: asks are taken up together, one pull at a time, in a thread beside the server.

While one pull is under way, those who ask meanwhile wait, and are served by the next one all at once, one of each
network after another: what several need is fetched once.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from carnet.cargo.pull import NotBrought, PullAsk, PullEnd, PullProgress
from carnet.errors import CarnetError
from carnet.progress import Progress
from carnet_mirror.pace import Pace
from carnet_mirror.pull.bring import Share
from carnet_mirror.pull.quotas import Usage

_TOGETHER = 16
"""Asks that one pull serves."""
_WAITING = 256
_WAITING_OF_ONE = 16
_ENTRIES = 131_072
"""Names and requirements in all asks that wait: about 90 MB. One ask has up to 4,096."""
_ENTRIES_OF_ONE = 8_192
_STOPPED_WITHIN = 5.0
_LOOK_EVERY = 0.2
_FAILED = "the mirror could not decide; its operator was told"

Bring = Callable[[Sequence[Share], Progress, Callable[[], bool]], None]
"""Brings what some ask for, tells how far it is, and asks whether nobody serves any more."""


class NoPlace(Exception):  # noqa: N818  -- what a sender is told, not an error
    """As many are waiting as can."""


@dataclass(eq=False)
class Asker:
    """One who asked, and waits; another thread says how far it is.

    Attributes:
        ask: What for.
        network: Whose network it is.
        ranges: Compatible ranges of which the newest version comes, of each crate that is asked for (`Share.ranges`).
        since: When it was asked, by the clock of the mirror's pace.
        progress: How far it is.
        end: What came of it, once it is over.
    """

    ask: PullAsk
    network: str
    ranges: int = 1
    since: float = 0.0
    progress: PullProgress = field(default_factory=lambda: PullProgress("waiting"))
    end: PullEnd | None = None


class Puller:
    """The queue, and the thread that works on it while somebody waits.

    Args:
        bring: Does the work; runs in that thread, never twice at a time.
        usage: What every network has used.
        pace: The mirror's: how soon those who wait are served, so that several are served by one publish.
    """

    def __init__(self, bring: Bring, usage: Usage, pace: Pace | None = None) -> None:
        self._bring = bring
        self._pace = pace or Pace()
        self._usage = usage
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, list[Asker]] = OrderedDict()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def join(self, ask: PullAsk, network: str, *, ranges: int = 1, counted: bool = True) -> Asker:
        """Begin to wait.

        Args:
            ask: What for.
            network: Whose network it is.
            ranges: As for `Share`.
            counted: Whether it counts as one of the asks that the network may make. What is looked up and brought for
                it counts in any case.

        Raises:
            NoPlace: As many wait as can, all of them or of this network.
            OverQuota: The network has used what it may.
        """
        asker = Asker(ask, network, ranges, self._pace.now())
        with self._lock:
            own = self._waiting.get(network, [])
            everybody = [one for queue in self._waiting.values() for one in queue]
            if (
                self._stopped.is_set()
                or len(own) >= _WAITING_OF_ONE
                or len(everybody) >= _WAITING
                or _entries(own) + len(ask.asked) > _ENTRIES_OF_ONE
                or _entries(everybody) + len(ask.asked) > _ENTRIES
            ):
                raise NoPlace
            if counted:
                self._usage.ask(network)
            self._waiting.setdefault(network, []).append(asker)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="pull")
                self._thread.start()
        return asker

    def leave(self, asker: Asker) -> None:
        """Wait no more; what is under way for it goes on."""
        with self._lock:
            queue = self._waiting.get(asker.network, [])
            if asker in queue:
                queue.remove(asker)
            if not queue:
                self._waiting.pop(asker.network, None)

    @property
    def stopped(self) -> bool:
        """Whether nothing more is taken up."""
        return self._stopped.is_set()

    def halt(self) -> None:
        """Take up nothing more, and let what is under way know; `stop` waits for it."""
        self._stopped.set()

    def stop(self) -> None:
        """Take up nothing more, and wait for a moment for what is under way.

        What a thread has not published by then is never seen: a publish is whole or was not there, whenever the process
        ends.
        """
        self.halt()
        thread = self._thread
        if thread is not None:
            thread.join(_STOPPED_WITHIN)

    def _work(self) -> None:
        while askers := self._next_in_time():
            shares = [self._share(one, askers) for one in askers]
            try:
                self._bring(shares, _telling(askers), self._stopped.is_set)
            except CarnetError as error:
                self._failed(shares, f"{error}")
            except Exception as error:  # noqa: BLE001  -- nobody who waits is left waiting
                self._failed(shares, f"{type(error).__name__}: {error}")
            if any(share.end.published for share in shares):
                self._pace.published()
            for asker, share in zip(askers, shares, strict=True):
                self._usage.count(asker.network, names=share.names, versions=share.versions)
                asker.end = share.end

    def _share(self, asker: Asker, askers: Sequence[Asker]) -> Share:
        """What one may have: of several of one network each gets the same part of what is left for that."""
        network = asker.network
        together = sum(one.network == network for one in askers)
        names, versions = self._usage.names_left(network), self._usage.versions_left(network)
        return Share(asker.ask, names // together, versions // together, network, asker.ranges)

    def _next_in_time(self) -> list[Asker]:
        """Those who are served together next, once it is time; they are gathered until then."""
        while not self._stopped.is_set():
            with self._lock:
                waiting = sum(map(len, self._waiting.values()))
                first = min((queue[0].since for queue in self._waiting.values()), default=0.0)
            pause = self._pace.wait(waiting, "anybody", first) if waiting else 0.0
            if not pause:
                break
            self._stopped.wait(min(pause, _LOOK_EVERY))
        return self._next()

    def _next(self) -> list[Asker]:
        """Those who are served together: one of each network, and again, until they are enough."""
        taken: list[Asker] = []
        with self._lock:
            while self._waiting and len(taken) < _TOGETHER and not self._stopped.is_set():
                network, queue = self._waiting.popitem(last=False)
                taken.append(queue.pop(0))
                if queue:
                    self._waiting[network] = queue  # behind all others
            if not taken:
                self._thread = None
        return taken

    @staticmethod
    def _failed(shares: Sequence[Share], why: str) -> None:
        print(f"error: what clients asked for was not brought: {why}", file=sys.stderr, flush=True)
        for share in shares:
            share.end = PullEnd(undecided=tuple(NotBrought(str(one), _FAILED) for one in share.ask.asked))


def _entries(askers: Sequence[Asker]) -> int:
    return sum(len(one.ask.asked) for one in askers)


def _telling(askers: Sequence[Asker]) -> Progress:
    """Says to everybody who waits how far it is."""

    @contextmanager
    def progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            for asker in askers:
                asker.progress = PullProgress(label, done, length)

        count(0)
        yield count

    return progress
