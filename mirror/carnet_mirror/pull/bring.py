"""Bringing what several asked for in one go: closed over dependencies, fetched once, judged, published in one batch.

::

    1. close      of each ask: which versions it needs that may be brought, and of those, which are not here
    2. sync       all of them together, as `carnet mirror sync` does: strict reader, index comparison, one publish
    3. tell       each asker of its own

An upstream that is down, lies, or stops half-way has decided nothing, and what it gave until then is published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest

from carnet import times
from carnet.cargo.admitted import admitted
from carnet.cargo.asked import AskedFor
from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateId
from carnet.cargo.pull import NotBrought, PullAsk, PullEnd
from carnet.errors import NoRoom, TransportError, VerificationError
from carnet.progress import Progress
from carnet_mirror.pull.bounded import BoundedUpstream
from carnet_mirror.pull.rules import APPROVAL, PullRules
from carnet_mirror.pull.settings import PullSettings
from carnet_mirror.state.approvals import await_approval
from carnet_mirror.state.disk import FULL
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_mirror.sync.closure import Missing, Taking, close
from carnet_mirror.sync.outcome import SyncReport
from carnet_mirror.sync.sync import sync
from carnet_signer.metadata.publish import OnlineSigner

_LATER = "this network has had as much brought as it may in a day: ask again tomorrow"


@dataclass
class Share:
    """What one asker gets of a pull.

    Attributes:
        ask: What was asked for.
        names_left: Crates about which the upstream may be asked for it.
        versions_left: Versions that may be brought for it.
        network: Who asks.
        ranges: Of how many compatible ranges the newest version comes, of what is asked for with any requirement: more
            than one for those who cannot say which they want.
        names: About how many it was asked.
        versions: How many were fetched for it: one that several need counts for the first.
        end: What came of it, at the end.
    """

    ask: PullAsk
    names_left: int
    versions_left: int
    network: str = ""
    ranges: int = 1
    names: int = 0
    versions: int = 0
    end: PullEnd = field(default_factory=PullEnd)
    _needed: set[CrateId] = field(default_factory=set)
    _missing: list[Missing] = field(default_factory=list)
    _refused: list[NotBrought] = field(default_factory=list)
    _undecided: list[NotBrought] = field(default_factory=list)

    def close(
        self, store: Store, upstream: BoundedUpstream, rules: PullRules, now: datetime, most: int
    ) -> list[LockedPackage]:
        """1. The versions that it needs and the mirror has not."""
        asked = [one for one in self.ask.asked if not (self.ask.locked and _is_here(store, one))]
        taking = Taking(
            rules.why_no_crate,
            lambda line: rules.why_no_version(line, now),
            self.ask.locked,
            upstream.go_on,
            self.ranges,
        )
        before, upstream.names_left = upstream.names_asked, self.names_left
        try:
            closed = close(store, upstream, asked, most=most, taking=taking)
        except TransportError as error:
            self._undecided += [NotBrought(str(one), str(error)) for one in asked]
            return []
        except VerificationError as error:
            self._refused += [NotBrought(str(one), str(error)) for one in asked]
            return []
        finally:
            self.names = upstream.names_asked - before
        self._missing += closed.missing
        new = [package for package in closed.packages if not _has_tarball(store, package.id)]
        self._needed = {package.id for package in new}
        return new

    def take(self, new: Sequence[LockedPackage], others: set[CrateId]) -> list[LockedPackage]:
        """Those that are fetched for it: which nobody before it needs, and as many as it may have."""
        own = [package for package in new if package.id not in others]
        taken, late = own[: self.versions_left], own[self.versions_left :]
        self.versions = len(taken)
        self._undecided += [NotBrought(str(package.id), _LATER) for package in late]
        return taken

    @property
    def awaited(self) -> list[AskedFor]:
        """What a person has to approve of."""
        return [one.asked for one in self._missing if one.reason.endswith(APPROVAL)]

    def fail(self, reason: str) -> None:
        """Say that nothing was decided of what it needs."""
        self._undecided += [NotBrought(str(crate), reason) for crate in sorted(self._needed)]

    def tell(self, report: SyncReport | None, snapshot: int) -> None:
        """3. What came of it."""
        published: list[CrateId] = []
        refused, undecided = list(self._refused), list(self._undecided)
        if report is not None:
            published = [crate for crate in report.added if crate in self._needed]
            refused += [NotBrought(str(one.crate), one.reason) for one in report.refused if one.crate in self._needed]
            undecided += [NotBrought(str(one.crate), one.reason) for one in report.waiting if one.crate in self._needed]
        waiting = [_told(one) for one in self._missing if one.reason.endswith(APPROVAL)]
        missing = [_told(one) for one in self._missing if one.decided and not one.reason.endswith(APPROVAL)]
        undecided += [_told(one) for one in self._missing if not one.decided]
        self.end = PullEnd(
            tuple(map(str, published)), tuple(refused), tuple(missing), tuple(undecided), tuple(waiting), snapshot
        )


def _told(missing: Missing) -> NotBrought:
    by = f", which {missing.by} needs" if missing.by is not None else ""
    return NotBrought(f"{missing.asked}{by}", missing.reason)


def _is_here(store: Store, asked: AskedFor) -> bool:
    versions = admitted(asked.requirement)
    return any(versions.admits(one.id.version) and one.is_here for one in store.crates.versions(asked.name))


def _has_tarball(store: Store, crate: CrateId) -> bool:
    stored = store.crates.version(crate)
    return stored is not None and stored.is_here


def in_turn(taken: Sequence[tuple[str, Sequence[LockedPackage]]]) -> list[LockedPackage]:
    """The order in which packages are fetched: one of each network, of its asks each in turn, and again.

    What all may have of bytes and time ends somewhere; so it ends for everybody, and not for those behind somebody who
    asked for much.

    Args:
        taken: The network of each ask, and what is fetched for it.
    """
    networks: dict[str, list[Sequence[LockedPackage]]] = {}
    for network, packages in taken:
        networks.setdefault(network, []).append(packages)
    return _alternating([_alternating(asks) for asks in networks.values()])


def _alternating(queues: Sequence[Sequence[LockedPackage]]) -> list[LockedPackage]:
    return [one for row in zip_longest(*queues) for one in row if one is not None]


def bring(
    store: Store,
    online: OnlineSigner,
    upstream: BoundedUpstream,
    shares: Sequence[Share],
    settings: PullSettings,
    *,
    now: datetime,
    progress: Progress,
) -> None:
    """Bring what these ask for; what came of it stands in each of them afterwards.

    Args:
        store: The mirror, opened for writing.
        online: Signs what is published.
        upstream: Where to take it from.
        shares: Who asks for what.
        settings: What may be brought, and how much.
        now: The time.
        progress: Is told how far it is.

    Raises:
        StorageError: Another process is writing to the mirror, or a disk failed; nothing was published.
        SigningError: The online signer refused; nothing was published.
        ConfigError: The upstream cannot be used as it is configured.
    """
    rules, most = settings.rules, settings.quotas.versions_per_ask
    wanted: dict[CrateId, LockedPackage] = {}
    taken: list[list[LockedPackage]] = []
    with progress("resolving", len(shares)) as count:
        for number, share in enumerate(shares):
            upstream.give_turn(len(shares) - number)
            new = share.close(store, upstream, rules, now, most)
            taken.append(share.take(new, set(wanted)))
            wanted |= {package.id: package for package in taken[-1]}
            count(1)
    upstream.end_turns()
    report: SyncReport | None = None
    if wanted:
        try:
            report = sync(
                store,
                online,
                upstream,
                in_turn([(share.network, packages) for share, packages in zip(shares, taken, strict=True)]),
                now=now,
                progress=progress,
                require=lambda line: rules.require(line, now),
                index=upstream,
            )
        except (TransportError, NoRoom) as error:
            for share in shares:
                share.fail(FULL if isinstance(error, NoRoom) else str(error))
    await_approval(store, [(one, share.network) for share in shares for one in share.awaited], times.written(now))
    snapshot = UnverifiedView(store).snapshot.version
    for share in shares:
        share.tell(report, snapshot)
