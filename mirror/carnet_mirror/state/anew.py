"""A mirror's database made anew beside the one that is lost or damaged, and put in its place in one step.

Nobody else has the mirror open meanwhile. The new database is whole, closed and durable before it gets its name; the
old one stays beside it under another name, its log with it: a log that lay beside a new database would be played into
it. Killed at any point, there is the old database or the new one, and what was begun is begun again the next time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from carnet import durable
from carnet.errors import ConfigError, StorageError
from carnet.lock import take_folder
from carnet_mirror.state.files import FOLDERS
from carnet_mirror.state.sqlite import Database, NewerLayout
from carnet_mirror.state.store import DATABASE, Store

_NEW = f"{DATABASE}.new"
_LOGS = ("-wal", "-shm", "-journal")


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep everybody else out of a mirror.

    Raises:
        ConfigError: Nothing of a mirror is there.
        StorageError: Somebody has it open.
    """
    if not any((directory / folder).is_dir() for folder in FOLDERS):
        raise ConfigError(f"{directory} holds no mirror", hint="`carnet mirror init` makes one")
    busy = StorageError(
        f"the mirror in {directory} is in use",
        hint="stop its `carnet mirror serve`, wait for other commands to end, and try again",
    )
    held = take_folder(directory, alone=True, timeout=1.0, busy=busy)
    try:
        yield
    finally:
        os.close(held)


def open_alone(directory: Path) -> Store | None:
    """The store as it stands, for reading, inside `alone`; None when its database is gone, damaged, or too old.

    Raises:
        ConfigError: A newer carnet wrote the database: it is none to throw away.
    """
    path = directory / DATABASE
    if not path.exists():
        return None
    try:
        return Store(directory, Database.open(path, write=False))
    except NewerLayout:
        raise
    except (ConfigError, StorageError):
        return None


@contextmanager
def made_anew(directory: Path, begin: Callable[[Path], Database] = Database.create) -> Iterator[Store]:
    """Make a database inside `alone`; it takes its place when the block ends, unless an error leaves it.

    Args:
        directory: The mirror's.
        begin: Makes the database that the block changes, at this path; an empty one unless told otherwise.

    Raises:
        StorageError: The disk or SQLite failed: nothing was changed.
    """
    new = directory / _NEW
    _sweep(new)  # what a killed run left
    try:
        with Store(directory, begin(new)) as store:
            yield store
            store.settle()
        if new.with_name(f"{_NEW}-wal").exists():  # SQLite takes it away when the last connection closes
            raise StorageError(f"{new} is not whole by itself", hint="try again")
        _put_in_place(directory, new)
    except BaseException:
        _sweep(new)
        raise


def kept_aside(directory: Path) -> Path | None:
    """Where the database that was replaced last is kept, or None."""
    kept = sorted(directory.glob(f"{DATABASE}.replaced-*"), key=lambda path: (len(path.name), path.name))
    return next((path for path in reversed(kept) if not path.name.endswith(_LOGS)), None)


def _put_in_place(directory: Path, new: Path) -> None:
    old, aside = directory / DATABASE, _free_name(directory)
    with durable.as_storage_error(new):
        descriptor = os.open(new, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if old.exists():
            os.link(old, aside)
        for log in _LOGS:
            if old.with_name(old.name + log).exists():
                os.rename(old.with_name(old.name + log), aside.with_name(aside.name + log))  # noqa: PTH104
        durable.sync_folder(directory)
        os.rename(new, old)  # noqa: PTH104  -- as in `carnet.durable`: one call, into which faults are injected
        durable.sync_folder(directory)


def _free_name(directory: Path) -> Path:
    number = 1
    while any((directory / f"{DATABASE}.replaced-{number}{log}").exists() for log in ("", *_LOGS)):
        number += 1
    return directory / f"{DATABASE}.replaced-{number}"


def _sweep(new: Path) -> None:
    with durable.as_storage_error(new):
        for log in ("", *_LOGS):
            new.with_name(new.name + log).unlink(missing_ok=True)
