"""Processes that tests leave running: however the test ends, they end too."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_PATIENCE = 20.0
"""Seconds that a process has for its end."""


@contextmanager
def running(command: Sequence[str], *, end: int = signal.SIGTERM, **options: Any) -> Iterator[Any]:
    """A process (`subprocess.Popen`) while the block runs.

    `with Popen(...)` alone waits at its end for a process that nobody told to end: a test that fails inside would then
    stop the whole run.

    Args:
        command: Its command line.
        end: The signal that ends it.
        options: Those of `subprocess.Popen`.

    Raises:
        AssertionError: The block ended well, and the process did not want to.
    """
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        process.send_signal(end)
        try:
            # Until nobody is left who could write: a wrapper may be gone before what it wrapped.
            process.communicate(timeout=_PATIENCE) if _open(process) else process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{command[0]} did not end within {_PATIENCE:.0f} s") from None


def _open(process: subprocess.Popen[Any]) -> bool:
    return not any(stream is not None and stream.closed for stream in (process.stdin, process.stdout, process.stderr))
