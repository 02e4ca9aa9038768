"""A process that cargo started where it unpacks, and that stays: a credential provider, git or ssh may start one.

What cargo starts there may write where it unpacks. So it has to be gone before anything is compared.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.machines.gatebox import EVIL, gate_box
from tests.support.machines.processes import running

from carnet.errors import StorageError
from carnet_gate.confinement import descendants
from carnet_gate.confinement.descendants import none_left
from carnet_gate.confinement.protection import WRITABLE

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="who is whose child, Linux alone tells")

DETACHED = """
import os, sys, time
def detach(times):
    for _ in range(times):
        if os.fork(): return False
        os.setsid()
    return True
"""
SLEEPER = f"""{DETACHED}
if detach(int(sys.argv[2])):
    open(sys.argv[1] + "-new", "w").write(str(os.getpid())); os.rename(sys.argv[1] + "-new", sys.argv[1])
    time.sleep(60)
"""
FORKER = f"""{DETACHED}
if detach(1):
    open(sys.argv[1], "w").write(str(os.getpid()))
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if os.fork(): os._exit(0)
        time.sleep(0.02)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def detach(script: str, file: Path, times: int = 2) -> int:
    """Start a process that detaches itself; returns its id."""
    subprocess.run([sys.executable, "-IS", "-c", script, str(file), str(times)], check=True, timeout=60)
    end = time.monotonic() + 20
    while not file.exists() or not file.read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    return int(file.read_text())


@pytest.mark.parametrize("times", [1, 2, 5])
def test_whatever_detaches_itself_is_ended(tmp_path: Path, times: int) -> None:
    with none_left():
        pid = detach(SLEEPER, tmp_path / "pid", times)
        assert is_alive(pid)  # the positive control
    assert not is_alive(pid)


def test_who_forks_on_and_on_is_ended(tmp_path: Path) -> None:
    with none_left():
        detach(FORKER, tmp_path / "pid")
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)


def test_processes_that_were_there_before_are_left_alone(tmp_path: Path) -> None:
    with running(["sleep", "60"]) as mine:
        with none_left():
            pid = detach(SLEEPER, tmp_path / "pid")
        assert mine.poll() is None
    assert not is_alive(pid)


def test_they_are_found_without_the_kernels_list_of_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descendants, "_children", lambda: frozenset(descendants._found()))
    test_processes_that_were_there_before_are_left_alone(tmp_path)


def test_one_that_cannot_be_ended_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descendants, "_PATIENCE", 0.1)
    with running(["sleep", "60"]) as mine:
        monkeypatch.setattr(os, "kill", lambda *_: None)
        with pytest.raises(StorageError, match="left processes behind that do not end"):
            descendants._end_all_but(frozenset())
        monkeypatch.undo()
        assert mine.poll() is None


PROVIDER = f"""#!{sys.executable} -IS
{DETACHED}
import glob, subprocess
home, log, target = os.environ["CARGO_HOME"], os.environ["LOG"], os.environ["TARGET"]
if not os.path.exists(log) and detach(2):
    for stream in (0, 1, 2): os.dup2(os.open("/dev/null", os.O_RDWR), stream)
    with open(log, "w") as file: file.write(str(os.getpid()))
    end = time.monotonic() + 60
    while time.monotonic() < end and not os.path.exists(target): time.sleep(0.005)  # until cargo compiles
    (source,) = glob.glob(home + "/registry/src/*/leaf-1.0.0/src/lib.rs")
    os.chmod(source, 0o644)
    with open(source, "r+") as file:
        before = file.read()
        file.seek(0); file.write({EVIL!r}); file.truncate()
        file.flush()
        while time.monotonic() < end and not os.path.exists(target + "/app"): time.sleep(0.005)
        file.seek(0); file.write(before); file.truncate()
    os.chmod(source, 0o444)
    os._exit(0)
end = time.monotonic() + 20
while not os.path.exists(log) and time.monotonic() < end: time.sleep(0.01)
os.execvp("rustc", ["rustc", *sys.argv[1:]])
"""


@pytest.mark.cargo
@pytest.mark.parametrize("protected", [True, False])
def test_a_process_that_stays_changes_no_source_after_it_was_compared(tmp_path: Path, protected: bool) -> None:
    """The compiler of the user's own environment stands for all that cargo starts: credential providers, git, ssh."""
    with gate_box(tmp_path) as box:
        provider, log = box.machine.path / "provider", box.project / "log"
        provider.write_text(PROVIDER)
        provider.chmod(0o755)
        more = {"RUSTC": str(provider), "LOG": str(log), "TARGET": str(box.project / "target/debug")}
        done = box.cargo("run", env={**more, **({} if protected else {WRITABLE: "1"})})
        assert (done.returncode, done.stdout) == (0, "answer 42\n"), done.stderr
        assert not is_alive(int(log.read_text()))  # it was at work
