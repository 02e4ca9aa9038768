"""The address of a unix socket fits, however long its path is."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from carnet.errors import SigningError, StorageError
from carnet_signer.online import address
from carnet_signer.online.address import address_of
from carnet_signer.online.client import connect_signer


@pytest.mark.parametrize("folder", ["short", "long/" * 40, "ü" * 120], ids=("short", "long", "in bytes"))
def test_one_listens_and_one_connects(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder / "online.sock"
    place.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        with address_of(place) as bound:
            listener.bind(bound)
        listener.listen()
        with address_of(place) as known:
            client.connect(known)
    assert place.is_socket()


def test_a_system_without_a_way_round_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "_DESCRIPTORS", tmp_path / "none")
    with pytest.raises(StorageError, match="is longer than 103 bytes"), address_of(tmp_path / ("x" * 110)):
        pass


def test_no_folder_is_no_signer(tmp_path: Path) -> None:
    with pytest.raises(SigningError, match="no online signer answers"):
        connect_signer(tmp_path / ("x" * 110) / "online.sock")
