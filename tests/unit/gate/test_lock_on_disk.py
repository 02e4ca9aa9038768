"""The lock that was admitted is the lock that cargo reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from carnet.errors import ConfigError
from carnet_gate.project import LockOnDisk

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
