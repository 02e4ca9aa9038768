"""Holders and online key of a running mirror are replaced, by the commands that people type."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.machines.command import done, refused
from tests.support.worlds.ceremony import PASSPHRASE, make_key

SECRET = ("--passphrase-file", "secret")


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("alice", "bob", "carol", "dave", "online", "online-2"):
        make_key(name).store(tmp_path)
    (tmp_path / "secret").write_bytes(PASSPHRASE)
    (tmp_path / "secret").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CARNET_HOME", str(tmp_path / "home"))


def holders(*names: str) -> list[str]:
    return [argument for name in names for argument in ("--holder", f"{name}.pub")]


def sign(*names: str, more: tuple[str, ...] = ()) -> None:
    for name in names:
        done("root", "sign", "cer", "--key", name, *SECRET, *more, "--yes")


UNSERVED = ("--insecure-base-from-folder",)
"""Nobody serves this mirror: tests/attacks/test_forged_ceremony.py signs with what is published at hand."""


def test_holders_and_online_key_are_replaced() -> None:
    done("root", "init", "cer", *holders("alice", "bob", "carol"), "--threshold", "2", "--online", "online.pub",
         "--bins", "16")  # fmt: skip
    sign("alice", "bob")
    done("mirror", "init", "mirror", "--ceremony", "cer", "--online-key", "online", *SECRET)
    done("root", "rotate", "cer", *holders("alice", "carol", "dave"), "--online", "online-2.pub")
    sign("dave", "carol", more=UNSERVED)
    half = refused(3, "still need signatures", "mirror", "refresh", "mirror", "--ceremony", "cer", *SECRET)
    assert "carnet root status cer" in half.err
    sign("alice", more=UNSERVED)
    refused(3, "online key is not one", "mirror", "refresh", "mirror", "--ceremony", "cer", *SECRET)
    before = done("mirror", "status", "mirror", "--message-format", "json").json
    taken = done("mirror", "refresh", "mirror", "--ceremony", "cer", "--next-online-key", "online-2", *SECRET)
    assert "refused for a moment" not in taken.err  # both keys signed: no client saw a gap
    after = done("mirror", "status", "mirror", "--message-format", "json").json
    assert before != after
    done("mirror", "refresh", "mirror", *SECRET)  # the new key alone, from now on
    assert "no problem" in done("mirror", "fsck", "mirror").out


def test_a_lost_online_key_is_replaced_with_a_warning() -> None:
    done("root", "init", "cer", *holders("alice"), "--threshold", "1", "--online", "online.pub", "--bins", "16")
    sign("alice")
    done("mirror", "init", "mirror", "--ceremony", "cer", "--online-key", "online", *SECRET)
    done("root", "rotate", "cer", "--online", "online-2.pub")
    sign("alice", more=UNSERVED)
    Path("online").unlink()
    taken = done("mirror", "refresh", "mirror", "--ceremony", "cer", "--next-online-key", "online-2", *SECRET)
    assert "refused for a moment" in taken.err
    done("mirror", "refresh", "mirror", *SECRET)
    assert "no problem" in done("mirror", "fsck", "mirror").out
