"""What a mirror remembers of where its online key and the signer's memory lie, changed after they were moved.

1. nobody else has the mirror open: a `serve` goes on with the signer that it started
2. the key that is there now is one that the newest root names
3. the memory that is there now knows of everything that is published, and of all that the one before it knows
4. all of it is remembered in one transaction

Nothing is copied, and nothing is signed but what an interrupted publish left open. Killed at any moment the mirror
remembers the old places or the new ones, and the same command goes through again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from carnet.errors import SigningError
from carnet.tuf.paths import INDEX, SNAPSHOT, TIMESTAMP
from carnet.tuf.roles import RoleKeys
from carnet_mirror.state.anew import alone
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.sqlite import Database
from carnet_mirror.state.store import DATABASE, Store, check_there
from carnet_mirror.writing import writing
from carnet_signer.metadata.publish import OnlineSigner


class NamedSigner(OnlineSigner, Protocol):
    """An online signer that says which keys it holds, as `carnet_signer.online.client.OnlineClient` does."""

    @property
    def keyids(self) -> tuple[str, ...]:
        """The ids of its keys."""


@dataclass(frozen=True, slots=True)
class NewPlace:
    """Where the online signer is now.

    Attributes:
        connect: Reaches it.
        remember: Is called with the mirror, inside a change, to keep its settings.
        before: The highest version of each role in the memory that the mirror remembers, where that lies there still
            and is another one; otherwise empty.
    """

    connect: Callable[[], AbstractContextManager[NamedSigner]]
    remember: Callable[[Store], None]
    before: Mapping[str, int]


def relocate(directory: Path, place: Callable[[Store], NewPlace], *, now: datetime) -> None:
    """Let a mirror remember other places, once what lies there is what it needs.

    Args:
        directory: The mirror's, where it is now.
        place: Asked once the mirror is open, whose settings say where the online signer was.
        now: The time.

    Raises:
        ConfigError: There is no mirror.
        StorageError: Somebody has the mirror open, or the disk failed.
        SigningError: The online signer cannot be reached, the key is another one, or the memory an older copy.
    """
    check_there(directory)
    with alone(directory), Store(directory, Database.open(directory / DATABASE, write=True)) as store:
        there = place(store)
        with there.connect() as online:
            _check_key(UnverifiedView(store), online.keyids)
            _check_memory(online, there.before)
            with writing(store, online, now=now):
                there.remember(store)


def _check_key(view: UnverifiedView, keyids: tuple[str, ...]) -> None:
    """Demand the keys that sign timestamp, snapshot and bins, before anything is signed with others."""
    index = view.targets(INDEX)
    succinct = None if index is None or index.delegations is None else index.delegations.succinct
    root = view.root()
    wanted = {"timestamp": root.roles[TIMESTAMP], "snapshot": root.roles[SNAPSHOT]}
    for role, signers in (wanted if succinct is None else wanted | {"index": succinct.signers}).items():
        if _held(signers, keyids) < signers.threshold:
            raise SigningError(
                f"this is not the mirror's online key: it is {', '.join(keyids)}, and those of {role} are "
                f"{', '.join(key.keyid for key in signers.keys)}",
                hint="nothing was changed; name the key that was moved. Another key takes over by a root that names "
                "it: `carnet root rotate CEREMONY --online new.pub`, then `carnet mirror refresh DIR --ceremony "
                "CEREMONY --next-online-key new`",
            )


def _held(signers: RoleKeys, keyids: tuple[str, ...]) -> int:
    return sum(key.keyid in keyids for key in signers.keys)


def _check_memory(online: OnlineSigner, before: Mapping[str, int]) -> None:
    """Demand that nothing is forgotten that the memory before still knows; `writing` looks at what is published."""
    for role, version in sorted(before.items()):
        if role in (TIMESTAMP, SNAPSHOT) and online.last_version(role) < version:
            raise SigningError(
                f"the memory that is named ends with {role} {online.last_version(role)}, and the one that the mirror "
                f"remembers knows of {role} {version}: it is an older copy",
                hint="nothing was changed; move the newest one there, and let only one lie anywhere",
            )
