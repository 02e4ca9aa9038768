"""What the gate tells, on stderr: stdout is cargo's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from carnet.errors import CarnetError
from carnet_cli.report.admission import warn_of
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet.level import Level
    from carnet_verifier.policy.verdict import Verdict


_LACKING = ("no matching package", "failed to select a version")
"""What cargo says when the mirror does not have a crate or a version that is asked for."""
_SYNC = "the mirror may lack it: ask its operator for `carnet mirror sync DIR --lockfile FILE`, with a lock that has it"


class TerminalReporter:
    """A `carnet_gate.reporter.Reporter` for people."""

    def warn(self, text: str) -> None:
        """See there."""
        output.warn(text)

    def remarks(self, verdict: Verdict) -> None:
        """See there."""
        warn_of(verdict)

    def refused(self, error: CarnetError) -> None:
        """See there."""
        output.report(error)

    def admitted(self, levels: Sequence[Level], url: str) -> None:
        """How many crates at which level, aligned with cargo's own messages."""
        counts = {level: levels.count(level) for level in sorted(set(levels))}
        counted = ", ".join(f"{count} {level}" for level, count in counts.items()) or "none needed"
        total = len(levels)
        output.note(f"    Admitted {total} crate{'' if total == 1 else 's'} ({counted}) from {url}")

    def cargo_said(self, text: str) -> None:
        """As cargo wrote it, colours and all."""
        sys.stderr.write(text)
        if any(reason in text for reason in _LACKING):
            output.hint(_SYNC)

    def counting(self, label: str, length: int) -> AbstractContextManager[Callable[[int], None]]:
        """A progress bar, where there is a terminal."""
        return output.counting(label, length)
