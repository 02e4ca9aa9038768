"""Asking the mirror to bring what it lacks, and trying again: what a command does before it tells that something lacks.

::

    1. ask        by name and requirement, or by the exact versions of a lock: one POST (docs/formats.md, "An ask")
    2. wait       for the end of the answer, within bounds; how far it is is shown, and nothing of it is believed
    3. try again  everything from the start, with a view that is refreshed and verified as in every run

Nothing is asked for twice, so that each round has to bring something new, and rounds are few. Where the mirror brings
nothing, or says nonsense, the command ends as it would have ended: with what is missing, and whom to ask for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from carnet.cargo.asked import AskedFor
from carnet.cargo.names import CrateId
from carnet.errors import FormatError, TransportError

if TYPE_CHECKING:
    from carnet.cargo.pull import PullAsk
    from carnet_gate.args import Invocation
    from carnet_gate.reporter import Reporter
    from carnet_verifier.net.route import Network

T = TypeVar("T")

_ROUNDS = 8
_BRINGS_NOTHING = frozenset((400, 401, 403, 404, 405, 407, 410, 411, 413, 501))
"""Statuses by which a mirror, an older one or a mere web server says that it takes no such ask."""
_BUSY = 503
_USED_UP = 429
_LONGEST_PAUSE = 15.0


class _AskedMirror(Exception):  # noqa: N818  -- ends an attempt, and is no error
    """The mirror was asked for what stopped this: everything is tried again."""


class MirrorAsks:
    """What one command has asked a mirror for.

    Args:
        url: The mirror's base URL, as it is trusted.
        network: How it is reached, and as whom.
        seconds: How long it is waited for, altogether.
        invocation: The command: one that forbids the network asks nobody.
        reporter: Is told what is asked, and what the mirror says.
    """

    def __init__(
        self, url: str, network: Network, seconds: float, *, invocation: Invocation, reporter: Reporter
    ) -> None:
        self._url = url
        self._network = network
        self._seconds = seconds
        self._reporter = reporter
        self._quiet = invocation.quiet
        self._over = invocation.offline
        self._rounds = 0
        self._asked: set[AskedFor] = set()

    def trying(self, attempt: Callable[[], T]) -> T:
        """Try something until it does not ask the mirror any more.

        Args:
            attempt: May call `ask` where something is lacking.
        """
        while True:
            try:
                return attempt()
            except _AskedMirror:
                continue

    def ask_for_versions(self, crates: Iterable[CrateId]) -> None:
        """Ask for exactly these, as a lock has them, if they were not asked for before; see `ask`."""
        wanted = []
        for crate in crates:
            try:
                wanted.append(AskedFor.of(str(crate.name), f"={crate.version}"))
            except FormatError:
                continue  # a name that only git has
        self.ask(wanted, locked=True)

    def ask_ahead(self, wanted: Sequence[AskedFor]) -> None:
        """Ask for the newest of these before anything is tried: a mirror knows of no newer ones by itself.

        Where the mirror brings nothing, nobody is told: nothing may be lacking.

        Args:
            wanted: Names and requirements.
        """
        if (ask := self._next(wanted)) is not None:
            self._post(ask, ahead=True)

    def ask(self, wanted: Sequence[AskedFor], *, locked: bool = False) -> None:
        """Ask for these, if something among them was not asked for before, and try everything again.

        Returns where asking does not help: then the caller tells what it lacks.

        Args:
            wanted: Names and requirements.
            locked: Whether they are exact versions, and nothing that those depend on.
        """
        ask = self._next(wanted, locked=locked)
        if ask is not None and self._post(ask):
            raise _AskedMirror

    def _next(self, wanted: Sequence[AskedFor], *, locked: bool = False) -> PullAsk | None:
        """What is asked for now; None when that is nothing."""
        from carnet.cargo.pull import MAX_ASKED, PullAsk  # here and below: who lacks nothing needs none of it

        new = [one for one in dict.fromkeys(wanted) if one not in self._asked][:MAX_ASKED]
        if self._over or not new or self._rounds >= _ROUNDS or self._seconds <= 0:
            return None
        self._rounds += 1
        self._asked.update(new)
        return PullAsk(tuple(new), locked)

    def _post(self, ask: PullAsk, *, ahead: bool = False) -> bool:
        """Ask once, and again where others are served first; whether the mirror took the ask."""
        if not self._quiet and not ahead:
            self._reporter.asking(ask.asked)
        while self._seconds > 0:
            begun = time.monotonic()
            try:
                return self._listen(ask, ahead=ahead)
            except TransportError as error:
                if error.status == _BUSY and error.retry_after is not None:
                    time.sleep(min(max(error.retry_after, 1.0), _LONGEST_PAUSE, max(self._seconds, 0.0)))
                    continue
                if not ahead or error.status == _USED_UP:
                    self._tell(error)
                self._over = True
                return False
            finally:
                self._seconds -= time.monotonic() - begun
        return False

    def _listen(self, ask: PullAsk, *, ahead: bool) -> bool:
        """Read the answer to its end, whatever it says.

        Raises:
            TransportError: The mirror did not take the ask.
        """
        from carnet.cargo.pull import MAX_ANSWER, MEDIA_TYPE, URL_PATH, PullEnd, read_line
        from carnet_verifier.net.post import PostBounds, post

        bounds = PostBounds(self._seconds, MAX_ANSWER)
        lines = post(self._url, URL_PATH, ask.to_bytes(), media_type=MEDIA_TYPE, bounds=bounds, network=self._network)
        begun = False
        try:
            for line in lines:
                if ahead and not begun and not self._quiet:
                    self._reporter.asking(ask.asked)
                begun = True
                said = read_line(line)
                if not self._quiet:
                    self._reporter.mirror_says(said)
                if isinstance(said, PullEnd):
                    return True
        except (TransportError, FormatError) as error:
            if not begun:
                raise error if isinstance(error, TransportError) else TransportError(str(error)) from None
            self._reporter.warn(f"what the mirror says breaks off, and is not believed anyway: {error}")
        return begun

    def _tell(self, error: TransportError) -> None:
        """Say why the mirror was not asked, where that is not how a mirror is that brings nothing."""
        if error.status == _USED_UP:
            when = f"; it may be asked again in {_span(error.retry_after)}" if error.retry_after is not None else ""
            self._reporter.warn(f"the mirror brings nothing more for this network for now{when}")
        elif error.status not in _BRINGS_NOTHING:
            self._reporter.warn(f"the mirror could not be asked for it: {error}")


def _span(seconds: float) -> str:
    minutes = -(-int(min(seconds, 10_000_000)) // 60)
    return f"{minutes} minute{'' if minutes == 1 else 's'}" if minutes < 120 else f"{-(-minutes // 60)} hours"
