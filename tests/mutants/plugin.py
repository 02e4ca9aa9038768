"""The pytest plugin of `make mutants`: it runs the suite once to see what fires where, then some tests for each mutant.

For the second, the tests are collected once; each mutant gets a copy of that process (a fork), in which its check is
taken out and its tests run until one fails. What a mutant starts or leaves behind ends with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self._failed:
            self._failed = report.nodeid

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        for task in self._tasks:
            tests = [items[name] for name in task["tests"] if name in items]
            began = time.monotonic()
            verdict, test = self._try(task["site"], tests, began + task["most"])
            seconds = round(time.monotonic() - began, 2)
            _tell({"site": task["site"], "verdict": verdict, "test": test, "seconds": seconds})
        return True

    def _try(self, site: str, tests: Sequence[pytest.Item], deadline: float) -> tuple[str, str]:
        mine, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            os.setsid()
            os.close(mine)
            with os.fdopen(theirs, "w") as answer:
                answer.write(self._first_failure(site, tests))
            os._exit(0)
        os.close(theirs)
        late = False
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                late = True
                os.kill(child, signal.SIGKILL)
            time.sleep(0.01)
        _end_group(child)
        os.set_blocking(mine, False)  # a server that left the group may still hold the other end
        try:
            said = os.read(mine, 10_000).decode()
        except BlockingIOError:
            said = ""
        os.close(mine)
        if late:
            return "killed", "(hung)"
        if not said:
            return "killed", "(the process ended)"
        return ("survived", "") if said == "passed" else ("killed", said)

    def _first_failure(self, site: str, tests: Sequence[pytest.Item]) -> str:
        switch.take_out(site)
        for test in tests:  # each is taken down whole: quickest first, those of one fixture rarely follow one another
            test.config.hook.pytest_runtest_protocol(item=test, nextitem=None)
            if self._failed:
                return self._failed
        return "passed"


def _end_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def pytest_configure(config: pytest.Config) -> None:
    """Take part, as the environment says."""
    tasks = os.environ.get(TASKS)
    plugin = Trier(json.loads(Path(tasks).read_bytes())) if tasks else Recorder()
    config.pluginmanager.register(plugin, "mutants")
