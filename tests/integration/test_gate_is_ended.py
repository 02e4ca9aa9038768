"""Somebody ends the gate alone, as `kill` and services do: cargo ends with it, and the next run builds."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, PIPE

import pytest
from tests.support.machines.gatebox import GateBox, gate_box
from tests.support.machines.processes import running

pytestmark = pytest.mark.cargo

HEARS_ALL = ("env", "--default-signal=HUP")
"""Whoever runs the tests may ignore the end of a terminal (`nohup`), and what they start would, too."""
WAITS = """
fn main() {
    let here = std::path::PathBuf::from(std::env::var("OUT_DIR").unwrap()).join("waits");
    if std::env::var_os("GO_ON").is_none() {
        std::fs::write(&here, std::process::id().to_string()).unwrap();
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[GateBox]:
    with gate_box(tmp_path) as one:
        (one.project / "build.rs").write_text(WAITS)
        yield one


def test_cargo_ends_with_the_gate(box: GateBox) -> None:
    command = [*HEARS_ALL, sys.executable, "-c", "from carnet_cli.start import cargo_main; cargo_main()", "build"]
    environment = {name: value for name, value in box.machine.env().items() if value}
    for number in (signal.SIGTERM, signal.SIGHUP):
        with running(command, cwd=box.project, env=environment, stdout=PIPE, stderr=PIPE, text=True) as gate:
            waits = waiting(box, gate.pid)
            cargo = parent(int(waits.read_text()))
            gate.send_signal(number)
            assert gate.wait(20) == 128 + number
        assert not Path(f"/proc/{cargo}").exists()
        os.kill(int(waits.read_text()), signal.SIGKILL)  # cargo leaves it behind, as it does without a gate
        waits.unlink()
    assert "Finished" in box.works("build", env={"GO_ON": "1"})


def test_cargo_ends_with_a_gate_that_is_killed(box: GateBox) -> None:
    command = [*HEARS_ALL, sys.executable, "-c", "from carnet_cli.start import cargo_main; cargo_main()", "build"]
    environment = {name: value for name, value in box.machine.env().items() if value}
    with running(command, cwd=box.project, env=environment, stdout=DEVNULL, stderr=DEVNULL) as gate:
        waits = waiting(box, gate.pid)
        cargo = parent(int(waits.read_text()))
        gate.kill()
        gate.wait(20)
        end = time.monotonic() + 20
        while is_running(cargo):
            assert time.monotonic() < end
            time.sleep(0.05)
    os.kill(int(waits.read_text()), signal.SIGKILL)
    assert "was ended before its sources were compared" in box.refused("build", env={"GO_ON": "1"})


def is_running(pid: int) -> bool:
    """Whether there is such a process that did not end; whoever adopted it may not have looked at its end yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def waiting(box: GateBox, gate: int) -> Path:
    """The file in which the build script says who it is."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for found in box.machine.path.rglob("waits"):
            if found.read_text():
                return found
        assert Path(f"/proc/{gate}").exists()
        time.sleep(0.05)
    raise AssertionError("the build script was not started")


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
