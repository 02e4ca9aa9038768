"""`carnet trust add`, `move` and `remove`: the same again, another address, a mistake, and the way back from each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.locks import LEAF, locked, write_lock
from tests.support.machines.cargo import Machine
from tests.support.registries.signed import SignedRegistry


@pytest.fixture
def other() -> Iterator[SignedRegistry]:
    one = SignedRegistry("other")
    with one.serving():
        yield one


@pytest.fixture
def machine(tmp_path: Path, registry: SignedRegistry) -> Machine:
    one = Machine(tmp_path)
    (one.path / "root.json").write_bytes(registry.root)
    return one


def add(machine: Machine, url: str, *more: str) -> tuple[int, str, str]:
    done = machine.carnet("trust", "add", url, "--root", str(machine.path / "root.json"), *more)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def trusted(machine: Machine) -> list[Path]:
    return list(machine.carnet_home.glob("trust/*"))


def memory(machine: Machine) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in machine.carnet_home.rglob("*.json")}


def test_the_same_again_changes_nothing(machine: Machine, registry: SignedRegistry) -> None:
    assert add(machine, registry.url)[0] == 0
    write_lock(machine, locked(LEAF))
    assert machine.carnet("verify").returncode == 0
    before = memory(machine)
    for url in (registry.url, registry.url.rstrip("/")):
        status, out, err = add(machine, url)
        assert (status, "is trusted already, from this root on; nothing was changed" in out, err) == (0, True, "")
    assert memory(machine) == before
    again = add(machine, registry.url, "--message-format", "json")
    assert json.loads(again[1])["new"] is False


def test_another_job_that_adds_it_at_the_same_time(machine: Machine, registry: SignedRegistry) -> None:
    """As in CI, where jobs share a home: one adds it while the other still asks the mirror."""
    others: list[tuple[int, str, str]] = []

    def meanwhile(true: bytes) -> bytes:
        if not others:
            others.append(add(machine, registry.url, "--offline"))
        return true

    registry.served["metadata/timestamp.json"] = meanwhile
    status, out, err = add(machine, registry.url)
    assert [other[0] for other in others] == [0]
    assert (status, "is trusted already" in out) == (0, True), err
    assert len(trusted(machine)) == 1
    assert not (machine.carnet_home / "added").exists()


def test_a_known_root_at_a_new_address_moves(machine: Machine, registry: SignedRegistry) -> None:
    assert add(machine, registry.url)[0] == 0
    write_lock(machine, locked(LEAF))
    assert machine.carnet("verify").returncode == 0
    (place,) = trusted(machine)
    seen = (place / "seen.json").read_bytes()
    new = registry.url.replace("127.0.0.1", "localhost")
    status, _, err = add(machine, new)
    assert status == 2
    assert f"this root is trusted already, at {registry.url}" in err
    (hint,) = [line for line in err.splitlines() if line.startswith("hint: ")]
    command = hint.split("`")[1].split()
    assert command[:3] == ["carnet", "trust", "move"]
    moved = machine.carnet(*command[1:])
    assert moved.returncode == 0, moved.stderr
    assert "what was seen of it is kept" in moved.stdout
    assert new in machine.carnet("trust", "status").stdout
    assert trusted(machine) == [place]
    assert (place / "seen.json").read_bytes() == seen
    assert add(machine, new)[0] == 0


def test_what_was_seen_holds_at_the_new_address(machine: Machine, registry: SignedRegistry) -> None:
    """A move is no way back: the new address serves an older state of the same repository."""
    old = dict(registry.publication.files)
    assert add(machine, registry.url)[0] == 0
    registry.add(LEAF)
    assert machine.carnet("trust", "status").returncode == 0
    registry.served.update({path: data for path, data in old.items() if path.startswith("metadata/timestamp")})
    new = registry.url.replace("127.0.0.1", "localhost")
    done = machine.carnet("trust", "move", new)
    assert done.returncode == 1, done.stdout
    assert "nothing was changed" in done.stderr
    registry.served.clear()
    assert registry.url in machine.carnet("trust", "status").stdout


def test_another_repository_than_the_roots_is_told_before_it_is_trusted(
    machine: Machine, registry: SignedRegistry, other: SignedRegistry
) -> None:
    status, _, err = add(machine, other.url)
    assert status == 1
    assert "is not the repository of this root" in err
    assert not trusted(machine)
    assert add(machine, registry.url)[0] == 0
    moved = machine.carnet("trust", "move", other.url)
    assert moved.returncode == 1
    assert "is not the repository of this root" in moved.stderr
    assert registry.url in machine.carnet("trust", "status").stdout


def test_a_mirror_that_does_not_answer_is_trusted_only_unasked(machine: Machine) -> None:
    url = "http://127.0.0.1:9/"
    status, _, err = add(machine, url)
    assert status == 3
    assert "`--offline`" in err
    assert not trusted(machine)
    assert add(machine, url, "--offline")[0] == 0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mirror.example", "does not start with https:// or http://"),
        ("ftp://mirror.example/", "does not start with https:// or http://"),
        ("file:///srv/mirror", "does not start with https:// or http://"),
        ("https://me:secret@mirror.example/", "holds a user name or password"),
        ("https://mirror.example/?a=b", "holds a query or a fragment"),
        ("https://mirror.example/index/", "name the mirror itself: https://mirror.example/"),
        ("https://mirror.example/index", "name the mirror itself: https://mirror.example/"),
        ("sparse+https://mirror.example/", "name the mirror itself: https://mirror.example/"),
        ("sparse+https://mirror.example/index/", "name the mirror itself: https://mirror.example/"),
        ("https://mirror.example/metadata/", "name the mirror itself: https://mirror.example/"),
        ("https://mirror.example:99999/", "is not one"),
        ("https://mirror example/", "characters"),
    ],
)
def test_a_url_that_is_none_is_told_at_once(machine: Machine, url: str, said: str) -> None:
    for more in ((), ("--offline",)):
        status, _, err = add(machine, url, *more)
        assert (status, said in err, "secret" in err) == (2, True, False), err
    assert not trusted(machine)


def test_another_root_at_a_known_address(machine: Machine, registry: SignedRegistry, other: SignedRegistry) -> None:
    assert add(machine, registry.url)[0] == 0
    (machine.path / "root.json").write_bytes(other.root)
    for more in ((), ("--offline",)):
        status, _, err = add(machine, registry.url, *more)
        assert status == 2
        assert "is trusted already, from another root on" in err
        assert "carnet trust remove" in err
    assert len(trusted(machine)) == 1


def test_two_repositories_do_not_end_at_one_address(
    machine: Machine, registry: SignedRegistry, other: SignedRegistry
) -> None:
    assert add(machine, registry.url)[0] == 0
    (machine.path / "root.json").write_bytes(other.root)
    assert add(machine, other.url)[0] == 0
    done = machine.carnet("trust", "move", registry.url, "--repository", other.url)
    assert done.returncode == 2
    assert "is trusted already, as another repository" in done.stderr


def test_removing_says_what_is_forgotten_before_it_forgets(machine: Machine, registry: SignedRegistry) -> None:
    assert add(machine, registry.url)[0] == 0
    write_lock(machine, locked(LEAF))
    assert machine.carnet("verify").returncode == 0
    before = memory(machine)
    asked = machine.carnet("trust", "remove", registry.url)
    assert asked.returncode == 2
    assert "would be forgotten" in asked.stdout
    assert "owners of 0 crates" in asked.stdout
    assert "`--yes` forgets it" in asked.stderr
    assert memory(machine) == before
    done = machine.carnet("trust", "remove", registry.url, "--yes", "--message-format", "json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["reason"], said["crates"], said["done"]) == ("trust-removed", 0, True)
    assert not trusted(machine)
    assert not list(machine.carnet_home.glob("removed"))
    assert "no repository is trusted yet" in machine.carnet("trust", "status").stderr
    assert add(machine, registry.url)[0] == 0


def test_what_is_not_trusted_is_not_removed(machine: Machine, registry: SignedRegistry) -> None:
    assert add(machine, registry.url)[0] == 0
    done = machine.carnet("trust", "remove", "https://elsewhere.example/", "--yes")
    assert done.returncode == 2
    assert len(trusted(machine)) == 1


def test_a_mirror_and_a_proxy_beside_each_other_need_no_flags() -> None:
    """Both have a default port, and one machine may run both."""
    from carnet_cli.commands.build import proxy
    from carnet_cli.commands.registry.mirror import serve

    ports = [
        {parameter.name: parameter.default for parameter in command.params}["port"]
        for command in (proxy.command, serve.serve)
    ]
    assert ports == [8791, 8790]
