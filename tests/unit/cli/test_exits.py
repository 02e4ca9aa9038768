"""How what a command raises becomes an exit status."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE

import pytest
from tests.support.machines.processes import running

from carnet.errors import CarnetError, NotFound, TransportError
from carnet_cli.terminal.exits import status_of
from carnet_gate.choosing.resolving import Resolved, unresolved


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/x/y"), "error: /x/y: permission denied\n"),
        (OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)), "error: file name too long\n"),
        (RuntimeError("Symlink loop\nfrom '/x'"), "error: Symlink loop from '/x'\n"),
        (OSError(), "error: OSError\n"),
    ],
)
def test_what_this_machine_says_is_one_line_and_no_decision(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        raise error

    assert status_of(work) == 3
    assert capsys.readouterr().err.startswith(line)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("leaf@1.0.0 is not in the signed index"), 1),
        (unresolved("the dependencies", Resolved(101)), 2),
        (TransportError("away"), 3),
    ],
)
def test_what_the_mirror_does_not_have_ends_as_the_page_for_build_systems_says(error: CarnetError, status: int) -> None:
    def work() -> None:
        raise error

    assert status_of(work) == status


@pytest.mark.parametrize("error", [TypeError("x"), KeyError("x"), AssertionError("x"), NotImplementedError("x")])
def test_a_mistake_of_ours_stays_a_traceback(error: Exception) -> None:
    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        status_of(work)


def test_what_a_real_call_says_names_the_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of((tmp_path / "absent").read_bytes) == 3
    assert f"{tmp_path}/absent: no such file or directory" in capsys.readouterr().err


WORK = """
import sys, time
from carnet.scratch import temporary_folder
from carnet_cli.terminal.exits import status_of, until_ended

def work():
    with temporary_folder() as folder:
        print(folder, flush=True)
        time.sleep(float(sys.argv[1]))

sys.exit(status_of(lambda: until_ended(work)))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_told_to_end_leaves_nothing_temporary(number: int) -> None:
    # Whoever runs the tests may ignore the end of a terminal, and what they start would, too.
    command = ["env", "--default-signal=HUP", sys.executable, "-c", WORK, "60"]
    with running(command, stdout=PIPE, stderr=PIPE, text=True) as process:
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir()
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said, folder.exists()) == (128 + number, "ended\n", False)


def test_what_ignores_the_end_of_a_terminal_goes_on() -> None:
    command = ["nohup", sys.executable, "-c", WORK, "0.2"]
    with running(command, stdout=PIPE, stderr=PIPE, stdin=DEVNULL, text=True) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=20)
    assert process.returncode == 0
