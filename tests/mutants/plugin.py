"""The pytest plugin of `make mutants`: it runs the suite once to see what fires where, then some tests for each mutant.

For the second, the tests are collected once; each mutant gets a copy of that process (a fork), in which its check is
taken out and its tests run until one fails. What a mutant starts or leaves behind ends with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import pytest
from tests.mutants import switch

TASKS = "CARNET_MUTANTS_TASKS"
"""A file: the mutants to try. Without it, the run is recorded."""
ANSWERS = "CARNET_MUTANTS_ANSWERS"
"""A descriptor that gets a line of JSON for each test that was recorded, or each mutant that was tried."""


def _tell(answer: dict[str, Any]) -> None:
    os.write(int(os.environ[ANSWERS]), json.dumps(answer).encode() + b"\n")


class Recorder:
    """Tells how long each test took, and whether it passed."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._passed: dict[str, bool] = defaultdict(lambda: True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration
        self._passed[report.nodeid] &= not report.failed
        if report.when == "teardown":
            _tell(
                {
                    "test": report.nodeid,
                    "seconds": round(self._seconds[report.nodeid], 3),
                    "passed": self._passed[report.nodeid],
                }
            )


class Trier:
    """Tries mutants in place of running the suite."""

    def __init__(self, tasks: Sequence[dict[str, Any]]) -> None:
        self._tasks = tasks
        self._failed = ""
        self._sound: dict[str, bool] = {}
        """Of tests that are not known to pass by themselves: whether they did when they were asked."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self._failed:
            self._failed = report.nodeid

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        for task in self._tasks:
            began = time.monotonic()
            tests = [(name, most) for name, most, _ in task["tests"] if name in items]
            fresh = {name for name, _, passes in task["tests"] if passes}
            while True:
                left = [(items[name], most) for name, most in tests if self._sound.get(name, True)]
                verdict, test = self._try(task["site"], left)
                if verdict == "survived" or (verdict == "killed" and test in fresh):
                    break
                if self._passes(items[test], dict(tests)[test]):
                    verdict = "killed"
                    break
            seconds = round(time.monotonic() - began, 2)
            _tell({"site": task["site"], "verdict": verdict, "test": test, "seconds": seconds})
        return True

    def _passes(self, test: pytest.Item, patience: float) -> bool:
        """Whether a test that failed, hung or ended its process passes with nothing taken out."""
        if test.nodeid not in self._sound:
            self._sound[test.nodeid] = self._try("", [(test, patience)])[0] == "survived"
        return self._sound[test.nodeid]

    def _try(self, site: str, tests: Sequence[tuple[pytest.Item, float]]) -> tuple[str, str]:
        """What became of a mutant: `survived`, or `killed`, `hung` or `ended` and the test in which it did."""
        mine, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            os.setsid()
            os.close(mine)
            with os.fdopen(theirs, "w", buffering=1) as answer:
                print(self._first_failure(site, tests, answer), file=answer)
            os._exit(0)
        os.close(theirs)
        said = _listen(mine)
        with contextlib.suppress(ProcessLookupError):  # with all that it started
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return said

    def _first_failure(self, site: str, tests: Sequence[tuple[pytest.Item, float]], answer: TextIO) -> str:
        switch.take_out(site)
        for test, most in tests:  # each is taken down whole: quickest first, those of one fixture rarely follow another
            print(f"within {most} {test.nodeid}", file=answer)
            test.config.hook.pytest_runtest_protocol(item=test, nextitem=None)
            if self._failed:
                return f"killed {self._failed}"
        return "survived"


def _listen(pipe: int) -> tuple[str, str]:
    """What a mutant's process says in the end: the verdict, and the test that failed."""
    patience, at = 60.0, ""
    with os.fdopen(pipe, "rb", buffering=0) as answers:
        pending = b""
        while select.select([answers], [], [], patience)[0]:
            data = answers.read(10_000)
            if not data:
                return "ended", at
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                word, _, rest = line.decode().partition(" ")
                if word != "within":
                    return word, rest
                seconds, _, at = rest.partition(" ")
                patience = float(seconds)
    return "hung", at


def pytest_configure(config: pytest.Config) -> None:
    """Take part, as the environment says."""
    tasks = os.environ.get(TASKS)
    plugin = Trier(json.loads(Path(tasks).read_bytes())) if tasks else Recorder()
    config.pluginmanager.register(plugin, "mutants")
