"""Every cargo command is decided: those of the cargo here, those that cargo documents, and each row once."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from carnet.errors import CarnetError, ConfigError, PolicyRefused
from carnet_gate.args import parse, understand
from carnet_gate.commands import table
from carnet_gate.commands.table import COMMANDS, ROWS, SHORT, SUBCOMMANDS, Command, CommandKind

PAGE = Path(__file__).parents[3] / "docs/build-systems.md"
DOCUMENTED = (Path(__file__).parents[2] / "golden/cargo-commands.txt").read_text().split()
"""The pages of the chapter "Cargo Commands" of cargo's own book (1.95)."""

BY_KIND = {kind: [row for row in ROWS if row.kind is kind] for kind in CommandKind}


def test_each_command_has_one_row() -> None:
    assert len(COMMANDS) == len(ROWS)
    assert not set(SHORT) & set(COMMANDS)
    assert set(SHORT.values()) <= set(COMMANDS)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_command_that_cargo_documents_is_decided(name: str) -> None:
    assert name in {row.words[0] for row in ROWS}


@pytest.mark.cargo
def test_every_command_of_the_cargo_here_is_decided() -> None:
    cargo = shutil.which("cargo")
    assert cargo is not None
    listed = subprocess.run([cargo, "--list"], capture_output=True, text=True, check=True, cwd="/").stdout
    lines = [line.split() for line in listed.splitlines() if line.startswith("    ")]
    names = [words[0] for words in lines]
    external = {words[0] for words in lines if len(words) == 1}  # cargo knows no more of a program than its name
    assert {"build", "vendor", "report", "b"} <= set(names)
    aliases = {words[0]: words[2] for words in lines if words[1:2] == ["alias:"]}
    assert {name: SHORT[name] for name in aliases} == aliases
    own = [name for name in names if name not in {*external, *aliases}]
    assert [name for name in own if name not in {row.words[0] for row in ROWS}] == []


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_what_is_typed_is_what_the_row_says(row: Command) -> None:
    typed = [*row.words, *row.only_with[:1]]
    found = understand(typed)
    assert (found.command, found.args, found.kind, found.compiles) == (row, row.only_with[:1], row.kind, row.compiles)
    assert row.compiles <= (row.kind not in (CommandKind.HARMLESS, CommandKind.REFUSE))
    if row.kind is CommandKind.REFUSE:
        with pytest.raises(PolicyRefused) as caught:
            parse(row.words)
        assert str(caught.value) == f"`cargo {row.name}` is refused: {row.why}"
        assert re.match(r"(run|write|leave|look|fetch) ", caught.value.hint), row  # what to use instead
    elif row.kind is CommandKind.HARMLESS:
        found = parse(row.words)
        assert found.command is row
        assert found.needs_no_gate, "it passes to cargo"
    else:
        assert parse(typed).command is row
    if row.only_with:
        with pytest.raises(PolicyRefused, match=f"`cargo {row.name}` is refused: {row.why}") as caught:
            parse(row.words)
        assert caught.value.hint == row.hint


@pytest.mark.parametrize(("short", "name"), SHORT.items())
def test_short_names(short: str, name: str) -> None:
    assert understand(short.split()).command is COMMANDS[name]


def test_reasons_are_sentences_that_follow_the_command() -> None:
    for row in ROWS:
        for why in (row.why, *row.without.values()):
            assert re.match(r"(it|the|what|another|nobody) ", why), row
            assert not why.endswith("."), row


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (["--version"], CommandKind.HARMLESS),
        (["-V"], CommandKind.HARMLESS),
        (["+nightly", "--version", "--verbose"], CommandKind.HARMLESS),
        (["--list"], CommandKind.HARMLESS),
        (["--explain", "E0308"], CommandKind.HARMLESS),
        (["config", "get", "build"], CommandKind.HARMLESS),
        (["rustc", "--print", "cfg"], CommandKind.HARMLESS),
        (["rustc", "-p", "x", "--print=cfg"], CommandKind.HARMLESS),
        (["rustc", "--", "--print", "cfg"], CommandKind.USE),
        (["clippy", "--version"], CommandKind.HARMLESS),
        (["nextest"], CommandKind.HARMLESS),
        (["nextest", "--version"], CommandKind.HARMLESS),
        (["nextest", "show-config", "version"], CommandKind.HARMLESS),
        (["nextest", "show-config", "test-groups"], CommandKind.REFUSE),
        (["nextest", "show-config", "--show-default", "test-groups"], CommandKind.REFUSE),
        (["nextest", "show-config"], CommandKind.REFUSE),
        (["llvm-cov", "--output-dir=report"], CommandKind.USE),
        (["-v", "llvm-cov", "--color", "never", "report"], CommandKind.HARMLESS),
        (["-q", "nextest", "-v", "run", "x"], CommandKind.USE),
        (["llvm-cov"], CommandKind.USE),
        (["llvm-cov", "--html"], CommandKind.USE),
        (["llvm-cov", "--", "report"], CommandKind.USE),
        (["llvm-cov", "report", "--lcov"], CommandKind.HARMLESS),
        (["nextest", "frobnicate"], CommandKind.REFUSE),
        (["frobnicate"], CommandKind.REFUSE),
        (["publish"], CommandKind.REFUSE),
        (["publish", "-vn"], CommandKind.REHEARSE),
        (["./script.rs"], CommandKind.REFUSE),
    ],
)
def test_whole_command_lines(args: Sequence[str], kind: CommandKind) -> None:
    """What a program that stands in the place of cargo has to know of each call."""
    assert understand(args).kind is kind


@pytest.mark.parametrize(
    "typed",
    [
        "llvm-cov --html --output-dir report",  # a folder of that name: the tests are compiled
        "llvm-cov --ignore-filename-regex clean",
        "llvm-cov --branch test report",  # a flag there, and of git elsewhere: the tests whose names have that word
        "nextest --pager show-config run",
        "nextest show-config --groups version test-groups",
    ],
)
def test_a_word_that_may_be_an_options_value_does_not_pass_for_a_command_that_needs_no_gate(typed: str) -> None:
    with pytest.raises(ConfigError, match="may be a command of"):
        understand(typed.split())


def test_where_the_flags_of_the_gate_go() -> None:
    """cargo and its external subcommands take each flag once, and after their own subcommand."""
    found = parse(["--color", "never", "nextest", "--no-pager", "run", "--locked", "-E", "all()", "--", "--locked"])
    assert found.command.words == ("nextest", "run")
    assert found.strict == (
        *("--locked", "--offline", "--color", "never", "--no-pager", "-E", "all()", "--", "--locked"),
    )
    assert parse(["llvm-cov", "--frozen"]).strict == ("--locked", "--offline")
    assert parse(["run", "-q", "program", "--locked"]).strict == ("--locked", "--offline", "-q", "program", "--locked")
    assert parse(["vendor", "-q"]).strict == ("--locked", "--offline", "--respect-source-config", "-q")
    assert parse(["vendor", "--respect-source-config"]).strict[2:] == ("--respect-source-config",)


def test_flags_are_taken_out_of_words_that_hold_several() -> None:
    assert parse(["publish", "-vnq", "-n", "--dry-run", "-pn", "--", "-n"]).without("-n", "--dry-run") == (
        *("-vq", "-pn", "--", "-n"),
    )


@pytest.mark.parametrize("row", [row for row in ROWS if row.without], ids=lambda row: row.name)
def test_flags_that_a_command_is_refused_with(row: Command) -> None:
    for flag, why in row.without.items():
        with pytest.raises(PolicyRefused, match=f"`cargo {row.name}` is refused with {flag}: {why}"):
            parse([*row.words, *row.only_with[:1], flag, "x"])


@pytest.mark.parametrize("row", [row for row in ROWS if row.kind is CommandKind.USE], ids=lambda row: row.name)
def test_what_leads_elsewhere_leads_no_command_there(row: Command) -> None:
    for flags in (["-C", "x"], ["--lockfile-path=x"], ["-Zbuild-std"], ["-Z", "build-std-features=x"]):
        if row.takes_lock and flags == ["--lockfile-path=x"]:  # it is that one which is admitted
            assert parse([*row.words, *flags]).values("--lockfile-path") == ("x",)
            continue
        with pytest.raises(CarnetError):
            parse([*row.words, *flags])


def test_what_copies_packs_or_chooses_has_the_lock_of_its_workspace() -> None:
    """Nobody has tried which lock they, and programs beside cargo, would follow, and write."""
    takes = {row.name for row in ROWS if row.takes_lock}
    assert takes == {
        *("bench", "build", "check", "doc", "fetch", "metadata", "run", "rustc", "rustdoc", "test", "tree")
    }


# --- aliases ---

ALIASES = {
    "ci": "test --workspace",
    "lint": "clippy --all-targets -- -D warnings",
    "twice": "ci --locked",
    "b": "run",
    "build": "run",
    "nextest": "test",
    "tip": "+nightly build",
    "one": "two -v",
    "two": "three",
    "three": "one",
    "own": "own",
    "empty": "",
    "flags": "-v --locked",
    "elsewhere": "--config source.x.directory='y' build",
    "away": "publish",
    "prog": "run -p tool --",
}


def alias(name: str, configs: Sequence[str]) -> list[str] | None:
    return ALIASES[name].split() if name in ALIASES else None


@pytest.mark.parametrize(
    ("args", "name", "strict"),
    [
        (["ci"], "test", ["--workspace"]),
        (["-q", "ci", "-p", "x"], "test", ["-q", "--workspace", "-p", "x"]),
        (["lint"], "clippy", ["--all-targets", "--", "-D", "warnings"]),
        (["twice"], "test", ["--workspace"]),
        (["nextest"], "test", []),  # hides what is no command of cargo's
        (["nextest", "run"], "test", ["run"]),
        (["b"], "build", []),  # but not one of those, nor a short name
        (["build"], "build", []),
        (["prog", "--locked"], "run", ["-p", "tool", "--", "--locked"]),
        (["elsewhere"], "build", ["--config", "source.x.directory='y'"]),
    ],
)
def test_an_alias_means_what_it_stands_for(args: list[str], name: str, strict: list[str]) -> None:
    found = parse(args, alias)
    assert (found.subcommand, list(found.strict[2:])) == (name, strict)


def test_the_configuration_of_an_alias_is_looked_at_as_the_users_is() -> None:
    assert parse(["elsewhere"], alias).configs == ("source.x.directory='y'",)
    assert parse(["twice"], alias).locked


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tip", "names a toolchain, which cargo allows in none"),
        ("one", "leads to itself: 'one' -> 'two' -> 'three' -> 'one'"),
        ("own", "leads to itself: 'own' -> 'own'"),
        ("empty", "names no command"),
        ("flags", "names no command"),
    ],
)
def test_an_alias_that_leads_nowhere(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse([name], alias)


def test_an_alias_of_a_refused_command_is_refused() -> None:
    with pytest.raises(PolicyRefused, match="`cargo publish` is refused"):
        parse(["away"], alias)


# --- the page ---


def test_the_page_for_build_systems_has_the_table() -> None:
    text = PAGE.read_text().partition("### Commands\n")[2].partition("\n### ")[0]
    rows = {what: names for names, what in re.findall(r"^\| (`.+`) \| (.+?) \|$", text, re.M)}
    expected: dict[str, list[str]] = {}
    for row in ROWS:
        said = f"{row.why}; {row.hint}" if row.hint else row.why
        expected.setdefault(said, []).append(f"`{row.name}`")
    assert rows == {said: ", ".join(sorted(names)) for said, names in expected.items()}


def test_what_can_be_typed_is_what_is_done() -> None:
    done = {row.words[0] for kind, rows in BY_KIND.items() for row in rows if kind.value not in ("harmless", "refuse")}
    assert set(SUBCOMMANDS) == done
    assert not any(table.is_cargos_own(name) for name in ("clippy", "nextest", "xtask", "audit", "fmt"))
    assert all(map(table.is_cargos_own, ("build", "b", "publish", "version", "help")))
