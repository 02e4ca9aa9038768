"""The online signer, as the mirror sees it: a socket that answers with signatures or with a reason."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from carnet import strictjson
from carnet.errors import FormatError, SigningError
from carnet.strictjson import JsonObject
from carnet.tuf.keys import Signature
from carnet_signer.online.address import address_of
from carnet_signer.online.server import MAX_LINE, read_lines, send_line

_TIMEOUT = 120.0
_BATCH = 8_000_000


class OnlineClient:
    """An open connection to an online signer; implements `carnet_signer.metadata.publish.OnlineSigner`.

    Attributes:
        keyids: The online keys that it holds.
    """

    def __init__(self, connection: socket.socket, process: subprocess.Popen[bytes] | None = None) -> None:
        """Wait for the signer's first line.

        Raises:
            SigningError: It could not start: the key is locked, missing, an example key.
        """
        self._connection = connection
        self._process = process
        self._lines = read_lines(connection)
        with contextlib.ExitStack() as unless_ready:
            unless_ready.callback(self.close)  # also when a person gives up typing a passphrase: nothing stays behind
            match self._receive():
                case {"ready": list(keyids)}:
                    self.keyids = tuple(str(keyid) for keyid in keyids)
                case _:
                    raise SigningError("what answers is not an online signer")
            unless_ready.pop_all()
        connection.settimeout(_TIMEOUT)

    def __enter__(self) -> OnlineClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a signer that was started for it ends."""
        self._connection.close()
        if self._process is not None:
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def last_version(self, role: str) -> int:
        """The highest version that was ever signed for a role; 0 when none was."""
        match self._ask({"op": "last", "roles": [role]}):
            case {"versions": dict(versions)}:
                version = versions.get(role)
                if isinstance(version, int):
                    return version
        raise SigningError("the online signer's answer makes no sense")

    def named_snapshot(self) -> tuple[int, str] | None:
        """Version and sha256 of the snapshot that the newest signed timestamp names; None when none was signed."""
        match self._ask({"op": "last", "roles": []}):
            case {"named": [int(version), str(sha256)]}:
                return version, sha256
            case {"named": None}:
                return None
        raise SigningError("the online signer's answer makes no sense")

    def sign(self, payloads: Mapping[str, bytes]) -> dict[str, list[Signature]]:
        """Sign several roles, in a few requests when they are large.

        Raises:
            SigningError: One of a request's payloads may not be signed, or the signer is gone.
        """
        made: dict[str, list[Signature]] = {}
        for batch in _batches(payloads):
            answer = self._ask({"op": "sign", "payloads": {role: data.decode() for role, data in batch.items()}})
            signatures: Any = answer.get("signatures")
            for role in batch:
                made[role] = _read_signatures(signatures.get(role) if isinstance(signatures, dict) else None)
        return made

    def sign_receipt(self, payload: bytes) -> list[Signature]:
        """Sign a receipt for a claim or a takeover that was handed in now.

        Args:
            payload: From `carnet.claims.receipt.ClaimReceipt.payload`.

        Raises:
            SigningError: It is no receipt, its time is not the signer's, or the signer is gone.
        """
        signatures: Any = self._ask({"op": "receipt", "payload": payload.decode()}).get("signatures")
        return _read_signatures(signatures)

    def _ask(self, request: JsonObject) -> JsonObject:
        try:
            send_line(self._connection, request)
        except OSError as error:
            raise SigningError(f"the online signer is gone: {_reason(error)}") from None
        return self._receive()

    def _receive(self) -> JsonObject:
        try:
            line = next(self._lines, None)
            if line is None:
                raise SigningError(
                    "the online signer has ended", hint="its own last message says why; start it again to go on"
                )
            answer = strictjson.parse_object(line, "the online signer's answer", max_bytes=MAX_LINE)
        except OSError as error:
            raise SigningError(f"the online signer does not answer: {_reason(error)}") from None
        except FormatError as error:
            raise SigningError(str(error)) from None
        match answer:
            case {"error": str(reason), "hint": str(hint)}:
                raise SigningError(reason, hint=hint)
        return answer


def _read_signatures(listed: Any) -> list[Signature]:
    try:
        return [_signature(item) for item in listed]
    except (TypeError, ValueError):
        raise SigningError("the online signer's answer makes no sense") from None


def _signature(item: Any) -> Signature:
    match item:
        case {"keyid": str(keyid), "sig": str(sig)}:
            return Signature(keyid, bytes.fromhex(sig))
    raise TypeError(item)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()


def _batches(payloads: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    batch: dict[str, bytes] = {}
    size = 0
    for role, data in payloads.items():
        if batch and size + len(data) > _BATCH:
            yield batch
            batch, size = {}, 0
        batch[role] = data
        size += len(data)
    if batch:
        yield batch


def start_signer(command: Sequence[str], *, inherit: Sequence[int] = ()) -> OnlineClient:
    """Start an online signer as a child over an inherited socket.

    Args:
        command: The command line of `carnet online`, to which `--inherited-fd N` is added. The child opens the keys
            itself: no passphrase and no key passes through this process.
        inherit: Descriptors that the child gets as well, such as the one that it reads its passphrase from.

    Raises:
        SigningError: It could not start.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [*command, "--inherited-fd", str(theirs.fileno())], pass_fds=[theirs.fileno(), *inherit], close_fds=True
        )
    return OnlineClient(ours, process)


def connect_signer(path: Path) -> OnlineClient:
    """Connect to an online signer that listens on a unix socket.

    Raises:
        SigningError: Nothing listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with address_of(path) as address:
            connection.connect(address)
    except OSError as error:
        with contextlib.suppress(OSError):
            connection.close()
        raise SigningError(
            f"no online signer answers on {path}: {_reason(error)}", hint="start one with `carnet online --socket`"
        ) from None
    return OnlineClient(connection)
