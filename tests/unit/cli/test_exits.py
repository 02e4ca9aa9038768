"""How what a command raises becomes an exit status."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from carnet_cli.terminal.exits import status_of


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


@pytest.mark.parametrize("error", [TypeError("x"), KeyError("x"), AssertionError("x"), NotImplementedError("x")])
def test_a_mistake_of_ours_stays_a_traceback(error: Exception) -> None:
    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        status_of(work)


def test_what_a_real_call_says_names_the_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of((tmp_path / "absent").read_bytes) == 3
    assert f"{tmp_path}/absent: no such file or directory" in capsys.readouterr().err
