"""The TUF client workflow (specification, section 5): from a pinned root to one consistent, verified view.

1. The root that was trusted last is read; its time does not matter yet (5.2).
2. Each next root in turn, version by version, kept only once it is verified, until there is none (5.3).
3. The last one must not have expired (5.3.10); what replaced keys signed is forgotten (5.3.11).
4. The timestamp is fetched, verified, and kept (5.4).
5. The snapshot that it names is taken from what was kept, or fetched, verified, and kept (5.5).
6. The targets role that it names likewise (5.6); delegated roles follow when they are looked at.

Which file is fetched when stands here; what makes it acceptable stands in `carnet_verifier.tuf.workflow`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from carnet import times
from carnet.errors import (
    ExpiredMetadata,
    FormatError,
    MetadataError,
    StorageError,
    TransportError,
)
from carnet.tuf import paths
from carnet.tuf.keys import Profile
from carnet.tuf.roles import Root, Snapshot, Timestamp
from carnet_verifier.memory.lookup_memory import LookupMemory
from carnet_verifier.memory.metadata_store import MemoryStore, MetadataStore
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.fetch import Fetcher
from carnet_verifier.tuf.repository import TrustedRepository
from carnet_verifier.tuf.workflow import TrustedRoles

if TYPE_CHECKING:
    pass

__all__ = ["TrustedRepository", "read_repository", "refresh", "update"]

MAX_NEW_ROOTS = 256
CLOCK_SLACK = timedelta(days=1)
LONGEST_LIFE = timedelta(days=1)
"""Of a timestamp, as every mirror of carnet's signs it."""
SIGNED_AHEAD = timedelta(hours=1)
"""By which clocks may differ before somebody is told."""
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
"""carnet did not exist before: a clock that says so is wrong, and would call expired files fresh."""


def refresh(trust: TrustDirectory, fetcher: Fetcher, *, now: datetime) -> TrustedRepository:
    """Bring what a client trusts up to date, and remember it durably.

    Args:
        trust: The client's memory; locked while this runs.
        fetcher: The repository.
        now: The fixed time of this refresh (TUF 5.1), aware, UTC.

    Raises:
        MetadataError: A check failed, or what a project carries is newer; nothing newer than what was verified so far
            is remembered.
        FormatError: A file does not parse.
        TransportError: A file could not be fetched.
        StorageError: The disk failed, or another process held the lock.
    """
    with trust.locked():
        check_clock(trust.last_refresh(), now)
        root = trust.root
        trusted = update(root, trust.metadata, fetcher, now=now)
        if trust.carried is not None:
            trust.carried.hold(trusted, trust.pinned)
        answers = LookupMemory(trust.answers_file, trusted.root.raw, trusted.snapshot.signed.meta, now)
        repository = TrustedRepository(trusted, trust.metadata, fetcher, trust, answers)
        _ = repository.targets  # 6.
        trust.remember_refresh(now)
    return repository


def read_repository(root: bytes, fetcher: Fetcher, *, now: datetime) -> TrustedRepository:
    """The same checks from a pinned root, without a memory: for a mirror that looks at its own files, and for tests.

    Raises:
        MetadataError: A check failed.
        FormatError: A file does not parse.
        TransportError: A file could not be fetched.
    """
    store = MemoryStore()
    repository = TrustedRepository(update(root, store, fetcher, now=now), store, fetcher)
    _ = repository.targets
    return repository


def update(
    root: bytes, store: MetadataStore, fetcher: Fetcher, *, now: datetime, profile: Profile = Profile.PRODUCT
) -> TrustedRoles:
    """Steps 1 to 5: the newest root, timestamp and snapshot, each kept in `store` once it is verified.

    Raises:
        MetadataError: A check failed.
        FormatError: A file does not parse.
        TransportError: A file could not be fetched.
        StorageError: What was kept is damaged, or the disk failed.
    """
    trusted = TrustedRoles(root, now=now, profile=profile, proofs=store.proofs)  # 1.
    for _ in range(MAX_NEW_ROOTS):  # 2.
        try:
            data = fetcher.get(_metadata(paths.ROOT, trusted.root.signed.version + 1), max_bytes=Root.MAX_BYTES)
        except TransportError as error:
            if error.absent:
                break
            raise
        trusted.next_root(data)
        store.keep(paths.ROOT, data)  # 5.3.8
    else:
        raise MetadataError(f"more than {MAX_NEW_ROOTS} new roots at once: nothing was decided (TUF 5.3.3)")
    trusted.check_root()  # 3.
    try:
        trusted.recall(store.read(paths.TIMESTAMP), store.read(paths.SNAPSHOT))
    except FormatError as error:
        raise StorageError(
            f"what was trusted last is damaged: {error}",
            hint="restore the trust directory from a copy, or trust the repository anew",
        ) from error
    data = fetcher.get(_metadata(paths.TIMESTAMP, None), max_bytes=Timestamp.MAX_BYTES)  # 4.
    if trusted.accept_timestamp(data):
        store.keep(paths.TIMESTAMP, data)
    if not trusted.reuse_snapshot():  # 5.
        meta = trusted.snapshot_meta
        version = meta.version if trusted.root.signed.consistent_snapshot else None
        most = Snapshot.MAX_BYTES if meta.length is None else min(meta.length, Snapshot.MAX_BYTES)
        data = fetcher.get(_metadata(paths.SNAPSHOT, version), max_bytes=most)
        trusted.accept_snapshot(data)
        store.keep(paths.SNAPSHOT, data)
    return trusted


def remarks_on_clock(timestamp: Timestamp, now: datetime) -> tuple[str, ...]:
    """What a verified timestamp says of this machine's clock: nothing, unless it ends later than one of today's can.

    Only of that can a client tell that its clock is behind: then what has ended passes for fresh. It decides nothing,
    because a repository may give its timestamps a longer life, and because one that ends in time says nothing.

    Args:
        timestamp: Of the repository.
        now: The time of the refresh.
    """
    ahead = timestamp.expires - now - LONGEST_LIFE
    if ahead <= SIGNED_AHEAD:
        return ()
    hours = int(ahead.total_seconds()) // 3600
    span = f"{hours // 24} days" if hours >= 48 else f"{hours} hours" if hours > 1 else "an hour"
    return (
        f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC, and the mirror's timestamp was signed at least {span} "
        "later: one of the two clocks is wrong, and with this one behind, old metadata would pass for fresh; "
        "`carnet doctor` compares them",
    )


def _metadata(role: str, version: int | None) -> str:
    return paths.METADATA_PREFIX + paths.metadata_name(role, version)


def check_clock(last: datetime | None, now: datetime) -> None:
    """Expiry protects only as far as the clock can be believed."""
    hint = "set this machine's clock; with a wrong one, old metadata would pass for fresh"
    if now < EARLIEST:
        raise ExpiredMetadata(f"this machine's clock says {now:%Y-%m-%d %H:%M}, before carnet existed", hint=hint)
    if last is not None and now < times.moved(last, -CLOCK_SLACK):
        raise ExpiredMetadata(
            f"this machine's clock says {now:%Y-%m-%d %H:%M}, and the last refresh was at {last:%Y-%m-%d %H:%M}",
            hint=f"{hint}. If it was wrong then and is right now, trust the repository anew",
        )
