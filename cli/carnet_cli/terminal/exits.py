"""How an error becomes an exit status, in one place."""

from __future__ import annotations

import sys
from collections.abc import Callable

from carnet.errors import CarnetError, StorageError
from carnet_cli.terminal import output


def status_of(work: Callable[[], object]) -> int:
    """Do a command's work, and report what it raises.

    Returns:
        What `work` returns when that is a number, otherwise 0 (allowed, or done); 1 when refused; 2 when the user's
        file or flag is wrong; 3 when nothing was decided; 130 when interrupted.
    """
    try:
        result = work()
    except CarnetError as error:
        output.report(error)
        return error.exit_code
    except KeyboardInterrupt:
        output.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except (OSError, RuntimeError) as error:
        # The last door: what this machine said and nobody was waiting for. Mistakes of ours stay tracebacks.
        if isinstance(error, NotImplementedError):
            raise
        output.report(_of_this_machine(error))
        return StorageError.exit_code
    return result if isinstance(result, int) else 0


def _of_this_machine(error: OSError | RuntimeError) -> StorageError:
    """What no door before caught, in one line."""
    told = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        place = "" if error.filename is None else f"{error.filename}: "
        told = f"{place}{error.strerror.lower()}"
    return StorageError(told, hint="nothing was decided; look at what lies there, and who may read and write it")
