"""The lock that was admitted is the lock that cargo reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carnet.errors import ConfigError
from carnet_gate.commands.named_lock import NamedLock
from carnet_gate.project import LockOnDisk, Project

LOCK = b'version = 4\n\n[[package]]\nname = "app"\nversion = "0.1.0"\n'


def test_a_lock_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert LockOnDisk(tmp_path).read_if_any() is None
    with pytest.raises(ConfigError, match=r"Cargo\.lock does not exist"):
        LockOnDisk(tmp_path).read()


def test_a_lock_that_changed_while_it_was_checked_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Cargo.lock").write_bytes(LOCK)
    lock = LockOnDisk(tmp_path)
    lock.read()
    lock.require_unchanged()
    (tmp_path / "Cargo.lock").write_bytes(LOCK.replace(b"0.1.0", b"0.1.1"))
    with pytest.raises(ConfigError, match="was changed while it was being checked"):
        lock.require_unchanged()
    (tmp_path / "Cargo.lock").unlink()
    with pytest.raises(ConfigError, match="does not exist"):
        lock.require_unchanged()


def test_a_lock_that_is_named_is_read_from_a_copy_and_a_damaged_copy_is_written_again(tmp_path: Path) -> None:
    named = NamedLock(tmp_path / "Cargo.lock", by_flag=False, unstable="")
    project: Any = Project(None, None, tmp_path, tmp_path, (), named=named)  # type: ignore[arg-type]
    assert project.lock == named.path
    for _ in range(2):
        copy = project.reading(LOCK, tmp_path / "locks").lock
        assert copy.parent.parent == tmp_path / "locks"
        assert (copy.name, copy.read_bytes(), copy.stat().st_mode & 0o777) == ("Cargo.lock", LOCK, 0o400)
        state = copy.stat()
        assert project.reading(LOCK, tmp_path / "locks").lock.stat() == state
        copy.chmod(0o600)
        copy.write_bytes(b"damaged")
    assert project.reading(LOCK + b"#", tmp_path / "locks").lock != copy
    plain: Any = Project(None, None, tmp_path, tmp_path / "x", ())  # type: ignore[arg-type]
    assert plain.reading(LOCK, tmp_path / "locks") is plain
    assert (plain.lock, plain.lock_flags) == (tmp_path / "x/Cargo.lock", [])
