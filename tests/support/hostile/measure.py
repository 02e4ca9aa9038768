"""What one input costs whoever reads it: processor time and memory, in a process of its own."""

from __future__ import annotations

import importlib
import json
import os
import random
import resource
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

SECONDS_PER_MB = 0.2
MEMORY_PER_MB = 50.0
"""Megabytes beside the input itself."""

REFERENCE = 4.0
"""Nanoseconds in which the machine that the bounds were made on inflates a byte of text, when nobody else is on it."""
A_CHILD = 15.0
"""Megabytes that git takes to read a commit of one small file: once, and not for each input."""
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
        memory: Megabytes of memory at the peak, beyond the process with the input in its hand, for each megabyte; that
            of the largest child with it.
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
        rounds: How often it is read, at most: again as long as it is above a bound. The least of the times counts,
            which is the input's and not what else the machine does; of memory the most.
    """
    command = [sys.executable, "-m", "tests.support.hostile.measure", module, name, str(size), str(rounds)]
    found = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True, timeout=900).stdout
    return Cost(**json.loads(found))


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


def _main(module: str, name: str, size: int, rounds: int) -> None:
    hostile = next(each for each in inputs(module) if each.name == name)
    hostile.read(hostile.make(1000))  # what is imported once, and not for each input
    data = hostile.make(size)
    best: Cost | None = None
    for _ in range(rounds):
        cost = _in_a_process_of_its_own(lambda: _cost(hostile, data))
        if best is not None:
            cost = replace(cost, seconds=min(cost.seconds, best.seconds), memory=max(cost.memory, best.memory))
        best = cost
        if cost.within():
            break
    print(json.dumps(asdict(best) if best is not None else {}))


def _in_a_process_of_its_own(measured: Callable[[], Cost]) -> Cost:
    """Let a copy of this process, which has the input in its hand, measure it: what reads it finds nothing warm."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(writing, json.dumps(asdict(measured())).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        found = stream.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, "it could not be measured"
    return Cost(**json.loads(found))


def _cost(hostile: Hostile, data: bytes) -> Cost:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = _resident("VmRSS")
    started = _processor_time()
    outcome = str(hostile.read(data))
    seconds = _processor_time() - started
    megabytes = len(data) / 1e6
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    memory = max(0.0, _resident("VmHWM") - before) + max(0.0, children - A_CHILD)
    slower = max(1.0, speed() / REFERENCE)
    return Cost(hostile.name, megabytes, seconds / megabytes / slower, memory / megabytes, outcome[:100])


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
