"""The stage of the demo: it types commands, shows what they really print, and counts what was refused."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_BIN = Path(sys.executable).parent
_MOST_LINES = 14


class DemoError(Exception):
    """The demo saw something else than it should have; it ends with exit status 1."""


@dataclass
class Stage:
    """Runs commands in one folder.

    Attributes:
        folder: Where everything of the demo is, and where commands run.
        environment: The variables of every command.
        refused: The attacks that were refused so far.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CARNET_", "CARGO_BUILD_"))}
        self.environment = kept | {
            "PATH": f"{_BIN}{os.pathsep}{kept.get('PATH', '')}",
            "CARNET_HOME": str(self.folder / "client"),
            "CARGO_TERM_COLOR": "never",
            "PYTHONUNBUFFERED": "1",
        }

    def title(self, text: str) -> None:
        """Start a part of the demo."""
        print(
            f"\n\033[1m== {text}\033[0m  [{time.monotonic() - self._started:.0f} s]"
            if sys.stdout.isatty()
            else f"\n== {text}  [{time.monotonic() - self._started:.0f} s]",
            flush=True,
        )

    def say(self, text: str) -> None:
        """A word of explanation."""
        print(f"# {text}", flush=True)

    def run(
        self,
        command: str,
        *,
        cwd: Path | None = None,
        ok: bool = True,
        most: int = _MOST_LINES,
        more: Mapping[str, str] | None = None,
    ) -> str:
        """Type a command, show what it prints, and demand that it ends as it should.

        Returns:
            What it printed, stdout and stderr as they came.

        Raises:
            DemoError: It failed and should not have, or the other way round.
        """
        print(f"$ {command}", flush=True)
        done = subprocess.run(
            shlex.split(command),
            cwd=cwd or self.folder,
            env=self.environment | dict(more or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=600,
        )
        _show(done.stdout, most)
        if (done.returncode == 0) != ok:
            raise DemoError(f"`{command}` ended with exit status {done.returncode}")
        if "Traceback (most recent call last)" in done.stdout:
            raise DemoError(f"`{command}` ended with a traceback")
        return done.stdout

    def attack(self, name: str, what: str) -> None:
        """Announce an attack; `refuses` must follow."""
        print(f"\n--- {name}\n# {what}", flush=True)

    def refuses(
        self, name: str, command: str, reason: str, *, cwd: Path | None = None, more: Mapping[str, str] | None = None
    ) -> None:
        """Run a command that must be refused, for this reason and no other.

        Args:
            name: The attack.
            command: The command that meets it.
            reason: A regular expression that the message must match.
            cwd: Where to run it.
            more: Further variables.

        Raises:
            DemoError: It was not refused, or not for this reason.
        """
        printed = self.run(command, cwd=cwd, ok=False, more=more)
        if not re.search(reason, printed):
            raise DemoError(f"{name}: refused, but not because of {reason!r}")
        self.refused.append(name)

    def withstands(
        self, name: str, command: str, shows: str, *, cwd: Path | None = None, more: Mapping[str, str] | None = None
    ) -> None:
        """Run a command that must go on as if there were no attack, and say what it saw; it counts as a refusal.

        Args:
            name: The attack.
            command: The command that meets it.
            shows: A regular expression that its output must match.
            cwd: Where to run it.
            more: Further variables.

        Raises:
            DemoError: It failed, or did not say this.
        """
        printed = self.run(command, cwd=cwd, more=more)
        if not re.search(shows, printed):
            raise DemoError(f"{name}: it went on, but does not say {shows!r}")
        self.refused.append(name)

    def victim(self) -> dict[str, str]:
        """A copy of the client, for one attack with the registry's own keys.

        A client remembers the newest that was signed, whoever signed it, until a root takes the key away.

        Returns:
            The variables under which commands are the victim's.
        """
        home = Path(tempfile.mkdtemp(prefix="victim-", dir=self.folder))
        shutil.copytree(self.folder / "client" / "trust", home / "trust")
        return {"CARNET_HOME": str(home)}

    @contextmanager
    def serving(self, command: str) -> Iterator[str]:
        """Run a mirror in the background.

        Yields:
            Its URL, as it said itself.
        """
        print(f"$ {command} &", flush=True)
        with (
            tempfile.TemporaryFile("w+") as log,
            subprocess.Popen(
                [*shlex.split(command), "--message-format", "json"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            try:
                watchdog = threading.Timer(30, process.kill)
                watchdog.start()
                line = process.stdout.readline() if process.stdout else ""
                watchdog.cancel()
                if not line:
                    log.seek(0)
                    raise DemoError(f"the mirror did not start: {log.read()}")
                url = json.loads(line)["url"]
                print(f"listening on {url}", flush=True)
                yield url
            finally:
                process.terminate()


def _show(text: str, most: int) -> None:
    lines: Sequence[str] = text.rstrip("\n").splitlines()
    if len(lines) > most:
        head = most - 4
        lines = [*lines[:head], f"[... {len(lines) - most + 1} more lines ...]", *lines[-3:]]
    if lines:
        print("\n".join(lines), flush=True)
