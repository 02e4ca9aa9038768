"""Which lock a command names, by cargo's version: what cargo would pass over in silence counts for nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from carnet.errors import ConfigError
from carnet_gate.commands.named_lock import VARIABLE, NamedLock, find_named, without_name
from carnet_gate.commands.table import find

HERE = Path("/here")


def named(
    said: str | None,
    version: str = "cargo 1.97.0 (abc 2026-07-01)\n",
    *,
    unstable: Sequence[str] = (),
    flag: str | None = None,
    command: str = "check",
) -> NamedLock | None:
    variables: Mapping[str, str] = {} if said is None else {VARIABLE: said}
    return find_named(find(command), flag, unstable, HERE, variables, lambda: version)


def test_without_a_name_cargo_is_not_asked_for_its_version() -> None:
    def asked() -> str:
        raise AssertionError

    assert find_named(find("check"), None, (), HERE, {}, asked) is None
    found = find_named(find("check"), "x/Cargo.lock", (), HERE, {VARIABLE: "/y/Cargo.lock"}, asked)
    assert found == NamedLock(HERE / "x/Cargo.lock", by_flag=True, unstable="unstable-options")
    assert found.flags == ["--lockfile-path", "/here/x/Cargo.lock", "-Zunstable-options"]
    assert found.variables == {}


@pytest.mark.parametrize(
    ("version", "unstable", "follows"),
    [
        ("1.94.1 (abc 2026-03-01)", ("lockfile-path",), False),
        ("1.95.0 (abc 2026-04-01)", (), False),
        ("1.95.0 (abc 2026-04-01)", ("unstable-options",), False),
        ("1.95.0 (abc 2026-04-01)", ("unstable-options", "lockfile-path"), True),
        ("1.96.2 (abc 2026-05-01)", ("lockfile-path",), True),
        ("1.97.0-nightly (abc 2026-04-20)", (), False),
        ("1.97.0-nightly (abc 2026-04-20)", ("lockfile-path",), True),
        ("1.97.0 (abc 2026-07-01)", (), True),
        ("1.98.0-nightly (abc 2026-06-01)", (), True),
        ("1.100.0 (abc 2026-11-12)", (), True),
        ("2.0.0 (abc 2030-11-12)", (), True),
    ],
)
def test_the_variable_counts_where_this_cargo_follows_it(
    version: str, unstable: tuple[str, ...], follows: bool
) -> None:
    found = named("/tmp/Cargo.lock", f"cargo {version}\n", unstable=unstable)
    if not follows:
        assert found is None
        return
    assert found is not None
    assert found.path == Path("/tmp/Cargo.lock")
    assert found.variables == {VARIABLE: "/tmp/Cargo.lock"}
    assert found.flags in ([], ["-Zlockfile-path"])
    assert found.at(HERE / "Cargo.lock").variables == {VARIABLE: "/here/Cargo.lock"}


@pytest.mark.parametrize("version", ["", "rustc 1.95.0", "cargo", "cargo one", "error: no toolchain"])
def test_a_cargo_that_does_not_say_its_version_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match="of its version"):
        named("/tmp/Cargo.lock", version)


@pytest.mark.parametrize("path", ["", "/tmp/lock.toml", "/", "/tmp/Cargo.lock.old"])
def test_what_cargo_refuses_is_refused_before_anything_is_admitted(path: str) -> None:
    with pytest.raises(ConfigError, match="which cargo refuses"):
        named(path)
    with pytest.raises(ConfigError, match="--lockfile-path names"):
        named(None, flag=path)


@pytest.mark.parametrize("command", ["vendor", "package", "update", "install", "nextest run"])
def test_commands_that_cannot_have_another_lock_say_so(command: str) -> None:
    with pytest.raises(ConfigError, match=f"{VARIABLE} is not supported with `cargo {command}`"):
        named("/tmp/Cargo.lock", command=command)


def test_the_variable_is_taken_away() -> None:
    assert without_name({"A": "b", VARIABLE: "/tmp/Cargo.lock"}) == {"A": "b"}
