"""Entry points of `carnet` and `cargo carnet`: what has to be done before anything large is imported.

Importing and parsing make many objects and no cycles, and the interpreter looks for cycles every 700 objects, and among
all of them twice while it ends: together a fifth of a short run. So it looks rarely, and what is there at the end is
frozen, which the search passes over: the system takes the memory back anyway, and everything else of an orderly end
happens.
"""

import gc
import os
import sys

gc.set_threshold(200_000, 20, 100)


def main() -> None:
    """Entry point of `carnet`."""
    args = sys.argv[1:]
    if _is_plain_verify(args):
        from carnet_cli.exits import status_of
        from carnet_cli.verifying import verify

        status = status_of(lambda: verify(*args[1:]))
    else:
        from carnet_cli.main import cli, run

        status = run(cli, args, "carnet")
    _end(status)


def cargo_main() -> None:
    """Entry point of `cargo carnet`: cargo calls `cargo-carnet carnet ARGS...`."""
    from carnet_cli.cargo import command
    from carnet_cli.main import run

    args = sys.argv[1:]
    _end(run(command, args[1:] if args[:1] == ["carnet"] else args, "cargo carnet"))


def _is_plain_verify(args: list[str]) -> bool:
    """Whether it is `carnet verify`, or that with what to verify and no flag: what every build runs.

    There is nothing to parse then, and the parser would take a tenth of the run.
    """
    words = args[1:]
    plain = len(words) <= 1 and not any(word.startswith("-") for word in words)
    return args[:1] == ["verify"] and plain and "_CARNET_COMPLETE" not in os.environ


def _end(status: int) -> None:
    gc.freeze()
    sys.exit(status)
