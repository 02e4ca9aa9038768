"""The user's own cargo: found, asked, and run on our terminal."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from carnet.errors import ConfigError
from carnet_gate.args import Invocation


@dataclass(frozen=True)
class Cargo:
    """The user's own cargo, and what it is run in.

    Attributes:
        command: The program, and the toolchain where one was named.
        folder: Where it runs.
        environment: The user's variables.
    """

    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]

    def ask(self, *args: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command, and keep what it says.

        Args:
            args: After the program.
            environment: Instead of the user's.
        """
        return subprocess.run(
            [*self.command, *args],
            capture_output=True,
            text=True,
            errors="replace",
            env=dict(self.environment if environment is None else environment),
            cwd=self.folder,
            check=False,
        )

    def run(self, *args: str, environment: Mapping[str, str] | None = None) -> int:
        """Run a command on our own terminal; interrupts are its to handle.

        Args:
            args: After the program.
            environment: Instead of the user's.

        Returns:
            Its exit status; 128 and the signal's number when a signal ended it.
        """
        chosen = dict(self.environment if environment is None else environment)
        with subprocess.Popen([*self.command, *args], env=chosen, cwd=self.folder) as process:
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)
            terminate = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            try:
                status = process.wait()
            finally:
                signal.signal(signal.SIGINT, before)
                signal.signal(signal.SIGTERM, terminate)
        return status if status >= 0 else 128 - status

    def explain(self, invocation: Invocation) -> int:
        """Let cargo explain one of its commands; returns its exit status."""
        return self.run(invocation.subcommand, "--help")


def find_cargo(toolchain: str | None, folder: Path, environment: Mapping[str, str]) -> Cargo:
    """Find the user's own cargo.

    Args:
        toolchain: What stood after `+`, or None.
        folder: Where it is to run.
        environment: The user's variables.

    Raises:
        ConfigError: There is none.
    """
    # cargo tells its external subcommands which cargo they were called by; another toolchain goes through rustup again.
    called_by = environment.get("CARGO")
    if toolchain is None and called_by:
        return Cargo((called_by,), folder, environment)
    cargo = shutil.which("cargo", path=environment.get("PATH"))
    if cargo is None:
        raise ConfigError("cargo is not installed, or not in PATH", hint="see https://rustup.rs")
    return Cargo((cargo, f"+{toolchain}") if toolchain is not None else (cargo,), folder, environment)
