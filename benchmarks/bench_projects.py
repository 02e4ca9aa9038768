"""Real projects behind the gate and beside plain cargo: what `cargo check` takes in the states of a day's work.

    cold            nothing was fetched, unpacked or compiled by the gate
    unchanged       the same command again
    living          the same, after 20 crates of others were published
    edit            after a source file of the project's own was changed
    fresh checkout  another copy of the project, as a job of CI has it with carnet's home kept from the last one

A signed repository with all crates of the project's lock answers on loopback, from this process. Plain cargo has its
crates already: they come through the user's own cargo, once, into a CARGO_HOME of its own (`--cargo-home`). A folder
without a `Cargo.lock` gets one. A project that is not built, by the gate or by plain cargo, is named with the reason.

    python benchmarks/bench_projects.py [--rounds 3] [--write docs/measured.md] PROJECT...
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bench_gate import _MAIN, Cost, machine, run, tarballs, write  # noqa: E402
from tests.support.crates.archives import honest_crate  # noqa: E402
from tests.support.machines.cargo import Machine  # noqa: E402
from tests.support.registries.signed import SignedRegistry  # noqa: E402

from carnet.cargo.lockfile import read_lockfile  # noqa: E402

_BEGIN, _END = "<!-- benchmarks/bench_projects.py -->", "<!-- end of benchmarks/bench_projects.py -->"
_STATES = ("cold", "unchanged", "living", "edit", "fresh checkout")
_HEAD = f"| project | packages | | {' | '.join(_STATES)} |\n| --- | --- | --- |{' --- |' * len(_STATES)}"


class Bench:
    """One project.

    Args:
        project: A checkout.
        folder: Where everything of it is done.
        cargo_home: Of plain cargo.
    """

    def __init__(self, project: Path, folder: Path, cargo_home: Path) -> None:
        self._folder = folder
        self._copy = self._checkout(project, "first")
        if not (self._copy / "Cargo.lock").exists():
            subprocess.run(["cargo", "generate-lockfile", "--quiet"], cwd=self._copy, check=True)
        packages = read_lockfile((self._copy / "Cargo.lock").read_bytes()).registry_packages
        self.packages = len(packages)
        self.registry = SignedRegistry(bit_length=14)
        self.registry.add(*tarballs(self._copy, packages, cargo_home))
        self.machine = Machine(folder)
        own = {name: value for name, value in self.machine.env().items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._gated = {name: value for name, value in own.items() if value}
        self._plain = {**self._gated, "CARGO_HOME": str(cargo_home)}

    def gate(self) -> Cost:
        return run([sys.executable, "-c", _MAIN, "check", "--locked"], self._copy, self._gated)

    def cargo(self) -> Cost:
        target = str(self._folder / "plain" / self._copy.name)
        command = ["cargo", "check", "--locked", "--offline"]
        return run(command, self._copy, {**self._plain, "CARGO_TARGET_DIR": target})

    def states(self, rounds: int) -> Iterator[list[tuple[Cost, Cost]]]:
        """The runs of both in each of the states, in their order."""
        yield self._turns(1, lambda: None)
        yield self._turns(rounds, lambda: None)
        yield self._turns(rounds, self._publish)
        yield self._turns(rounds, self._edit)
        self._copy = self._checkout(self._copy, "second")
        yield self._turns(1, lambda: None)

    def _turns(self, rounds: int, before: Callable[[], None]) -> list[tuple[Cost, Cost]]:
        pairs = []
        for _ in range(rounds):
            before()
            pairs.append((self.gate(), self.cargo()))
        return pairs

    def _publish(self) -> None:
        first = len(self.registry.index)
        self.registry.add(*(honest_crate(f"other-{first + number}", "1.0.0") for number in range(20)))

    def _edit(self) -> None:
        """A comment more, in the program's or library's own first file."""
        said = subprocess.run(
            ["cargo", "metadata", "--no-deps", "--format-version", "1", "--offline"],
            cwd=self._copy,
            capture_output=True,
            check=True,
            env=self._plain,
        )
        packages = json.loads(said.stdout)["packages"]
        kinds = [target for package in packages for target in package["targets"] if {"bin", "lib"} & {*target["kind"]}]
        with Path(kinds[0]["src_path"]).open("a") as file:
            file.write("// and a comment\n")

    def _checkout(self, project: Path, name: str) -> Path:
        copy = self._folder / name
        shutil.copytree(project, copy, ignore=shutil.ignore_patterns("target", ".git"), symlinks=True)
        return copy


def rows(name: str, bench: Bench, rounds: int) -> str:
    """Two rows: processor time and time on the clock, of the gate and of plain cargo."""
    cells: dict[str, list[str]] = {"CPU": [], "clock": []}
    for pairs in bench.states(rounds):
        for kind, pick in (("CPU", lambda cost: cost.cpu), ("clock", lambda cost: cost.clock)):
            mine, theirs = (median(pick(pair[who]) for pair in pairs) for who in (0, 1))
            cells[kind].append(f"{mine:.2f} / {theirs:.2f} s")
    return "\n".join(f"| {name} | {bench.packages} | {kind} | {' | '.join(found)} |" for kind, found in cells.items())


def main() -> None:
    """Measure, print the table, and write it where that is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", nargs="+", type=Path, metavar="PROJECT")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cargo-home", type=Path, default=Path(tempfile.gettempdir()) / "carnet-benchmark-cargo")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the figures into this document")
    options = parser.parse_args()
    found: list[str] = []
    failed: list[str] = []
    for project in options.projects:
        name = project.resolve().name
        with tempfile.TemporaryDirectory() as scratch:
            try:
                bench = Bench(project.resolve(), Path(scratch).resolve(), options.cargo_home.resolve())
                with bench.registry.serving():
                    bench.machine.trust(bench.registry.root, bench.registry.url)
                    found.append(rows(name, bench, options.rounds))
                print(found[-1], flush=True)
            except (SystemExit, subprocess.CalledProcessError) as error:
                failed.append(f"* {name} was not measured: {str(error).strip().splitlines()[-1][:300]}")
                print(failed[-1], flush=True)
    about = (
        f"The gate / plain cargo; medians of {options.rounds} rounds, cold and the fresh checkout once. {machine()}."
    )
    text = "\n".join([about, "", _HEAD, *found, *([""] if failed else []), *failed])
    print(text)
    if options.write is not None:
        write(options.write, text, _BEGIN, _END)


if __name__ == "__main__":
    main()
