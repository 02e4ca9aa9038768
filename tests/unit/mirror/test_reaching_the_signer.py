"""Two commands that start in one instant share one online signer: who finds the memory taken looks for a socket too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from carnet_cli.commands.registry import online_signer
from carnet_cli.commands.registry.online_signer import OnlineSettings, online
from carnet_cli.terminal.passphrase import PassphraseSource
from carnet_signer.online.client import OnlineClient
from carnet_signer.online.memory import take_memory


class Listening(OnlineClient):
    """A signer that answers on a socket."""

    def __init__(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A memory that another signer has for as long as the test runs, as that of a `serve` that has just started."""
    held = take_memory(tmp_path / "memory")
    assert held is not None
    assert take_memory(tmp_path / "memory") is None
    yield tmp_path / "memory"
    os.close(held)


def test_a_sync_that_started_with_serve_asks_its_signer_once_that_listens(
    memory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It used to wait for the memory alone, which `serve` does not let go of: for an hour, and then it failed."""
    looked = [None, None, Listening()]
    monkeypatch.setattr(online_signer, "_running", lambda *_: looked.pop(0))
    key = memory.parent / "key"
    key.touch()
    with online(memory.parent, OnlineSettings(str(key), memory), PassphraseSource()) as signer:
        assert isinstance(signer, Listening)
    assert looked == []
    assert capsys.readouterr().err.count("waiting for it to end") == 1
