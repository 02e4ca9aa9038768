"""bubblewrap: a mount namespace in which some folders are read-only, and every folder above them a mount point.

A mount point cannot be renamed, so no other folder can be put in the place of an ancestor. Without capabilities nobody
in there can mount or unmount; in a further namespace of its own the mounts are locked.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

PROGRAM = "bwrap"


def command(folders: Sequence[Path], writable: Sequence[Path] = (), *, seccomp: int | None = None) -> list[str]:
    """What stands before a command that is not to write below some folders.

    Args:
        folders: Absolute, without links, and there.
        writable: Folders below them that can be written to nevertheless; they are there.
        seccomp: The descriptor from which bubblewrap reads a filter of system calls.
    """
    above = sorted({path for folder in folders for path in folder.parents if path != path.parent}, key=_depth)
    mounts = [("--dev-bind", path) for path in above]  # all of them first: each lays bare what lies below it
    mounts += [("--ro-bind", path) for path in sorted(folders, key=_depth)]
    mounts += [("--bind", path) for path in writable]
    filters = [] if seccomp is None else ["--seccomp", str(seccomp)]
    return [
        *(shutil.which(PROGRAM) or PROGRAM, "--die-with-parent", "--unshare-user", "--dev-bind", "/", "/"),
        *(part for how, path in mounts for part in (how, str(path), str(path))),
        # Started by root, bubblewrap leaves root's capabilities to the command unless it is told otherwise. Installed
        # set-user-id, it makes no user namespace unasked; without one, another process's root leads around the mounts.
        *(*filters, "--cap-drop", "ALL", "--"),
    ]


def _depth(path: Path) -> int:
    return len(path.parts)


def why_not(folder: Path) -> str:
    """The reason why it does not work here, in one line; empty when it works."""
    if shutil.which(PROGRAM) is None:
        return "bubblewrap is not installed"
    try:
        done = subprocess.run([*command([folder]), "true"], capture_output=True, check=False, timeout=30, cwd="/")
    except (OSError, subprocess.TimeoutExpired):
        return "bubblewrap cannot be started"
    said = done.stderr.decode(errors="replace").strip().partition("\n")[0].removeprefix(f"{PROGRAM}: ")
    return "" if done.returncode == 0 else f"bubblewrap does not work: {said[:200] or f'status {done.returncode}'}"
