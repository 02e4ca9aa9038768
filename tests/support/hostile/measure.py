"""What one input costs whoever reads it: processor time and memory, in a process of its own."""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SECONDS_PER_MB = 0.2
MEMORY_PER_MB = 50.0
"""Megabytes beside the input itself."""

REFERENCE = 4.0
"""Nanoseconds in which the machine that the bounds were made on inflates a byte of text, when nobody else is on it."""
_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Hostile:
    """A kind of input.

    Attributes:
        name: What it is.
        make: Bytes of it, about as many as are asked for.
        read: Reads them, as carnet does; refusing them is fine.
    """

    name: str
    make: Callable[[int], bytes]
    read: Callable[[bytes], object]


@dataclass(frozen=True)
class Cost:
    """What reading an input came to.

    Attributes:
        name: Of the input.
        megabytes: How large it was.
        seconds: Processor time for each megabyte, of the user's and of the system's, children's with it; on a machine
            that is slower than that of the bounds, or shared, the time that it would have taken there.
        memory: Megabytes of memory at the peak, beyond the process with the input in its hand, for each megabyte.
        outcome: What the reader said.
    """

    name: str
    megabytes: float
    seconds: float
    memory: float
    outcome: str

    def within(self, tolerance: float = 1.0) -> bool:
        """Whether it is within the bounds, or `tolerance` times them."""
        return self.seconds <= SECONDS_PER_MB * tolerance and self.memory <= MEMORY_PER_MB * tolerance


def measure(module: str, name: str, size: int, *, rounds: int = 1) -> Cost:
    """Measure one input of a module's `INPUTS`.

    Args:
        module: Such as `tests.support.hostile.documents`.
        name: Of the input.
        size: Its bytes.
        rounds: How often; the least of the times counts, which is the input's and not what else the machine does.
    """
    command = [sys.executable, "-m", "tests.support.hostile.measure", module, name, str(size)]
    done = [
        json.loads(subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True, timeout=600).stdout)
        for _ in range(rounds)
    ]
    slower = max(1.0, min(each["speed"] for each in done) / REFERENCE)
    seconds = min(each["seconds"] for each in done) / slower
    return Cost(name, done[0]["megabytes"], seconds, max(each["memory"] for each in done), done[0]["outcome"])


def inputs(module: str) -> Iterator[Hostile]:
    """The inputs of a module."""
    yield from importlib.import_module(module).INPUTS


def _resident(what: str) -> float:
    """Megabytes, from the kernel's account of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(f"/proc/self/status has no {what}")


def _processor_time() -> float:
    """Seconds of this process and of the children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def speed() -> float:
    """Nanoseconds in which this machine inflates a byte of text: the least of several, as it is of what is measured."""
    chosen = random.Random(1)
    words = [bytes(chosen.choices(b"abcdefghijklmnopqrstuvwxyz_", k=chosen.randint(2, 9))) for _ in range(400)]
    text = b" ".join(chosen.choices(words, k=90_000))
    packed = zlib.compress(text)
    taken = []
    for _ in range(30):
        started = time.process_time_ns()
        zlib.decompress(packed)
        taken.append(time.process_time_ns() - started)
    return min(taken) / len(text)


def _main(module: str, name: str, size: int) -> None:
    hostile = next(each for each in inputs(module) if each.name == name)
    hostile.read(hostile.make(1000))  # what is imported once, and not for each input
    data = hostile.make(size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = _resident("VmRSS")
    started = _processor_time()
    outcome = str(hostile.read(data))
    seconds = _processor_time() - started
    megabytes = len(data) / 1e6
    found = {"megabytes": megabytes, "seconds": seconds / megabytes, "outcome": outcome[:100]}
    found["memory"] = max(0.0, _resident("VmHWM") - before) / megabytes
    print(json.dumps(found | {"speed": speed()}))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
