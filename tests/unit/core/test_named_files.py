"""Files and folders that a person names: what is not there, or is something else, is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carnet.durable import make_folder, read_file, read_named_file
from carnet.errors import CarnetError, ConfigError


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"key")
    assert read_named_file(tmp_path / "key", "key", max_bytes=3) == b"key"
    with pytest.raises(ConfigError, match=r"there is no key .*other"):
        read_named_file(tmp_path / "other", "key", max_bytes=3)


def test_the_opened_file_is_the_one_that_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"key")

    def refuse(status: os.stat_result) -> None:
        raise ConfigError(f"{status.st_size} bytes")

    assert read_file(tmp_path / "key", "key", max_bytes=3, check=lambda status: None) == b"key"
    with pytest.raises(ConfigError, match="3 bytes"):
        read_file(tmp_path / "key", "key", max_bytes=3, check=refuse)


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(CarnetError, match=r"(?i)not a directory|file exists"):
            make_folder(folder)
    assert (tmp_path / "file").is_file()
