"""What `carnet mirror serve` brings because clients ask for it, or by the clock: who does the work, and from where."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from starlette.types import ASGIApp

from carnet.cargo.names import CrateName
from carnet.progress import Progress
from carnet_cli.commands.registry.mirror.checks import locked_in
from carnet_cli.commands.registry.mirror.upstreams import Sources
from carnet_cli.commands.registry.online_signer import OnlineSettings, online
from carnet_cli.config import home
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource
from carnet_mirror.pace import Pace
from carnet_mirror.pull.bounded import BoundedUpstream
from carnet_mirror.pull.bring import Share, bring
from carnet_mirror.pull.puller import Puller
from carnet_mirror.pull.quotas import PullQuotas, Usage
from carnet_mirror.pull.rules import APPROVAL, PullRules
from carnet_mirror.pull.scheduled import Scheduled, sync_what_is_named, taking_turns
from carnet_mirror.pull.settings import PullSettings, SyncSettings
from carnet_mirror.state.store import Store
from carnet_mirror.upstream.packages import IndexedUpstream
from carnet_mirror.upstream.routed import with_room
from carnet_mirror.upstream.stopping import Stopped, never
from carnet_mirror.web.on_demand import OnDemand, listed_in
from carnet_mirror.web.plain_cargo import PlainCargo
from carnet_mirror.web.pull import Pulls

Opened = Callable[[], Store]
"""Opens a mirror for writing, by the rules of its operator; each thread works with a connection of its own."""
_AT_ONCE = 32
_ALL = 1_000_000
"""cargo has to be told everything at once."""
_MEGABYTE = 1_000_000
SECONDS = 3600.0
"""How long a scheduled sync may let cargo fetch."""


@dataclass(frozen=True, slots=True)
class Pulling:
    """The taking of asks, while it goes on.

    Attributes:
        puller: Works on them.
        seconds: How long one answer may take.
        rules: What is brought.
    """

    puller: Puller
    seconds: float
    rules: PullRules

    def in_front_of(self, app: ASGIApp, store: Store, sender_header: str | None) -> ASGIApp:
        """Take asks, those of plain cargo too, bring what is downloaded and only listed, and leave everything else.

        Args:
            app: The application that everything else is left to.
            store: The mirror, opened for reading in the thread of the event loop.
            sender_header: As for `carnet_mirror.web.submissions.Submissions`.
        """

        def has(path: str) -> bool:
            return store.published_index(path) is not None

        def refuses(name: CrateName) -> str:
            reason = self.rules.why_no_crate(name)
            return "" if reason == APPROVAL else reason  # it is put on the list, and cargo shows why

        app = OnDemand(app, self.puller, listed_in(store), sender_header=sender_header)
        app = PlainCargo(app, self.puller, has=has, refuses=refuses, sender_header=sender_header)
        return Pulls(app, self.puller, seconds=self.seconds, sender_header=sender_header, disk=store.disk)


def until(halt: Callable[[], None], background: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """What runs beside the server, and halts something once that is ended: nobody waits for it any more."""

    async def run() -> None:
        try:
            await background()
        finally:
            halt()

    return run


@contextmanager
def pulling(
    opened: Opened, sources: Sources, settings: PullSettings, signer: OnlineSettings, turn: threading.Lock, pace: Pace
) -> Iterator[Pulling]:
    """Take asks while the block runs.

    Args:
        opened: Opens the mirror for writing.
        sources: What upstreams are made with, and for which mirror.
        settings: What its operator says of it.
        signer: How its online signer is reached.
        turn: Held while something is brought.
        pace: How often is published.
    """
    sources = replace(sources, seconds=settings.quotas.seconds)
    upstream = sources.make(settings.upstream)
    _ = upstream(never)  # what is wrong with its configuration is told now, and not when somebody asks

    def bring_in_turn(shares: Sequence[Share], progress: Progress, stopped: Stopped) -> None:
        with taking_turns(turn, stopped):
            _bring(opened, sources, settings, signer, upstream, shares, progress, stopped)

    puller = Puller(bring_in_turn, Usage(settings.quotas), pace)
    try:
        yield Pulling(puller, 2 * settings.quotas.seconds + 60.0, settings.rules)
    finally:
        puller.stop()


@contextmanager
def syncing(
    opened: Opened, sources: Sources, settings: SyncSettings, signer: OnlineSettings, turn: threading.Lock
) -> Iterator[Scheduled]:
    """Sync by the clock while the block runs.

    Args:
        opened: Opens the mirror for writing.
        sources: As for pulling.
        settings: What its operator says of it.
        signer: How its online signer is reached.
        turn: Held while something is brought.
    """
    upstream = replace(sources, seconds=SECONDS).make(settings.upstream)
    _ = upstream(never)  # as for pulling
    scheduled = Scheduled(partial(_sync, opened, settings, signer, upstream), settings.every, turn)
    scheduled.start()
    try:
        yield scheduled
    finally:
        scheduled.stop()


def _sync(
    opened: Opened,
    settings: SyncSettings,
    signer: OnlineSettings,
    upstream: Callable[[Stopped], IndexedUpstream],
    stopped: Stopped,
) -> None:
    locked = [package for path in settings.lockfiles for package in locked_in(path)]
    with opened() as store, online(store.directory, signer, PassphraseSource()) as client:
        brought = sync_what_is_named(
            store, client, upstream(stopped), settings, locked, now=home.now(), progress=output.counting
        )
    report = brought.report
    for one in report.refused:
        output.warn(f"sync: {one.crate}: {one.reason}")
    for missing in brought.missing:
        output.warn(f"sync: {missing.asked} is not to be had: {missing.reason}")
    left = f"; {len(report.waiting)} not decided" if report.waiting else ""
    for crate in report.taken_down:
        output.warn(f"sync: {crate} is taken down here too, as the upstream says")
    output.note(f"sync: {len(report.added)} added, {len(report.updated)} updated, {len(report.refused)} refused{left}")


def _bring(  # noqa: PLR0913, PLR0917  -- a partial gives all but the last three
    opened: Opened,
    sources: Sources,
    settings: PullSettings,
    signer: OnlineSettings,
    upstream: Callable[[Stopped], IndexedUpstream],
    shares: Sequence[Share],
    progress: Progress,
    stopped: Stopped,
) -> None:
    quotas = settings.quotas
    with opened() as store, online(store.directory, signer, PassphraseSource()) as client:
        size = min(quotas.megabytes_per_ask * _MEGABYTE, _room(store, quotas))
        at_once = _ALL if sources.uses_cargo(settings.upstream) else _AT_ONCE
        source = with_room(upstream(lambda: bounded.is_over()), size)  # noqa: PLW0108  -- it is made in the next line
        bounded = BoundedUpstream(source, size, quotas.seconds, at_once, stopped)
        bring(store, client, bounded, shares, settings, now=home.now(), progress=progress)
    brought = sum(len(share.end.published) for share in shares)
    undecided = sum(len(share.end.undecided) for share in shares)
    left = f"; {undecided} not decided" if undecided else ""
    output.note(f"pull: {brought} version{_s(brought)} for {len(shares)} ask{_s(len(shares))}{left}")


def _room(store: Store, quotas: PullQuotas) -> int:
    """Bytes of tarballs that the mirror may still take; less than nothing when it is full."""
    # It is fetched into the folder for temporary files first, which may be on the same disk.
    return min(quotas.megabytes * _MEGABYTE - store.crates.size(), store.disk.left() // 2)


def _s(count: int) -> str:
    return "" if count == 1 else "s"
