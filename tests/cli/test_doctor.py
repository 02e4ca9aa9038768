"""`carnet doctor`: what is in force is said, why nothing better is, and it fails where the policy asks for more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from carnet_cli.commands.build import doctor
from carnet_gate.confinement import bubblewrap, landlock
from carnet_gate.confinement.protection import WRITABLE, Means, find_protection


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CARNET_HOME", str(tmp_path / "home"))
    for name in (WRITABLE, "CARNET_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def told(*, kernel: int, bwrap: str, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...] = ()) -> tuple[int, str]:
    monkeypatch.setattr(landlock, "abi", lambda: kernel)
    monkeypatch.setattr(bubblewrap, "why_not", lambda _: bwrap)
    done = CliRunner().invoke(doctor.command, flags, standalone_mode=False)
    assert done.exception is None
    return done.return_value, done.output


def test_the_best_protection_is_named_and_why_no_better_one(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = told(kernel=7, bwrap="", monkeypatch=monkeypatch)
    assert (status, "ok      read-only-home: builds cannot write to" in text) == (0, True)
    assert "Landlock, version 7" in text
    status, text = told(kernel=2, bwrap="", monkeypatch=monkeypatch)
    assert (status, ": bubblewrap\n" in text) == (0, True)
    assert "the kernel's Landlock has version 2; 3 is needed (Linux 6.2)" in text
    status, text = told(kernel=0, bwrap="bubblewrap is not installed", monkeypatch=monkeypatch)
    assert (status, text.startswith("warning read-only-home: builds can write to")) == (0, True)
    assert "the kernel has no Landlock, or it is switched off" in text
    assert "bubblewrap is not installed" in text
    assert "use Linux 6.2 or later, or install bubblewrap" in text


def test_for_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags in (("--json",), ("--message-format", "json")):
        status, text = told(kernel=0, bwrap="bubblewrap is not installed", monkeypatch=monkeypatch, flags=flags)
        found, own, *_ = map(json.loads, text.splitlines())
        assert (own["check"], own["health"], own["open"]) == ("own-home", "good", [])
        assert status == 0
        assert (found["reason"], found["check"], found["health"]) == ("check", "read-only-home", "warning")
        assert (found["protection"], len(found["lacking"])) == ("none", 2)


def test_it_fails_where_the_policy_asks_for_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "carnet.toml").write_text('[rules]\nread-only-home = "deny"\n')
    assert told(kernel=3, bwrap="", monkeypatch=monkeypatch)[0] == 0
    status, text = told(kernel=0, bwrap="bubblewrap is not installed", monkeypatch=monkeypatch)
    assert (status, text.startswith("failed  read-only-home")) == (1, True)
    monkeypatch.setenv(WRITABLE, "1")
    status, text = told(kernel=7, bwrap="", monkeypatch=monkeypatch)
    assert (status, f"unset {WRITABLE}" in text) == (1, True)


def test_what_does_not_work_is_not_called_in_force(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    monkeypatch.setenv("PATH", str(folder))
    found = find_protection(folder / "home", {})
    assert (found.means, found.lacking[1]) == (Means.NONE, "bubblewrap is not installed")
    (folder / "bwrap").write_text("#!/bin/sh\necho bwrap: no namespaces here >&2; exit 1\n")
    (folder / "bwrap").chmod(0o755)
    assert find_protection(folder / "home", {}).lacking[1] == "bubblewrap does not work: no namespaces here"


def test_a_home_that_is_open_to_others_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a build leaves it that changed permissions: no confinement keeps it from that."""
    pinned, src = folder / "home/trust/0123/pinned-root.json", folder / "home/cargo/0123/home/registry/src"
    cache = folder / "home/cargo/0123/home/.package-cache"
    for path in (pinned.parent / "metadata", src):
        path.mkdir(parents=True)
    for path in (pinned, cache):
        path.write_text("{}")
    for path in (folder / "home", *(folder / "home").rglob("*")):
        path.chmod(0o700)
    for path in (src, cache):  # cargo's own, made as open as the umask was
        path.chmod(0o777)
    status, text = told(kernel=7, bwrap="", monkeypatch=monkeypatch)
    assert (status, f"ok      own-home: nobody else can write to {folder / 'home'}\n" in text) == (0, True)
    for path in (folder / "home", folder / "home/trust/0123/metadata", pinned):
        before = path.stat().st_mode
        for more in (0o020, 0o002):
            path.chmod(before | more)
            status, text = told(kernel=7, bwrap="", monkeypatch=monkeypatch)
            assert (status, "failed  own-home: others than you can write to" in text) == (1, True)
            assert f"        - {path}\n" in text
            assert "chmod -R go-w" in text
        path.chmod(before)
    (folder / "above").mkdir()
    (folder / "home").rename(folder / "above/home")
    monkeypatch.setenv("CARNET_HOME", str(folder / "above/home"))
    assert told(kernel=7, bwrap="", monkeypatch=monkeypatch)[0] == 0
    (folder / "above").chmod(0o777)
    status, text = told(kernel=7, bwrap="", monkeypatch=monkeypatch)
    assert (status, "who could take away" in text, f"chmod go-w {folder / 'above'}" in text) == (1, True, True)
