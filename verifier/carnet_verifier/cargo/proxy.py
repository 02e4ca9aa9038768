"""A cargo registry on loopback that serves only what was verified.

The index it serves is the signed one: for a claimed crate exactly the lines that its maintainers signed. A tarball is
served when it was admitted, and answered with 403 and the reason in words when it was refused: cargo shows that text.
A version that the user's lock pins is never hidden, because cargo's message would then mislead.

    GET /index/config.json
    GET /index/<prefix>/<name>
    GET /api/v1/crates/<name>/<version>/download
    GET /api/v1/crates?q=<name>                   the crate of that name alone: a signed index is asked by names
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import parse_qs

from carnet import strictjson
from carnet.cargo.index_file import IndexLine
from carnet.cargo.index_line import IndexFile
from carnet.cargo.names import CrateId, CrateName
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, FormatError, NotFound, StorageError, TransportError, VerificationError
from carnet.tuf import paths
from carnet_verifier.admit import admit_tarball
from carnet_verifier.line import attribute_all, find_target, inspect, judge, needed, open_index
from carnet_verifier.outcomes import Attributed, LevelMemory, Wanted
from carnet_verifier.policy import rules
from carnet_verifier.policy.evaluate import in_force
from carnet_verifier.policy.policy import Policy
from carnet_verifier.tuf.repository import TrustedRepository

MAX_TEXT = 512
"""Characters of a refusal that cargo shows."""

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What an HTTP request is answered with."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class Witness(Protocol):
    """Is told what cargo is shown of the index; what it does with that decides nothing."""

    def offered(self, name: CrateName, lines: Sequence[IndexLine], hidden: Mapping[CrateId, str]) -> None:
        """These versions were shown, and those were hidden, each for a reason in words."""

    def lacks(self, name: CrateName) -> None:
        """The registry signed that there is no such crate."""


@dataclass(frozen=True)
class Gatekeeper:
    """What the registry decides with.

    Attributes:
        view: The newest verified view; called for each request, and free to return the one before.
        policy: What a crate must fulfil.
        memory: What is remembered of each crate.
        clock: The time, aware, UTC.
        pinned: Versions that the user's lock has, when it is known: they are never hidden from cargo. None when it is
            not known: then nothing is hidden for the policy's sake, and a refused download says why.
        witness: Is told what is shown and hidden.
    """

    view: Callable[[], TrustedRepository]
    policy: Policy
    memory: LevelMemory | None
    clock: Callable[[], datetime]
    pinned: frozenset[CrateId] | None = None
    witness: Witness | None = None

    def index(self, name: CrateName) -> bytes:
        """The index file that cargo is given for a crate.

        Raises:
            NotFound: The registry signed that there is no such crate.
            CarnetError: It was not admitted, or nothing could be decided.
        """
        repository, now = self.view(), self.clock()
        try:
            target = find_target(repository, name)
        except NotFound:
            if self.witness is not None:
                self.witness.lacks(name)
            raise
        indexed = open_index(repository, name, target)
        claim, released = repository.claim(name), repository.released(name)
        versions = attribute_all(indexed, claim, released=released, now=now)
        hidden: dict[CrateId, str] = {}
        seen: Mapping[CrateName, int] = {}
        if self.memory is not None and self.pinned is not None:
            seen = self.memory.highest_levels((name,))
        lines = list(cargo_lines(versions, self.policy, self.pinned, now=now, hidden=hidden, highest=seen))
        if self.witness is not None:
            self.witness.offered(name, lines, hidden)
        return b"".join(line.to_bytes() + b"\n" for line in lines)

    def tarball(self, crate: CrateId) -> bytes:
        """The tarball of a crate, once it was admitted.

        Raises:
            CarnetError: It was not admitted, or nothing could be decided.
        """
        _, verified = admit_tarball(self.view(), Wanted(crate), self.policy, self.memory, now=self.clock())
        return verified.data


def cargo_lines(
    versions: Iterable[tuple[IndexLine, Attributed | VerificationError]],
    policy: Policy,
    pinned: frozenset[CrateId] | None = None,
    *,
    now: datetime,
    hidden: dict[CrateId, str] | None = None,
    highest: Mapping[CrateName, int] = MappingProxyType({}),
) -> Iterator[IndexLine]:
    """The lines that cargo may see, yanked as those say whose word it is.

    Of a claimed crate these are the lines that its maintainers signed. Where the lock is known, a version is left out
    that metadata and a rule about single versions deny: cargo does better with another one. What denies the whole crate
    hides nothing, because cargo would say that there is no such crate; its download says why it is refused. Where only
    the tarball tells (the level of a release that comes with evidence), nothing is hidden either: it is judged once it
    was chosen.

    Args:
        versions: What `attribute_all` says of each version.
        policy: What a crate must fulfil.
        pinned: Versions that are shown whatever is said of them, because the lock has them; None when it is not known.
        now: The time of the check.
        hidden: Is filled with the versions that are left out, and why: nobody vouches for one, or the policy denies it.
        highest: The highest level at which each crate was seen.

    Raises:
        MetadataMismatch: The registry hides a version that the maintainers signed.
        CarnetError: What a kind of evidence looked at does not hold.
    """
    judging = in_force(policy, among=(rule for rule in rules.ALL if rule.of_version))
    kinds = needed(judging)
    for line, attributed in versions:
        is_pinned = pinned is not None and line.id in pinned
        if isinstance(attributed, VerificationError):
            if is_pinned:
                yield line
            elif hidden is not None:
                hidden[line.id] = str(attributed)
        elif is_pinned or pinned is None:
            yield attributed.line
        else:
            evidence = inspect(attributed, kinds, now=now)
            verdict = judge(attributed, evidence, policy, highest, now=now, judging=judging).verdict
            if not verdict.denials:
                yield attributed.line
            elif hidden is not None:
                hidden[line.id] = str(verdict.denials[0])


class Registry:
    """The ASGI application.

    Args:
        gatekeeper: Decides.
        base_url: Where the registry is reached, such as `http://127.0.0.1:8790`.
    """

    def __init__(self, gatekeeper: Gatekeeper, base_url: str) -> None:
        self._gatekeeper = gatekeeper
        self._config = strictjson.encode({"dl": f"{base_url}/api/v1/crates", "api": base_url})
        self._lock = threading.Lock()  # a view is not made for several threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] != "http":
            return
        answer = await asyncio.to_thread(self.answer, scope["method"], scope["path"], scope.get("query_string", b""))
        etag = f'"{sha256_hex(answer.body)}"'
        headers = [("content-type", answer.content_type), *answer.headers]
        if answer.status == 200:
            headers.append(("etag", etag))
            if (b"if-none-match", etag.encode()) in scope["headers"]:
                answer = HttpAnswer(304, b"")
        headers.append(("content-length", str(len(answer.body))))
        raw = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    def answer(self, method: str, path: str, query: bytes = b"") -> HttpAnswer:
        """Decide about one request."""
        if method not in ("GET", "HEAD"):
            return HttpAnswer(405, b"this registry is read-only; publish to the upstream registry\n")
        if path == "/index/config.json":
            return HttpAnswer(200, self._config, "application/json")
        try:
            if path.startswith("/" + paths.SPARSE_INDEX_PREFIX):
                return self._answer_index(path.removeprefix("/"))
            if path.startswith("/" + paths.DOWNLOAD_PREFIX):
                return self._answer_download(path.removeprefix("/" + paths.DOWNLOAD_PREFIX))
            if path == "/" + paths.DOWNLOAD_PREFIX.removesuffix("/"):
                return self._answer_search(query)
        except FormatError as error:
            return HttpAnswer(400, refusal_text(error))
        return HttpAnswer(404, b"there is nothing here\n")

    def _answer_index(self, path: str) -> HttpAnswer:
        name = CrateName(path.rpartition("/")[2])
        if paths.index_path(name) != path:
            return HttpAnswer(404, b"not a path of a sparse index\n")
        try:
            with self._lock:
                return HttpAnswer(200, self._gatekeeper.index(name))
        except NotFound as error:
            return HttpAnswer(404, refusal_text(error))
        except CarnetError as error:
            return refusal(error)

    def _answer_search(self, query: bytes) -> HttpAnswer:
        asked = parse_qs(query.decode("ascii", "replace")).get("q", [""])[0].strip()
        found: dict[str, str] = {}
        for spelling in dict.fromkeys((asked, asked.replace("_", "-"), asked.replace("-", "_"))):
            try:
                with self._lock:
                    lines = IndexFile.from_bytes(self._gatekeeper.index(CrateName(spelling)), CrateName(spelling)).lines
            except (NotFound, FormatError):
                continue
            except CarnetError as error:
                return refusal(error)
            offered = [line.id for line in lines if not line.yanked] or [line.id for line in lines]
            if offered:
                finished = [crate for crate in offered if "-" not in crate.version.text.partition("+")[0]]
                newest = max(finished or offered, key=lambda crate: crate.version)
                found[str(newest.name)] = str(newest.version)
        crates = [{"name": name, "max_version": version, "description": None} for name, version in found.items()]
        answer = {"crates": crates, "meta": {"total": len(crates)}}
        return HttpAnswer(200, strictjson.encode(answer), "application/json")

    def _answer_download(self, path: str) -> HttpAnswer:
        name, slash, rest = path.partition("/")
        version = rest.removesuffix("/download")
        if not slash or version == rest:
            return HttpAnswer(404, b"not a download path\n")
        crate = CrateId.of(name, version)
        try:
            with self._lock:
                return HttpAnswer(200, self._gatekeeper.tarball(crate), "application/gzip")
        except CarnetError as error:
            return refusal(error, crate)


def refusal(error: CarnetError, crate: CrateId | None = None) -> HttpAnswer:
    """How an error is told to cargo: 403 ends the build at once with our words; 502 is tried again."""
    undecided = isinstance(error, TransportError | StorageError)
    return HttpAnswer(502 if undecided else 403, refusal_text(error, crate))


def refusal_text(error: CarnetError, crate: CrateId | None = None) -> bytes:
    """At most `MAX_TEXT` characters that cargo prints as they are."""
    about = f"{crate}: " if crate is not None and str(crate) not in str(error) else ""
    text = f"carnet: {about}{error}"
    if error.hint:
        text += f"\ncarnet: hint: {error.hint}"
    printable = "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
    return printable[: MAX_TEXT - 1].encode() + b"\n"
