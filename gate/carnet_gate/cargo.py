"""The user's own cargo: found, asked, and run on our terminal."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from carnet.errors import ConfigError, StorageError
from carnet.value import value
from carnet_gate.args import Invocation
from carnet_gate.commands.variables import SHIMMED, compiling_nothing
from carnet_gate.confinement.protection import Confinement

_PR_SET_PDEATHSIG = 1
_UNCONFINED = Confinement()


@value
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

    def ask(
        self, *args: str, environment: Mapping[str, str] | None = None, within: Confinement = _UNCONFINED
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that compiles nothing, and keep what it says.

        Args:
            args: After the program.
            environment: Instead of the user's.
            within: What it may not write to.

        Raises:
            StorageError: It cannot be started so.
        """
        process = self._start(args, environment, within, compiles=False, keep=True)
        with process:
            said, errors = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, said, errors)

    def run(
        self,
        *args: str,
        environment: Mapping[str, str] | None = None,
        within: Confinement = _UNCONFINED,
        compiles: bool = False,
    ) -> int:
        """Run a command on our own terminal; interrupts are its to handle.

        Args:
            args: After the program.
            environment: Instead of the user's.
            within: What it may not write to.
            compiles: Whether it may start the compilers and wrappers that configuration files name.

        Returns:
            Its exit status; 128 and the signal's number when a signal ended it.

        Raises:
            StorageError: It cannot be started so.
        """
        with self._start(args, environment, within, compiles=compiles, keep=False) as process:
            # What a terminal sends to all is cargo's to handle; what is sent to us alone, cargo has to be told.
            before: dict[signal.Signals, Any] = {}
            try:
                for number in (signal.SIGINT, signal.SIGQUIT):
                    before[number] = signal.signal(number, signal.SIG_IGN)
                for number in (signal.SIGTERM, signal.SIGHUP):
                    if signal.getsignal(number) is signal.SIG_IGN:  # by nohup: cargo ignores it, too
                        continue
                    before[number] = signal.signal(number, lambda sent, _: process.send_signal(sent))
                status = process.wait()
            except BaseException:
                process.terminate()  # a signal that came before it was passed on
                raise
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
        return status if status >= 0 else 128 - status

    def _start(
        self,
        args: tuple[str, ...],
        environment: Mapping[str, str] | None,
        within: Confinement,
        *,
        compiles: bool,
        keep: bool,
    ) -> subprocess.Popen[str]:
        variables = {**(self.environment if environment is None else environment), **within.environment}
        command = [*within.prefix, *self.command, *args]
        output = subprocess.PIPE if keep else None
        try:
            # Between fork and exec are only system calls, prepared before: no thread of ours can be in their way.
            return subprocess.Popen(
                command,
                env=variables if compiles else compiling_nothing(variables),
                cwd=self.folder,
                preexec_fn=_ending_with_us(within.enter),  # noqa: PLW1509
                pass_fds=within.descriptors,
                stdout=output,
                stderr=output,
                text=True,
                errors="replace",
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise _not_started(command[0], error) from None

    def explain(self, invocation: Invocation, within: Confinement) -> int:
        """Let cargo explain one of its commands; returns its exit status."""
        return self.run(*invocation.command.words, "--help", within=within)


def _ending_with_us(enter: Callable[[], None] | None) -> Callable[[], None] | None:
    """What a new process does first: have the kernel end it with this one, however that ends; then `enter`."""
    if not sys.platform.startswith("linux"):
        return enter
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def begin() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # it ended meanwhile
            os._exit(1)
        if enter is not None:
            enter()

    return begin


def _not_started(program: str, error: Exception) -> StorageError:
    return StorageError(f"{program} cannot be started: {error}", hint="see that it is there and may be run")


def find_cargo(toolchain: str | None, folder: Path, environment: Mapping[str, str]) -> Cargo:
    """Find the user's own cargo.

    Args:
        toolchain: What stood after `+`, or None.
        folder: Where it is to run.
        environment: The user's variables.

    Raises:
        ConfigError: There is none, or the variable CARGO names none.
    """
    shimmed = environment.get(SHIMMED)
    if shimmed:  # it is what the user calls, and so takes a toolchain
        return Cargo((shimmed, f"+{toolchain}") if toolchain is not None else (shimmed,), folder, environment)
    # cargo tells its external subcommands which cargo they were called by; another toolchain goes through rustup again.
    called_by = environment.get("CARGO")
    if toolchain is None and called_by:
        if shutil.which(called_by, path=environment.get("PATH")) is None:
            raise ConfigError(f"the variable CARGO names {called_by}, which is no program", hint="unset CARGO")
        return Cargo((called_by,), folder, environment)
    cargo = shutil.which("cargo", path=environment.get("PATH"))
    if cargo is None:
        raise ConfigError(
            "cargo is not installed, or not in PATH",
            hint='install it (https://rustup.rs), or let PATH lead to it: `export PATH="$HOME/.cargo/bin:$PATH"`',
        )
    return Cargo((cargo, f"+{toolchain}") if toolchain is not None else (cargo,), folder, environment)
