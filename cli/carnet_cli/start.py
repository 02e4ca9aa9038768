"""Entry points of `carnet` and `cargo carnet`: what has to be done before anything large is imported.

Importing and parsing make many objects and no cycles, and the interpreter looks for cycles every 700 objects, and among
all of them twice while it ends: together a fifth of a short run. So it looks rarely, and what is there at the end is
frozen, which the search passes over: the system takes the memory back anyway, and everything else of an orderly end
happens.
"""

import gc
import sys

gc.set_threshold(50_000, 20, 100)


def main() -> None:
    """Entry point of `carnet`."""
    from carnet_cli.main import cli, run

    _end(run(cli, sys.argv[1:], "carnet"))


def cargo_main() -> None:
    """Entry point of `cargo carnet`: cargo calls `cargo-carnet carnet ARGS...`."""
    from carnet_cli.cargo import command
    from carnet_cli.main import run

    args = sys.argv[1:]
    _end(run(command, args[1:] if args[:1] == ["carnet"] else args, "cargo carnet"))


def _end(status: int) -> None:
    gc.freeze()
    sys.exit(status)
