"""bubblewrap: a mount namespace in which one folder is read-only, and every folder above it a mount point of its own.

A mount point cannot be renamed, so no other folder can be put in the place of an ancestor. Without capabilities nobody
in there can mount or unmount; in a further namespace of its own the mounts are locked.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

PROGRAM = "bwrap"


def command(folder: Path, writable: Sequence[Path] = ()) -> list[str]:
    """What stands before a command that is not to write below a folder.

    Args:
        folder: Absolute and without links.
        writable: Folders below it that can be written to nevertheless; they are there.
    """
    held = ["--ro-bind", str(folder), str(folder)]
    held += [part for path in writable for part in ("--bind", str(path), str(path))]
    pinned = [part for above in [*reversed(folder.parents)][1:] for part in ("--dev-bind", str(above), str(above))]
    return [
        *(shutil.which(PROGRAM) or PROGRAM, "--die-with-parent", "--dev-bind", "/", "/", *pinned),
        # Started by root, bubblewrap leaves root's capabilities to the command unless it is told otherwise.
        *(*held, "--cap-drop", "ALL", "--"),
    ]


def why_not(folder: Path) -> str:
    """The reason why it does not work here, in one line; empty when it works."""
    if shutil.which(PROGRAM) is None:
        return "bubblewrap is not installed"
    try:
        done = subprocess.run([*command(folder), "true"], capture_output=True, check=False, timeout=30, cwd="/")
    except (OSError, subprocess.TimeoutExpired):
        return "bubblewrap cannot be started"
    said = done.stderr.decode(errors="replace").strip().partition("\n")[0].removeprefix(f"{PROGRAM}: ")
    return "" if done.returncode == 0 else f"bubblewrap does not work: {said[:200] or f'status {done.returncode}'}"
