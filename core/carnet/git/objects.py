"""git's objects by their ids, from a repository whose owner may mean harm.

Every configuration file but the repository's own is switched off, no transport is allowed, nothing of the environment
is handed on. `git cat-file --batch` runs no hooks, filters, text conversion or file system monitor, whatever the
repository's configuration says; and what it answers is hashed again: an object is what its id stands for, even when
the store lies.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO

from carnet.errors import ConfigError, FormatError, StorageError
from carnet.git.deltas import AHEAD, CHECK, Deltas
from carnet.git.limits import MAX_BLOB, MAX_NAME, GitLimits

__all__ = ["COMMIT", "MAX_BLOB", "GitObjects", "git_command", "git_environment", "tree_entries", "tree_of"]

_SMALL = 16 * 1024
_KEPT = 8 * 1024 * 1024
"""Bytes of small objects that are kept: one may stand in very many places, and git takes its time for each answer."""
COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
"""An object's id in full, by sha1 or sha256."""
_SIZE = re.compile(rb"[0-9]{1,19}\Z")
_ENTRY = {
    width: re.compile(rb"([0-7]{5,6}) ([^\0]{0,%d})\0(.{%d})" % (MAX_NAME - 1, width), re.DOTALL) for width in (20, 32)
}
_MAX_TAGS = 100
"""Tags of tags; nobody has more than two."""
_OPTIONS = (
    *("-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"),
    *("-c", "protocol.allow=never", "-c", "core.sshCommand=false", "-c", "core.gitProxy=false"),
    *("-c", "core.deltaBaseCacheLimit=16m"),
    *("-c", "core.alternateRefsCommand=false", "-c", "core.pager=cat", "-c", "credential.helper="),
)


def git_environment() -> dict[str, str]:
    """The variables that git runs with, all of them."""
    return {
        "PATH": os.defpath,
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LITERAL_PATHSPECS": "1",
    }


def git_command(*arguments: str, git_dir: Path | None = None) -> list[str]:
    """A git command line on which nothing that a repository configures can run."""
    where = () if git_dir is None else (f"--git-dir={git_dir}",)
    return [shutil.which("git") or "git", "--no-pager", *_OPTIONS, *where, *arguments]


def tree_of(commit: bytes) -> str:
    """The id of the tree that a raw commit object names.

    Raises:
        StorageError: It names none.
    """
    first = commit.split(b"\n", 1)[0].decode("ascii", "replace")
    if not first.startswith("tree ") or COMMIT.match(first[5:]) is None:
        raise StorageError("the commit names no tree")
    return first[5:]


def tree_entries(data: bytes, width: int) -> Iterator[tuple[int, str, str]]:
    """The entries of a raw tree object: mode, name, object id.

    Args:
        data: The object.
        width: Bytes of an id: 20 or 32.

    Raises:
        StorageError: It is damaged.
        FormatError: A name is longer than any file system takes.
    """
    at, form = 0, _ENTRY[width]
    while at < len(data):
        entry = form.match(data, at)
        if entry is None:
            space = data.find(b" ", at, at + 8)
            end = data.find(b"\0", space)
            if space >= 0 and end - space > MAX_NAME:
                raise FormatError(
                    f"a folder of the commit has a name of {end - space - 1} bytes, which no system takes"
                )
            raise StorageError("a tree object is damaged")
        mode, name, oid = entry.groups()
        yield int(mode, 8), name.decode("utf-8", "surrogateescape"), oid.hex()
        at = entry.end()


def _no_such(oid: str, *kinds: bytes) -> StorageError:
    return StorageError(f"object {oid[:12]} is not in the repository, or is no {b' or '.join(kinds).decode()}")


class GitObjects:
    """One `git cat-file --batch`, whose answers are hashed again; it runs while a `with` block does.

    Args:
        git_dir: A git directory.
        max_blob: Bytes of a file; more is refused before it is read.
        limits: What it may cost; as the repository's weight allows for when None.

    Attributes:
        width: Bytes of an id in what was read last.
        limits: What it may cost.

    Raises:
        StorageError: It is none.
        ConfigError: git is missing.
    """

    def __init__(self, git_dir: Path, max_blob: int = MAX_BLOB, limits: GitLimits | None = None) -> None:
        if not git_dir.is_dir():
            raise StorageError(f"{git_dir} is no git directory")
        self._git_dir = git_dir
        self.limits = GitLimits.of_repository(git_dir) if limits is None else limits
        self._max_blob = min(max_blob, self.limits.blob)
        self._kept: dict[str, tuple[bytes, bytes]] = {}
        self._read = self._room = 0
        self._until = time.monotonic() + self.limits.seconds
        self.width = 20

    def __enter__(self) -> GitObjects:
        self._process, self._checking = self._start("--batch"), self._start(CHECK)
        self._deltas = Deltas(*_streams(self._checking), self.limits)
        self._timer = threading.Timer(self.limits.seconds, self._end)  # whoever waits for it waits no more
        self._timer.daemon = True
        self._timer.start()
        return self

    def _start(self, how: str) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(
                git_command("cat-file", how, git_dir=self._git_dir),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=git_environment(),
                cwd="/",
            )
        except OSError:
            raise ConfigError("git is not installed", hint="install git; carnet reads commits through it") from None
        self.limits.hold(process)
        return process

    def _end(self) -> None:
        self._process.kill()
        self._checking.kill()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._end()
        for process in (self._process, self._checking):
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(BrokenPipeError):  # it has ended, and did not read what it was asked
                        stream.close()
            process.wait()

    def get(self, oid: str, kind: bytes) -> bytes:
        """An object's bytes.

        Raises:
            StorageError: It is absent, of another kind, or does not hash to its id.
            FormatError: It is larger than the repository may bring, or reading took longer than it may.
        """
        (data,) = self.get_all((oid,), kind)
        return data

    def get_all(self, oids: Iterable[str], kind: bytes) -> Iterator[bytes]:
        """Several objects' bytes in this order, each read when it is its turn; nothing else is asked for meanwhile.

        Raises:
            StorageError: As for `get`.
            FormatError: As for `get`.
        """
        waiting = iter(oids)
        while some := list(islice(waiting, AHEAD)):
            self._ask([oid for oid in dict.fromkeys(some) if oid not in self._kept])
            read: dict[str, bytes] = {}
            for oid in some:
                self.width = len(oid) // 2
                kept = self._kept.get(oid)
                if kept is not None and kept[0] == kind:
                    self._check_size(oid, kind, len(kept[1]))
                    yield kept[1]
                elif kept is not None:
                    raise _no_such(oid, kind)
                elif oid in read:
                    self._check_size(oid, kind, len(read[oid]))
                    yield read[oid]
                else:
                    _, read[oid] = self._answer(oid, (kind,))
                    yield read[oid]

    def commit_at(self, oid: str) -> str:
        """The id of the commit that an id stands for, which may be a tag's, or that of a tag of a tag.

        Raises:
            StorageError: As for `get`, or it stands for something else.
            FormatError: As for `get`, or there is no end to the tags.
        """
        for _ in range(_MAX_TAGS):
            self._ask([oid])
            kind, data = self._answer(oid, (b"commit", b"tag"))
            if kind == b"commit":
                return oid
            oid = data.split(b"\n", 1)[0].decode("ascii", "replace").removeprefix("object ")
            if COMMIT.match(oid) is None:
                raise StorageError("a tag names no object")
        raise FormatError(f"more than {_MAX_TAGS} tags stand for one another")

    def _ask(self, oids: Sequence[str]) -> None:
        stdin, _ = _streams(self._process)
        try:
            self._deltas.check(oids)
            stdin.write("".join(f"{oid}\n" for oid in oids).encode())
            stdin.flush()
        except BrokenPipeError:
            self._check_time(oids[0])
            raise StorageError(f"git cannot read objects in {self._git_dir}") from None

    def _answer(self, oid: str, kinds: Collection[bytes]) -> tuple[bytes, bytes]:
        """What git answers next: the object's kind and bytes."""
        _, stdout = _streams(self._process)
        header = stdout.readline().split()
        if len(header) != 3 or header[1] not in kinds or _SIZE.match(header[2]) is None:
            self._check_time(oid)
            raise _no_such(oid, *kinds)
        kind, size = header[1], int(header[2])
        self._check_size(oid, kind, size)
        data = stdout.read(size)
        stdout.read(1)
        if len(data) != size:
            self._check_time(oid)
        hashing = hashlib.sha256 if len(oid) == 64 else hashlib.sha1
        found = hashing(b"%b %d\0" % (kind, size), usedforsecurity=len(oid) == 64)
        found.update(data)
        if found.hexdigest() != oid:
            raise StorageError(f"object {oid[:12]} does not hash to its id: the repository is damaged, or lies")
        if size <= _SMALL and self._room < _KEPT:
            self._kept[oid] = kind, data
            self._room += size + 200
        return kind, data

    def _check_size(self, oid: str, kind: bytes, size: int) -> None:
        if size > (self._max_blob if kind == b"blob" else self.limits.tree):
            raise FormatError(f"object {oid[:12]} has {size} bytes: that is no source")
        if kind != b"blob":
            self._read += size
        if self._read > self.limits.objects:
            raise FormatError(
                f"the commit's folders come to more than {self.limits.objects} bytes, in a repository of few",
                hint="one folder stands in very many places; look at what the repository holds before you trust it",
            )
        if time.monotonic() > self._until:
            self._check_time(oid)

    def _check_time(self, oid: str) -> None:
        """Say so when it was the time that ended git."""
        late = time.monotonic() >= self._until
        try:
            # Whoever closes its output has ended, or is about to.
            ended = None if late else self._process.wait(1)
        except subprocess.TimeoutExpired:
            ended = None
        if late or ended in (-signal.SIGXCPU, -signal.SIGKILL):
            raise FormatError(
                f"git took too long at object {oid[:12]}: {self.limits.processor} seconds of processor time, or "
                f"{self.limits.seconds:.0f} in all, are what a repository of this size may take",
                hint="if it is honest, `git gc` in it makes reading cheaper; look at what it holds before you trust it",
            )


def _streams(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:
        raise StorageError("git was started without pipes")
    return stdin, stdout
