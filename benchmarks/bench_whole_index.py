"""A whole index, listed: time, memory and disk of the first run, of one without and of one with few changes.

`make bench-index` makes an index of 250,000 names by itself, never asks a registry, and takes it away again.
NAMES=20000 for a smaller one.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.worlds.ceremony import make_ceremony

from carnet.cargo.names import CrateName
from carnet.tuf.paths import index_prefix
from carnet_cli.terminal.output import counting
from carnet_mirror.state.store import Store
from carnet_mirror.sync.whole_index import Listed, list_whole_index
from carnet_mirror.upstream.index_folder import IndexFolder
from carnet_signer.metadata.publish import publish

_LINE = (
    '{{"name":"{name}","vers":"0.{version}.0","deps":[{{"name":"{other}","req":"^0.1","features":[],"optional":false,'
    '"default_features":true,"target":null,"kind":"normal"}},{{"name":"serde","req":"^1.0","features":["derive"],'
    '"optional":true,"default_features":false,"target":null,"kind":"normal"}}],"cksum":"{digest:064x}",'
    '"features":{{"default":["std"],"std":[]}},"yanked":false,"pubtime":"2024-05-01T12:00:00Z"}}\n'
)


def synthetic_index(folder: Path, names: int, versions: float, seed: int = 1) -> int:
    """Write an index of so many names with so many versions on average; returns how many lines it has."""
    chance = random.Random(seed)
    syllables = [a + b for a in "bcdfghklmnprstvz" for b in "aeiou"]
    lines = 0
    for number in range(names):
        name = "".join(chance.choice(syllables) for _ in range(3)) + f"-{number:x}"
        path = folder / index_prefix(CrateName(name))
        path.mkdir(parents=True, exist_ok=True)
        count = 1 + int(chance.expovariate(1 / max(versions - 0.5, 0.1)))
        lines += count
        (path / name).write_text(
            "".join(
                _LINE.format(name=name, version=version, other=f"dep-{number % 977}", digest=chance.getrandbits(256))
                for version in range(count)
            )
        )
    return lines


def size_of(folder: Path) -> int:
    """Bytes that the files of a folder take on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def timed(label: str, work: Callable[[], Listed]) -> None:
    """Run it, and print what it cost."""
    wall, cpu = time.perf_counter(), time.process_time()
    listed = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{label}: {wall:.1f} s, {cpu:.1f} s CPU, at most {memory:.0f} MB of memory so far; read {listed.read:,} of "
        f"{listed.files:,} files, {listed.added:,} added, {listed.updated:,} updated",
        flush=True,
    )


def main() -> None:
    """Make the index, and list it three times."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--names", type=int, default=250_000)
    parser.add_argument("--versions", type=float, default=8.0, help="of a name, on average")
    parser.add_argument("--bits", type=int, default=14, help="2 to the power of this many bins")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="carnet-index-") as place:
        folder, directory = Path(place) / "index", Path(place) / "mirror"
        lines = synthetic_index(folder, options.names, options.versions)
        print(f"{options.names:,} names, {lines:,} lines, {size_of(folder) / 1e6:.0f} MB on the disk", flush=True)
        now = datetime.now(UTC).replace(microsecond=0)
        ceremony = make_ceremony(bit_length=options.bits, now=now)
        signer = ceremony.signer()
        with Store.create(directory) as store:
            with store.change():
                publish(store, signer, ceremony.change, now=now)
            time.sleep(2.5)  # what was just written is read again

            def run() -> Listed:
                index = IndexFolder(folder, directory)
                return list_whole_index(store, signer, index, now=now, progress=counting)

            timed("first run", run)
            print(f"the mirror: {size_of(directory) / 1e6:.0f} MB on the disk", flush=True)
            timed("nothing changed", run)
            changed = sorted(folder.rglob("*-*"))[:: max(1, options.names // 100)][:100]
            for path in changed:
                path.write_text(path.read_text().replace('"yanked":false', '"yanked":true'))
            timed("100 crates yanked", run)
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
