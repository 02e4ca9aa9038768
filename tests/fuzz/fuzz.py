"""Fuzzing: only errors of carnet's leave a reader, and no input costs more than its size allows.

    python -m tests.fuzz.fuzz [--inputs N] [--seconds S] [--seed N] [--state FOLDER] [TARGET...]
    python -m tests.fuzz.fuzz --replay FILE...

Inputs depend on the seed, the target and a number alone, so a run that was stopped goes on where it was. What failed is
written to `FOLDER/failed/TARGET/`, with what happened beside it, and can be replayed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import json
import resource
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from zlib import crc32

from tests.fuzz.mutate import Dice
from tests.fuzz.targets import TARGETS
from tests.fuzz.worlds import Target

from carnet.errors import CarnetError, StorageError
from carnet.lock import locked

BATCH, AT_MOST = 2_000, 0.5
"""Inputs of one target before it is another one's turn, and seconds of CPU after which it is anyway."""
SAVED = 10.0
"""Seconds between two looks at the totals: what was read since the last one is read again after a crash."""
FLOOR, PER_BYTE = 0.05, 0.2 / 1e6
"""Seconds of CPU that any input, and each byte of it, may cost."""
LONGEST = 2_000
SLOW_MACHINE = 2.0
"""How much slower than the machine that the bound is for the present one may be."""
YARDSTICK, QUIET = 500_000, 0.008
"""Numbers that are added up, and the seconds of CPU that it takes on that machine while nobody else uses it."""


@dataclass
class Total:
    """What was done with one target."""

    inputs: int = 0
    taken: int = 0
    failed: int = 0
    """Inputs that failed when they were read, mended since or not."""
    seconds: float = 0.0
    worst: float = 0.0
    """The largest share of its bound that an input cost."""


class Failure(Exception):  # noqa: N818
    """What an input did that none may do; its text says where."""


def judge(target: Target, data: bytes) -> tuple[bool, float]:
    """Read one input.

    Returns:
        Whether it was taken, and which share of the CPU time that it may cost it did.

    Raises:
        Failure: Another error than carnet's left the reader, or it cost too much, four times.
    """
    allowed = max(FLOOR, PER_BYTE * (len(data) + target.beside)) * SLOW_MACHINE
    cost = 60.0
    for again in range(4):
        # Who else uses the machine, and its caches, is no fault of an input.
        busy = max(1.0, yardstick() / QUIET / SLOW_MACHINE) if again else 1.0
        begin = time.thread_time()
        taken = True
        try:
            target.read(data)
        except CarnetError as error:
            taken = False
            if len(str(error)) > LONGEST:
                raise Failure(f"an error of more than {LONGEST} characters") from error
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = next(
                (f for f in reversed(traceback.extract_tb(error.__traceback__)) if "/carnet" in f.filename), frame
            )
            raise Failure(
                f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno} {where.name}"
            ) from error
        cost = min(cost, (time.thread_time() - begin) / busy)
        if cost < allowed:
            return taken, cost / allowed
    raise Failure(f"{cost:.2f} s of CPU for {len(data)} bytes")


def yardstick() -> float:
    """The CPU time that a piece of work takes now whose size never changes."""
    begin = time.thread_time()
    sum(range(YARDSTICK))
    return time.thread_time() - begin


def one_input(target: Target, seeds: Sequence[bytes], seed: int, name: str, number: int) -> bytes:
    """The input of that number: the same one in every run with that seed."""
    return target.mutator(Dice(crc32(name.encode()) << 96 | seed << 64 | number), seeds)


def run_batch(name: str, total: Total, seed: int, failed: Path | None, *, size: int = BATCH) -> None:
    """Read the next inputs of a target; what fails is kept in a folder, or raised when there is none."""
    target = TARGETS[name]
    seeds = target.seeds()
    begin = time.thread_time()
    for number in range(total.inputs, total.inputs + size):
        data = one_input(target, seeds, seed, name, number)
        total.inputs += 1
        try:
            taken, share = judge(target, data)
        except Failure as failure:
            total.failed += 1
            if failed is None:
                raise Failure(f"{name}, seed {seed}, input {number}: {failure}") from failure
            keep(failed / name, data, failure)
        else:
            total.taken += taken
            total.worst = max(total.worst, share)
        if failed is not None and number % 16 == 0 and time.thread_time() - begin > AT_MOST:
            break
    total.seconds += time.thread_time() - begin


def keep(folder: Path, data: bytes, failure: Failure) -> None:
    """Write an input that failed, one for each way of failing."""
    stem = hashlib.sha256(str(failure).encode()).hexdigest()[:16]
    place = folder / stem
    if not place.exists() or len(data) < place.stat().st_size:
        folder.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        text = f"{failure}\n\n{''.join(traceback.format_exception(failure.__cause__))}"
        (folder / f"{stem}.txt").write_text(text[-20_000:], errors="backslashreplace")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description="Fuzz what reads foreign input.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all when none is named")
    parser.add_argument("--inputs", type=int, default=10_000_000, help="in all, over every run with this folder")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", type=Path, default=Path("fuzz"), help="where a run is remembered")
    parser.add_argument("--replay", nargs="+", type=Path, metavar="FILE", help="read files again: TARGET/FILE")
    options = parser.parse_args(arguments)
    if options.replay:
        return replay(options.replay)
    unknown = sorted(set(options.targets) - TARGETS.keys())
    if unknown:
        parser.error(f"there is no target {unknown[0]}")
    # What a shell starts in the background ignores SIGINT; either signal ends a run, and what was read is counted.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    options.state.mkdir(parents=True, exist_ok=True)
    busy = StorageError(f"another run remembers what it read in {options.state}", hint="end it, or choose --state")
    try:
        with locked(options.state / "lock", timeout=0, busy=busy):
            totals = run(options.targets or list(TARGETS), options)
    except StorageError as error:
        parser.error(f"{error}; {error.hint}")
    show(totals, options)
    return 1 if any((options.state / "failed").rglob("*.txt")) else 0


def run(names: Sequence[str], options: argparse.Namespace) -> dict[str, Total]:
    """Give each target the same CPU time, until there were enough inputs."""
    memory = options.state / f"seed-{options.seed}.json"
    known = json.loads(memory.read_text()) if memory.exists() else {}
    totals = {name: Total(**known.get(name, {})) for name in TARGETS}
    print(f"seed {options.seed}; remembered in {memory}", flush=True)
    forget_mended(options.state / "failed")
    for name in names:
        TARGETS[name].seeds()
    gc.freeze()  # a registry's files and all modules are no garbage, and are not looked through again and again
    end, saved = time.monotonic() + options.seconds, time.monotonic()
    try:
        while sum(total.inputs for total in totals.values()) < options.inputs and time.monotonic() < end:
            name = min(names, key=lambda name: totals[name].seconds)
            run_batch(name, totals[name], options.seed, options.state / "failed")
            if time.monotonic() > saved + SAVED:
                saved = time.monotonic()
                save(memory, totals)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
    save(memory, totals)
    return totals


def save(memory: Path, totals: Mapping[str, Total]) -> None:
    """Put the totals in the place of those before, whole or not at all."""
    new = memory.with_suffix(".new")
    new.write_text(json.dumps({name: asdict(total) for name, total in totals.items()}))
    new.replace(memory)


def forget_mended(failed: Path) -> None:
    """Read what failed before again, and forget what the present code reads as it should."""
    for text in failed.rglob("*.txt"):
        place = text.with_suffix("")
        with contextlib.suppress(Failure):
            if place.parent.name in TARGETS:
                judge(TARGETS[place.parent.name], place.read_bytes())
                place.unlink()
                text.unlink()


def show(totals: dict[str, Total], options: argparse.Namespace) -> None:
    """Print a table, and how what failed is read again."""
    print(f"{'target':14} {'inputs':>10} {'a second':>9} {'taken':>6} {'worst cost':>10} {'failed':>7}")
    for name, total in totals.items():
        if total.inputs:
            rate, taken = total.inputs / (total.seconds or 1), total.taken / total.inputs
            print(f"{name:14} {total.inputs:10,} {rate:9,.0f} {taken:6.0%} {total.worst:10.0%} {total.failed:7,}")
    everything = sum(total.inputs for total in totals.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    kept = sorted((options.state / "failed").rglob("*.txt"))
    print(f"{everything:,} inputs, {len(kept):,} ways to fail that are not mended, {peak:.0f} MB at most")
    for place in kept:
        print(f"  {place.read_text().splitlines()[0]}\n    python -m tests.fuzz.fuzz --replay {place.with_suffix('')}")


def replay(places: Sequence[Path]) -> int:
    """Read files again, each with the target that its folder is named for."""
    failed = 0
    for place in places:
        try:
            taken, share = judge(TARGETS[place.parent.name], place.read_bytes())
            print(f"{place}: {'taken' if taken else 'refused'}, {share:.0%} of what it may cost")
        except Failure as failure:
            failed += 1
            traceback.print_exception(failure.__cause__ or failure)
            print(f"{place}: {failure}")
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
