"""What the online signer remembers: the newest version that it signed for each role, so that none is signed twice.

A folder: `signed.log` has one JSON line for each signature, forced to the disk before the signature leaves, and
`<N>.snapshot.json` is what was signed of the newest snapshot, and of the one that the newest timestamp names. A line
that a crash cut short was never acknowledged and is dropped. The folder is locked: one repository, one signer.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from carnet import durable, strictjson
from carnet.errors import CarnetError, FormatError, SigningError, StorageError
from carnet.lock import take
from carnet.strictjson import JsonObject
from carnet.tuf import paths
from carnet.tuf.roles import MetaFile, Snapshot
from carnet_signer.metadata import role_files

_LOG, _LOCK = "signed.log", "lock"
_MAX_LOG = 256_000_000
_MAX_LINE = 2_000
_COMPACT_AT = 4_000_000
_TRIES = 20
"""So often a memory that is written to is read, until what was read fits together."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One signature that was made.

    Attributes:
        role: The role.
        version: Its version.
        payload: The sha256, in hex, of what was signed.
        snapshot: For a timestamp the version and sha256 of the snapshot that it names; for a snapshot its own version
            and the sha256 of its file; None for bins.
    """

    role: str
    version: int
    payload: str
    snapshot: tuple[int, str] | None = None

    def line(self) -> bytes:
        """The entry as a line of the log."""
        value: JsonObject = {"role": self.role, "version": self.version, "payload": self.payload}
        if self.snapshot is not None:
            value |= {"snapshot": self.snapshot[0], "file": self.snapshot[1]}
        return strictjson.encode(value) + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Entry:
        """Read a line of the log.

        Raises:
            FormatError: It is not one.
        """
        match strictjson.parse_object(line, "a line of the signer's memory", max_bytes=_MAX_LINE):
            case {
                "role": str(role), "version": int(version), "payload": str(payload),
                "snapshot": int(snapshot), "file": str(file),
            }:  # fmt: skip
                return cls(role, version, payload, (snapshot, file))
            case {"role": str(role), "version": int(version), "payload": str(payload)}:
                return cls(role, version, payload)
            case _:
                raise FormatError("a line of the signer's memory is not an entry")


class SigningMemory:
    """The open, locked memory of one online signer."""

    def __init__(
        self,
        folder: Path,
        *,
        wait: float = 0.0,
        waiting: Callable[[], None] = lambda: None,
        held: int | None = None,
    ) -> None:
        """Open it; an empty one is made when there is none.

        Args:
            folder: Where it is.
            wait: Seconds to wait for another signer that has it open.
            waiting: Called once when that begins.
            held: The descriptor of its lock, when whoever started this process has taken it (`take_memory`).

        Raises:
            SigningError: Another signer has it open, or it is damaged.
            StorageError: The disk failed.
        """
        self._folder = folder
        durable.make_folder(folder, mode=0o700)
        self._lock = _lock(folder / _LOCK, wait, waiting) if held is None else held
        try:
            durable.sweep(folder)
            self._entries = _read_log(folder / _LOG)
            self._snapshots = _read_snapshots(folder)
            self._compact()
            self._forget_snapshots()
        except CarnetError:
            os.close(self._lock)
            raise
        self._broken = False

    def close(self) -> None:
        """Unlock it."""
        os.close(self._log)
        os.close(self._lock)

    def last(self, role: str) -> Entry | None:
        """The newest entry of a role."""
        return self._entries.get(role)

    @property
    def named_snapshot(self) -> Mapping[str, MetaFile]:
        """What the snapshot that the newest timestamp names lists; empty when it was not signed here."""
        last = self._entries.get(paths.TIMESTAMP)
        return self._snapshots.get(last.snapshot[0], {}) if last is not None and last.snapshot is not None else {}

    def remember(self, entries: Iterable[Entry], snapshot: tuple[bytes, Snapshot] | None) -> None:
        """Force new entries to the disk; only then may their signatures leave.

        Args:
            entries: In the order in which they were made.
            snapshot: When a snapshot is among them: what was signed, and what it says.

        Raises:
            StorageError: The disk failed. The signer must end: what it remembers and what lies on the disk may differ.
        """
        entries = list(entries)
        if self._broken:
            raise StorageError("the signer's memory failed before: it must be started again")
        self._broken = True
        if snapshot is not None:
            durable.write_file(self._folder / _snapshot_file(snapshot[1].version), snapshot[0], mode=0o600)
        try:
            view = memoryview(b"".join(entry.line() for entry in entries))
            while view:
                view = view[os.write(self._log, view) :]
            os.fsync(self._log)
        except OSError as error:
            raise StorageError(f"{self._folder / _LOG}: {(error.strerror or 'failed').lower()}") from error
        self._broken = False
        self._entries |= {entry.role: entry for entry in entries}
        if snapshot is not None:
            self._snapshots[snapshot[1].version] = snapshot[1].meta
        self._forget_snapshots()

    def _forget_snapshots(self) -> None:
        entries = [self._entries.get(role) for role in (paths.TIMESTAMP, paths.SNAPSHOT)]
        wanted = {entry.snapshot[0] for entry in entries if entry is not None and entry.snapshot is not None}
        for version in self._snapshots.keys() - wanted:
            del self._snapshots[version]
            with contextlib.suppress(OSError):  # one that stays is forgotten at the next start
                (self._folder / _snapshot_file(version)).unlink()

    def _compact(self) -> None:
        """Write the log anew, one line for each role, and open it for appending."""
        path = self._folder / _LOG
        durable.write_file(path, b"".join(entry.line() for entry in self._entries.values()), mode=0o600)
        try:
            self._log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise StorageError(f"{path}: {(error.strerror or 'failed').lower()}") from error


def copy_memory(folder: Path) -> dict[str, bytes]:
    """What a signer remembers, as files by name, while it may be signing: of one moment, or of a later one.

    Raises:
        SigningError: It is damaged, or changed too often to be read.
        StorageError: It cannot be read.
    """
    log = _whole_lines(folder / _LOG)
    for _ in range(_TRIES):
        files = {_LOG: log} if log else {}
        for path in sorted(folder.glob(_snapshot_file(0).replace("0", "*", 1))):
            with contextlib.suppress(FileNotFoundError):  # forgotten meanwhile
                files[path.name] = durable.read_file(path, "the signer's memory", max_bytes=_MAX_LOG)
        before, log = log, _whole_lines(folder / _LOG)
        if log == before:  # a snapshot is only forgotten once a later one stands in the log
            _entries_of(log, folder / _LOG)
            return files
    raise SigningError(f"the memory {folder} changes all the time", hint="try again in a minute")


def _whole_lines(path: Path) -> bytes:
    """The log without a last line that is being written."""
    try:
        data = durable.read_file(path, "the signer's memory", max_bytes=_MAX_LOG)
    except FileNotFoundError:
        return b""
    return data[: data.rfind(b"\n") + 1]


def versions_in(files: Mapping[str, bytes]) -> dict[str, int]:
    """The highest version of each role that a copy of a memory knows of, signed or named in a snapshot.

    Args:
        files: As `copy_memory` gives them.

    Raises:
        SigningError: It is damaged.
    """
    entries = _entries_of(files.get(_LOG, b""), Path(_LOG))
    found = {role: entry.version for role, entry in entries.items()}
    last = entries.get(paths.TIMESTAMP)
    named = None if last is None or last.snapshot is None else files.get(_snapshot_file(last.snapshot[0]))
    if named is not None:
        for role, meta in _read_snapshot(named, _LOG).meta.items():
            found[role] = max(found.get(role, 0), meta.version)
    return found


def named_in(files: Mapping[str, bytes]) -> tuple[int, tuple[int, str] | None]:
    """The newest timestamp that a copy of a memory knows of, 0 for none, and the snapshot that it names.

    Args:
        files: As `copy_memory` gives them.

    Raises:
        SigningError: It is damaged.
    """
    last = _entries_of(files.get(_LOG, b""), Path(_LOG)).get(paths.TIMESTAMP)
    return (0, None) if last is None else (last.version, last.snapshot)


def take_memory(folder: Path) -> int | None:
    """Take a memory's lock for a signer that is about to be started; None while another signer has it.

    Returns:
        The descriptor, which the signer inherits (`SigningMemory`).

    Raises:
        StorageError: The folder or its lock cannot be made.
    """
    durable.make_folder(folder, mode=0o700)
    try:
        return _lock(folder / _LOCK, 0.0, lambda: None)
    except SigningError:
        return None


def _lock(path: Path, wait: float, waiting: Callable[[], None]) -> int:
    busy = SigningError(
        f"another online signer uses the memory {path.parent}",
        hint="one repository has one online signer: stop the other one; a mirror that is made with "
        "`carnet mirror init --online-socket` asks one that runs by itself",
    )
    try:
        return take(path, timeout=0, busy=busy)
    except SigningError:
        if not wait:
            raise
    waiting()
    return take(path, timeout=wait, busy=busy)


def _read_log(path: Path) -> dict[str, Entry]:
    data = b""
    with contextlib.suppress(FileNotFoundError):
        data = durable.read_file(path, "the signer's memory", max_bytes=_MAX_LOG)
    return _entries_of(data, path)


def _entries_of(data: bytes, path: Path) -> dict[str, Entry]:
    whole, newline, _torn = data.rpartition(b"\n")  # a torn last line was never acknowledged
    try:
        entries = [Entry.from_line(line) for line in whole.split(b"\n")] if newline else []
    except FormatError as error:
        raise SigningError(
            f"{path} is damaged: {error}",
            hint="restore it, or look up the published versions of every role before you start with an empty one",
        ) from None
    return {entry.role: entry for entry in entries}


def _snapshot_file(version: int) -> str:
    return f"{version}.snapshot.json"


def _read_snapshots(folder: Path) -> dict[int, Mapping[str, MetaFile]]:
    found = {}
    for path in folder.glob(_snapshot_file(0).replace("0", "*", 1)):
        data = durable.read_file(path, "the signer's memory", max_bytes=_MAX_LOG)
        snapshot = _read_snapshot(data, path)
        found[snapshot.version] = snapshot.meta
    return found


def _read_snapshot(data: bytes, path: Path | str) -> Snapshot:
    try:
        return role_files.read_signed(data, Snapshot)
    except CarnetError as error:
        raise SigningError(f"{path} is damaged: {error}") from None
