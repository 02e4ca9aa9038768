"""How far long work is: a bar on a terminal, a line every ten seconds in a log, nothing on stdout."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time

import pytest

from carnet_cli.terminal import output

PROGRAM = """
from carnet_cli.start import _open_streams
_open_streams()
from carnet_cli.terminal import output
with output.progress("checking", 3) as bar:
    for _ in range(3):
        bar.update(1)
print("result")
"""

SLOW = PROGRAM.replace("with output", "import time\noutput._BEFORE_A_BAR = 0\nwith output", 1)


def test_a_log_has_a_line_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with output.progress("checking", 60) as bar:
        for _ in range(60):
            now[0] += 0.5
            bar.update(1)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "checking: 20 of 60, 2 a second, 20 s left",
        "checking: 40 of 60, 2 a second, 10 s left",
        "checking: 60 of 60",
    ]
    assert printed.out == ""


@pytest.mark.parametrize(
    ("done", "length", "seconds", "words"),
    [
        (0, 10, 60.0, ""),
        (5, 10, 0.0, ""),
        (1, 10, 30.0, ", 2 a minute, 4 min left"),
        (25_000, 250_000, 10.0, ", 2,500 a second, 2 min left"),
        (1_000, 100_000, 100.0, ", 10 a second, 2 h 45 min left"),
    ],
)
def test_how_fast_it_goes_and_how_long_the_rest_takes(done: int, length: int, seconds: float, words: str) -> None:
    assert output.pace_words(done, length, seconds) == words


def test_short_work_and_no_work_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for length in (0, 1000):
        with output.counting("checking", length) as count:
            for _ in range(length):
                count(1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("term", "drawn"), [("xterm", True), ("dumb", False)])
def test_a_terminal_has_a_bar_unless_it_cannot_move_back(term: str, drawn: bool) -> None:
    seen = screen_of(SLOW, term)
    assert (b"checking" in seen, b"3/3" in seen) == (drawn, drawn)


def test_a_bar_is_drawn_only_of_work_that_takes_long() -> None:
    assert screen_of(PROGRAM, "xterm") == b""
    late = screen_of(
        SLOW.replace("= 0\n", "= 0.001\n").replace("bar.update(1)", "time.sleep(0.01); bar.update(1)"), "xterm"
    )
    assert (b"1/3" in late, b"3/3" in late) == (True, True)


def screen_of(program: str, term: str) -> bytes:
    """What a program draws on a terminal."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        with os.fdopen(theirs, "wb") as terminal:
            environment = os.environ | {"TERM": term, "COLUMNS": "40"}
            done = subprocess.run(
                [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=terminal, check=True
            )
        seen = b""
        try:
            while piece := screen.read(4096):
                seen += piece
        except OSError:  # the other side is closed: how Linux says that there is no more
            pass
    assert done.stdout == b"result\n"
    return seen


@pytest.mark.parametrize("end", ["2>&-", "2>/dev/full"])
def test_who_hears_nothing_gets_the_result_all_the_same(end: str) -> None:
    slow = PROGRAM.replace("with output", "output._BETWEEN_LINES = 0\nwith output", 1)
    command = ["sh", "-c", f'exec "$0" -c "$1" {end}', sys.executable, slow]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, b"result\n")
