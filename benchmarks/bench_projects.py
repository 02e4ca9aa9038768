"""Real projects behind the gate and beside plain cargo: what `cargo check` takes in the states of a day's work.

    cold            nothing was fetched, unpacked or compiled by the gate
    unchanged       the same command again
    living          the same, after 20 crates of others were published
    edit            after a source file of the project's own was changed
    update          `cargo update` of one crate to the version before the locked one, or back, and the check
    editor          what rust-analyzer asks when a file is saved, through `carnet shim`: `metadata`, and a check in JSON
    fresh checkout  another copy of the project, as a job of CI has it with carnet's home kept from the last one

The job before that, with nothing kept, is the cold one. A signed repository with all crates of the project's lock
answers on loopback, from this process. Plain cargo has its tarballs already, and unpacks them: they come through the
user's own cargo, once, into a CARGO_HOME of its own (`--cargo-home`). A folder without a `Cargo.lock` gets one. A
project that is not built, by the gate or by plain cargo, is named with the reason.

    python benchmarks/bench_projects.py [--rounds 3] [--write docs/measured.md] PROJECT...
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bench_gate import _MAIN, Cost, machine, run, tarballs, write  # noqa: E402
from tests.support.crates.archives import honest_crate  # noqa: E402
from tests.support.machines.cargo import Machine  # noqa: E402
from tests.support.registries.signed import SignedRegistry  # noqa: E402

from carnet.cargo.lockfile import LockedPackage, read_lockfile  # noqa: E402

_BEGIN, _END = "<!-- benchmarks/bench_projects.py -->", "<!-- end of benchmarks/bench_projects.py -->"
_STATES = ("cold", "unchanged", "living", "edit", "update", "editor", "fresh checkout")
_CANDIDATES = ("itoa", "memchr", "once_cell", "libc", "cfg-if", "log", "smallvec", "bitflags", "syn")
"""Crates that many projects lock, and of which there are many versions: one of them is updated."""
_SAVED = (("metadata", "--format-version", "1", "--locked"), ("check", "--locked", "--message-format", "json"))
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
        self._cargo_home = cargo_home
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
        self._shim = folder / "shim"
        self._older = self._one_before(packages, cargo_home)

    def _one_before(self, packages: Sequence[LockedPackage], cargo_home: Path) -> tuple[str, str, str] | None:
        """A crate of the lock, its version, and an earlier one that cargo takes too; the repository gets it as well."""
        copy = self._checkout(self._copy, "before")
        environment = {**os.environ, "CARGO_HOME": str(cargo_home)}
        for name in _CANDIDATES:
            versions = [package.id.version for package in packages if str(package.id.name) == name]
            for version in versions[:1] if len(versions) == 1 else ():
                before, _, patch = str(version).rpartition(".")
                if not patch.isdigit() or patch == "0":
                    continue
                older = f"{before}.{int(patch) - 1}"
                command = ["cargo", "update", "--quiet", name, "--precise", older]
                done = subprocess.run(command, cwd=copy, env=environment, stderr=subprocess.DEVNULL, check=False)
                if done.returncode == 0:
                    found = read_lockfile((copy / "Cargo.lock").read_bytes()).registry_packages
                    self.registry.add(*tarballs(copy, [one for one in found if one not in packages], cargo_home))
                    return name, str(version), older
        return None

    def gate(self, *command: str) -> Cost:
        asked = command or ("check", "--locked")
        return run([sys.executable, "-c", _MAIN, *asked], self._copy, self._gated)

    def cargo(self, *command: str) -> Cost:
        target = str(self._folder / "plain" / self._copy.name)
        asked = command or ("check", "--locked")
        return run(["cargo", *asked, "--offline"], self._copy, {**self._plain, "CARGO_TARGET_DIR": target})

    def shim(self, *command: str) -> Cost:
        own = {**self._gated, "CARGO_HOME": str(self._shim), "CARGO": str(self._shim / "bin/cargo")}
        return run([str(self._shim / "bin/cargo"), *command], self._copy, own)

    def states(self, rounds: int, left_out: Sequence[str] = ()) -> Iterator[list[tuple[Cost, Cost]]]:
        """The runs of both in each of the states, in their order; none in those that are left out."""
        shutil.rmtree(self._cargo_home / "registry/src", ignore_errors=True)  # cargo has to unpack, too
        yield self._turns(1)
        yield self._turns(rounds)
        yield self._turns(rounds, self._publish)
        yield self._turns(rounds, self._edit)
        updates = "update" not in left_out and self._older is not None
        yield [self._update() for _ in range(rounds) if updates]
        assert self.machine.carnet("shim", str(self._shim)).returncode == 0
        self._save()
        yield [self._save() for _ in range(rounds)]
        if "fresh checkout" in left_out:
            yield []
            return
        self._copy = self._checkout(self._copy, "second")
        yield self._turns(1)

    def _update(self) -> tuple[Cost, Cost]:
        """One version back, or forth again, for both; what it costs them to choose it, and to build with it."""
        name, locked, older = self._older or ("", "", "")
        lock = self._copy / "Cargo.lock"
        before = lock.read_bytes()
        now = next(one.id.version for one in read_lockfile(before).registry_packages if str(one.id.name) == name)
        wanted = older if str(now) == locked else locked
        mine = [self.gate("update", name, "--precise", wanted), self.gate()]
        lock.write_bytes(before)
        theirs = [self.cargo("update", name, "--precise", wanted), self.cargo()]
        return total(mine), total(theirs)

    def _save(self) -> tuple[Cost, Cost]:
        """What an editor asks of both when somebody saves."""
        mine = total([self.shim(*command) for command in _SAVED])
        return mine, total([self.cargo(*command) for command in _SAVED])

    def _turns(self, rounds: int, before: Callable[[], None] | None = None) -> list[tuple[Cost, Cost]]:
        pairs = []
        for _ in range(rounds):
            if before is not None:
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


def total(costs: Iterable[Cost]) -> Cost:
    """What several commands cost together."""
    all_of_them = list(costs)
    return Cost(sum(one.cpu for one in all_of_them), sum(one.clock for one in all_of_them))


def rows(name: str, bench: Bench, rounds: int, left_out: Sequence[str] = ()) -> str:
    """Two rows: processor time and time on the clock, of the gate and of plain cargo."""
    cells: dict[str, list[str]] = {"CPU": [], "clock": []}
    for pairs in bench.states(rounds, left_out):
        if not pairs:
            cells["CPU"].append("not measured")
            cells["clock"].append("")
            continue
        for who, costs in (
            ("CPU", [(a.cpu, b.cpu) for a, b in pairs]),
            ("clock", [(a.clock, b.clock) for a, b in pairs]),
        ):
            mine, theirs = (median(pair[side] for pair in costs) for side in (0, 1))
            cells[who].append(f"{mine:.2f} / {theirs:.2f} s")
    return "\n".join(f"| {name} | {bench.packages} | {kind} | {' | '.join(found)} |" for kind, found in cells.items())


def main() -> None:
    """Measure, print the table, and write it where that is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", nargs="+", type=Path, metavar="PROJECT")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without", action="append", default=[], metavar="STATE", help="update, or fresh checkout")
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
                    found.append(rows(name, bench, options.rounds, options.without))
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
