"""A shim on a machine, and what an editor does with it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.machines.gatebox import GateBox


@dataclass
class ShimBox:
    """A machine with a project, and a shim before its cargo.

    Attributes:
        box: The machine, the repository and the project.
        folder: The shim's.
    """

    box: GateBox
    folder: Path

    @property
    def program(self) -> Path:
        """What an editor takes for cargo."""
        return self.folder / "bin/cargo"

    def make(self, *args: str) -> subprocess.CompletedProcess[str]:
        """`carnet shim ARGS... DIR`"""
        return self.box.machine.carnet("shim", *args, str(self.folder))

    def call(
        self, *args: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What an editor starts that was told of the shim's CARGO_HOME."""
        variables = {"CARGO_HOME": str(self.folder), **(env or {})}
        return self.box.machine.run(str(self.program), *args, cwd=cwd or self.box.project, env=variables)

    def works(self, *args: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """The same, when it must succeed; returns what was printed on stdout."""
        done = self.call(*args, cwd=cwd, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def shim_box(box: GateBox) -> ShimBox:
    """Write a shim on a machine."""
    shim = ShimBox(box, box.machine.path / "shim")
    done = shim.make()
    assert done.returncode == 0, done.stderr
    return shim
