"""What waits to be published together: bodies that passed the first look, until the mirror's pace says that it is time.

They wait as futures of the event loop and hold no thread, so that upkeep always finds one. Of several networks each has
its turn. What one of a batch does to its judge is nothing to the others: where a batch fails as no error of carnet's
does, each of it is tried alone.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from carnet.errors import CarnetError
from carnet_mirror.pace import TOGETHER, Pace

T = TypeVar("T")
_MOST_BYTES = 160 * 1024 * 1024
"""Of all bodies of one batch, unless one alone has more: so much is in memory at once."""
_LOOK_EVERY = 5.0
"""Seconds after which it is looked again whether it is time, at the latest: others publish too."""


@dataclass(eq=False)
class _Waits(Generic[T]):
    """A body, which is read when its turn comes, and since when it waits."""

    read: Callable[[], bytes]
    size: int
    since: float
    answer: asyncio.Future[T] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Gathering(Generic[T]):
    """The queue, and the task that works on it while somebody waits.

    Args:
        take: Takes several bodies, and says what became of each; runs in a thread, never twice at a time.
        published: Whether an outcome says that something was published.
        pace: The mirror's.
    """

    def __init__(
        self, take: Callable[[Sequence[bytes]], Sequence[T | CarnetError]], published: Callable[[T], bool], pace: Pace
    ) -> None:
        self._take = take
        self._published = published
        self._pace = pace
        self._waiting: OrderedDict[str, deque[_Waits[T]]] = OrderedDict()
        self._came = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def join(self, read: Callable[[], bytes], size: int, network: str) -> T:
        """Wait until it is published, or refused.

        Args:
            read: Reads the body; called in a thread.
            size: Its bytes.
            network: Whose it is.

        Raises:
            CarnetError: It is refused, and why.
        """
        one = _Waits[T](read, size, self._pace.now())
        self._waiting.setdefault(network, deque()).append(one)
        self._came.set()
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        try:
            return await one.answer
        finally:
            self._leave(one, network)

    def _leave(self, one: _Waits[T], network: str) -> None:
        queue = self._waiting.get(network)
        if queue is not None and one in queue:
            queue.remove(one)
            if not queue:
                del self._waiting[network]

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._until_it_is_time()
                if batch := self._next():
                    await self._judge(batch)
        finally:
            self._task = None

    async def _until_it_is_time(self) -> None:
        while pause := self._pause():
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), min(pause, _LOOK_EVERY))
            except TimeoutError:
                continue

    def _pause(self) -> float:
        if not self._waiting:
            return 0.0
        first = min(queue[0].since for queue in self._waiting.values())
        return self._pace.wait(sum(map(len, self._waiting.values())), "signed", first)

    def _next(self) -> list[_Waits[T]]:
        """One of each network, and again, until they are enough."""
        taken: list[_Waits[T]] = []
        size = 0
        while self._waiting and len(taken) < TOGETHER:
            network, queue = next(iter(self._waiting.items()))
            if taken and size + queue[0].size > _MOST_BYTES:
                break
            del self._waiting[network]
            taken.append(queue.popleft())
            size += taken[-1].size
            if queue:
                self._waiting[network] = queue  # behind all others
        return taken

    async def _judge(self, batch: list[_Waits[T]]) -> None:
        """Judge and publish these; one that went away meanwhile is left out, and no error of it reaches another."""
        outcomes: Sequence[T | CarnetError | BaseException]
        try:
            outcomes = await asyncio.to_thread(lambda: self._take([one.read() for one in batch]))
        except Exception as error:  # noqa: BLE001  -- nobody who waits is left waiting
            if len(batch) > 1:
                for one in batch:
                    await self._judge([one])
                return
            outcomes = [error]
        if any(not isinstance(outcome, BaseException) and self._published(outcome) for outcome in outcomes):
            self._pace.published()
        for one, outcome in zip(batch, outcomes, strict=True):
            if one.answer.done():
                continue
            if isinstance(outcome, BaseException):
                one.answer.set_exception(outcome)
            else:
                one.answer.set_result(outcome)
