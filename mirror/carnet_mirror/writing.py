"""The way into a mirror's state: one writer, who finishes what a crash left, and publishes what two opinions take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from carnet.errors import SigningError, StorageError
from carnet.tuf import paths
from carnet_mirror.clock import check_clock_before
from carnet_mirror.pruning import prune_after_publish
from carnet_mirror.second_opinion.opinion import judge
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_signer.metadata import publish as metadata
from carnet_signer.metadata.new_roles import Accepted
from carnet_signer.metadata.publish import Change, OnlineSigner, PublishResult
from carnet_signer.metadata.published_state import PublishedState
from carnet_verifier.releases.established import Established

_TIMESTAMP = paths.METADATA_PREFIX + paths.metadata_name(paths.TIMESTAMP, None)
_SECOND_OPINION, _OFF = "second-opinion", "off"


@contextmanager
def writing(
    store: Store,
    online: OnlineSigner,
    *,
    now: datetime,
    wait: float = 10.0,
    new_root: bytes | None = None,
    clock_is_right: bool = False,
    memory_lost: bool = False,
) -> Iterator[None]:
    """Be the only writer of a mirror; publish inside.

    What an interrupted publish has sealed is completed when a timestamp was signed for it: the online signer goes back
    for nobody. Otherwise it is dropped, as nobody can have seen it.

    Args:
        store: The mirror, opened for writing.
        online: Its online signer.
        now: The time.
        wait: Seconds to wait for another writer.
        new_root: The next root, when it is about to be published: what was interrupted may have been signed by the
            online key that it names, and is completed with it.
        clock_is_right: Whether somebody says so, whatever was signed before (`carnet_mirror.clock`).
        memory_lost: Whether somebody says that what the online signer remembered is lost for good: it begins anew
            from what is published.

    Raises:
        ConfigError: The clock is absurd.
        StorageError: Another process is writing, the disk failed, or the database is older than what is published.
        SigningError: The online signer refused, or remembers less than what is published.
        MetadataError: What is published is not what was signed.
    """
    with store.change(wait=wait):
        sealed = store.sealed()
        if sealed is not None and sealed == online.named_snapshot():
            roles = {} if new_root is None else {paths.ROOT: new_root}
            publish(store, online, Change(roles=roles), now=now, clock_is_right=clock_is_right)
        elif sealed is not None:
            store.drop()
        _check_memory(store, online, memory_lost=memory_lost)
        yield


def _check_memory(store: Store, online: OnlineSigner, *, memory_lost: bool) -> None:
    """Demand that mirror and online signer know of the same publications: otherwise one of the two is an older copy."""
    if store.served(_TIMESTAMP) is None:
        return
    timestamp = UnverifiedView(store).timestamp
    signed, named = online.last_version(paths.TIMESTAMP), online.named_snapshot()
    if signed < timestamp.version and not memory_lost:
        raise SigningError(
            f"the online signer remembers timestamp {signed}, and {timestamp.version} is published: its memory is "
            "lost, or an older copy",
            hint="put the folder back that --memory named; when it is lost for good, `carnet mirror refresh DIR "
            "--memory-lost` begins another one",
        )
    if named is None or named[0] <= timestamp.snapshot.version:
        return
    ends = timestamp.snapshot.version
    if store.lies_there(paths.METADATA_PREFIX + paths.metadata_name(paths.SNAPSHOT, named[0]), named[1]):
        raise StorageError(
            f"the mirror's database ends with snapshot {ends} and is older than what is published: snapshot {named[0]} "
            "was named, and its file is there",
            hint="stop `carnet mirror serve`, then `carnet mirror fsck DIR --rebuild` makes it anew from the files",
        )


def publish(
    store: Store,
    online: OnlineSigner,
    change: Change,
    *,
    now: datetime,
    evidence: Sequence[Established] = (),
    clock_is_right: bool = False,
    whole: bool = False,
) -> PublishResult:
    """Publish a change: what is new in its offline roles and evidence needs a second opinion, unless that is off.

    Everything that a mirror publishes comes through here; only what it signs again by itself does not.

    Args:
        store: The mirror, inside `writing`.
        online: Its online signer.
        change: What is new.
        now: The time.
        evidence: What was established for each release that is new, or that is judged anew.
        clock_is_right: As for `writing`.
        whole: Whether every bin gets a new version.

    Raises:
        ConfigError: The clock is absurd.
        OpinionsDiffer: python-tuf or in-toto judges it otherwise; nothing was signed.
        CarnetError: As `carnet_signer.metadata.publish.publish`.
    """

    def second_opinion(accepted: Accepted) -> None:
        judge(accepted, evidence, now=now)

    def look(current: PublishedState) -> None:
        check_clock_before(current, change, now=now)

    wanted = second_opinion if wants_second_opinion(store) else None
    look_first = None if clock_is_right else look
    done = metadata.publish(store, online, change, now=now, second_opinion=wanted, look_first=look_first, whole=whole)
    prune_after_publish(store)
    return done


def wants_second_opinion(store: Store) -> bool:
    """Whether a mirror publishes only what two implementations take; it does unless somebody has switched that off."""
    return store.setting(_SECOND_OPINION) != _OFF


def set_second_opinion(store: Store, *, wanted: bool) -> None:
    """Let a mirror remember whether it asks for a second opinion, inside a change."""
    store.put_setting(_SECOND_OPINION, "on" if wanted else _OFF)
