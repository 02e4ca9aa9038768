"""Measures what carnet says about the lock files of real projects, and about every crate that they lock.

    python -m tests.integration.real_locks CARGO_HOME LOCK...

Each lock is read. Then cargo fetches what it locks into CARGO_HOME, one lock at a time and exactly the locked versions:
yanked ones, those of other platforms and old ones too. Crates whose manifest the cargo of today does not read stop it:
they are read by carnet all the same, and cargo goes on without them. Then every tarball is read, and compared with its
index line. docs/compatibility.md says which locks were taken, and keeps the figures.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.support.crates.corpus import Weight, examine

from carnet.cargo.lockfile import LockedPackage, read_lockfile
from carnet.errors import CarnetError
from carnet_mirror.upstream.cargo import write_project

_UNREADABLE = re.compile(r"registry/src/[^/]+/([^/]+)/Cargo\.toml")
_TRIES = 12


def main() -> None:
    """Read locks, fetch, examine, print."""
    home, *paths = map(Path, sys.argv[1:])
    locks: dict[Path, Sequence[LockedPackage]] = {}
    versions: Counter[int] = Counter()
    for path in paths:
        try:
            lock = read_lockfile(path.read_bytes(), path.name)
        except CarnetError as refusal:
            print(f"refused: {refusal}")
            continue
        versions[lock.version] += 1
        locks[path] = lock.registry_packages
    pinned = {package.id for packages in locks.values() for package in packages}
    print(f"{len(locks)} locks of {len(paths)} read, by version {dict(sorted(versions.items()))}; {len(pinned)} crates")
    for path, packages in locks.items():
        print(path.name, _fetch(home.absolute(), packages) or "fetched")
    findings = examine(home)
    print(dict(findings.counts))
    print("refused:", sum(map(len, findings.refused.values())))
    for note, crates in sorted(findings.notes.items(), key=lambda item: -len(item[1])):
        print(f"{len(set(crates)):5} {note}: {', '.join(list(dict.fromkeys(crates))[:5])}")
    for what, key in (("inflates", Weight.unpacked_share), ("has files and folders", Weight.entries_share)):
        print(f"what {what} most for its size, as a share of what is allowed:")
        for weight in sorted(findings.weights, key=key, reverse=True)[:5]:
            print(f"  {key(weight):.0%} {weight}")


def _fetch(home: Path, packages: Sequence[LockedPackage]) -> str:
    """Let cargo fetch exactly these; returns what it could not do without, or went on without."""
    environment = os.environ | {"CARGO_HOME": str(home), "CARGO_TERM_COLOR": "never"}
    left_out: list[str] = []
    for _ in range(_TRIES):
        with tempfile.TemporaryDirectory() as scratch:
            project = Path(scratch) / "project"
            write_project(project, [package for package in packages if package.id.stem not in left_out])
            command = ["cargo", "fetch", "--quiet", "--manifest-path", str(project / "Cargo.toml")]
            done = subprocess.run(
                command, cwd="/", env=environment, capture_output=True, text=True, check=False, timeout=1800
            )
        unreadable = _UNREADABLE.search(done.stderr)
        if done.returncode == 0:
            break
        if unreadable is None or unreadable[1] in left_out:
            return f"not fetched whole: {' '.join(done.stderr.split())[:200]}"
        left_out.append(unreadable[1])
    return f"fetched; cargo does not read {', '.join(left_out)}" if left_out else ""


if __name__ == "__main__":
    main()
