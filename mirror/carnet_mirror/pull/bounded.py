"""An upstream during one pull: asked about each crate once, and within bounds of time, bytes and names."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateName
from carnet.errors import StorageError, TransportError, VerificationError
from carnet_mirror.upstream.packages import IndexedUpstream, UpstreamCrate, UpstreamIndex


@dataclass
class BoundedUpstream:
    """An `IndexedUpstream` that goes on only while there is room, time and somebody who serves.

    What it does not give any more is not said to be missing: nothing is decided about it.

    Attributes:
        upstream: The real one.
        size: Bytes of tarballs, all together.
        seconds: How long, from now on.
        at_once: Packages after which bounds are looked at; an upstream that is a program has to have all at once.
        stopped: Whether nobody serves any more.
        names_left: Crates that it may still be asked about; whoever works for several senders sets it for each.
    """

    upstream: IndexedUpstream
    size: int
    seconds: float
    at_once: int
    stopped: Callable[[], bool] = lambda: False
    names_left: int = 2**31
    names_asked: int = 0
    _begun: float = field(default_factory=time.monotonic)
    _turn_ends: float = math.inf
    _down: str = ""
    _indexed: dict[CrateName, UpstreamIndex] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How the mirror remembers it."""
        return self.upstream.name

    def give_turn(self, senders: int) -> None:
        """Look up for one sender from now on, until another gets a turn, or `end_turns`.

        Half of all the time is for looking up. Of what is left of that each sender has the same part, whatever those
        before it asked for: one ask can make the mirror look up for long.

        Args:
            senders: How many are left, this one among them.
        """
        now = time.monotonic()
        self._turn_ends = now + max(0.0, self._begun + self.seconds / 2 - now) / senders

    def end_turns(self) -> None:
        """Work for all of them together from now on."""
        self._turn_ends = math.inf

    def is_over(self) -> bool:
        """Whether what it asks the real one has to end: that may take any time, and ask several times at once."""
        return bool(self._over())

    def go_on(self) -> None:
        """Demand that there is a reason to go on.

        Raises:
            TransportError: There is none, and why.
        """
        if reason := self._over():
            raise TransportError(reason)

    def index(self, names: Sequence[CrateName], scratch: Path) -> dict[CrateName, UpstreamIndex]:
        """See `IndexedUpstream.index`; each crate is asked about once.

        Raises:
            VerificationError: It would be asked about more crates than it may.
            TransportError: Nothing could be had, or the time is over.
        """
        new = [name for name in names if name not in self._indexed]
        if len(new) > self.names_left:
            raise VerificationError("this needs more crates looked up than this network may have looked up in a day")
        if new:
            self.go_on()
            self.names_left -= len(new)
            self.names_asked += len(new)
            found = self.upstream.index(new, scratch)
            self.go_on()  # what was cut off says nothing, to this sender and to the next
            self._indexed |= found
        return {name: self._indexed[name] for name in names}

    def fetch(
        self, packages: Sequence[LockedPackage], scratch: Path, progress: Callable[[int], None]
    ) -> list[UpstreamCrate]:
        """See `Upstream.fetch`; some at a time, until a bound is reached."""
        fetched: list[UpstreamCrate] = []
        for start in range(0, len(packages), self.at_once):
            part = packages[start : start + self.at_once]
            reason = self._over()
            if not reason:
                try:
                    fetched += self._fetch(part, scratch / f"part-{start}", progress)
                    continue
                except TransportError as error:
                    reason = self._down = str(error)
            fetched += [UpstreamCrate(package, None, reason, silence=reason) for package in part]
        return fetched

    def _fetch(
        self, part: Sequence[LockedPackage], folder: Path, progress: Callable[[int], None]
    ) -> list[UpstreamCrate]:
        try:
            folder.mkdir()
            return [self._within(item) for item in self.upstream.fetch(part, folder, progress)]
        except OSError as error:
            raise StorageError(f"cannot use {folder}: {error.strerror}") from None

    def _within(self, item: UpstreamCrate) -> UpstreamCrate:
        """A tarball that there is room for; another one is dropped."""
        if item.tarball is None:
            return item
        self.size -= item.tarball.stat().st_size
        if self.size >= 0:
            return item
        item.tarball.unlink()
        return replace(item, tarball=None, reason=self._over())

    def _over(self) -> str:
        """Why it does not go on, in words; empty while it does."""
        if self._down:
            return self._down
        if self.stopped():
            return "the mirror is being stopped: ask again"
        if self.size < 0:
            return "there was no room for it any more: ask again for less, or ask the mirror's operator"
        now = time.monotonic()
        if now - self._begun > self.seconds:
            return f"it had not come after {self.seconds:.0f} seconds: ask again"
        if now > self._turn_ends:
            return "to look up what this needs took longer than there was time for: ask again, or for less at once"
        return ""
