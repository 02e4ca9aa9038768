"""How a command names another lock, as rust-analyzer does it for the cargo that is here."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

from tests.support.machines.cargo import CARGO


@cache
def _minor() -> int:
    said = subprocess.run([CARGO or "cargo", "--version"], capture_output=True, text=True, check=True, cwd="/").stdout
    found = re.match(r"cargo 1\.(\d+)\.\d+(-)?", said)
    assert found is not None, said
    return int(found[1]) - bool(found[2])


def can_name() -> bool:
    """Whether cargo is new enough for either way."""
    return _minor() >= 84


def naming(lock: Path) -> tuple[list[str], dict[str, str]]:
    """Flags and variables with which cargo follows a lock elsewhere."""
    nightly = {"__CARGO_TEST_CHANNEL_OVERRIDE_DO_NOT_USE_THIS": "nightly"}
    if _minor() < 95:
        return ["--lockfile-path", str(lock), "-Zunstable-options"], nightly
    flags = ["-Zlockfile-path"] if _minor() < 97 else []
    return [*flags, "-Zunstable-options"], {**nightly, "CARGO_RESOLVER_LOCKFILE_PATH": str(lock)}
