"""What hostile input costs whoever reads it, against the bounds: 0.2 s of processor time and 50 MB for each megabyte.

Each input is read in a process of its own; what is imported once, and the input itself, do not count. Beside each the
same process inflates an honest text: times are those of a machine that takes `REFERENCE` for it, so that neither a slow
machine nor a busy one decides. The exit status is 1 when one of them is above a bound.

    python benchmarks/hostile.py [--megabytes 1 10] [--rounds 3] [--only gzip]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.hostile.measure import MEMORY_PER_MB, REFERENCE, SECONDS_PER_MB, inputs, measure, speed  # noqa: E402

MODULES = tuple(f"tests.support.hostile.{name}" for name in ("documents", "archives", "answers", "git_objects"))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[1.0, 10.0], help="of each input")
    parser.add_argument("--rounds", type=int, default=3, help="of which the least time counts")
    parser.add_argument("--only", default="", help="a part of the names of the inputs")
    asked = parser.parse_args()
    above = 0
    print(f"this machine takes {speed():.2f} ns for a byte of text, that of the bounds {REFERENCE:.2f} ns")
    print(f"{'':52} {'MB':>6} {'s/MB':>7} {'MB/MB':>7}   at most {SECONDS_PER_MB} s and {MEMORY_PER_MB:.0f} MB")
    for module in MODULES:
        for hostile in inputs(module):
            for megabytes in asked.megabytes if asked.only in hostile.name else ():
                cost = measure(module, hostile.name, int(megabytes * 1e6), rounds=asked.rounds)
                verdict = "ok" if cost.within() else "ABOVE"
                above += not cost.within()
                numbers = f"{cost.megabytes:6.1f} {cost.seconds:7.3f} {cost.memory:7.1f}"
                print(f"{cost.name:52} {numbers}   {verdict:5}  {cost.outcome[:60]}", flush=True)
    print(f"{above} above a bound" if above else "none above a bound")
    return min(above, 1)


if __name__ == "__main__":
    sys.exit(main())
