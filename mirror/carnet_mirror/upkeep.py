"""A mirror's life between two syncs: made from a finished ceremony, and signed again when something is due."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from carnet.errors import CarnetError
from carnet.tuf import paths
from carnet_mirror.clock import check_clock
from carnet_mirror.pruning import prune_in_upkeep
from carnet_mirror.schedule import timestamp_due
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_mirror.writing import publish, writing
from carnet_signer.metadata.due import missed_bins
from carnet_signer.metadata.publish import Change, OnlineSigner, PublishResult, refresh_due
from carnet_signer.metadata.published_state import read_published_state


def make_mirror(
    directory: Path,
    roles: Mapping[str, bytes],
    connect: Callable[[], AbstractContextManager[OnlineSigner]],
    remember: Callable[[Store], None],
    *,
    now: datetime,
) -> PublishResult:
    """Make a mirror and publish it, or leave nothing behind.

    Args:
        directory: Where; it must not exist, or be empty.
        roles: The files of a finished ceremony, by role.
        connect: Reaches the online signer; called once the directory is there.
        remember: Is called with the mirror, inside a change, to keep its settings.
        now: The time.

    Raises:
        CarnetError: It could not be made or published.
    """
    existed = directory.exists()
    with Store.create(directory) as store:
        try:
            with connect() as signer, writing(store, signer, now=now):
                remember(store)
                return publish(store, signer, Change(roles=roles), now=now)
        except CarnetError:
            store.close()
            _remove(directory, keep=existed)
            raise


def _remove(directory: Path, *, keep: bool) -> None:
    """Take a half-made mirror away again; nothing else was in its directory."""
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not keep:
        directory.rmdir()


def sign_again(
    store: Store,
    signer: OnlineSigner,
    *,
    now: datetime,
    roles: Mapping[str, bytes] | None = None,
    clock_is_right: bool = False,
    memory_lost: bool = False,
    progress: Callable[[int], None] = lambda left: None,
) -> PublishResult:
    """Sign what would expire: the timestamp, and snapshot and index where they are due; take away what is too old.

    After a long absence that is many bins: they are published some at a time, so that what is signed stays signed
    wherever it ends.

    Args:
        store: The mirror, opened for writing.
        signer: Its online signer.
        now: The time.
        roles: Newer files of offline roles, published with it.
        clock_is_right: Whether somebody says so, whatever was signed before (`carnet_mirror.clock`).
        memory_lost: As for `carnet_mirror.writing.writing`.
        progress: Is told between two of those publishes how many bins are still to be signed.

    Returns:
        What all of it did. No bin has missed its turn any more.

    Raises:
        ConfigError: The clock is absurd.
        CarnetError: Not all was published, as `publish` and `carnet_mirror.writing.writing` say.
    """
    new_root = (roles or {}).get(paths.ROOT)
    with writing(store, signer, now=now, new_root=new_root, clock_is_right=clock_is_right, memory_lost=memory_lost):
        prune_in_upkeep(store)
        if roles:
            done = publish(store, signer, Change(roles=roles), now=now, clock_is_right=clock_is_right)
            missed = missed_bins(read_published_state(store), now)
            done = replace(done, left=tuple(dict.fromkeys([*missed, *done.left])))
        else:
            if not clock_is_right:
                check_clock(store, now=now)
            done = refresh_due(store, signer, now=now)
        while done.left:
            progress(len(done.left))
            done = _together(done, refresh_due(store, signer, now=now, left=done.left))
        return done


def _together(before: PublishResult, after: PublishResult) -> PublishResult:
    """What two publishes did, one after the other."""
    return replace(
        after,
        roles={**before.roles, **after.roles},
        bytes_written=before.bytes_written + after.bytes_written,
        warnings=before.warnings + after.warnings,
    )


def is_due(store: Store, *, now: datetime) -> bool:
    """Whether the timestamp is to be signed again; quick.

    Raises:
        StorageError: Nothing is published.
    """
    return timestamp_due(UnverifiedView(store).timestamp.expires, now)
