"""Run a crate's own code (`record test`): no key open, a clean environment, and a sandbox where there is one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from carnet.errors import ConfigError, SigningError
from carnet.scratch import temporary_folder

Kind = Literal["bwrap", "unshare", "none"]
SANDBOXES: tuple[Kind, ...] = ("bwrap", "unshare")

MAX_OUTPUT = 64 * 1024

_TMP = Path("/tmp")  # noqa: S108  -- not to write to: the command gets an empty one in its place

# Lays out what the command sees, inside the new mount namespace, then runs it. It does not become the command: the
# first process of a namespace survives signals that end any other, and a crash would pass for a success. The command
# gets a namespace below that one, in which what hides the folders is locked: it cannot be unmounted. What is to be
# seen below a folder that is emptied waits in the stage meanwhile; as the working folder it is found even when covered.
_LAY_OUT = """
ip link set lo up 2>/dev/null
lay() { mount --no-mtab "$@" || exit 126; }
cd "$1" && shift || exit 126
number=0
for word; do
    case $word in
        --) break ;;
        empty=*) ;;
        *) number=$((number + 1)); mkdir $number && lay --rbind "${word#*=}" $number ;;
    esac
done
number=0
while [ "$1" != -- ]; do
    path=${1#*=}
    mkdir -p "$path" || exit 126
    case $1 in
        empty=*) lay -t tmpfs -o mode=1777 tmpfs "$path" ;;
        *) number=$((number + 1)); lay --no-canonicalize --move $number "$path" ;;
    esac
    shift
done
shift
cd "$1" && shift || exit 126
unshare --user --map-root-user --mount -- "$@"
exit $?
"""


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """What a command did.

    Attributes:
        status: Its exit status; 128 plus the number of the signal that ended it.
        output: The end of what it printed, at most `MAX_OUTPUT` bytes.
        sandbox: What it ran in.
    """

    status: int
    output: str
    sandbox: Kind


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder as the command finds it: emptied, in sight, or in sight and its own to write to.

    Where nothing can be held read-only (unshare), `see` and `write` are the same.
    """

    use: Literal["empty", "see", "write"]
    path: Path


def available() -> Kind:
    """The best sandbox that works here."""
    return next((kind for kind in SANDBOXES if not why_not(kind)), "none")


def why_not(kind: Kind) -> str:
    """The reason why a sandbox does not work here, in its own words; empty when it works."""
    if kind == "none":
        return ""
    if shutil.which(kind) is None:
        return f"{kind} is not installed"
    with temporary_folder() as place:
        trial = _wrap(kind, ["true"], place, place, [_Place("empty", _TMP.resolve()), _Place("write", place)])
        done = subprocess.run(trial, capture_output=True, check=False, cwd=place)
    said = done.stderr.decode(errors="replace").partition("\n")[0].removeprefix(f"{kind}: ")
    return "" if done.returncode == 0 else f"{kind} does not work: {said or f'exit status {done.returncode}'}"


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    scratch: Path | None = None,
    hide: Sequence[Path] = (),
    kind: Kind | None = None,
    timeout: int = 3600,
) -> CommandOutcome:
    """Run a command and everything it starts, to its end.

    In a sandbox it has a `/tmp` of its own, in which nothing of the real one is seen but `scratch` and the folders that
    the command and its environment name.

    Args:
        command: A program and its arguments; no shell.
        folder: Where it runs.
        environment: All that it gets.
        scratch: What it may write to, with `folder` in it; `folder` when None.
        hide: Folders that it must not see, such as where keys lie.
        kind: The sandbox; the best available when None.
        timeout: Seconds.

    Raises:
        ConfigError: There is no such program, or a folder to hide holds everything.
        SigningError: It did not end in time.
    """
    chosen = available() if kind is None else kind
    program = _find(command[0], folder, environment)
    # A file and not a pipe: what the command leaves running must not be able to hold the reader.
    with temporary_folder() as stage, tempfile.TemporaryFile(dir=stage) as output:
        hidden = [path.resolve() for path in hide if path.is_dir()]
        view = _view((scratch or folder).resolve(), hidden, _named(program, environment))
        try:
            process = subprocess.Popen(
                _wrap(chosen, [*command], folder.resolve(), stage, view),
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as problem:
            raise ConfigError(
                f"{command[0]!a} cannot be run: {problem.strerror}",
                hint="check the spelling, and that it is installed where the sandbox finds it",
            ) from None
        try:
            process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise SigningError(f"{command[0]} did not end within {timeout} s") from None
        finally:
            _end(process)
        output.seek(max(0, output.seek(0, os.SEEK_END) - MAX_OUTPUT))
        said = output.read().decode(errors="replace")
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return CommandOutcome(status, said, chosen)


def _find(program: str, folder: Path, environment: Mapping[str, str]) -> Path:
    """The program that the command will be: looked for here, since a sandbox would report its absence as a failure."""
    named = str(folder / program) if os.sep in program else program  # relative to where it runs, not to us
    found = shutil.which(named, path=environment.get("PATH", os.defpath))
    if found is None:
        raise ConfigError(f"there is no program {program!a}", hint="give one on PATH, or its path from the package")
    return Path(found)


def _named(program: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """The folders that the command and its environment name; of a `bin` the one it lies in, for the `lib` beside it."""
    words = (word for value in environment.values() for word in value.split(os.pathsep))
    for path in (program.parent, *map(Path, words)):
        if path.is_absolute() and path.is_dir():
            yield path.parent if path.name == "bin" else path


def _view(scratch: Path, hidden: Sequence[Path], named: Iterator[Path]) -> list[_Place]:
    """What of the machine the command finds otherwise than it is, each folder before what lies in it."""
    if Path("/") in hidden:
        raise ConfigError(
            "the folder to hide is the root folder, which holds everything",
            hint="move the key into a folder of its own",
        )
    tmp = _TMP.resolve()
    seen = {path.resolve() for path in named}
    laid = (scratch, *hidden)
    places = [
        *([_Place("empty", tmp)] if tmp.is_dir() else []),
        *(
            _Place("see", path)
            for path in sorted(seen)
            if tmp in path.parents and not any(map(path.is_relative_to, laid))
        ),
        _Place("write", scratch),
        *(_Place("empty", path) for path in hidden),
    ]
    return sorted(places, key=lambda place: len(place.path.parts))  # stable: hiding comes last of what is equal


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what the command left running: nothing of it may be alive when a key is opened."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wrap(kind: Kind, command: list[str], folder: Path, stage: Path, view: Sequence[_Place]) -> list[str]:
    """The command line that runs a command in a sandbox."""
    if kind == "none":
        return command
    tool = shutil.which(kind) or kind  # ours, not one on the command's PATH
    if kind == "bwrap":
        options = {"empty": ("--tmpfs",), "see": ("--ro-bind",), "write": ("--bind",)}
        views = [
            word
            for place in view
            for word in (*options[place.use], *([str(place.path)] * (1 if place.use == "empty" else 2)))
        ]
        return [
            *(tool, "--die-with-parent", "--new-session", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
            # Dropped by name: started by root, bubblewrap leaves root's capabilities to the command.
            *("--unshare-net", "--cap-drop", "ALL", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
            *(*views, "--chdir", str(folder), "--", *command),
        ]
    return [
        *(tool, "--user", "--map-root-user", "--net", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child"),
        *("sh", "-c", _LAY_OUT, "sh", str(stage)),
        *(f"{place.use}={place.path}" for place in view),
        *("--", str(folder), *command),
    ]
