"""A language server over its standard streams, as an editor talks to one."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

from tests.support.machines.processes import running

_PATIENCE = 240.0
"""Seconds that it may be silent about what is waited for; a first look at a standard library takes long."""

Message = dict[str, Any]


class Editor:
    """One editor with one project.

    Args:
        process: The server.
        project: The folder.
        settings: What the server is told when it asks for its configuration.
    """

    def __init__(self, process: subprocess.Popen[bytes], project: Path, settings: Mapping[str, Any]) -> None:
        self._process = process
        self._project = project
        self._settings = settings
        self._arrived: Queue[Message] = Queue()
        self._asked = 0
        self.seen: list[Message] = []
        Thread(target=self._read, daemon=True).start()

    def open(self) -> None:
        """Open the project, and wait until the server knows it."""
        uri = self._project.as_uri()
        abilities = {
            "experimental": {"serverStatusNotification": True},
            "textDocument": {"hover": {"contentFormat": ["plaintext"]}, "synchronization": {"didSave": True}},
            "workspace": {"configuration": True},
        }
        self.ask(
            "initialize",
            {
                "processId": None,
                "rootUri": uri,
                "capabilities": abilities,
                "workspaceFolders": [{"uri": uri, "name": self._project.name}],
                "initializationOptions": self._settings,
            },
        )
        self.tell("initialized", {})
        self.status = self.wait(
            lambda one: one.get("method") == "experimental/serverStatus" and one["params"]["quiescent"]
        )["params"]

    def hover(self, file: str, word: str) -> str:
        """What the server says of the first time that a word stands in a file."""
        text = (self._project / file).read_text()
        before = text[: text.index(word)]
        line = before.count("\n")
        at = {"line": line, "character": len(before) - (before.rfind("\n") + 1)}
        said = self.ask("textDocument/hover", {"textDocument": self._document(file), "position": at})["result"]
        return str(said["contents"]["value"]) if said else ""

    def save(self, file: str) -> None:
        """Open a file and save it, so that the server has cargo check it."""
        text = (self._project / file).read_text()
        document = self._document(file)
        self.tell(
            "textDocument/didOpen", {"textDocument": {**document, "languageId": "rust", "version": 1, "text": text}}
        )
        self.tell("textDocument/didSave", {"textDocument": document})

    def diagnostics(self, source: str, word: str) -> str:
        """Wait for what a checker says of the project's files, in which a word stands."""

        def found(message: Message) -> list[str]:
            if message.get("method") != "textDocument/publishDiagnostics":
                return []
            told = message["params"]["diagnostics"]
            return [one["message"] for one in told if one.get("source") == source and word in one["message"]]

        return found(self.wait(lambda message: bool(found(message))))[0]

    def ask(self, method: str, params: Any) -> Message:
        """Ask, and wait for the answer."""
        self._asked += 1
        number = self._asked
        self._send({"id": number, "method": method, "params": params})
        answer = self.wait(lambda one: one.get("id") == number and "method" not in one)
        assert "error" not in answer, answer
        return answer

    def tell(self, method: str, params: Any) -> None:
        """Tell, and wait for nothing."""
        self._send({"method": method, "params": params})

    def wait(self, what: Callable[[Message], bool]) -> Message:
        """The next message of a kind; what the server asks meanwhile is answered."""
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                message = self._arrived.get(timeout=max(0.0, end - time.monotonic()))
            except Empty:
                raise AssertionError(f"the language server is silent; it last said {self.seen[-5:]}") from None
            self.seen.append(message)
            if "method" in message and "id" in message:
                self._send({"id": message["id"], "result": self._answer(message)})
            if what(message):
                return message

    def _answer(self, message: Message) -> Any:
        if message["method"] == "workspace/configuration":
            return [self._settings for _ in message["params"]["items"]]
        return None

    def _document(self, file: str) -> dict[str, str]:
        return {"uri": (self._project / file).as_uri()}

    def _send(self, message: Message) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(data), data))
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
            elif not line.strip():
                self._arrived.put(json.loads(self._process.stdout.read(length)))


@contextmanager
def editor(
    program: Path, project: Path, environment: Mapping[str, str], settings: Mapping[str, Any], log: Path
) -> Iterator[Editor]:
    """An editor that has a project open, while the block runs.

    Args:
        program: The server.
        project: The folder.
        environment: What the editor was started with.
        settings: The server's.
        log: For what the server writes to stderr.
    """
    with (
        log.open("wb") as errors,
        running(
            [str(program)],
            cwd=project,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        one = Editor(process, project, settings)
        one.open()
        yield one
        one.ask("shutdown", None)
        one.tell("exit", None)
