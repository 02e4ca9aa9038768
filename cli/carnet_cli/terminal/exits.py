"""How an error becomes an exit status, in one place."""

from __future__ import annotations

import sys
from collections.abc import Callable

from carnet.errors import CarnetError
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
    return result if isinstance(result, int) else 0
