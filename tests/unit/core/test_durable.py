"""Files that are the old ones or the new ones: after errors, kills and with other processes at work."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from carnet import durable
from carnet.errors import StorageError


def test_a_file_is_created_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    durable.write_file(path, b"one", mode=0o600)
    assert path.read_bytes() == b"one"
    assert path.stat().st_mode & 0o777 == 0o600
    durable.write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_symbolic_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"keep")
    link = tmp_path / "link"
    link.symlink_to(other)
    durable.write_file(link, b"new")
    assert other.read_bytes() == b"keep"
    assert not link.is_symlink()


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failing_disk_is_one_error_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    path = tmp_path / "file"
    durable.write_file(path, b"old")
    calls = []

    def fail(*args: Any, **kwargs: Any) -> None:
        calls.append(args)
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StorageError) as caught:
            durable.write_file(path, b"new")
    assert len(calls) == 1, "a failed call is never tried again"
    assert os.strerror(code).lower() in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    durable.write_file(path, b"new")
    assert path.read_bytes() == b"new"


def test_file_and_folder_reach_the_disk_before_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    fsync, rename = os.fsync, os.rename

    def see_fsync(descriptor: int) -> None:
        seen.append("fsync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync")
        fsync(descriptor)

    def see_rename(source: Path, target: Path) -> None:
        seen.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", see_fsync)
    monkeypatch.setattr(os, "rename", see_rename)
    durable.write_files(tmp_path, {"a": b"1", "b": b"2"})
    assert seen == ["fsync", "fsync", "rename", "rename", "fsync folder"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:3])))
    durable.write_file(tmp_path / "file", b"0123456789")
    monkeypatch.undo()
    assert (tmp_path / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize("there", ["file", "dangling link"])
def test_creating_never_replaces(tmp_path: Path, there: str) -> None:
    path = tmp_path / "key"
    durable.create_file(tmp_path / "control", b"fine", mode=0o600)
    assert (tmp_path / "control").read_bytes() == b"fine"
    if there == "file":
        path.write_bytes(b"keep")
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        durable.create_file(path, b"new", mode=0o600)
    assert not (tmp_path / "nowhere").exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["control", "key"]


def test_folders_are_made_and_files_in_their_place_refused(tmp_path: Path) -> None:
    durable.make_folder(tmp_path / "a" / "b")
    durable.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        durable.make_folder(tmp_path / "file" / "below")
    with pytest.raises(StorageError, match="no such file"):
        durable.write_file(tmp_path / "missing" / "file", b"")


def test_leftovers_of_killed_writes_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".carnet-0123456789abcdef").write_bytes(b"half")
    (tmp_path / "whole").write_bytes(b"whole")
    durable.sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["whole"]


def test_reading_is_bounded_and_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert durable.read_file(tmp_path / "file", "a file", max_bytes=5) == b"12345"
    with pytest.raises(StorageError, match="larger than 4"):
        durable.read_file(tmp_path / "file", "a file", max_bytes=4)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="not a regular file"):
        durable.read_file(tmp_path / "pipe", "a file", max_bytes=5)
    with pytest.raises(FileNotFoundError):
        durable.read_file(tmp_path / "none", "a file", max_bytes=5)
    with pytest.raises(StorageError):
        durable.read_file(tmp_path, "a file", max_bytes=5)


@pytest.mark.parametrize(
    ("number", "typed"),
    [
        (errno.ENOSPC, "`df -h {place}`"),
        (errno.EFBIG, "`ulimit -f`"),
        (errno.EMFILE, "`ulimit -n`"),
        (errno.EACCES, "`ls -ld {place}`"),
        (errno.EROFS, "`findmnt -T {place}`"),
    ],
)
def test_what_a_disk_refuses_says_where_to_look(tmp_path: Path, number: int, typed: str) -> None:
    place = tmp_path / "{odd}"
    place.mkdir()
    with pytest.raises(StorageError) as caught, durable.as_storage_error(place / "not/there"):
        raise OSError(number, os.strerror(number))
    assert typed.format(place=place) in caught.value.hint


def test_the_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as caught:
        durable.make_folder(tmp_path / "file/deep/er")
    assert f"{tmp_path}/file is a file" in caught.value.hint
