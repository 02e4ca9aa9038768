"""Processes that tests leave running end with the test, whatever becomes of it."""

from __future__ import annotations

import sys

import pytest
from tests.support.machines import processes
from tests.support.machines.processes import running

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"


def test_a_test_that_fails_does_not_wait_for_it() -> None:
    with pytest.raises(ZeroDivisionError), running([sys.executable, "-c", STUBBORN]) as process:
        raise ZeroDivisionError
    assert process.returncode == -9


def test_one_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_PATIENCE", 0.2)
    with (
        pytest.raises(AssertionError, match="did not end"),
        running([sys.executable, "-c", STUBBORN], stdout=-1) as process,
    ):
        process.stdout.readline()
    assert process.returncode == -9
