"""A publish that is killed, or whose disk fails, at any system call that changes something.

Run as a program: `walk FOLDER FAULT STRIDE` prints one JSON line for each call; `prepare FOLDER` and `once FOLDER`
publish, the second for strace to interfere with; `look FOLDER` says what clients see and completes the publish.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.machines.stock_client import read_target, stock_client
from tests.support.worlds.ceremony import Ceremony, make_ceremony
from tests.support.worlds.changes import TARBALL, TARBALL_PATH, claim
from tests.support.worlds.publication import FolderPublication

from carnet import strictjson
from carnet.errors import StorageError
from carnet.tuf.keys import Signature
from carnet_signer.metadata.publish import Change, publish
from carnet_signer.online.memory import SigningMemory
from carnet_signer.online.server import Oracle

OLD, NEW = {"index/se/rd/serde": b"old\n"}, {"index/se/rd/serde": b"new\n", "index/an/yh/anyhow": b"new\n"}
CALLS = ("open", "write", "fsync", "rename", "link", "unlink", "mkdir")
_NOW = datetime.now(UTC).replace(microsecond=0)  # python-tuf's client reads the clock


@cache
def _ceremony(now: str) -> Ceremony:
    return make_ceremony(now=datetime.fromisoformat(now), bit_length=2)


@dataclass(frozen=True)
class Setting:
    """A publication in which `OLD` is published and `NEW`, with a claim, is about to be."""

    folder: Path

    @property
    def publication(self) -> FolderPublication:
        return FolderPublication(self.folder / "publication")

    @property
    def ceremony(self) -> Ceremony:
        # The clock moves on between two runs of this program: the ceremony's time is kept.
        file = self.folder / "now"
        if not file.exists():
            file.write_text(_NOW.isoformat())
        return _ceremony(file.read_text())

    def prepare(self) -> None:
        self.folder.mkdir(parents=True)
        self._publish(replace(self.ceremony.change, index_files=OLD))

    def publish_new(self) -> None:
        self._publish(replace(claim(self.ceremony), index_files=NEW))

    def _publish(self, change: Change) -> None:
        memory = SigningMemory(self.folder / "memory")
        try:
            oracle = Oracle([self.ceremony.online], memory, lambda: self.ceremony.now)
            publish(self.publication, InProcess(oracle), change, now=self.ceremony.now)
        finally:
            memory.close()

    def look(self) -> str:
        """What a client that knew the old state and a fresh one see: `old`, `new`, or what is wrong."""
        seen = {self._look(name) for name in ("known", "fresh")}
        shutil.rmtree(self.folder / "fresh")
        return seen.pop() if len(seen) == 1 else f"two clients disagree: {seen}"

    def _look(self, client: str) -> str:
        updater = stock_client(self.publication, self.ceremony.root, self.folder / client)
        updater.refresh()
        found = [read_target(updater, path) for path in (*NEW, TARBALL_PATH)]
        if found == [*OLD.values(), None, None]:
            return "old"
        return "new" if found == [*NEW.values(), TARBALL] else f"a mixture: {found}"


class InProcess:
    """The online signer's rules and memory without its process, so that one walk covers both."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle

    def last_version(self, role: str) -> int:
        return int(self._ask({"op": "last", "roles": [role]})["versions"][role])

    def named_snapshot(self) -> tuple[int, str] | None:
        named = self._ask({"op": "last", "roles": []})["named"]
        return None if named is None else (named[0], named[1])

    def sign(self, payloads: Mapping[str, bytes]) -> dict[str, list[Signature]]:
        answer = self._ask({"op": "sign", "payloads": {role: data.decode() for role, data in payloads.items()}})
        return {
            role: [Signature(one["keyid"], bytes.fromhex(one["sig"])) for one in made]
            for role, made in answer["signatures"].items()
        }

    def _ask(self, request: Any) -> Any:
        answer = self.oracle.answer(strictjson.canonical(request))
        assert "error" not in answer, answer
        return answer


def interfere(number: int, fault: str) -> Callable[[], bool]:
    """From now on, count the calls that change something, and let the one of this number go wrong.

    Returns:
        Tells whether there were so many calls.
    """
    count = 0

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count != number:
                return real(*args, **kwargs)
            if fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(getattr(errno, fault), os.strerror(getattr(errno, fault)))

        return wrapped

    for name in CALLS:
        setattr(os, name, wrap(getattr(os, name)))
    return lambda: count >= number


def walk(folder: Path, fault: str, stride: int) -> None:
    """Let each call in turn, or each of a stride, go wrong, in a child of its own, on a copy of the setting."""
    template = Setting(folder / "template")
    template.prepare()
    assert template.look() == "old"
    for number in range(1, 1000, stride):
        setting = Setting(folder / str(number))
        shutil.copytree(template.folder, setting.folder, copy_function=os.link)
        child = os.fork()
        if child == 0:
            reached = interfere(number, fault)
            try:
                setting.publish_new()
            except StorageError as error:
                os._exit(3 if "\n" not in str(error) else 4)
            os._exit(0 if reached() else 9)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        seen = setting.look()
        setting.publish_new()
        print(json.dumps({"call": number, "exit": status, "seen": seen, "after": setting.look()}))
        shutil.rmtree(setting.folder)
        if status == 9:
            return


def main(arguments: list[str]) -> None:
    setting = Setting(Path(arguments[1]))
    if arguments[0] == "walk":
        walk(Path(arguments[1]), arguments[2], int(arguments[3]))
    elif arguments[0] == "prepare":
        setting.prepare()
        setting.look()
    elif arguments[0] == "once":
        (setting.folder / "begin").exists()  # a mark in strace's log
        setting.publish_new()
    elif arguments[0] == "look":
        seen = setting.look()
        setting.publish_new()
        print(json.dumps({"seen": seen, "after": setting.look()}))


if __name__ == "__main__":
    main(sys.argv[1:])
