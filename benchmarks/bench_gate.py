"""Time of `cargo carnet build` where nothing changed, beside plain cargo in the same rounds.

For each project a signed repository with all crates of its lock answers on loopback, from this process. The project is
built twice behind the gate, and once by plain cargo in a target folder of its own. Then the two take turns; what counts
is the processor time of each run, children included, and the time on the clock: the medians over the rounds. Then the
same again with crates of others published before each run of the gate's: a living registry moves its snapshot all the
time. Last, what the gate does in any case is measured for itself.

Crates come through the user's own cargo, once, into a CARGO_HOME of its own (`--cargo-home`). Without a project it
measures `examples/app`; a folder that has a `Cargo.lock`, such as the unpacked `bat-0.26.1.crate`, is another.

    python benchmarks/bench_gate.py [--rounds 10] [--publishes 20] [--write docs/measured.md] [PROJECT...]
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.crates.archives import honest_crate  # noqa: E402
from tests.support.machines.cargo import Machine  # noqa: E402
from tests.support.registries.signed import SignedRegistry  # noqa: E402

from carnet import VERSION  # noqa: E402
from carnet.cargo.lockfile import LockedPackage, read_lockfile  # noqa: E402

_MAIN = "from carnet_cli.start import cargo_main; cargo_main()"
_IMPORTS = "import carnet_cli.start, carnet_cli.commands.build.gated, carnet_gate.gate"
_BEGIN, _END = "<!-- benchmarks/bench_gate.py -->", "<!-- end of benchmarks/bench_gate.py -->"
_HEAD = """| packages | registry | gate, CPU | cargo, CPU | **over cargo, CPU** | gate, clock | cargo, clock |
| --- | --- | --- | --- | --- | --- | --- |"""
_OTHERS = """| packages | command | gate, CPU | cargo, CPU | **over cargo, CPU** |
| --- | --- | --- | --- | --- |"""
_PARTS = """| packages | files | Python, and carnet's modules | `cargo metadata`, for the project's place | a walk |
| --- | --- | --- | --- | --- |"""


@dataclass(frozen=True)
class Cost:
    """What one run took, in seconds.

    Attributes:
        cpu: Processor time, of it and of all that it started.
        clock: From its start to its end.
    """

    cpu: float
    clock: float


def run(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Cost:
    """Run a command that has to succeed."""
    with tempfile.TemporaryFile() as said:
        begun = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        clock = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            said.seek(0)
            raise SystemExit(f"error: {' '.join(command)}:\n{said.read().decode(errors='replace')[-3000:]}")
    return Cost(usage.ru_utime + usage.ru_stime, clock)


def tarballs(project: Path, packages: Sequence[LockedPackage], home: Path) -> list[bytes]:
    """Every crate that a project locks, through the user's own cargo."""
    environment = {**os.environ, "CARGO_HOME": str(home)}
    subprocess.run(["cargo", "fetch", "--locked", "--quiet"], cwd=project, env=environment, check=True)
    cached = {file.name: file for file in home.glob("registry/cache/*/*.crate")}
    return [cached[f"{package.id.stem}.crate"].read_bytes() for package in packages]


class Bench:
    """One project, built behind the gate and by plain cargo.

    Args:
        project: A folder with a `Cargo.lock`.
        folder: Where everything of it is done.
        options: Of the command line.
    """

    def __init__(self, project: Path, folder: Path, options: argparse.Namespace) -> None:
        packages = read_lockfile((project / "Cargo.lock").read_bytes()).registry_packages
        self.packages = len(packages)
        self.registry = SignedRegistry(bit_length=options.bit_length)
        self.registry.add(*tarballs(project, packages, options.cargo_home))
        self._copy = folder / "project"
        shutil.copytree(project, self._copy, ignore=shutil.ignore_patterns("target", ".cargo-ok"))
        self.machine = Machine(folder)
        # An installed program has its bytecode; one that may not write it would be compiled anew at every run.
        own = {name: value for name, value in self.machine.env().items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._gated = {name: value for name, value in own.items() if value}
        self._plain = {
            **self._gated,
            "CARGO_HOME": str(options.cargo_home),
            "CARGO_TARGET_DIR": str(folder / "plain"),
        }

    def gate(self, *command: str) -> Cost:
        return run([sys.executable, "-c", _MAIN, *(command or ("build",)), "--locked"], self._copy, self._gated)

    def cargo(self, *command: str) -> Cost:
        return run(["cargo", *(command or ("build",)), "--locked", "--offline"], self._copy, self._plain)

    def publish(self, count: int) -> None:
        """Publish so many crates of others, at once."""
        first = len(self.registry.index)
        self.registry.add(*(honest_crate(f"other-{first + number}", "1.0.0") for number in range(count)))

    def measured(self, rounds: int, publishes: int = 0) -> str:
        """A row: the medians of so many rounds, in which the two take turns, after so many publishes."""
        pairs = []
        for _ in range(rounds):
            if publishes:
                self.publish(publishes)
            pairs.append((self.gate(), self.cargo()))
        cpu, theirs = (median(pair[who].cpu for pair in pairs) for who in (0, 1))
        clock, their_clock = (median(pair[who].clock for pair in pairs) for who in (0, 1))
        over = median(mine.cpu - other.cpu for mine, other in pairs)
        times = f"{cpu:.2f} s | {theirs:.2f} s | **{over:.2f} s** | {clock:.2f} s | {their_clock:.2f} s"
        world = f"{publishes} crates of others" if publishes else "quiet"
        return f"| {self.packages} | {world} | {times} |"

    def others(self, rounds: int) -> list[str]:
        """A row for each of some commands that compile nothing, or one package: the medians of so many rounds."""
        name = tomllib.loads((self._copy / "Cargo.toml").read_text())["package"]["name"]
        rows = []
        for command in (["tree"], ["metadata", "--format-version", "1"], ["check", "-p", name]):
            for one in (self.gate, self.gate, self.cargo):
                one(*command)
            pairs = [(self.gate(*command), self.cargo(*command)) for _ in range(rounds)]
            cpu, theirs = (median(pair[who].cpu for pair in pairs) for who in (0, 1))
            over = median(mine.cpu - other.cpu for mine, other in pairs)
            rows.append(f"| {self.packages} | `{command[0]}` | {cpu:.2f} s | {theirs:.2f} s | **{over:.2f} s** |")
        return rows

    def parts(self, rounds: int) -> str:
        """A row: what the gate does in any case, and cannot do in less."""
        start = median(run([sys.executable, "-c", _IMPORTS], self._copy, self._gated).cpu for _ in range(rounds))
        metadata = ["cargo", "metadata", "--no-deps", "--format-version", "1", "--offline"]
        asked = median(run(metadata, self._copy, self._plain).cpu for _ in range(rounds))
        sources = [str(one) for one in self.machine.carnet_home.glob("cargo/*/home*/registry/src")]
        walks = [walk(sources) for _ in range(rounds)]
        floor = median(cost for cost, _ in walks)
        return f"| {self.packages} | {walks[0][1]:,} | {start:.2f} s | {asked:.2f} s | {floor:.2f} s |"


def walk(folders: Sequence[str]) -> tuple[float, int]:
    """The processor time of looking at each file below some folders, and how many there are."""
    begun, count, todo = time.process_time(), 0, list(folders)
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                entry.stat(follow_symlinks=False)
                count += 1
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
    return time.process_time() - begun, count


def measure(options: argparse.Namespace) -> Iterator[tuple[str, str, list[str], str]]:
    """Of each project the row of a quiet registry, that of a living one, those of other commands, that of its parts."""
    for project in options.projects:
        with tempfile.TemporaryDirectory() as scratch:
            bench = Bench(project.resolve(), Path(scratch).resolve(), options)
            with bench.registry.serving():
                bench.machine.trust(bench.registry.root, bench.registry.url)
                for one in (bench.gate, bench.gate, bench.cargo):
                    one()
                quiet = bench.measured(options.rounds)
                living = bench.measured(options.rounds, options.publishes)
                yield quiet, living, bench.others(options.rounds), bench.parts(options.rounds)


def machine() -> str:
    """On what it was measured, and how busy that was with other things."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cargo = subprocess.run(["cargo", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, carnet {VERSION}, {cargo}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.release()}, {os.cpu_count()} cores of "
        f"{models[0] if models else 'a processor'}, load {os.getloadavg()[0]:.1f} at the end"
    )


def write(file: Path, text: str, begin: str = _BEGIN, end: str = _END) -> None:
    """Put the figures where the last ones were."""
    before, _, rest = file.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"error: {file} has no place for these figures, between {begin} and {end}")
    file.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def main() -> None:
    """Measure, print the tables, and write them where that is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", nargs="*", type=Path, default=[ROOT / "examples" / "app"], metavar="PROJECT")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--publishes", type=int, default=20, help="crates of others, before each run of the gate's")
    parser.add_argument("--bit-length", type=int, default=14, help="the index has 2 to the power of this many bins")
    parser.add_argument("--cargo-home", type=Path, default=Path(tempfile.gettempdir()) / "carnet-benchmark-cargo")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the figures into this document")
    options = parser.parse_args()
    options.cargo_home = options.cargo_home.resolve()
    rows, others, parts = [], [], []
    for quiet, living, other, part in measure(options):
        print(quiet, living, *other, part, sep="\n", flush=True)
        rows += [quiet, living]
        others += other
        parts.append(part)
    about = f"Medians of {options.rounds} rounds; an index of 2^{options.bit_length} bins. {machine()}."
    more = ["", "Other commands, on a quiet registry:", "", _OTHERS, *others]
    always = ["", "What of it is done in any case, CPU:", "", _PARTS, *parts]
    text = "\n".join([about, "", _HEAD, *rows, *more, *always])
    print(text)
    if options.write is not None:
        write(options.write, text)


if __name__ == "__main__":
    main()
