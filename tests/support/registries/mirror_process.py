"""A real running mirror: its own process, a port of its own, a few small crates.

The ceremony and the first publish take most of a second, so they are made once for each process and copied.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.machines.processes import running
from tests.support.worlds.ceremony import AT_ONCE, Ceremony, DirectOnlineSigner, make_ceremony

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import line_from_crate
from carnet.cargo.lockfile import CRATES_IO, LockedPackage
from carnet.claims.waiting import Waiting
from carnet_mirror.state.store import Store
from carnet_mirror.sync.sync import SyncReport, sync
from carnet_mirror.upstream.packages import UpstreamCrate
from carnet_signer.metadata.publish import publish

CARNET = (sys.executable, "-c", "from carnet_cli.start import main; main()")
"""The `carnet` command, as the editable install has it."""
BIT_LENGTH = 2


@dataclass(frozen=True)
class Tarballs:
    """An upstream that has these tarballs; without an `index`, it has the lines that their manifests make."""

    tarballs: Sequence[bytes]
    index: Sequence[bytes] | None = None
    name: str = "test"
    anything: bool = False
    """Give the first tarball, whatever is asked for."""

    @property
    def packages(self) -> list[LockedPackage]:
        """What a lock of all of them would say."""
        found = []
        for data in self.tarballs:
            crate = read_crate(data)
            found.append(LockedPackage(crate.id, CRATES_IO, crate.sha256))
        return found

    def fetch(
        self, packages: Sequence[LockedPackage], scratch: Path, progress: Callable[[int], None]
    ) -> list[UpstreamCrate]:
        by_checksum = {hashlib.sha256(data).hexdigest(): data for data in self.tarballs}
        fetched = []
        for package in packages:
            data = self.tarballs[0] if self.anything else by_checksum.get(package.checksum or "")
            path = scratch / f"{package.id.stem}.crate"
            if data is None:
                fetched.append(UpstreamCrate(package, None, "it is not here", has_none=True))
                continue
            path.write_bytes(data)
            fetched.append(UpstreamCrate(package, path, index=self.lines(package)))
        progress(len(packages))
        return fetched

    def lines(self, package: LockedPackage) -> tuple[bytes, ...]:
        """The index file of a package's crate."""
        if self.index is not None:
            return tuple(self.index)
        crates = [crate for crate in map(read_crate, self.tarballs) if crate.id.name == package.id.name]
        return tuple(line_from_crate(crate, pubtime=None).to_bytes() for crate in crates)


@contextlib.contextmanager
def quiet(_label: str, _length: int) -> Iterator[Callable[[int], None]]:
    """No progress bar."""
    yield lambda _: None


def now_in_seconds() -> datetime:
    """The time, as metadata carries it."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass
class MirrorDirectory:
    """A mirror on the disk that nobody serves yet.

    Attributes:
        path: Its directory.
        ceremony: Whose keys it is published with; the online key signs in this process.
        signer: That online signer.
        now: When the next change takes place.
    """

    path: Path
    ceremony: Ceremony
    signer: DirectOnlineSigner
    now: datetime = field(default_factory=now_in_seconds)

    @property
    def root(self) -> bytes:
        """The first root: what a client pins."""
        return self.ceremony.root

    def open(self, *, write: bool = False) -> Store:
        return Store.open(self.path, write=write)

    def add(self, *tarballs: bytes, index: Sequence[bytes] | None = None) -> SyncReport:
        """Publish crates, with these lines in the upstream's index instead of those that their manifests make."""
        upstream = Tarballs(tarballs, index)
        with self.open(write=True) as store:
            return sync(store, self.signer, upstream, upstream.packages, now=self.now, progress=quiet)


@dataclass
class RunningMirror:
    """A mirror that answers requests.

    Attributes:
        url: Its base URL, without a slash at its end.
        directory: What it serves; changes are seen at once.
        access_log: The file with a line for each request.
        process: The server.
        watched_at: The base URL of the port for whoever watches it, if it has one.
    """

    url: str
    directory: MirrorDirectory
    access_log: Path
    process: subprocess.Popen[str]
    watched_at: str | None = None

    @property
    def root(self) -> bytes:
        """The first root: what a client pins."""
        return self.directory.root

    @property
    def index_url(self) -> str:
        """What cargo is given as a registry."""
        return f"sparse+{self.url}/index/"

    def requests(self) -> list[str]:
        """`METHOD PATH STATUS` of every request so far."""
        lines = self.access_log.read_text().splitlines()
        return [" ".join(line.split(" ")[2:5]) for line in lines]

    def stop(self) -> int:
        """Stop it as an operator would, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


def make_mirror(
    path: Path, tarballs: Sequence[bytes] = (), *, age: timedelta = timedelta(0), waits: Waiting = AT_ONCE
) -> MirrorDirectory:
    """Make a mirror with these crates.

    Args:
        path: Where; nothing may be there.
        tarballs: Its crates.
        age: How long ago the ceremony and the publish were.
        waits: How long claims and takeovers wait.
    """
    now = now_in_seconds() - age
    template, ceremony, versions = _template(now.replace(minute=0, second=0), waits)
    shutil.copytree(template, path)
    signer = ceremony.signer()
    signer.versions.update(versions)
    directory = MirrorDirectory(path, ceremony, signer, now)
    if tarballs:
        report = directory.add(*tarballs)
        assert not report.refused, report.refused
    return directory


@functools.cache
def _template(now: datetime, waits: Waiting) -> tuple[Path, Ceremony, dict[str, int]]:
    folder = tempfile.TemporaryDirectory(prefix="carnet-test-mirror-")
    _KEPT.append(folder)
    ceremony = make_ceremony(bit_length=BIT_LENGTH, now=now, waiting=waits)
    signer = ceremony.signer()
    path = Path(folder.name) / "mirror"
    with Store.create(path) as store, store.change():
        publish(store, signer, ceremony.change, now=now)
    return path, ceremony, dict(signer.versions)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@contextlib.contextmanager
def serving(directory: MirrorDirectory, *arguments: str) -> Iterator[RunningMirror]:
    """Serve a mirror in a process of its own, on a port that the system chooses."""
    log = directory.path.with_name(directory.path.name + "-access.log")
    command = [*CARNET, "mirror", "serve", str(directory.path), "--port", "0", "--message-format", "json"]
    command += ["--access-log", str(log), *(arguments or ("--read-only",))]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with running(command, end=signal.SIGKILL, env={**os.environ, "NO_COLOR": "1"}, **pipes) as process:
        line = process.stdout.readline()
        assert line, f"the mirror did not start: {process.stderr.read()}"
        started = json.loads(line)
        yield RunningMirror(started["url"], directory, log, process, started.get("metrics"))


@contextlib.contextmanager
def running_mirror(path: Path, tarballs: Sequence[bytes] = ()) -> Iterator[RunningMirror]:
    """Make a mirror with these crates below `path`, and serve it."""
    with serving(make_mirror(path / "mirror", tarballs)) as mirror:
        yield mirror
