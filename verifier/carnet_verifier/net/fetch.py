"""How bytes come to the verifier: the Fetcher protocol, and fetching over HTTP with limits of our own.

What a fetcher returns is untrusted. It promises only that it ends: within a deadline, at no less than a least rate,
and with no more bytes than were asked for (trap 5).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, overload

from carnet.errors import TransportError
from carnet_verifier.net.address import PATH, parse_proxy, parse_url
from carnet_verifier.net.budget import Budget
from carnet_verifier.net.http1 import Answer, Connection, Limits
from carnet_verifier.net.patience import PASSING, Patience, retry_after
from carnet_verifier.net.route import Network, Route
from carnet_verifier.net.spool import Spool

__all__ = ["Fetcher", "HttpFetcher", "Limits"]

_REQUEST = 256
"""Bytes of a request beside its path, with a long host name."""
_MOST_UNREAD = 32_768
"""Bytes of requests that a server may leave unread."""
_BEGIN = 64
"""Bytes by which a web page is known."""
_MARK = b"\xef\xbb\xbf"


class Fetcher(Protocol):
    """Where a repository's files come from.

    Paths are below the repository's base URL and quoted as in a URL (`carnet.tuf.paths.url_path`), such as
    `metadata/2.root.json` or `targets/index/se/rd/<sha256>.serde`.
    """

    def get(self, path: str, *, max_bytes: int) -> bytes:
        """Fetch one file.

        Raises:
            TransportError: It could not be had; `status` is 404 when it does not exist. More than `max_bytes` bytes
                are an error as well, and never returned in part.
        """
        ...

    def get_many(self, requests: Sequence[tuple[str, int]], *, large: bool = False) -> Sequence[bytes | TransportError]:
        """Fetch several files at once: pairs of path and `max_bytes`, answered in the same order.

        One that fails does not stop the others: its place in the answer holds the error.

        Args:
            requests: The files.
            large: Whether each is worth a connection of its own, as tarballs are. Then look at one answer after the
                other: until it is looked at it may wait on the disk, however large those are that nobody vouches for.
        """
        ...


class HttpFetcher:
    """Fetches over HTTP/1.1 with reused connections.

    It follows no redirect, decodes only gzip and only up to the asked size, and uses no proxy unless one is given.
    What a busy server or a connection that broke off did not give is asked for again. Threads may share it.

    Args:
        base_url: `https://...` or `http://...`, the folder that holds `metadata/` and `targets/`.
        limits: What one fetch may cost.
        proxy: URL of an HTTP proxy, or None; nothing is read from the environment.
        ca_file: PEM file of certificate authorities to trust instead of the system's.
        network: How the server is reached, and as whom; `proxy` and `ca_file` count where there is none.
        budget: What all of it may cost; None for whoever serves without end.
        patience: How often a file is asked for, within the deadline of one.

    Raises:
        ConfigError: A URL is not one.
    """

    def __init__(
        self,
        base_url: str,
        *,
        limits: Limits | None = None,
        proxy: str | None = None,
        ca_file: str | None = None,
        network: Network | None = None,
        budget: Budget | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._base = parse_url(base_url, "repository")
        self._limits = limits or Limits()
        if network is not None:
            self._route = network.route_to(self._base.origin)
        else:
            self._route = Route(None if proxy is None else parse_proxy(proxy), ca_file)
        self._budget = budget
        self._patience = patience or Patience()
        self._idle: list[Connection] = []
        self._at_once = self._limits.at_once
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The base URL, with a slash at its end."""
        return self._base.url

    def get(self, path: str, *, max_bytes: int) -> bytes:
        """See `Fetcher.get`.

        Raises:
            TransportError: As there.
        """
        (answer,) = self.get_many([(path, max_bytes)])
        if isinstance(answer, TransportError):
            raise answer
        return answer

    def get_many(self, requests: Sequence[tuple[str, int]], *, large: bool = False) -> Sequence[bytes | TransportError]:
        """See `Fetcher.get_many`; a connection is asked for many small files at once."""
        answers: dict[int, bytes | Spool | TransportError] = {}
        waiting: deque[int] = deque()
        for number, (path, _) in enumerate(requests):
            if PATH.match(path) is None:
                answers[number] = TransportError(f"{path[:80]!a} is not a path of a repository")
            else:
                waiting.append(number)

        def ask(batch: list[int], crew: _Crew) -> list[int]:
            return self._ask(batch, requests, answers, crew)

        started, tried = time.monotonic(), 0
        while waiting:
            at_once = 1 if large else self._at_once
            _Crew(ask, waiting, at_once=at_once, most=self._limits.connections, plain=large).run()
            tried += 1
            waiting = self._wait(answers, tried, started + self._limits.deadline)
        return _Answered.of([answers[number] for number in range(len(requests))])

    def _wait(self, answers: Mapping[int, bytes | Spool | TransportError], tried: int, end: float) -> deque[int]:
        """Wait until it makes sense to ask again, for the files that are returned; none when it makes none."""
        pauses = {
            number: self._patience.pause_after(answer, tried)
            for number, answer in answers.items()
            if isinstance(answer, TransportError) and answer.passing
        }
        again = {number: pause for number, pause in pauses.items() if pause is not None}
        longest = max(again.values(), default=0.0)
        if not again or time.monotonic() + longest > end:
            return deque()
        time.sleep(longest)
        return deque(again)

    def _ask(
        self,
        batch: list[int],
        requests: Sequence[tuple[str, int]],
        answers: dict[int, bytes | Spool | TransportError],
        crew: _Crew,
    ) -> list[int]:
        """Ask for some files over one connection; returns those that have to be asked for again.

        Each time one is answered at least, or an idle connection ends, or it is the last time that a connection is
        asked for several.
        """
        asked = self._together(batch, requests)
        connection = self._take()
        used = connection is not None
        if connection is None:
            connection = Connection(self._base.origin, self._limits, self._route)
        done = 0
        try:
            connection.plain = crew.plain
            crew.starts(connection)
            if self._budget is not None:
                self._budget.check()
            started = time.monotonic()
            paths = [(self._base.path + requests[n][0], requests[n][1]) for n in asked]
            for answer in connection.get(paths):
                if self._budget is not None:
                    self._budget.count(requests[asked[done]][0], time.monotonic() - started, answer.size)
                    self._budget.check()
                answers[asked[done]] = self._told(requests[asked[done]][0], answer)
                done += 1
            if done < len(asked):
                crew.ask_less(connection.answered)
        except TransportError as error:
            # A server may close a connection that was idle at the very moment it is used again.
            if used and connection.unanswered and not (done or connection.late):
                return batch
            # What a server, or a box on the way, does not manage with several requests in its hand, it may with one.
            if len(asked) > 1 and connection.unanswered:
                self._at_once = 1
                crew.ask_less(1)
                return batch[done:]
            failed = asked[done : done + 1] if connection.opened else asked
            for number in failed:
                reason = f"{self.url}{requests[number][0]}: {error}"
                answers[number] = TransportError(
                    reason, hint=error.hint, status=error.status, passing=error.passing and not connection.late
                )
            done += len(failed)
        finally:
            crew.ends(connection)
            if connection.usable:
                with self._lock:
                    self._idle.append(connection)
            else:
                connection.close()
        return batch[done:]

    def _together(self, batch: Sequence[int], requests: Sequence[tuple[str, int]]) -> list[int]:
        """How many of the first requests to send before an answer is read: no more than any server's buffer holds.

        Who is still sending does not read, and a server that cannot send need not read either.
        """
        asked: list[int] = []
        size = 0
        for number in batch:
            size += len(self._base.path) + len(requests[number][0]) + _REQUEST
            if asked and size > _MOST_UNREAD:
                break
            asked.append(number)
        return asked

    def _take(self) -> Connection | None:
        """An idle connection, if there is one that can be used."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.close()

    def _told(self, path: str, answer: Answer) -> bytes | Spool | TransportError:
        """What an answer comes to. No file of a repository is empty or a web page: such an answer says nothing."""
        if answer.status != 200:
            return self._refusal(path, answer)
        body = answer.body if answer.spooled is None else answer.spooled
        begin = bytes(memoryview(body)[:_BEGIN]) if isinstance(body, bytes) else body.begin(_BEGIN)
        if begin and not begin.removeprefix(_MARK).lstrip().startswith(b"<"):
            return body
        from carnet_verifier.net.reasons import HINT_FOR_NO_FILE

        kind = "a web page" if begin else "an empty file"
        return TransportError(
            f"{self.url}{path}: answered with {kind}", hint=HINT_FOR_NO_FILE.format(f"{self.url}{path}")
        )

    def _refusal(self, path: str, answer: Answer) -> TransportError:
        status, hint = answer.status, ""
        if status not in (404, 410):  # as the next root's: every run asks for a file that is not there
            from carnet_verifier.net.reasons import hint_for_status

            hint = hint_for_status(status, self._base.origin, self._route)
        redirects = ": redirects are not followed" if 300 <= status < 400 else ""
        return TransportError(
            f"{self.url}{path}: answered {status}{redirects}",
            hint=hint,
            status=status,
            passing=status in PASSING,
            retry_after=retry_after(answer.headers.get(b"retry-after", b"")),
        )

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self) -> HttpFetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Answered(Sequence[bytes | TransportError]):
    """Answers, of which those that wait on the disk are read when somebody looks at them."""

    def __init__(self, answers: list[bytes | Spool | TransportError]) -> None:
        self._answers = answers

    @classmethod
    def of(cls, answers: list[bytes | Spool | TransportError]) -> Sequence[bytes | TransportError]:
        """The answers; a plain list when all of them are in memory."""
        here = [answer.read() if isinstance(answer, Spool) and not answer.on_disk else answer for answer in answers]
        known = [answer for answer in here if not isinstance(answer, Spool)]
        return known if len(known) == len(here) else cls(here)

    def __len__(self) -> int:
        return len(self._answers)

    @overload
    def __getitem__(self, index: int) -> bytes | TransportError: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes | TransportError]: ...
    def __getitem__(self, index: int | slice) -> bytes | TransportError | Sequence[bytes | TransportError]:
        if isinstance(index, slice):
            return _Answered(self._answers[index])
        answer = self._answers[index]
        return answer.read() if isinstance(answer, Spool) else answer


class _Crew:
    """The threads of one call, and the files that wait for them.

    Args:
        ask: Asks for some files, and returns those that have to be asked for again.
        waiting: The files.
        at_once: How many of them one is given.
        most: Threads at the same time, with the caller's own.
        plain: Whether the answers may be large (see `Connection`).
    """

    def __init__(
        self,
        ask: Callable[[list[int], _Crew], list[int]],
        waiting: deque[int],
        *,
        at_once: int,
        most: int,
        plain: bool,
    ) -> None:
        self.plain = plain
        self._ask = ask
        self._waiting = waiting
        self._at_once = at_once
        self._most = most
        self._working = 1  # the caller's thread
        self._threads: deque[threading.Thread] = deque()
        self._asking: list[Connection] = []
        self._failure: BaseException | None = None
        self._lock = threading.Lock()

    def run(self) -> None:
        """Work until nothing waits, and every thread has ended; raises what ended one of them."""
        try:
            self._hire()
            self._work()
        except BaseException as error:  # noqa: BLE001  -- raised below, when no thread is left
            self._stop(error)
        while self._threads:
            try:
                self._threads[0].join()
                self._threads.popleft()
            except BaseException as error:  # noqa: BLE001  -- Ctrl-C, most likely
                self._stop(error)
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # whose traceback leads here

    def ask_less(self, at_once: int) -> None:
        """Give no more files at once than a connection is good for."""
        with self._lock:
            self._at_once = max(1, min(self._at_once, at_once))

    def starts(self, connection: Connection) -> None:
        """Say that a thread is about to wait for a connection; raises TransportError when it should not."""
        with self._lock:
            self._asking.append(connection)
            if self._failure is not None:
                raise TransportError("not asked for: the call is over")

    def ends(self, connection: Connection) -> None:
        """Say that it waits no more."""
        with self._lock:
            self._asking.remove(connection)

    def _hire(self) -> None:
        """Start as many threads as there is work for; the calling one works as well."""
        with self._lock:
            wanted = max(0, min(self._most - self._working, -(-len(self._waiting) // self._at_once) - 1))
            self._working += wanted
        for started in range(wanted):
            thread = threading.Thread(target=self._work, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more of them: those that are there do it
                with self._lock:
                    self._working -= wanted - started
                return
            self._threads.append(thread)

    def _work(self) -> None:
        try:
            while batch := self._next():
                again = self._ask(batch, self)
                if again:
                    with self._lock:
                        if self._failure is None:
                            self._waiting.extendleft(reversed(again))
                    self._hire()
        except BaseException as error:  # noqa: BLE001  -- raised in the caller's thread
            self._stop(error)

    def _next(self) -> list[int]:
        with self._lock:
            if not self._waiting:
                self._working -= 1
            return [self._waiting.popleft() for _ in range(min(self._at_once, len(self._waiting)))]

    def _stop(self, error: BaseException) -> None:
        """End the others too: nothing waits any more, and what is waited for ends."""
        with self._lock:
            self._failure = self._failure or error
            self._waiting.clear()
            for connection in self._asking:
                connection.abort()
