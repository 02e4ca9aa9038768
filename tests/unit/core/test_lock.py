"""The lock between processes: one holder, a bounded wait, let go when the holder is killed, no link followed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.machines.processes import running

from carnet.errors import SigningError, StorageError
from carnet.lock import locked, take

BUSY = SigningError("somebody holds it")
HOLDER = """
import sys, time
from pathlib import Path
from carnet.errors import StorageError
from carnet.lock import locked
with locked(Path(sys.argv[1]), timeout=5, busy=StorageError("busy")):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_waits_and_then_is_told(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with running([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        started = time.monotonic()
        with pytest.raises(SigningError, match="somebody holds it"), locked(path, timeout=0.2, busy=BUSY):
            pass
        assert 0.2 <= time.monotonic() - started < 5
        holder.kill()
        with locked(path, timeout=5, busy=BUSY):  # the kernel lets go for the dead
            pass


def test_what_the_body_raises_is_its_own_and_the_lock_is_free_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock", timeout=0, busy=BUSY):
        raise ZeroDivisionError
    with (
        locked(tmp_path / "lock", timeout=0, busy=BUSY),
        pytest.raises(SigningError),
        locked(tmp_path / "lock", timeout=0, busy=BUSY),
    ):
        pass
    with locked(tmp_path / "lock", timeout=0, busy=BUSY):
        pass


def test_a_link_is_not_followed_and_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "link", tmp_path / "missing" / "lock"):
        with pytest.raises(StorageError, match=str(path)):
            take(path, timeout=0, busy=BUSY)
    assert not (tmp_path / "elsewhere").exists()
