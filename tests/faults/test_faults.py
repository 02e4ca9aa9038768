"""A few of the points of `make faults`, chosen anew in each run, and that they would tell what is wrong."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults import run
from tests.faults.calls import FAULTS, why_not
from tests.faults.works import WORKS, Faulty, Work, template

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


def test_any_call_may_fail(tmp_path: Path) -> None:
    call = random.randrange(1, 90)  # not fixed on purpose; what is printed says which it was
    command = [sys.executable, run.__file__, "submit", "--stride", "1000", "--from", str(call)]
    command += ["--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 points" in done.stdout
    assert "0 wrong" in done.stdout


def test_what_is_wrong_would_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a work that answers before it is done, one that spoils a file, one that ends in a traceback."""

    def answers_early(_: Faulty) -> None:
        pass

    def spoils(site: Faulty) -> None:
        next(iter(site.mirror.glob("metadata/*.snapshot.json"))).write_bytes(b"{}")

    def breaks(_: Faulty) -> None:
        raise OSError(5, "nobody made an error of carnet's of it")

    honest = WORKS["sync"]
    made = template(honest, tmp_path / "template")
    monkeypatch.setattr(run, "arm", lambda *_: None)
    monkeypatch.setattr(run, "disarm", lambda: 0)
    told = {}
    for bad in (answers_early, spoils, breaks):
        work = Work(honest.prepare, bad, honest.is_done)
        told[bad.__name__] = run.point(work, made, tmp_path / "point", 1, FAULTS[0])
    assert told["answers_early"][0] == "done"
    assert "it said that it was done, and it is not" in told["answers_early"][1]
    assert told["spoils"][1]
    assert told["breaks"][0] == "broke"
    assert "nobody made an error" in told["breaks"][1][0]
    assert run.point(honest, made, tmp_path / "point", 1, FAULTS[0]) == ("done", [])
