"""What the gate tells, on stderr: stdout is cargo's, whose stream of JSON objects has a few of the gate's in it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from carnet.errors import CarnetError
from carnet_cli.report.admission import warn_of
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet.cargo.asked import AskedFor
    from carnet.cargo.pull import PullEnd, PullProgress
    from carnet.level import Level
    from carnet_gate.reporter import Lacking, Skipped
    from carnet_verifier.policy.verdict import Verdict


_LACKING = ("no matching package", "failed to select a version")
"""What cargo says when the mirror does not have a crate or a version that is asked for."""
_SYNC = (
    "the mirror may lack it: ask its operator for `carnet mirror sync DIR --lockfile FILE`, with a lock that has it, "
    "or the crate's owners where it is claimed"
)


_MOST = 20
"""Lines about crates of which a version is skipped, and about what the mirror lacks."""


_FEW = 3
"""Names in the line about what a mirror is asked for."""
_PHASES = ("waiting", "resolving", "fetching", "checking", "publishing")
_BETWEEN_LINES = 10.0
_BETWEEN_STEPS = 0.5
"""Seconds between two lines about how far a mirror is, at least; it may say as much as it likes."""


class TerminalReporter:
    """A `carnet_gate.reporter.Reporter` for people.

    Args:
        for_machines: Whether what cargo could not choose is told on stdout as well, as JSON (docs/cli-json.md).
    """

    def __init__(self, *, for_machines: bool = False) -> None:
        self._for_machines = for_machines
        self._said = ("", 0.0)  # the step that a mirror named last, and when

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

    def skipped(self, versions: Sequence[Skipped]) -> None:
        """A line for each crate, aligned with cargo's own messages."""
        for skipped in versions if self._for_machines else ():
            output.emit_json(_skipped_object(skipped))
        for one in versions[:_MOST]:
            older = f" (and {one.others} older)" if one.others else ""
            about = f"{one.crate} "
            reason = f", which {one.reason.removeprefix(about)}" if one.reason.startswith(about) else f": {one.reason}"
            output.note(f"     Skipped {one.crate}{older}{reason}")
        if len(versions) > _MOST:
            output.note(f"     Skipped versions of {len(versions) - _MOST} more crates, which are not let in either")

    def missing(self, lacking: Sequence[Lacking]) -> None:
        """A line for each, aligned likewise."""
        for absent in lacking if self._for_machines else ():
            output.emit_json(_missing_object(absent))
        for one in lacking[:_MOST]:
            by = f", which {one.by} needs" if one.by is not None else ""
            why = "its owners have signed none" if one.owned else "the mirror has none"
            output.note(f"     Missing {one.asked}{by}: {why}")
        if len(lacking) > _MOST:
            output.note(f"     Missing {len(lacking) - _MOST} more, which the hint names")

    def asking(self, asked: Sequence[AskedFor]) -> None:
        """One line, with the first few names."""
        first = ", ".join(map(str, asked[:_FEW]))
        more = f", and {len(asked) - _FEW} more" if len(asked) > _FEW else ""
        output.note(f"      Asking the mirror for {first}{more}")
        self._said = ("", time.monotonic())

    def mirror_says(self, said: PullProgress | PullEnd) -> None:
        """A line for each step, one a second at most, and for each thing that it does not bring."""
        from carnet.cargo.pull import PullProgress  # rarely needed: start-up time counts

        if isinstance(said, PullProgress):
            phase, when = self._said
            quiet = time.monotonic() - when
            if said.phase in _PHASES and (quiet > _BETWEEN_LINES or (said.phase != phase and quiet > _BETWEEN_STEPS)):
                of = f" {said.done} of {said.of}" if said.of else ""
                output.note(f"      Mirror {said.phase}{of}")
                self._said = (said.phase, time.monotonic())
            return
        count = len(said.published)
        output.note(f"      Mirror says that it has brought {count} version{'' if count == 1 else 's'}")
        left = (*said.refused, *said.missing, *said.undecided, *said.waiting)
        for one in left[:_MOST]:
            output.note(f"      Mirror did not bring {one.what}: {one.reason}".replace("\n", " "))
        if len(left) > _MOST:
            output.note(f"      Mirror did not bring {len(left) - _MOST} more")

    def cargo_said(self, text: str, hint: str = "") -> None:
        """As cargo wrote it, colours and all; and whom to ask for what."""
        sys.stderr.write(text)
        if hint:
            output.hint(hint)
        elif any(reason in text for reason in _LACKING):
            output.hint(_SYNC)

    def counting(self, label: str, length: int) -> AbstractContextManager[Callable[[int], None]]:
        """A progress bar, where there is a terminal."""
        return output.counting(label, length)


def _skipped_object(one: Skipped) -> dict[str, Any]:
    """A version that cargo would have chosen, and that is not let in."""
    crate = one.crate
    return {
        "reason": "carnet-skipped",
        "name": str(crate.name),
        "version": str(crate.version),
        "older": one.others,
        "message": one.reason,
    }


def _missing_object(one: Lacking) -> dict[str, Any]:
    """What the mirror has not."""
    return {
        "reason": "carnet-missing",
        "name": str(one.asked.name),
        "requirement": str(one.asked.requirement),
        "by": None if one.by is None else str(one.by),
        "typed": one.asked.typed,
    } | ({"owned": True} if one.owned else {})
