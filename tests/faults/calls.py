"""Lets one system call of this process go wrong: the Python side of `calls.c`, which has to be preloaded.

`preloaded` starts a program with it; inside, `armed` counts the calls of a block, and lets one of them fail.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

KILL, SHORT = -1, -2
_SOURCE = Path(__file__).parent / "calls.c"
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    Attributes:
        name: What it is called.
        number: An errno, `KILL` or `SHORT`.
        lasts: Whether every later call that takes space meets it too, as on a disk that is full.
    """

    name: str
    number: int
    lasts: bool = False


FAULTS = (
    Fault("kill", KILL),
    Fault("EIO", errno.EIO),
    Fault("ENOSPC", errno.ENOSPC, lasts=True),
    Fault("half a write", SHORT),
)


def why_not() -> str:
    """Why no call can be made to fail here; empty when it can."""
    if not sys.platform.startswith("linux"):
        return "system calls are made to fail on Linux only"
    return "" if shutil.which("gcc") else "gcc, which builds what makes system calls fail, is not here"


def preloaded(command: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """Start a program whose calls can be made to fail.

    Args:
        command: The program and its arguments.
        folder: Where the library is built.
    """
    library = folder / "calls.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE), "-ldl"], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    return subprocess.Popen(
        command, env=environment, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    library.faults_arm.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_int]
    library.faults_seen.restype = ctypes.c_long
    return library


def arm(number: int, fault: Fault | None = None) -> None:
    """From now on calls are counted, and the one of this number fails; none with 0."""
    _library().faults_arm(number, 0 if fault is None else fault.number, fault is not None and fault.lasts)


def disarm() -> int:
    """How many calls there were; nothing fails any more."""
    return int(_library().faults_seen())
