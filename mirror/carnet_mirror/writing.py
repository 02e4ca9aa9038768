"""The way into a mirror's state: one writer, who first finishes what a crash interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from carnet_mirror.state.store import Store
from carnet_signer.metadata.publish import Change, OnlineSigner, publish


@contextmanager
def writing(store: Store, online: OnlineSigner, *, now: datetime, wait: float = 10.0) -> Iterator[None]:
    """Be the only writer of a mirror; publish inside.

    What an interrupted publish has sealed is completed when a timestamp was signed for it: the online signer goes back
    for nobody. Otherwise it is dropped, as nobody can have seen it.

    Args:
        store: The mirror, opened for writing.
        online: Its online signer.
        now: The time.
        wait: Seconds to wait for another writer.

    Raises:
        StorageError: Another process is writing, or the disk failed.
        SigningError: The online signer refused.
        MetadataError: What is published is not what was signed.
    """
    with store.change(wait=wait):
        sealed = store.sealed()
        if sealed is not None and sealed == online.named_snapshot():
            publish(store, online, Change(), now=now)
        elif sealed is not None:
            store.drop()
        yield
