"""What earlier runs built and no run may use: marks in carnet's own home, one for each run that was not found good.

A mark is written before cargo starts, and goes when all was compared and is as it was. So it also stays when the gate
is killed. It names the folders that cargo built into, and is over when those are gone or empty: then nothing is left to
use. What lies in those folders decides nothing else, since a build can write there.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from carnet.durable import as_storage_error, private_folder, read_file, write_file
from carnet.errors import CarnetError, FormatError, StorageError
from carnet.strictjson import encode, parse_object
from carnet.value import value
from carnet_gate.comparison.birth import Identity, identity_of
from carnet_verifier.cargo.localregistry import Poisoned

_MAX = 100_000
_NAME = re.compile(r"[0-9a-f]{32}\.json")
_LONGEST_REASON = 1000
_NOT_COMPARED = "the run that built it was ended before its sources were compared"
_CARGOS_OWN = frozenset(("CACHEDIR.TAG",))


class BuiltFromChanged(Poisoned):
    """What lies in a target folder may have been compiled from something else than was admitted."""


@value
class BuiltInto:
    """A folder that a run built into.

    Attributes:
        path: Where it was; None once another folder, or none, was seen there.
        identity: Of the folder itself; None when it was not there yet.
    """

    path: Path | None
    identity: Identity | None

    def is_at(self, output: Path) -> bool:
        """Whether an output folder is this one: at its path, or moved, or seen through a link that took its place."""
        there = identity_of(output)
        return output == self.path or (
            there is not None and there in (self.identity, None if self.path is None else identity_of(self.path))
        )

    def left_behind(self, output: Path) -> BuiltInto | None:
        """What there is still to look out for when an output folder was seen gone or empty."""
        if output != self.path:
            return self
        if self.identity is None or not self.identity[2] or self.identity == identity_of(output):
            return None
        return BuiltInto(None, self.identity)  # it was removed, or it was moved and may come back


@value
class Mark:
    """One run whose results may not be used.

    Attributes:
        file: Where it is written down.
        folders: What cargo built into.
        reason: What was found; None while nothing was compared.
        runs: Whether the gate that wrote it is still at work.
    """

    file: Path
    folders: tuple[BuiltInto, ...]
    reason: str | None
    runs: bool

    def without(self, output: Path) -> Mark:
        """The mark after an output folder was seen gone or empty, written down."""
        folders = tuple(left for folder in self.folders if (left := folder.left_behind(output)) is not None)
        if not folders:
            with as_storage_error(self.file):
                self.file.unlink(missing_ok=True)
        elif folders != self.folders:
            write_file(self.file, _text(folders, self.reason or _NOT_COMPARED), mode=0o600)
        return Mark(self.file, folders, self.reason, self.runs)


class Marks:
    """The marks of one user.

    Args:
        folder: Where they are, in carnet's own home.
        outputs: The folders that the run builds into: absolute, without links.
    """

    def __init__(self, folder: Path, outputs: Sequence[Path]) -> None:
        self._folder = private_folder(folder)
        self._outputs = tuple(outputs)

    def require_none(self) -> None:
        """Demand that nothing in the output folders comes from a run that was not found good.

        A folder that is gone or empty has nothing left to use, and is marked no longer.

        Raises:
            BuiltFromChanged: Something does.
            StorageError: A mark cannot be read.
        """
        empty = [output for output in self._outputs if _is_empty(output)]
        for file in self._files():
            mark = _read(file)
            if mark is None or (mark.runs and mark.reason is None):
                continue
            for output in empty:
                mark = mark.without(output)
            for output in self._outputs:
                if output not in empty and any(folder.is_at(output) for folder in mark.folders):
                    raise BuiltFromChanged(
                        f"what is built in {output} is not used: {mark.reason or _NOT_COMPARED}",
                        hint=f"find out what ran; then remove {output} (as `cargo clean` does) and run "
                        "`carnet trust clean`; the next build starts from nothing",
                    )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Mark the output folders while the block runs; the mark goes when it ends without an error.

        Raises:
            StorageError: The mark cannot be written.
        """
        file = self._folder / f"{os.urandom(16).hex()}.json"
        descriptor = self._begin(file)
        try:
            yield
            with as_storage_error(file):
                file.unlink(missing_ok=True)
        except CarnetError as error:
            write_file(file, self._text(str(error)), mode=0o600)
            raise
        finally:
            os.close(descriptor)

    def _files(self) -> list[Path]:
        """What a gate wrote, by its name: whatever else lies there is no mark, and damages none."""
        with as_storage_error(self._folder):
            return sorted(path for path in self._folder.iterdir() if _NAME.fullmatch(path.name))

    def _begin(self, file: Path) -> int:
        """Write a mark that says that this process is at work: locked before anybody can see it."""
        new = file.with_suffix(".new")
        try:
            descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"{new}: {(error.strerror or 'cannot be written').lower()}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, self._text(None))
            # Not forced to the disk: it is there before what cargo builds, which is not forced either.
            new.rename(file)
        except OSError as error:
            os.close(descriptor)
            new.unlink(missing_ok=True)
            raise StorageError(f"{file}: {(error.strerror or 'cannot be written').lower()}") from None
        return descriptor

    def _text(self, reason: str | None) -> bytes:
        return _text([BuiltInto(path, identity_of(path)) for path in self._outputs], reason)


def _text(folders: Iterable[BuiltInto], reason: str | None) -> bytes:
    listed = [
        {
            "path": None if folder.path is None else os.fsencode(folder.path).hex(),
            "identity": None if folder.identity is None else [*folder.identity],
        }
        for folder in folders
    ]
    return encode({"folders": listed, "reason": reason and " ".join(reason.split())[:_LONGEST_REASON]})


def _read(file: Path) -> Mark | None:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:  # its run ended well meanwhile
        return None
    except OSError as error:
        raise StorageError(f"{file}: {(error.strerror or 'cannot be read').lower()}") from None
    try:
        runs = False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            runs = True
        document = parse_object(read_file(file, "the mark", max_bytes=_MAX), "the mark", max_bytes=_MAX)
        return Mark(file, tuple(_folders(document)), _reason(document), runs)
    except FileNotFoundError:
        return None
    except (FormatError, KeyError, TypeError, ValueError):
        raise StorageError(
            f"{file} is damaged", hint="remove the target folders of your projects, then this file"
        ) from None
    finally:
        os.close(descriptor)


def _folders(document: Any) -> Iterator[BuiltInto]:
    for folder in document["folders"]:
        path, identity = folder["path"], folder["identity"]
        where = None if path is None else Path(os.fsdecode(bytes.fromhex(path)))
        if "\0" in str(where):
            raise ValueError(where)  # no folder that a run ever built into
        if identity is None:
            yield BuiltInto(where, None)
        else:
            device, inode, birth = map(int, identity)
            yield BuiltInto(where, (device, inode, birth))


def _reason(document: Any) -> str | None:
    reason = document["reason"]
    if reason is not None and not isinstance(reason, str):
        raise TypeError(reason)
    return reason


def _is_empty(path: Path) -> bool:
    try:
        return _CARGOS_OWN.issuperset(entry.name for entry in path.iterdir())
    except FileNotFoundError:
        return True
    except OSError:
        return False
