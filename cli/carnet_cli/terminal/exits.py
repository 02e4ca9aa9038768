"""How an error becomes an exit status, in one place."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from carnet.errors import CarnetError, StorageError
from carnet_cli.terminal import output

T = TypeVar("T")


class Ended(BaseException):
    """Somebody told the process to end.

    Attributes:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def until_ended(work: Callable[[], T]) -> T:
    """Do work that SIGTERM and SIGHUP end as Ctrl-C does: in order, so that nothing temporary is left behind.

    What ignores them goes on doing so, as `nohup` wants it. Most runs of `carnet verify` make nothing temporary, and do
    without: `signal` brings `enum`, which takes longer to load than many a file to verify.

    Raises:
        Ended: A signal came.
    """
    import signal

    def end(number: int, _: object) -> None:
        raise Ended(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    try:
        return work()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def status_of(work: Callable[[], object]) -> int:
    """Do a command's work, and report what it raises.

    Returns:
        What `work` returns when that is a number, otherwise 0 (allowed, or done); 1 when refused; 2 when the user's
        file or flag is wrong; 3 when nothing was decided; 130 when interrupted, and likewise 128 and the number of
        another signal that ended it.
    """
    try:
        result = work()
    except CarnetError as error:
        output.report(error)
        return error.exit_code
    except KeyboardInterrupt:
        output.echo("interrupted", err=True)
        return 130
    except Ended as error:
        output.echo("ended", err=True)
        return 128 + error.number
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
