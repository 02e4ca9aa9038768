"""What a mirror does, with one system call after another going wrong: what `make faults` does.

    python tests/faults/run.py [--stride N] [--from N] [WORK...]

Each work is done once to count its calls. Then, for each call and each fault, it is done on a copy of the same mirror,
in a child in which that call fails: the process is killed there, the disk fails once, is full from then on, or takes
half of a write. What has to hold after that says `tests/faults/works.py`. One line for each work; the exit status says
whether all is well.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults.calls import FAULTS, Fault, arm, disarm, preloaded
from tests.faults.works import WORKS, Faulty, Work, template

from carnet.errors import CarnetError

DONE, REFUSED, BROKE = 0, 3, 4


def point(work: Work, made: Faulty, folder: Path, number: int, fault: Fault) -> tuple[str, list[str]]:
    """Let one call go wrong, and look at what is left.

    Args:
        work: What is done.
        made: What it is done to a copy of.
        folder: Where.
        number: The call's.
        fault: What goes wrong there.

    Returns:
        How the child ended, and what is wrong.
    """
    site = copy(made, folder)
    said = folder / "said"
    child = os.fork()
    if child == 0:
        _child(work, site, said, number, fault)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    wrong = []
    if status == BROKE:
        wrong.append(said.read_text().strip())
    elif status not in (DONE, REFUSED, -9):
        wrong.append(f"it ended with {status}")
    try:
        wrong += _look(work, site, acknowledged=status == DONE)
    except Exception:  # noqa: BLE001  -- whatever it is, it is what is looked for
        wrong.append(traceback.format_exc(limit=-4))
    finally:
        shutil.rmtree(folder)
    return {DONE: "done", REFUSED: "refused", -9: "killed"}.get(status, "broke"), wrong


def copy(made: Faulty, folder: Path) -> Faulty:
    """The same mirror somewhere else."""
    shutil.copytree(made.folder, folder)
    return Faulty(folder, made.ceremony)


def _child(work: Work, site: Faulty, said: Path, number: int, fault: Fault) -> None:
    status, text = BROKE, "nothing was said"
    try:
        arm(number, fault)
        work.do(site)
        status = DONE
    except CarnetError as error:
        status, text = (BROKE, f"more than a line: {error}") if "\n" in str(error) else (REFUSED, str(error))
    except BaseException:  # noqa: BLE001  -- a child must not go on as its parent
        text = traceback.format_exc(limit=-6)
    finally:
        disarm()
        if status == BROKE:
            said.write_text(text)
        os._exit(status)


def _look(work: Work, site: Faulty, *, acknowledged: bool) -> list[str]:
    wrong = []
    if work.keeps_mirror:
        site.sound()
        site.look("client")
        if acknowledged and not work.is_done(site):
            wrong.append("it said that it was done, and it is not")
    if not (acknowledged or (work.once and work.keeps_mirror and work.is_done(site))):
        work.do(site)
    if not work.is_done(site):
        wrong.append("done again, it is not done")
    site.sound()
    site.look("client")
    return wrong


def walk(name: str, scratch: Path, first: int, stride: int) -> tuple[int, int]:
    """Each call of a work and each fault; says how many points there were and how many went wrong."""
    work = WORKS[name]
    made = template(work, scratch / "template")
    assert not (work.keeps_mirror and work.is_done(made)), f"{name} is done before it is begun"
    site = copy(made, scratch / "counted")
    arm(0)
    work.do(site)
    calls = disarm()
    assert work.is_done(site), f"{name} does not do what it is for"
    begun, ends, bad = time.monotonic(), Counter[str](), 0
    for number in range(first, calls + 1, stride):
        for fault in FAULTS:
            how, wrong = point(work, made, scratch / "point", number, fault)
            ends[how] += 1
            bad += bool(wrong)
            for line in wrong:
                print(f"  {name}, call {number} of {calls}, {fault.name}, {how}: {line}", flush=True)
    points = sum(ends.values())
    told = ", ".join(f"{count} {how}" for how, count in sorted(ends.items()))
    print(
        f"{name}: {calls} calls, {points:,} points: {told}; {bad} wrong; {time.monotonic() - begun:.0f} s", flush=True
    )
    return points, bad


def inside(options: argparse.Namespace) -> int:
    """All of it, with the library preloaded."""
    points = bad = 0
    for name in options.works or WORKS:
        with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
            some, wrong = walk(name, Path(scratch), options.first, options.stride)
            points, bad = points + some, bad + wrong
    print(f"{points:,} points, {bad} wrong")
    return 1 if bad or not points else 0


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", metavar="WORK", choices=[*WORKS, []])
    parser.add_argument("--stride", type=int, default=1, help="take every Nth call")
    parser.add_argument("--from", type=int, default=1, dest="first", help="begin with this call")
    parser.add_argument("--folder", type=Path, help="where it is done; one in memory is quicker")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return inside(options)
    with tempfile.TemporaryDirectory() as scratch:
        process = preloaded([sys.executable, __file__, "--inside", *sys.argv[1:]], Path(scratch))
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
        return process.wait()


if __name__ == "__main__":
    sys.exit(main())
