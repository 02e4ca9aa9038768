"""The gate is interrupted in the moment between cargo's start and the taking over of its signals."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from carnet_gate.cargo import Cargo

SLEEPS = "import time; time.sleep(600)"


def test_cargo_ends_and_the_interruption_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Popen[str]] = []
    start, take_over = Cargo._start, signal.signal

    def started_and_known(*args: Any, **options: Any) -> Popen[str]:
        started.append(start(*args, **options))
        return started[0]

    def interrupted(number: signal.Signals, handler: Any) -> Any:
        if number == signal.SIGQUIT and handler == signal.SIG_IGN:
            raise KeyboardInterrupt
        return take_over(number, handler)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Cargo, "_start", started_and_known)
    monkeypatch.setattr(signal, "signal", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Cargo((sys.executable,), tmp_path, os.environ).run("-c", SLEEPS)
    assert started[0].wait(60) == -signal.SIGTERM
    assert signal.getsignal(signal.SIGINT) == before
