"""`carnet verify --update-memory` and the `carnet.lock` that it writes, as people meet them."""

from __future__ import annotations

import json

import pytest
from tests.support.crates.locks import LEAF, locked, write_lock
from tests.support.machines.cargo import Machine
from tests.support.machines.command import refused


@pytest.fixture(autouse=True)
def lock(machine: Machine) -> None:
    write_lock(machine, locked(LEAF))


def test_it_is_written_read_and_joined(machine: Machine) -> None:
    file = machine.path / "carnet.lock"
    done = machine.carnet("verify", "--update-memory")
    assert done.returncode == 0, done.stderr
    assert f"wrote {file}" in done.stderr
    honest = file.read_bytes()
    again = machine.carnet("verify", "--update-memory")
    assert "nothing was written" in again.stderr
    assert file.read_bytes() == honest

    file.write_bytes(b"<<<<<<< HEAD\n" + honest + b"=======\n" + honest + b">>>>>>> topic\n")
    refused = machine.carnet("verify")
    assert refused.returncode == 2
    assert "marks of a merge" in refused.stderr
    assert "carnet verify --update-memory" in refused.stderr
    assert machine.carnet("verify", "--update-memory").returncode == 0
    assert file.read_bytes() == honest

    lines = honest.splitlines(keepends=True)
    forged = json.loads(lines[3])
    forged["snapshot"]["version"] += 1000
    file.write_bytes(b"".join([*lines[:3], json.dumps(forged).encode() + b"\n", *lines[4:]]))
    for command in (("verify",), ("explain", "leaf@1.0.0")):
        refused = machine.carnet(*command)
        assert refused.returncode == 1
        assert "carnet.lock has seen version" in refused.stderr
    file.unlink()
    assert machine.carnet("verify").returncode == 0, "a forged file leaves no trace"


def test_its_absence_and_another_repositorys_can_be_denied(machine: Machine) -> None:
    machine.configure('[rules]\nno-memory = "deny"\n')
    refused = machine.carnet("verify")
    assert refused.returncode == 1
    assert "[no-memory]" in refused.stderr
    file = machine.path / "carnet.lock"
    assert machine.carnet("verify", "--update-memory").returncode == 0
    assert machine.carnet("verify").returncode == 0
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    lines[0]["carnet-lock"]["repository"] = lines[1]["root"]["sha256"] = "0" * 64
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    other = machine.carnet("verify")
    assert other.returncode == 1
    assert "is about another repository" in other.stderr

    written = machine.carnet("verify", "--update-memory")
    assert written.returncode == 0, "what satisfies the rule can be written under it"
    assert "is about another repository" in written.stderr
    assert machine.carnet("verify").returncode == 0


@pytest.mark.parametrize("flag", [("--update-memory",), ("--no-less-than", "main.lock")])
def test_it_is_about_a_lock_alone(machine: Machine, monkeypatch: pytest.MonkeyPatch, flag: tuple[str, ...]) -> None:
    monkeypatch.chdir(machine.path)
    for name in ("HOME", "CARNET_HOME"):
        monkeypatch.setenv(name, machine.env()[name])
    refused(2, f"{flag[0]} is about a lock alone", "verify", "--vendor", "vendor", *flag)
    refused(2, f"{flag[0]} is about a lock, and leaf@1.0.0 is none", "verify", "leaf@1.0.0", *flag)


def test_an_error_about_the_file_names_it_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(machine.path)
    for name in ("HOME", "CARNET_HOME"):
        monkeypatch.setenv(name, machine.env()[name])
    write_lock(machine, locked(LEAF))
    for text in ("{}\n", "{}", "<<<<<<< ours\n"):
        (machine.path / "carnet.lock").write_text(text)
        ran = refused(2, "carnet.lock", "verify")
        assert ran.err.splitlines()[0].count("carnet.lock") == 1, ran


def test_what_it_is_compared_with_has_to_be_one(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an empty file, as of a command that failed, would be passed by everything."""
    monkeypatch.chdir(machine.path)
    for name in ("HOME", "CARNET_HOME"):
        monkeypatch.setenv(name, machine.env()[name])
    refused(2, "there is no carnet.lock nowhere", "verify", "--no-less-than", "nowhere")
    (machine.path / "empty").touch()
    refused(2, "empty", "verify", "--no-less-than", "empty")
    lock = write_lock(machine, locked(LEAF))
    for wrong in ("empty", str(lock)):  # and not that it be removed, as with a project's own
        ran = refused(2, "carnet.lock: ", "verify", "--no-less-than", wrong)
        assert "hint: name a carnet.lock, as `git show " in ran.err
        assert ran.err.count(wrong) == 1
