"""Runs a `carnet` command in this process, as `main` does, and keeps what it said."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from typing import Any

from carnet_cli.main import cli, run


@dataclass(frozen=True)
class Ran:
    """What came of a command.

    Attributes:
        status: Its exit status.
        out: What it wrote to stdout.
        err: What it wrote to stderr.
    """

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def carnet(*arguments: object) -> Ran:
    """Run `carnet ARGUMENTS...`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(cli, [str(argument) for argument in arguments], "carnet")
    return Ran(status, out.getvalue(), err.getvalue())


def done(*arguments: object) -> Ran:
    """Run a command that must succeed."""
    ran = carnet(*arguments)
    assert ran.status == 0, ran
    return ran


def refused(status: int, reason: str, *arguments: object) -> Ran:
    """Run a command that must be refused with one `error:` line, and without a traceback."""
    ran = carnet(*arguments)
    assert ran.status == status, ran
    errors = [line for line in ran.err.splitlines() if "error: " in line]
    assert len(errors) == 1, ran
    assert reason in errors[0], ran
    assert "Traceback" not in ran.err
    return ran
