"""Entry points of `carnet` and `cargo carnet`: what has to be done before anything large is imported.

Importing and parsing make many objects and no cycles, and the interpreter looks for cycles every 700 objects, and among
all of them twice while it ends: together a fifth of a short run. So it looks rarely, and what is there at the end is
frozen, which the search passes over: the system takes the memory back anyway. What every build runs does not even take
itself apart (`_leave`).
"""

import gc
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import NoReturn

gc.set_threshold(200_000, 20, 100)


class _BelowOurs:
    """Finds a module of ours beside its package, where it is, and leaves to the import system what is not there.

    The import system lists each folder, and tries each kind of module in it: for some eighty modules that takes longer
    than all signatures of a warm run.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, _: ModuleType | None = None) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder.find_spec`."""
        if path is None or not name.startswith("carnet"):
            return None
        place = f"{path[0]}/{name.rpartition('.')[2]}"
        for file, folders in ((f"{place}.py", None), (f"{place}/__init__.py", [place])):
            try:
                os.stat(file)  # noqa: PTH116  -- start-up time counts
            except OSError:
                continue
            spec = ModuleSpec(name, SourceFileLoader(name, file), origin=file)
            spec.submodule_search_locations = folders
            spec.has_location = True
            return spec
        return None


sys.meta_path.insert(0, _BelowOurs)


def main() -> None:
    """Entry point of `carnet`."""
    _open_streams()
    args = sys.argv[1:]
    if _is_plain_verify(args):
        from carnet_cli.commands.build.verifying import verify
        from carnet_cli.terminal.exits import status_of

        _leave(status_of(lambda: verify(*args[1:])))
    else:
        from carnet_cli.main import cli, run

        _end(run(cli, args, "carnet"))


def cargo_main() -> None:
    """Entry point of `cargo carnet`: cargo calls `cargo-carnet carnet ARGS...`."""
    _open_streams()
    args = sys.argv[2:] if sys.argv[1:2] == ["carnet"] else sys.argv[1:]
    if args and not args[0].startswith("-") and "_CARGO_CARNET_COMPLETE" not in os.environ:
        # A command of cargo's, as in every build: there is nothing of ours to parse.
        from carnet_cli.commands.build.gated import run_behind_gate
        from carnet_cli.terminal.exits import status_of, until_ended

        _leave(status_of(lambda: until_ended(lambda: run_behind_gate(args))))
    from carnet_cli.commands.build.cargo import command
    from carnet_cli.main import run

    _end(run(command, args, "cargo carnet"))


def shim_main() -> None:
    """Entry point of a shim's cargo, whose script names its folder, the user's cargo and CARGO_HOME, then `--`."""
    _open_streams()
    from carnet_cli.commands.editors.calls import call
    from carnet_cli.terminal.exits import status_of, until_ended

    folder, cargo, home, _, *args = sys.argv[1:]
    _end(status_of(lambda: until_ended(lambda: call(folder, cargo, home, args))))


def _open_streams() -> None:
    """Let streams that the caller closed lead nowhere; else the next file or connection would get their numbers.

    Called before anything else: so this is also where a system is refused on which no file of carnet's could be locked.
    """
    if os.name != "posix":
        sys.exit(
            "error: carnet runs on Linux and macOS\nhint: on Windows, run it in WSL 2, with the project's files there"
        )
    while (nowhere := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(nowhere, True)
    os.close(nowhere)
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115


def _is_plain_verify(args: list[str]) -> bool:
    """Whether it is `carnet verify`, or that with what to verify and no flag: what every build runs.

    There is nothing to parse then, and the parser would take a tenth of the run.
    """
    words = args[1:]
    plain = len(words) <= 1 and not any(word.startswith("-") for word in words)
    return args[:1] == ["verify"] and plain and "_CARNET_COMPLETE" not in os.environ


def _end(status: int) -> NoReturn:
    gc.freeze()
    sys.exit(status)


def _leave(status: int) -> NoReturn:
    """End without taking everything apart first: what was to be written is written, and every file is closed.

    An orderly end frees thing by thing what the system takes back at once: 2 to 3% of a cold look at a lock.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # it is full or closed: the orderly end knows
        _end(status)
    if sys.gettrace() is not None or sys.getprofile() is not None:  # somebody waits for the end
        _end(status)
    if "carnet_cli.config.passing_home" in sys.modules:  # which is to be removed
        _end(status)
    os._exit(status)
