"""A mirror whose machine loses power, again and again: what `make power` does. It mounts file systems, as root.

    python tests/faults/power.py [--cuts 1000] [--seed N] [--without-fsync]

A mirror lies on an ext4 of its own, and a process publishes on it without a pause. At a moment that chance chooses the
process is stopped, and what the file system has written to its device by then is copied: that is what a machine whose
power is cut there finds when it starts again, for what was not written was in memory. The copy is mounted, and:

- `fsck` finds nothing once the mirror was opened for writing again;
- every crate whose publish had ended is there;
- a client that looked just before is not refused, and nor is it after the next publish.

The device keeps the order of writes, so a disk that lies about them is not among what is tried. With `--without-fsync`
the process waits for no disk: the control, which has to lose something.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults.works import Faulty
from tests.support.registries.mirror_process import now_in_seconds
from tests.support.worlds.ceremony import make_ceremony

_SIZE = 3 << 30
"""Bytes, nearly all of them holes: a mirror keeps one gigabyte free."""
_LONGEST = 0.4
_CRATES = 120
"""Crates that are published on one file system, before another one is made: a look at each costs what is there."""


def mounting(image: Path, at: Path) -> None:
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop,noatime", str(image), str(at)], check=True)


def unmounting(at: Path) -> None:
    subprocess.run(["umount", str(at)], check=True)


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    """A file system, for a while."""
    mounting(image, at)
    try:
        yield at
    finally:
        unmounting(at)


def work(site: Faulty, acknowledged: int, *, waits_for_disk: bool) -> None:
    """Publish one crate after another, and say each number once that has ended."""
    if not waits_for_disk:
        os.fsync = lambda descriptor: None  # type: ignore[assignment]
        os.fdatasync = lambda descriptor: None  # type: ignore[assignment]
    for number in range(_CRATES):
        site.add(f"crate-{number}")
        os.write(acknowledged, b"%d\n" % number)
        if number % 5 == 0:
            site.again()


class Cut:
    """One power cut, and what is found after it.

    Args:
        site: The mirror that is being published on.
        image: The device that it lies on.
        scratch: Where the copy is looked at.
    """

    def __init__(self, site: Faulty, image: Path, scratch: Path) -> None:
        self._site, self._image, self._scratch = site, image, scratch

    def look(self, chance: random.Random, worker: int, acknowledged: int) -> tuple[bool, list[str]]:
        """Cut, mount the copy, look.

        Returns:
            Whether the publisher goes on, and what is wrong.
        """
        self._site.look("client")
        time.sleep(chance.random() * _LONGEST)
        os.kill(worker, signal.SIGSTOP)
        goes_on = os.WIFSTOPPED(os.waitpid(worker, os.WUNTRACED)[1])
        copy = self._scratch / "cut.img"
        subprocess.run(["cp", "--sparse=always", str(self._image), str(copy)], check=True)
        said = os.pread(acknowledged, 100_000, 0).split()
        if goes_on:
            os.kill(worker, signal.SIGCONT)
        last = int(said[-1]) if said else -1
        with mounted(copy, self._scratch / "cut") as at:
            found = Faulty(at / "site", self._site.ceremony)
            try:
                return goes_on, self._after(found, last)
            except Exception:  # noqa: BLE001  -- whatever it is, it is what is looked for
                return goes_on, [f"after crate-{last}: {traceback.format_exc(limit=-3)}"]

    def _after(self, found: Faulty, last: int) -> list[str]:
        shutil.rmtree(found.folder / "client", ignore_errors=True)
        shutil.copytree(self._scratch / "client", found.folder / "client")
        lost = [number for number in range(last + 1) if not found.versions_of(f"crate-{number}")]
        wrong = [f"crate-{lost[0]} had been acknowledged, with all up to {last}, and is lost"] if lost else []
        found.look("client")
        found.again()
        found.sound()
        found.look("client")
        return wrong


class Watched(Faulty):
    """Its client's memory lies on another machine."""

    def look(self, name: str) -> None:
        away = Faulty(self.folder, self.ceremony)
        away.mirror, away.folder = self.mirror, self.folder.parents[1]
        away.look(name)


def round_of(cuts: int, chance: random.Random, scratch: Path, *, waits_for_disk: bool) -> tuple[int, int]:
    """Publish on a new file system, and cut it until the publisher has ended."""
    image = scratch / "live.img"
    with image.open("wb") as file:
        file.truncate(_SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    done = bad = 0
    with mounted(image, scratch / "live") as at:
        site = Watched(at / "site", make_ceremony(bit_length=2, now=now_in_seconds()))
        site.folder.mkdir()
        shutil.rmtree(scratch / "client", ignore_errors=True)
        site.make()
        os.sync()
        said = scratch / "said"
        said.write_bytes(b"")
        acknowledged = os.open(said, os.O_RDWR | os.O_APPEND)
        worker = os.fork()
        if worker == 0:
            try:
                work(site, acknowledged, waits_for_disk=waits_for_disk)
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(1)
        goes_on = True
        while done < cuts and goes_on:
            goes_on, wrong = Cut(site, image, scratch).look(chance, worker, acknowledged)
            done, bad = done + 1, bad + bool(wrong)
            for line in wrong:
                print(f"  {line}", flush=True)
        if goes_on:
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
        os.close(acknowledged)
    return done, bad


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without-fsync", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("error: a file system can be mounted by root only")
    chance, done, bad, begun = random.Random(options.seed), 0, 0, time.monotonic()
    while done < options.cuts:
        with tempfile.TemporaryDirectory() as scratch:
            some, wrong = round_of(options.cuts - done, chance, Path(scratch), waits_for_disk=not options.without_fsync)
        done, bad = done + some, bad + wrong
        print(f"{done:,} cuts, {bad} wrong; {time.monotonic() - begun:.0f} s", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
