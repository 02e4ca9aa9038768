"""Take out every check, one at a time, and see that a test fails: what no test holds is lost with the next change.

    make mutants                              all of core, verifier, gate and signer/metadata
    make mutants MODULE=carnet.tuf            what stands in these modules (several: separated by commas)
    make mutants TESTS=tests/unit             with these tests only

1. A run of the tests with nothing taken out says which check fires in which of them. Tests that fail are left out.
2. Each check is taken out while the tests run in which it fires, quickest first, until one fails. None fails: the
   mutant survives. A test that hangs has noticed.
3. Survivors are compared with `survivors.toml`, which says of each what stands behind it. One that is not there is an
   error (exit status 1).

Tests are recorded group by group, those of the module's own room first, and only while there are survivors that are not
in the list: most of the suite never runs for one module. What was found is kept in `.mutants/`, file by file and
mutant by mutant, so that a run that was stopped goes on where it was. A record of tests that is older than the code or
the tests is a hint: what it helps to kill is killed when the same test passes with nothing taken out, and for what
it does not help to kill the tests are recorded again. A mutant is tried again when its module changed, or the test
that killed it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.mutants import plugin, sites, switch  # noqa: E402

KEPT = ROOT / ".mutants"
LISTED = Path(__file__).with_name("survivors.toml")
MOST_SECONDS = 120.0
"""Of tests for one mutant, as they were recorded: a check that fires everywhere is soon missed, or not at all."""
_MOST_NAMED = 3
"""Tests that are named of a check that none of them misses."""


def main() -> int:
    """Run; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--module", default="", help="only these modules and what is below them, separated by commas")
    parser.add_argument("--tests", default="tests", help="which tests to record, separated by spaces")
    parser.add_argument("--keep", action="store_true", help="try with what is recorded, and record nothing")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended; what was found is kept"))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    (KEPT / "code").mkdir(parents=True, exist_ok=True)
    wanted = [name.strip() for name in options.module.split(",") if name.strip()]
    chosen = [site for site in sites.all_sites() if not wanted or any(_within(site.module, name) for name in wanted)]
    if not chosen:
        print(f"no checks in {options.module}")
        return 2
    record = Record(KEPT / "record.json")
    results = Results(KEPT / "results.json", record)
    results.try_all(chosen)
    for name, files in () if options.keep else _groups(options.tests.split(), chosen):
        left = results.unexplained(chosen)
        old = [file for file in files if not record.is_fresh(file)]
        if left and old:
            print(f"{len(left)} of {len(chosen)} mutants live; recording {len(old)} files of {name}", flush=True)
            record.bring_up_to_date(old)
            results.try_all(left)
    return results.conclude(chosen)


def _groups(where: Sequence[str], chosen: Sequence[sites.Site]) -> Iterator[tuple[str, list[str]]]:
    """The files of tests, those first that are likeliest to miss these checks."""
    left: set[Path] = set()
    for name in where:
        path = ROOT / name
        left |= {path} if path.is_file() else set(path.rglob("test_*.py"))
    left -= set((ROOT / "tests/mutants").rglob("*.py"))
    own = sorted({_room(site.module) for site in chosen})
    for folder in (*(f"tests/unit/{room}" for room in own), "tests/attacks", "tests/property", "tests/unit", "tests"):
        found = sorted(path for path in left if path.is_relative_to(ROOT / folder))
        left -= set(found)
        if found:
            yield folder, [str(path.relative_to(ROOT)) for path in found]


def _all_tests() -> list[str]:
    """The files of tests that can be recorded."""
    own = ROOT / "tests/mutants"
    found = (path for path in (ROOT / "tests").rglob("test_*.py") if not path.is_relative_to(own))
    return sorted(str(path.relative_to(ROOT)) for path in found)


def _room(module: str) -> str:
    return next(room for package, room in switch.PLACES.items() if _within(module, package))


def _within(module: str, name: str) -> bool:
    return module == name or module.startswith(name + ".")


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _file_digest(path: str) -> str:
    file = ROOT / path
    return _digest(file.read_bytes()) if file.is_file() else ""


def _pytest(arguments: Sequence[str], **environment: str) -> Iterator[dict[str, Any]]:
    """Run pytest with switchable checks, and yield what the plugin tells."""
    mine, theirs = os.pipe()
    # Short: sockets of tests lie below it. What a test that was ended still writes there is no error.
    with tempfile.TemporaryDirectory(prefix="m-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pytest", "-p", "tests.mutants.plugin", "-p", "no:cacheprovider"),
                *("-n", "0", "-q", f"--basetemp={folder}/t", *arguments),
            ],
            cwd=ROOT,
            env=os.environ
            | {
                "PYTHONPATH": f"{Path(__file__).parent / 'startup'}{os.pathsep}{ROOT}",
                switch.CODE: str(KEPT / "code"),
                plugin.ANSWERS: str(theirs),
            }
            | environment,
            stdout=(KEPT / "pytest.txt").open("w"),
            stderr=subprocess.STDOUT,
            pass_fds=(theirs,),
        )
        os.close(theirs)
        try:
            with os.fdopen(mine, encoding="utf-8") as answers:
                for line in answers:
                    yield json.loads(line)
        finally:
            if process.poll() is None and sys.exc_info()[0] is not None:
                process.terminate()
            status = process.wait()
    if status not in (0, 1):
        print((KEPT / "pytest.txt").read_text()[-3000:])
        raise SystemExit(f"pytest ended with {status}; what it said is in {KEPT / 'pytest.txt'}")


class Record:
    """Which tests there are, how long each takes, and which checks fire in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = json.loads(path.read_bytes()) if path.exists() else {}
        self.files: dict[str, list[str]] = kept.get("files", {})  # of tests -> its digest, and the code's
        self.tests: dict[str, dict[str, Any]] = kept.get("tests", {})
        self.fired: dict[str, dict[str, str]] = kept.get("fired", {})
        self._code = _digest(
            *(path.read_bytes() for path in sites.modules().values()),
            *(path.read_bytes() for path in sorted((ROOT / "tests/support").rglob("*.py"))),
        )
        for gone in [file for file in self.files if not (ROOT / file).is_file()]:
            self._take(gone, {}, [])
            del self.files[gone]

    def is_fresh(self, file: str) -> bool:
        """Whether what is recorded of a file of tests is about these tests and this code."""
        return self.files.get(file) == [_file_digest(file), self._code]

    def bring_up_to_date(self, wanted: Sequence[str]) -> None:
        """Run files of tests and record them, each as soon as it has ended."""
        stamps = {name: [_file_digest(name), self._code] for name in wanted}  # of what is read now
        fired = KEPT / "fired"
        shutil.rmtree(fired, ignore_errors=True)
        fired.mkdir()
        found: dict[str, dict[str, Any]] = {}
        done: list[str] = []
        began = time.monotonic()

        def end(file: str) -> None:
            done.append(file)
            self._take(file, found, stamps[file])
            self._read_fired(fired)
            self._save()
            seconds = time.monotonic() - began
            print(f"  [{len(done)}/{len(wanted)}] {seconds:5.0f} s  {file}", flush=True)

        before = ""
        for answer in _pytest(wanted, **{switch.FIRED: str(fired)}):
            file = answer["test"].partition("::")[0]
            if before and file != before:
                end(before)
            before = file
            found[answer["test"]] = answer
        for name in wanted:
            if name not in done:
                end(name)
        failed = [test for test, answer in found.items() if not answer["passed"]]
        print(f"recorded {len(found)} tests", *(f"\n  fails, and is left out: {test}" for test in failed), flush=True)

    def _take(self, file: str, found: Mapping[str, Mapping[str, Any]], stamp: list[str]) -> None:
        prefix = file + "::"
        self.tests = {name: known for name, known in self.tests.items() if not name.startswith(prefix)}
        for checks in self.fired.values():
            for test in [test for test in checks if test.startswith(prefix)]:
                del checks[test]
        for name, answer in found.items():
            if name.startswith(prefix):
                self.tests[name] = {"seconds": answer["seconds"], "passed": answer["passed"]}
        self.files[file] = stamp

    def _read_fired(self, folder: Path) -> None:
        for file in folder.iterdir():
            for line in file.read_text().splitlines():
                test, how, site = line.split("\t", 2)
                if test in self.tests and self.fired.setdefault(site, {}).get(test) != "here":
                    self.fired[site][test] = how

    def _save(self) -> None:
        self._path.write_text(json.dumps({"files": self.files, "tests": self.tests, "fired": self.fired}, indent=1))

    def tests_for(self, site: str) -> list[str]:
        """The tests that can miss a check, quickest first; then those that share a process in which it fires."""
        fired = {test: how for test, how in self.fired.get(site, {}).items() if self.tests[test]["passed"]}
        shared = {test.partition("::")[0] for test, how in fired.items() if how == "process"}
        beside = [
            test
            for test, known in self.tests.items()
            if known["passed"] and test not in fired and test.partition("::")[0] in shared
        ]
        chosen: list[str] = []
        seconds = 0.0
        for test in sorted(fired, key=self._seconds) + sorted(beside, key=self._seconds):
            seconds += self._seconds(test)
            if seconds > MOST_SECONDS and chosen:
                break
            chosen.append(test)
        return chosen

    def why_none(self, site: str) -> str:
        """Why no test misses a check: as far as is recorded none makes it fire, or nothing fails in those that do."""
        old = sum(not self.is_fresh(file) for file in _all_tests())
        unsure = f"; {old} files of tests are not recorded with this code, and may reach it" if old else ""
        reach = self.tests_for(site)
        if not reach:
            return f"it fires in no test{unsure}"
        more = f" and {len(reach) - _MOST_NAMED} more" if len(reach) > _MOST_NAMED else ""
        return f"it fires, and nothing fails, in {', '.join(reach[:_MOST_NAMED])}{more}{unsure}"

    def _seconds(self, test: str) -> float:
        return float(self.tests[test]["seconds"])

    def task(self, test: str) -> tuple[str, float, bool]:
        """A test for the plugin: the seconds after which it counts as hung, whether it is known to pass by itself."""
        return test, 20 + 10 * self._seconds(test), self.is_fresh(test.partition("::")[0])


class Results:
    """What became of each mutant."""

    def __init__(self, path: Path, record: Record) -> None:
        self._path = path
        self._record = record
        self._known: dict[str, dict[str, Any]] = json.loads(path.read_bytes()) if path.exists() else {}
        self._modules = {module: _digest(file.read_bytes()) for module, file in sites.modules().items()}

    def try_all(self, chosen: Sequence[sites.Site]) -> None:
        """Try those whose result is missing or old."""
        tasks, tried = [], {}
        for site in chosen:
            tests = self._record.tests_for(site.name)
            stamp = _digest(*(f"{test} {self._record.files[test.partition('::')[0]][0]}".encode() for test in tests))
            if self._stands(site, stamp):
                continue
            tried[site.name] = site, stamp
            if tests:
                tasks.append({"site": site.name, "tests": [self._record.task(test) for test in tests]})
            else:
                self._keep(site, stamp, {"verdict": "survived", "test": "(it fires in no test)", "seconds": 0})
        if tasks:
            self._try(tasks, tried)
        self._save()

    def _try(self, tasks: Sequence[Mapping[str, Any]], tried: Mapping[str, tuple[sites.Site, str]]) -> None:
        file = KEPT / "tasks.json"
        file.write_text(json.dumps(tasks))
        names = sorted({test for task in tasks for test, *_ in task["tests"]})
        files = sorted({name.partition("::")[0] for name in names})
        print(f"trying {len(tasks)} mutants with {len(names)} tests of {len(files)} files", flush=True)
        try:
            for number, answer in enumerate(_pytest(files, **{plugin.TASKS: str(file)}), 1):
                site, stamp = tried[answer["site"]]
                self._keep(site, stamp, answer)
                said = f"{answer['verdict']:8} {answer['seconds']:6.2f} s  {site.name[:140]}"
                print(f"[{number:3}/{len(tasks)}] {said}", flush=True)
        finally:
            self._save()

    def _stands(self, site: sites.Site, stamp: str) -> bool:
        known = self._known.get(site.name)
        if known is None or known["module"] != self._modules[site.module]:
            return False
        if known["verdict"] == "killed" and "::" in known["test"]:
            return bool(_file_digest(known["test"].partition("::")[0]) == known["file"])
        return bool(known["stamp"] == stamp)

    def _keep(self, site: sites.Site, stamp: str, answer: Mapping[str, Any]) -> None:
        self._known[site.name] = {
            "module": self._modules[site.module],
            "stamp": stamp,
            "verdict": answer["verdict"],
            "test": answer["test"],
            "file": _file_digest(answer["test"].partition("::")[0]),
            "seconds": answer["seconds"],
        }

    def _save(self) -> None:
        self._path.write_text(json.dumps(self._known, indent=1))

    def unexplained(self, chosen: Sequence[sites.Site]) -> list[sites.Site]:
        """Those that survive so far, and are not in the list."""
        listed = {entry["where"] + ": " + entry["what"] for entry in read_listed()}
        return [s for s in chosen if self._known[s.name]["verdict"] == "survived" and s.name not in listed]

    def conclude(self, chosen: Sequence[sites.Site]) -> int:
        """Tell what survived, and whether that is known; the exit status."""
        listed = {entry["where"] + ": " + entry["what"]: entry["why"] for entry in read_listed()}
        survived = {site.name: site for site in chosen if self._known[site.name]["verdict"] == "survived"}
        by_module: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for site in chosen:
            by_module[site.module][0] += 1
            by_module[site.module][1] += site.name in survived
        print("\nmutants  survivors  module")
        for module, (count, lived) in sorted(by_module.items()):
            print(f"{count:7}  {lived or '':>9}  {module}")
        killed = len(chosen) - len(survived)
        print(f"\n{len(chosen)} mutants, {killed} killed, {len(survived)} survive")
        for name in sorted(survived.keys() & listed.keys()):
            print(f"  known: {name}\n         {listed[name]}")
        here = {site.module for site in chosen}
        for name in sorted(listed.keys() - survived.keys()):
            if name.partition(":")[0] in here:
                print(f"  survives no more, or is gone; take it out of {LISTED.name}: {name}")
        unknown = [site for name, site in survived.items() if name not in listed]
        for site in sorted(unknown):
            print(f"  UNKNOWN {sites.modules()[site.module].relative_to(ROOT)}:{site.line}: {site.name}")
            print(f"          {self._record.why_none(site.name)}")
        return 1 if unknown else 0


def read_listed() -> list[dict[str, str]]:
    """The survivors that are known: where, what and why."""
    return list(tomllib.loads(LISTED.read_text(encoding="utf-8")).get("survivor", []))


if __name__ == "__main__":
    began = time.monotonic()
    status = main()
    print(f"in {time.monotonic() - began:.0f} seconds")
    sys.exit(status)
