"""Measures what the strict reader and the index comparison say about popular crates of the public registry.

    python -m tests.integration.compatibility [CARGO_HOME]

Cargo locks and fetches the trees of the crates in popular-crates.txt (the newest versions of 246, versions of 77 from
before 2022, and three that weigh little for what they bring) into a scratch home of about 260 MB; give a CARGO_HOME to
keep it for the next run. Then every tarball is read and compared with its index line. docs/compatibility.md keeps the
figures.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.support.crates.corpus import examine, fetch

LIST = Path(__file__).with_name("popular-crates.txt")
TOGETHER = 40


def main() -> None:
    """Fetch, examine, print."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(sys.argv[1] if len(sys.argv) > 1 else f"{scratch}/home").absolute()
        projects = Path(scratch) / "projects"
        left_out: list[str] = []
        listed = [line.partition("@") for line in LIST.read_text().split()]
        newest = [f'{name} = "*"' for name, _, version in listed if not version]
        for start in range(0, len(newest), TOGETHER):
            left_out += fetch(home, projects / f"new{start}", newest[start : start + TOGETHER])
        for name, _, version in listed:
            if version:
                left_out += fetch(home, projects / f"{name}-{version}", [f'{name} = "{version}"'])
        begun = time.monotonic()
        findings = examine(home)
        print(dict(findings.counts), f"in {time.monotonic() - begun:.1f} s")
        print("could not be resolved:", ", ".join(left_out) or "none")
        print("refused:", sum(map(len, findings.refused.values())))
        for note, crates in sorted(findings.notes.items(), key=lambda item: -len(item[1])):
            names = Counter(crates)
            print(f"{len(names):5} {note}: {', '.join(list(names)[:5])}")


if __name__ == "__main__":
    main()
