"""Run a crate's own code (`record test`): no key open, a clean environment, and a sandbox where there is one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from carnet.errors import ConfigError, SigningError

Kind = Literal["bwrap", "unshare", "none"]

MAX_OUTPUT = 64 * 1024

# Hides folders behind empty ones inside the new mount namespace, then runs the command. It does not become the command:
# the first process of a namespace survives signals that end any other, and a crash would pass for a success.
# The command gets a namespace below that one, in which what hides the folders is locked: it cannot be unmounted.
_HIDE = (
    "ip link set lo up 2>/dev/null; "
    'while [ "$1" != -- ]; do mount -t tmpfs -o ro,size=4k tmpfs "$1" || exit 126; shift; done; shift; '
    'unshare --user --map-root-user --mount -- "$@"; exit $?'
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did.

    Attributes:
        status: Its exit status; 128 plus the number of the signal that ended it.
        output: The end of what it printed, at most `MAX_OUTPUT` bytes.
        sandbox: What it ran in.
    """

    status: int
    output: str
    sandbox: Kind


def available() -> Kind:
    """The best sandbox that works here."""
    for kind in ("bwrap", "unshare"):
        if shutil.which(kind) is None:
            continue
        trial = _wrap(kind, ["true"], Path("/tmp"), ())  # noqa: S108  -- only a place that exists
        if subprocess.run(trial, capture_output=True, check=False, cwd="/").returncode == 0:
            return kind
    return "none"


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    hide: Sequence[Path] = (),
    kind: Kind | None = None,
    timeout: int = 3600,
) -> Outcome:
    """Run a command and everything it starts, to its end.

    Args:
        command: A program and its arguments; no shell.
        folder: Where it runs, and what it may write to.
        environment: All that it gets.
        hide: Folders that it must not see, such as where keys lie.
        kind: The sandbox; the best available when None.
        timeout: Seconds.

    Raises:
        ConfigError: There is no such program.
        SigningError: It did not end in time.
    """
    chosen = available() if kind is None else kind
    hidden = tuple(path.resolve() for path in hide if path.is_dir())
    # A file and not a pipe: what the command leaves running must not be able to hold the reader.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                _wrap(chosen, list(command), folder, hidden),
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise ConfigError(f"there is no program {command[0]!a}") from None
        try:
            process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise SigningError(f"{command[0]} did not end within {timeout} s") from None
        finally:
            _end(process)
        output.seek(max(0, output.seek(0, os.SEEK_END) - MAX_OUTPUT))
        said = output.read().decode(errors="replace")
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return Outcome(status, said, chosen)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what the command left running: nothing of it may be alive when a key is opened."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wrap(kind: Kind | str, command: list[str], folder: Path, hidden: Sequence[Path]) -> list[str]:
    if kind == "bwrap":
        hiding = [word for path in hidden for word in ("--tmpfs", str(path))]
        return [
            *("bwrap", "--die-with-parent", "--new-session", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
            *("--unshare-net", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
            *("--bind", str(folder), str(folder), *hiding, "--chdir", str(folder), "--", *command),
        ]
    if kind == "unshare":
        return [
            *("unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--mount", "--mount-proc"),
            *("--kill-child", "sh", "-c", _HIDE, "sh", *map(str, hidden), "--", *command),
        ]
    return command
