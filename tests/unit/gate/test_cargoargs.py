"""cargo's arguments, as far as the gate has to understand them."""

from __future__ import annotations

import pytest

from carnet.errors import ConfigError, PolicyRefused
from carnet_gate.args import parse
from carnet_gate.commands.table import CommandKind


def test_a_plain_command() -> None:
    found = parse(["build"])
    assert (found.subcommand, found.args, found.kind) == ("build", (), CommandKind.USE)
    assert not (found.locked)
    assert not (found.offline)
    assert not (found.quiet)
    assert not (found.asks_help)


@pytest.mark.parametrize(
    ("args", "locked", "offline"),
    [
        (["build", "--locked"], True, False),
        (["build", "--offline"], False, True),
        (["build", "--frozen"], True, True),
        (["--locked", "build"], True, False),
        (["test", "name", "--locked"], True, False),
        (["test", "--", "--locked"], False, False),
        (["run", "--", "--locked"], False, False),
        (["run", "argument", "--locked"], False, False),
        (["run", "-p", "crate", "--locked"], True, False),
        (["run", "--features", "a", "--offline", "x"], False, True),
        (["run", "-Fa", "-j4", "-vq", "--locked"], True, False),
    ],
)
def test_flags_that_are_cargos_own(args: list[str], locked: bool, offline: bool) -> None:
    found = parse(args)
    assert (found.locked, found.offline) == (locked, offline)


def test_what_stands_before_the_subcommand_moves_behind_it() -> None:
    assert parse(["-v", "--color", "never", "check", "-p", "x"]).args == ("-v", "--color", "never", "-p", "x")


def test_values_are_found_in_both_spellings() -> None:
    found = parse(["build", "--manifest-path=a/Cargo.toml", "--config", "k=1", "--config=l.toml"])
    assert (found.manifest_path, found.configs) == ("a/Cargo.toml", ("k=1", "l.toml"))
    assert parse(["run", "--manifest-path", "b/Cargo.toml", "x"]).manifest_path == "b/Cargo.toml"


def test_toolchain_and_cargos_own_short_names() -> None:
    found = parse(["+nightly", "t"])
    assert (found.toolchain, found.subcommand) == ("nightly", "test")


@pytest.mark.parametrize("name", ["xtask", "../evil", "nextest frobnicate", "vendr", "miri frobnicate", "./script.rs"])
def test_what_was_not_tried_is_refused(name: str) -> None:
    kind = ConfigError if name == "vendr" else PolicyRefused  # which is somebody's mistake
    with pytest.raises(kind, match="never tried behind the gate"):
        parse(name.split())


def test_what_compiles_nothing_is_sent_away() -> None:
    found = parse(["fmt"])
    assert found.needs_no_gate, "to cargo itself"


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["-v"],
        ["build", "-C", "x"],
        ["vendor", "--lockfile-path", "x"],
        ["package", "--lockfile-path=x"],
        ["build", "-qp", "x"],
        ["build", "-Zbuild-std"],
        ["build", "-Z", "build-std=core,alloc"],
    ],
)
def test_what_would_lead_cargo_elsewhere(args: list[str]) -> None:
    with pytest.raises(ConfigError):
        parse(args)


def test_other_unstable_flags_are_cargos_business() -> None:
    assert parse(["build", "-Zunstable-options", "-Z", "timings"]).subcommand == "build"
