"""A process as in most containers: no capability, and no namespace of its own to be had."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache

import pytest

_ENTER = (
    "echo 0 > /proc/sys/user/max_user_namespaces && "
    'exec "$0" --ambient-caps=-all --inh-caps=-all --bounding-set=-all "$@"'
)


def container(command: list[str], *, user: int = 0) -> list[str]:
    """A command line that runs a command as root, or as a user, of a container; skips where none can be made."""
    if _missing(user):
        pytest.skip(_missing(user))
    return [*_prefix(user), *command]


def _prefix(user: int) -> list[str]:
    who = ["--user", f"--map-user={user}", f"--map-group={user}", "--keep-caps"]
    # By their paths: what is run in it may have another PATH.
    return [str(shutil.which("unshare")), *who, "/bin/sh", "-c", _ENTER, str(shutil.which("setpriv"))]


@cache
def _missing(user: int) -> str:
    """Why no container can be imitated; empty when it can."""
    for tool in ("unshare", "setpriv"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed: namespaces cannot be forbidden here"
    tried = subprocess.run([*_prefix(user), "true"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"namespaces cannot be forbidden here: {tried.stderr.strip()[:100]}"
