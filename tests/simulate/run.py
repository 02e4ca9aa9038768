"""Three years of mirrors that are run in several ways: what `make simulate` does.

    python tests/simulate/run.py [--seed N] [--years N] [WORDS of a life's name...]

Nobody may be refused but where the holders were late, no bin may miss its turn, everybody was told ahead, and what lies
on the disk is bounded by what was published within the time that it is kept. With `--years`, lives end earlier.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.simulate.years import DAY, Life, Outcome, Simulation

from carnet_mirror.state.disk import LEAST_KEEP
from carnet_signer.metadata.due import MISSED

LIVES = (
    Life("idle"),
    Life("a publish every eleven hours", gaps=lambda chance: timedelta(hours=11)),
    Life("busy", gaps=lambda chance: timedelta(hours=chance.uniform(0.1, 8))),
    Life("bursts", gaps=lambda chance: timedelta(hours=chance.choice((0.01, 0.01, 0.01, 90)))),
    Life(
        "a publish every two minutes",
        gaps=lambda chance: timedelta(minutes=2),
        years=6 / 365,
        crates=97,
        keep=LEAST_KEEP,
        most_kept=LEAST_KEEP // timedelta(minutes=2) + 48,
    ),
    Life("away for 2 days", away=(100 * DAY, 2 * DAY), gaps=lambda chance: timedelta(hours=chance.uniform(1, 40))),
    Life("away for 100 days", away=(100 * DAY, 100 * DAY), gaps=lambda chance: timedelta(hours=chance.uniform(1, 40))),
    Life("away for 740 days", away=(100 * DAY, 740 * DAY)),
    Life("holders five days late", holders=-5 * DAY),
    Life("16,384 bins, idle", bit_length=14, years=1, reads_every=10 * DAY),
    Life("16,384 bins, away for 100 days", bit_length=14, away=(50 * DAY, 100 * DAY), years=0.6, reads_every=10 * DAY),
)


def faults(life: Life, outcome: Outcome) -> list[str]:
    """What may not be."""
    found = [f"refused on {when:%Y-%m-%d %H:%M}: {error}" for when, error in outcome.unexplained()[:3]]
    if outcome.youngest <= MISSED - DAY:
        found.append(f"a bin had {outcome.youngest} left")
    if life.most_kept is not None and outcome.snapshots > life.most_kept:
        found.append(f"{outcome.snapshots:,} snapshots lay there, and {life.most_kept:,} at most were to")
    if life.holders < timedelta(0) and not outcome.refused:
        found.append("nobody noticed that the holders were late")
    stages = {days for role, days in outcome.told if role == "targets"}
    if life.holders < timedelta(0) and len(stages) < 4:
        found.append(f"told only {sorted(stages)} days ahead")
    return found


def main() -> int:
    """Simulate, print a line for each life; the exit status says whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--years", type=float, default=10.0)
    options = parser.parse_args()
    bad = 0
    for whole in LIVES:
        if not all(word in whole.name for word in options.words):
            continue
        begun = time.monotonic()
        least = 0.0 if whole.away is None else sum(whole.away, 30 * DAY) / (365 * DAY)
        life = replace(whole, years=min(whole.years, max(options.years, least)))
        with tempfile.TemporaryDirectory() as folder:
            outcome = Simulation(life, Path(folder), options.seed).run()
        print(
            f"{life.name}: {outcome.publishes:,} publishes, at most {outcome.most_bins} bins in one, "
            f"{outcome.youngest.days} days left at least, {outcome.looks:,} looks, {len(outcome.refused)} refused, "
            f"{outcome.size / 1e6:,.0f} MB, at most {outcome.snapshots:,} snapshots, {time.monotonic() - begun:.0f} s",
            flush=True,
        )
        for fault in faults(life, outcome):
            bad += 1
            print(f"  {fault}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
