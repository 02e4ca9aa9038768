"""The process that holds the online keys, and nothing else.

It opens its keys after it was started, shares no memory with the mirror, and answers on one socket in lines of JSON::

    -> {"op": "last", "roles": ["timestamp"]}         <- {"versions": {"timestamp": 17}, "named": [9, "<sha256>"]}
    -> {"op": "sign", "payloads": {"timestamp": "{...}"}}
                                                     <- {"signatures": {"timestamp": [{"keyid": "...", "sig": "..."}]}}
    -> {"op": "receipt", "payload": "{...}"}          <- {"signatures": [{"keyid": "...", "sig": "..."}]}
    -> anything it refuses                            <- {"error": "...", "hint": "..."}

The first line is its own: `{"ready": ["<keyid>", ...]}`, or why it could not start. What it signs is decided in
`online_rules`, and what it signed is remembered in `online_memory`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from carnet import strictjson
from carnet.errors import CarnetError, FormatError, StorageError
from carnet.strictjson import Json, JsonObject
from carnet.tuf.keys import Signature
from carnet.tuf.roles import Signed, Snapshot
from carnet_signer.keys.signer import Signer
from carnet_signer.metadata import role_files
from carnet_signer.online.address import address_of
from carnet_signer.online.memory import SigningMemory
from carnet_signer.online.rules import check_payload, check_receipt, entry_of

MAX_LINE = 2 * role_files.MAX_ROLE_FILE
_MAX_CONNECTIONS = 16
_CHUNK = 1 << 18


class Oracle:
    """Answers requests: the rules, the memory and the keys of one repository."""

    def __init__(self, signers: Sequence[Signer], memory: SigningMemory, clock: Callable[[], datetime]) -> None:
        """Bring them together.

        Args:
            signers: The online keys; more than one only while a root hands over from old to new.
            memory: What was signed before.
            clock: The signer's own time: it does not take the mirror's.
        """
        self._signers = tuple(signers)
        self._memory = memory
        self._clock = clock
        self._one_at_a_time = threading.Lock()

    @property
    def greeting(self) -> JsonObject:
        """The first line."""
        return {"ready": [signer.public_key.keyid for signer in self._signers]}

    def answer(self, line: bytes) -> JsonObject:
        """Answer one request.

        Raises:
            StorageError: The memory could not be written; the process must end, and nothing was signed.
        """
        try:
            request = strictjson.parse_object(line, "the request", max_bytes=MAX_LINE)
            with self._one_at_a_time:
                match request:
                    case {"op": "last", "roles": list(wanted)} if len(request) == 2:
                        return self._last(wanted)
                    case {"op": "sign", "payloads": dict(payloads)} if len(request) == 2:
                        return self._sign(payloads)
                    case {"op": "receipt", "payload": str(payload)} if len(request) == 2:
                        return self._sign_receipt(payload.encode())
            raise FormatError("the request is none of `last`, `sign` and `receipt`")
        except StorageError:
            raise
        except CarnetError as error:
            return refusal(error)

    def _last(self, wanted: list[Json]) -> JsonObject:
        versions: JsonObject = {}
        for role in wanted:
            if not isinstance(role, str):
                raise FormatError("a role's name is a string")
            entry = self._memory.last(role)
            versions[role] = 0 if entry is None else entry.version
        timestamp = self._memory.last("timestamp")
        named = timestamp.snapshot if timestamp is not None else None
        return {"versions": versions, "named": None if named is None else list(named)}

    def _sign(self, payloads: dict[str, Json]) -> JsonObject:
        """All or nothing: check each, sign each, remember all durably, and only then let the signatures out."""
        now = self._clock()
        checked: list[tuple[str, bytes, Signed]] = []
        for role, text in payloads.items():
            if not isinstance(text, str):
                raise FormatError("a payload is a string")
            payload = text.encode()
            checked.append((role, payload, check_payload(role, payload, self._memory, now)))
        entries, made, snapshot = [], {}, None
        for role, payload, signed in checked:
            signatures = [signer.sign(payload) for signer in self._signers]
            entries.append(entry_of(role, payload, signed, role_files.file_bytes(payload, signatures)))
            made[role] = [_to_json(signature) for signature in signatures]
            if isinstance(signed, Snapshot):
                snapshot = (payload, signed)
        self._memory.remember(entries, snapshot)
        return {"signatures": made}  # type: ignore[dict-item]

    def _sign_receipt(self, payload: bytes) -> JsonObject:
        """Receipts are no versions of anything: there is nothing to remember of them."""
        covered = check_receipt(payload, self._clock())
        return {"signatures": [_to_json(signer.sign(covered)) for signer in self._signers]}


def _to_json(signature: Signature) -> JsonObject:
    return {"keyid": signature.keyid, "sig": signature.sig.hex()}


def refusal(error: CarnetError) -> JsonObject:
    """An error as a line of the protocol."""
    return {"error": str(error), "hint": error.hint}


def send_line(connection: socket.socket, value: JsonObject) -> None:
    """Write one line.

    Raises:
        OSError: The other side is gone.
    """
    connection.sendall(strictjson.encode(value) + b"\n")


def read_lines(connection: socket.socket) -> Iterator[bytes]:
    """The other side's lines, each bounded, until it closes the connection.

    Raises:
        FormatError: A line is longer than `MAX_LINE`.
        OSError: The connection broke, or its timeout passed.
    """
    pending = bytearray()
    while chunk := connection.recv(_CHUNK):
        start = len(pending)
        pending += chunk
        while (end := pending.find(b"\n", start)) >= 0:
            yield bytes(pending[:end])
            del pending[: end + 1]
            start = 0
        if len(pending) > MAX_LINE:
            raise FormatError(f"a line is longer than {MAX_LINE} bytes")


def serve_connection(connection: socket.socket, oracle: Oracle) -> None:
    """Answer one client until it goes away.

    Raises:
        StorageError: The memory could not be written; the process must end.
    """
    with connection, contextlib.suppress(OSError, FormatError):
        send_line(connection, oracle.greeting)
        for line in read_lines(connection):
            try:
                answer = oracle.answer(line)
            except StorageError as error:
                send_line(connection, refusal(error))
                raise
            send_line(connection, answer)


def serve_socket(
    path: Path,
    oracle: Oracle,
    *,
    mode: int = 0o600,
    group: int | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Listen on a unix socket until the memory fails or the process is stopped.

    Args:
        path: Where the socket is made; one that a former process left there is replaced.
        oracle: What answers.
        mode: The socket's permission bits: whoever may write to it may ask for signatures.
        group: Group id that the socket is given.
        ready: Called once whoever connects is answered.

    Raises:
        StorageError: The socket cannot be made, or the memory could not be written.
    """
    failed: list[StorageError] = []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            path.unlink(missing_ok=True)
            old = os.umask(0o177)
            try:
                with address_of(path) as address:
                    listener.bind(address)
            finally:
                os.umask(old)
            if group is not None:
                os.chown(path, -1, group)
            path.chmod(mode)
            listener.listen(_MAX_CONNECTIONS)
            listener.settimeout(1.0)
            ready()
            slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
            while not failed:
                with contextlib.suppress(TimeoutError):
                    connection, _ = listener.accept()
                    connection.settimeout(None)
                    slots.acquire()
                    threading.Thread(target=_serve, args=(connection, oracle, slots, failed), daemon=True).start()
    except OSError as error:
        raise StorageError(
            f"socket {path}: {(error.strerror or 'failed').lower()}",
            hint="`--socket` names a place in a folder that is there, and that the signer may write to",
        ) from error
    raise failed[0]


def _serve(
    connection: socket.socket, oracle: Oracle, slots: threading.BoundedSemaphore, failed: list[StorageError]
) -> None:
    try:
        serve_connection(connection, oracle)
    except StorageError as error:
        failed.append(error)
    finally:
        slots.release()


def harden() -> None:
    """Keep the keys out of core files, and other processes of the same user from reading this one's memory."""
    import ctypes
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
