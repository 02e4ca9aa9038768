"""What people type in the place of a command, or wrong after one: one line that names it, and what to type instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from carnet_cli.commands.build.cargo import command as behind_the_gate
from carnet_cli.main import cli, run


def said(capsys: pytest.CaptureFixture[str], *args: str) -> list[str]:
    assert run(cli, args, "carnet") == 2
    out, err = capsys.readouterr()
    assert not out
    return err.splitlines()


@pytest.mark.parametrize("word", ["build", "update", "add", "b", "fetch"])
def test_a_command_of_cargos_is_sent_behind_the_gate(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, word, "--locked") == [
        f"error: no such command '{word}'",
        f"hint: that is a command of cargo's: `cargo carnet {word}` runs it behind the gate",
    ]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("verfy", "did you mean `carnet verify`?"),
        ("docter", "did you mean `carnet doctor`?"),
        ("cargo", "cargo runs behind the gate as `cargo carnet COMMAND`, such as `cargo carnet build`"),
        ("help", "`carnet --help` lists the commands"),
        ("\u202ebuild", "`carnet --help` lists the commands"),
    ],
)
def test_another_word_is_guessed_at(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    error, told = said(capsys, word)
    assert error.isascii()
    assert told == f"hint: {hint}"


@pytest.mark.parametrize("args", [(), ("trust",), ("policy",), ("mirror",), ("key",)])
def test_no_command_at_all_is_one_line_and_not_the_whole_help(
    args: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    path = " ".join(("carnet", *args))
    assert said(capsys, *args) == [
        f"error: `{path}` alone is no command",
        f"hint: `{path} --help` lists those that there are",
    ]


@pytest.mark.parametrize(
    ("args", "path"),
    [
        (("verify", "--vendor"), "carnet verify"),  # the parser does not say of which command
        (("trust", "add", "--root"), "carnet trust add"),
        (("trust", "add"), "carnet trust add"),
        (("mirror", "snyc"), "carnet mirror"),
        (("policy", "show"), "carnet policy"),
        (("--colour",), "carnet"),
    ],
)
def test_the_hint_names_the_command_that_was_typed(
    args: tuple[str, ...], path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error, hint = said(capsys, *args)
    assert not error.endswith(".")
    assert hint == f"hint: `{path} --help` explains the command"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("explain", "leaf"), "'leaf' names no version"),
        (("policy", "explain", "leaf@1"), "'1' is not a semantic version"),
        (("verify", "leaf@1"), "'1' is not a semantic version"),
        (("verify", "le af@1.0.0"), "le af"),
        (("watch", "two words"), "two words"),
    ],
)
def test_an_argument_that_does_not_parse_is_no_refusal(
    args: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("CARNET_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    error, hint = said(capsys, *args)
    assert error.startswith("error: ")
    assert words in error
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("flag", ["-h", "--help", "-V", "--version"])
def test_the_short_flags_of_cargo_are_known(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command, name in ((cli, "carnet"), (behind_the_gate, "cargo carnet")):
        assert run(command, [flag], name) == 0
        assert name in capsys.readouterr().out
    if flag == "-h":
        assert run(cli, ["trust", "add", "-h"], "carnet") == 0
        assert "carnet trust add [OPTIONS] URL" in capsys.readouterr().out
