"""What `carnet mirror serve` brings because clients ask for it, or by the clock: who does the work, and from where."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from starlette.types import ASGIApp

from carnet.cargo.names import CrateName
from carnet.progress import Progress
from carnet_cli.commands.network import network_for
from carnet_cli.commands.registry.mirror.checks import locked_in
from carnet_cli.commands.registry.online_signer import OnlineSettings, online
from carnet_cli.config import home
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource
from carnet_mirror.pull.bounded import BoundedUpstream
from carnet_mirror.pull.bring import Share, bring
from carnet_mirror.pull.puller import Puller
from carnet_mirror.pull.quotas import PullQuotas, Usage
from carnet_mirror.pull.rules import APPROVAL, PullRules
from carnet_mirror.pull.scheduled import Scheduled, sync_what_is_named, taking_turns
from carnet_mirror.pull.settings import PullSettings, SyncSettings
from carnet_mirror.state.store import Store
from carnet_mirror.upstream.cargo import CargoUpstream
from carnet_mirror.upstream.packages import IndexedUpstream
from carnet_mirror.upstream.sparse import SparseUpstream
from carnet_mirror.upstream.stopping import Stopped, never
from carnet_mirror.web.plain_cargo import PlainCargo
from carnet_mirror.web.pull import Pulls

_AT_ONCE = 32
_ALL = 1_000_000
"""cargo has to be told everything at once."""
_MEGABYTE = 1_000_000
_SECONDS = 3600.0
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
        """Take asks, those of plain cargo too, and leave everything else to an application.

        Args:
            app: The application.
            store: The mirror, opened for reading in the thread of the event loop.
            sender_header: As for `carnet_mirror.web.submissions.Submissions`.
        """

        def has(path: str) -> bool:
            return store.published_index(path) is not None

        def refuses(name: CrateName) -> str:
            reason = self.rules.why_no_crate(name)
            return "" if reason == APPROVAL else reason  # it is put on the list, and cargo shows why

        plain = PlainCargo(app, self.puller, has=has, refuses=refuses, sender_header=sender_header)
        return Pulls(plain, self.puller, seconds=self.seconds, sender_header=sender_header)


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
    directory: Path, settings: PullSettings, signer: OnlineSettings, cargo: str, turn: threading.Lock
) -> Iterator[Pulling]:
    """Take asks while the block runs.

    Args:
        directory: The mirror.
        settings: What its operator says of it.
        signer: How its online signer is reached.
        cargo: The cargo that fetches, where the operator's own does.
        turn: Held while something is brought.
    """
    upstream = upstream_for(settings.upstream, cargo, settings.quotas.seconds)
    _ = upstream(never)  # what is wrong with its configuration is told now, and not when somebody asks

    def bring_in_turn(shares: Sequence[Share], progress: Progress, stopped: Stopped) -> None:
        with taking_turns(turn, stopped):
            _bring(directory, settings, signer, upstream, shares, progress, stopped)

    puller = Puller(bring_in_turn, Usage(settings.quotas))
    try:
        yield Pulling(puller, 2 * settings.quotas.seconds + 60.0, settings.rules)
    finally:
        puller.stop()


@contextmanager
def syncing(
    directory: Path, settings: SyncSettings, signer: OnlineSettings, cargo: str, turn: threading.Lock
) -> Iterator[Scheduled]:
    """Sync by the clock while the block runs.

    Args:
        directory: The mirror.
        settings: What its operator says of it.
        signer: How its online signer is reached.
        cargo: The cargo that fetches, where the operator's own does.
        turn: Held while something is brought.
    """
    upstream = upstream_for(settings.upstream, cargo, _SECONDS)
    _ = upstream(never)  # as for pulling
    scheduled = Scheduled(partial(_sync, directory, settings, signer, upstream), settings.every, turn)
    scheduled.start()
    try:
        yield scheduled
    finally:
        scheduled.stop()


def _sync(
    directory: Path,
    settings: SyncSettings,
    signer: OnlineSettings,
    upstream: Callable[[Stopped], IndexedUpstream],
    stopped: Stopped,
) -> None:
    locked = [package for path in settings.lockfiles for package in locked_in(path)]
    with Store.open(directory, write=True) as store, online(directory, signer, PassphraseSource()) as client:
        brought = sync_what_is_named(
            store, client, upstream(stopped), settings, locked, now=home.now(), progress=output.counting
        )
    report = brought.report
    for one in report.refused:
        output.warn(f"sync: {one.crate}: {one.reason}")
    for missing in brought.missing:
        output.warn(f"sync: {missing.asked} is not to be had: {missing.reason}")
    left = f"; {len(report.waiting)} not decided" if report.waiting else ""
    output.note(f"sync: {len(report.added)} added, {len(report.updated)} updated, {len(report.refused)} refused{left}")


def upstream_for(named: str, cargo: str, seconds: float) -> Callable[[Stopped], IndexedUpstream]:
    """What makes the upstream of one pull.

    Args:
        named: `cargo`, or the URL of a sparse index.
        cargo: The program.
        seconds: How long it may fetch.

    Raises:
        ConfigError: What is configured for networks cannot be used.
    """
    network = network_for()
    if named != "cargo":
        return lambda stopped: SparseUpstream(named, network=network, remembered={}, stopped=stopped)
    # It runs with a copy of the user's configuration, in which a relative path would lead elsewhere.
    authorities = {} if network.ca_file is None else {"CARGO_HTTP_CAINFO": network.ca_file}
    environment = {**os.environ, **authorities}
    return lambda stopped: CargoUpstream(cargo, home.cargo_home(), environment, seconds, stopped)


def _bring(
    directory: Path,
    settings: PullSettings,
    signer: OnlineSettings,
    upstream: Callable[[Stopped], IndexedUpstream],
    shares: Sequence[Share],
    progress: Progress,
    stopped: Stopped,
) -> None:
    quotas = settings.quotas
    with Store.open(directory, write=True) as store, online(directory, signer, PassphraseSource()) as client:
        size = min(quotas.megabytes_per_ask * _MEGABYTE, _room(store, quotas))
        at_once = _ALL if settings.upstream == "cargo" else _AT_ONCE
        source = upstream(lambda: bounded.is_over())  # noqa: PLW0108  -- it is made in the next line
        if isinstance(source, CargoUpstream):
            source = replace(source, room=max(0, size))  # it has to be told everything at once
        bounded = BoundedUpstream(source, size, quotas.seconds, at_once, stopped)
        bring(store, client, bounded, shares, settings, now=home.now(), progress=progress)
    brought = sum(len(share.end.published) for share in shares)
    undecided = sum(len(share.end.undecided) for share in shares)
    left = f"; {undecided} not decided" if undecided else ""
    output.note(f"pull: {brought} version{_s(brought)} for {len(shares)} ask{_s(len(shares))}{left}")


def _room(store: Store, quotas: PullQuotas) -> int:
    """Bytes of tarballs that the mirror may still take; less than nothing when it is full."""
    return quotas.megabytes * _MEGABYTE - store.crates.size()


def _s(count: int) -> str:
    return "" if count == 1 else "s"
