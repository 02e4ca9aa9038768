"""The folder of a shim: `bin/cargo`, which goes through carnet, and links to what else an editor looks for there.

::

    DIR/bin/cargo                                a script; it names this carnet, and the cargo that it stands before
    DIR/bin/rustc, rustdoc, rustfmt, rustup      links to the user's own, where CARGO_HOME has them
    <home>/shims/<sha256 of DIR>                 DIR: builds behind the gate cannot write to it

Nothing else of the user's CARGO_HOME is in it, and nothing has to be: the script gives cargo its own home back.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from carnet.digests import sha256_hex
from carnet.durable import as_storage_error, private_folder, read_file, write_file
from carnet.errors import CarnetError, ConfigError
from carnet.value import value
from carnet_cli.config import home
from carnet_cli.config.ancestors import require_held

_MARK = "# Written by `carnet shim`: cargo behind the gate. `carnet shim --remove DIR` takes it away.\n"
_MAX = 10_000
PROGRAMS = "bin"
"""The folder in a shim's from which editors take programs."""
_LINKED = ("rustc", "rustdoc", "rustfmt", "rustup")
WHY = "that decides what an editor takes for cargo"
"""What hangs on a shim, for people."""
_OF_A_PROJECT = ("Cargo.toml", ".git")

# `-I`: nothing that stands in the environment or in the project decides which carnet it is.
_SCRIPT = """#!/bin/sh
{mark}if [ ! -x {python} ]; then
  echo {moved} >&2
  echo {hint} >&2
  exit 2
fi
exec {python} -I -c {start} {folder} {cargo} {home} -- "$@"
"""
_START = """
try:
    from carnet_cli.start import shim_main
except ImportError as error:
    import sys
    print(f"error: this shim finds no carnet: {error}", file=sys.stderr)
    print("hint: run `carnet shim DIR` again, with the carnet that is installed now", file=sys.stderr)
    sys.exit(2)
shim_main()
"""


@value
class Shim:
    """What a shim stands before.

    Attributes:
        folder: Its own folder, absolute and without links.
        cargo: The cargo that the user calls without it.
        home: The user's own CARGO_HOME.
    """

    folder: Path
    cargo: Path
    home: Path

    @property
    def program(self) -> Path:
        """What an editor takes for cargo."""
        return self.folder / PROGRAMS / "cargo"

    @property
    def script(self) -> bytes:
        """The program's text."""
        named = {
            "python": sys.executable,
            "moved": f"error: carnet is not in {Path(sys.executable).parent} any more, and {self.program} starts it",
            "hint": f"hint: run `carnet shim {self.folder}` again, with the carnet that is installed now",
            "start": _START,
            "folder": str(self.folder),
            "cargo": str(self.cargo),
            "home": str(self.home),
        }
        return os.fsencode(_SCRIPT.format(mark=_MARK, **{name: shlex.quote(text) for name, text in named.items()}))

    def write(self) -> bool:
        """Make the folder what it has to be; returns whether anything changed.

        Raises:
            ConfigError: It is somebody else's, has other content, comes with a project, or others can write to it.
            StorageError: The disk failed.
        """
        _require_ours(self.folder)
        require_held(self.folder, "you", (os.geteuid(),), WHY)
        programs = private_folder(private_folder(self.folder) / PROGRAMS)
        record = _record(self.folder)
        changed = _write_if_new(private_folder(home.make() / "shims") / record.name, os.fsencode(self.folder), 0o600)
        for name in _LINKED:
            changed |= _link(programs / name, self.home / "bin" / name)
        return _write_if_new(self.program, self.script, 0o700) or changed


def is_shim(program: Path) -> bool:
    """Whether a program is the script of a shim's."""
    try:
        with program.open("rb") as file:
            return _MARK.encode() in file.read(len(_MARK) + 100)
    except OSError:
        return False


def read_shim(program: Path) -> Shim | None:
    """What a program stands before, if it is the script of a shim's; None if it is none."""
    if not is_shim(program):
        return None
    try:
        words = shlex.split(os.fsdecode(read_file(program, "the shim", max_bytes=_MAX)), comments=True)
    except (OSError, ValueError, CarnetError):
        return None
    if words[-2:] != ["--", "$@"] or len(words) < 5:
        return None
    folder, cargo, own_home = map(Path, words[-5:-2])
    return Shim(folder, cargo, own_home)


def led_to(variables: Mapping[str, str]) -> dict[str, Shim | None]:
    """Where an environment leads whoever looks for cargo: by each way, the shim that it comes to, or None.

    Args:
        variables: The environment. An editor goes by `CARGO`, `CARGO_HOME` or `PATH`, as it likes.
    """
    folder = variables.get("CARGO_HOME")
    first = shutil.which("cargo", path=variables.get("PATH", ""))
    named = variables.get("CARGO")
    ways = {
        "CARGO": shutil.which(named, path=variables.get("PATH", "")) if named else None,
        "PATH": first,
        "CARGO_HOME": f"{folder}/bin/cargo" if folder else None,
    }
    return {way: read_shim(Path(program)) if program else None for way, program in ways.items()}


def known() -> list[Path]:
    """The folders of all shims that this user has made: what stands there decides over every project.

    Raises:
        ConfigError: The environment names no folder for carnet.
        StorageError: This user may not look there.
    """
    records = home.home() / "shims"
    with as_storage_error(records):
        if not records.is_dir():
            return []
        return [
            Path(os.fsdecode(read_file(one, "a shim's place", max_bytes=_MAX))) for one in sorted(records.iterdir())
        ]


def remove(folder: Path) -> tuple[Path, ...] | None:
    """Take a shim away; again is no mistake.

    Args:
        folder: Absolute and without links.

    Returns:
        What is left in the folder, since `carnet shim` did not write it; None where there was no shim.

    Raises:
        ConfigError: The folder is no shim's.
        StorageError: The disk failed.
    """
    _require_ours(folder)
    programs = folder / PROGRAMS
    with as_storage_error(folder):
        if not is_shim(programs / "cargo") and not _record(folder).exists():
            return None
        for name in _LINKED:
            if (programs / name).is_symlink():
                (programs / name).unlink()
        (programs / "cargo").unlink(missing_ok=True)
        _record(folder).unlink(missing_ok=True)
        for one in (programs, folder):
            if one.is_dir() and not any(one.iterdir()):
                one.rmdir()
        return tuple(sorted(folder.iterdir())) if folder.is_dir() else ()


def _record(folder: Path) -> Path:
    return home.home() / "shims" / sha256_hex(os.fsencode(folder))


def _require_ours(folder: Path) -> None:
    """Demand a folder that is a shim's already, is empty, or is not there; and that comes with no project."""
    project = next((one for one in folder.parents if any((one / name).exists() for name in _OF_A_PROJECT)), None)
    if project is not None:
        raise ConfigError(
            f"{folder} lies in the project {project}, whose files may come from anywhere",
            hint=f"choose a folder beside your projects, such as {home.home() / 'shim'}",
        )
    with as_storage_error(folder):
        if not os.path.lexists(folder) or is_shim(folder / PROGRAMS / "cargo") or _record(folder).exists():
            return
        if not folder.is_dir() or any(folder.iterdir()):
            raise ConfigError(
                f"{folder} has content that `carnet shim` did not write",
                hint="name a folder that is empty, or one that is not there yet",
            )


def _write_if_new(path: Path, data: bytes, mode: int) -> bool:
    try:
        if read_file(path, "the shim", max_bytes=_MAX) == data and path.stat().st_mode & 0o777 == mode:
            return False
    except FileNotFoundError:
        pass
    write_file(path, data, mode=mode)
    return True


def _link(path: Path, to: Path) -> bool:
    """Let a link lead to one of the user's programs, or take it away where that is not there."""
    with as_storage_error(path):
        there = to.exists()
        if (path.is_symlink() and path.readlink() == to) if there else not os.path.lexists(path):
            return False
        path.unlink(missing_ok=True)
        if there:
            path.symlink_to(to)
        return True
