"""The real online signer's rules and memory, in this process: no child to start, nothing forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.worlds.ceremony import TestKey

from carnet import strictjson
from carnet.errors import SigningError
from carnet.tuf.keys import Signature
from carnet_signer.online.memory import SigningMemory
from carnet_signer.online.server import Oracle


class OracleSigner:
    """Asks an `Oracle` as `OnlineClient` does, without a socket between them.

    Args:
        key: The online key.
        memory: Where it remembers, across processes.
    """

    def __init__(self, key: TestKey, memory: Path) -> None:
        self._memory = SigningMemory(memory)
        self._oracle = Oracle([key], self._memory, lambda: datetime.now(UTC))

    def close(self) -> None:
        self._memory.close()

    def last_version(self, role: str) -> int:
        version: int = self._ask({"op": "last", "roles": [role]})["versions"][role]
        return version

    def named_snapshot(self) -> tuple[int, str] | None:
        named = self._ask({"op": "last", "roles": []})["named"]
        return None if named is None else (named[0], named[1])

    def sign(self, payloads: Mapping[str, bytes]) -> dict[str, list[Signature]]:
        answer = self._ask({"op": "sign", "payloads": {role: data.decode() for role, data in payloads.items()}})
        return {
            role: [Signature(one["keyid"], bytes.fromhex(one["sig"])) for one in made]
            for role, made in answer["signatures"].items()
        }

    def _ask(self, request: dict[str, Any]) -> Any:
        answer: Any = self._oracle.answer(strictjson.encode(request))
        if "error" in answer:
            raise SigningError(answer["error"])
        return answer
