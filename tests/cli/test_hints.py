"""What carnet tells people to type is there: each command and each flag in hints, errors, help texts and documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click

from carnet import errors
from carnet_cli import main
from carnet_gate.commands.table import SUBCOMMANDS

PROJECT = Path(__file__).parents[2]
ROOMS = ("core", "evidence", "signer", "verifier", "gate", "mirror", "cli", "layouts")
DOCS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")])
OF_OTHERS = {"--locked", "--manifest-path", "--lockfile-path", "--target-dir"}
"""Flags of cargo that errors speak of."""
HOLE = "\N{WHITE SQUARE}"
"""Stands where an f-string has a value."""


def text_of(node: ast.expr) -> str:
    """A string as it will be shown, with a hole for each value; anything else is one hole."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else HOLE for part in node.values)
    if isinstance(node, ast.BinOp | ast.IfExp | ast.Call):
        return " ".join(text_of(part) for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr))
    return HOLE


def modules() -> Iterator[tuple[str, ast.Module]]:
    for room in ROOMS:
        for path in sorted((PROJECT / room).rglob("*.py")):
            yield str(path.relative_to(PROJECT)), ast.parse(path.read_text())


def hints() -> list[tuple[str, str]]:
    """Every text that somebody is shown as a reason or as a hint, and where it stands."""
    found = []
    for place, tree in modules():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            shown = [keyword.value for keyword in node.keywords if keyword.arg == "hint"]
            if name.endswith(("Error", "Refused", "Violation", "Mismatch", "Detected", "Metadata", "Met", "Found")) or (
                name in ("warn", "note", "add")
            ):
                shown += node.args
            found += [(f"{place}:{one.lineno}", text) for one in shown if (text := text_of(one)).strip(f" {HOLE}")]
    return found


def literals() -> list[tuple[str, str]]:
    """Every string of ours, docstrings and help texts among them, and where it stands."""
    return [
        (f"{place}:{node.lineno}", text_of(node))
        for place, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    ]


def commands_in(text: str) -> list[str]:
    """What a text quotes as a command, or shows as a line of an example."""
    quoted = re.findall(r"`+((?:cargo[ -])?carnet [^`]+?)`+", text)
    lines = re.findall(r"^(?: *\$ | {2,})((?:cargo[ -])?carnet (?:[^\n\\]|\\\n)+)", text, re.MULTILINE)
    shown = [line for line in lines if "  " not in line.strip() or "--" in line]
    return [" ".join(command.replace("\\\n", " ").split()) for command in [*quoted, *shown]]


def flags_of(command: click.Command) -> set[str]:
    parameters = [*command.params, *command.get_params(click.Context(command))]
    return {flag for one in parameters for flag in (*one.opts, *one.secondary_opts)}


def inside(group: click.Group) -> dict[str, click.Command]:
    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def all_flags(command: click.Command) -> set[str]:
    below = inside(command).values() if isinstance(command, click.Group) else ()
    return flags_of(command).union(*map(all_flags, below))


def wrong_in(command: str) -> str | None:
    """What of a command is not there; None when all of it is."""
    words = re.split(r" -- | #", command)[0].replace(" | ", "|").split()
    if words[0] != "carnet":
        inner = [word for word in words if not word.startswith(("+", "-")) and word not in ("cargo", "carnet")]
        name = inner[1] if inner[0] == "cargo-carnet" else inner[0]
        placeholder = not name.islower() or HOLE in name or name in ("...", "…")
        return None if placeholder or name in SUBCOMMANDS else f"cargo carnet has no {name}"
    found: list[click.Command] = [main.cli]
    shown, words = "carnet", words[1:]
    while words and not words[0].startswith(("-", "...", "…")):
        below = {name: one for group in found if isinstance(group, click.Group) for name, one in inside(group).items()}
        if not below:
            break
        names = list(below) if HOLE in words[0] else words[0].split("|")
        if missing := [name for name in names if name not in below]:
            return f"there is no {missing[0]} in {shown}"
        shown, found, words = f"{shown} {words[0]}", [below[name] for name in names], words[1:]
    known = {"--help", "--version", *(flag for command in found for flag in flags_of(command))}
    flags = [flag for word in words for flag in re.findall(r"^[\[(]?(--?[a-z][a-z0-9-]*)", word)]
    return next((f"{shown} has no {flag}" for flag in flags if flag not in known), None)


def test_the_walk_sees_what_is_wrong() -> None:
    assert wrong_in("carnet claim new serde -o DIR --owner a=b") is None
    assert wrong_in(f"carnet {HOLE} status {HOLE}") is None
    assert wrong_in("carnet root init DIR --online FILE") is None
    assert wrong_in("carnet release yank | unyank") is None
    assert wrong_in("cargo carnet build --locked") is None
    assert wrong_in("cargo +nightly carnet build") is None
    assert wrong_in("cargo-carnet carnet ARGS...") is None
    assert wrong_in("carnet claim knew serde") == "there is no knew in carnet claim"
    assert wrong_in("carnet claim new serde --ower a=b") == "carnet claim new has no --ower"
    assert wrong_in("carnet look") == "there is no look in carnet"
    assert wrong_in(f"carnet {HOLE} sing {HOLE}") == f"there is no sing in carnet {HOLE}"
    assert wrong_in("cargo carnet frobnicate") == "cargo carnet has no frobnicate"
    assert commands_in("run `carnet trust\n add` now") == ["carnet trust add"]


def test_every_command_that_is_shown_is_there() -> None:
    texts = [*literals(), *((str(path.relative_to(PROJECT)), path.read_text()) for path in DOCS)]
    found = {(place, command) for place, text in texts for command in commands_in(text)}
    assert len(found) > 200
    assert {(place, command): wrong for place, command in sorted(found) if (wrong := wrong_in(command))} == {}


def test_every_flag_that_a_hint_names_is_there() -> None:
    known = all_flags(main.cli) | OF_OTHERS | {"--help"}
    found = {
        (place, flag) for place, text in hints() for flag in re.findall(r"(?<![\w-])(--[a-z][a-z0-9-]*[a-z0-9])", text)
    }
    assert len(found) > 30
    assert [one for one in sorted(found) if one[1] not in known] == []
    assert {flag for _, flag in found} >= OF_OTHERS


# --- all hints together ---

ERRORS = {name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, errors.CarnetError)}
TOOLS = {
    *(
        "carnet",
        "cargo",
        "cargo-carnet",
        "git",
        "chmod",
        "chown",
        "date",
        "curl",
        "getent",
        "openssl",
        "puttygen",
        "export",
    ),
    *("ssh-keygen", "cd", "pip", "unset", "ss"),
}
"""What a hint may have somebody type."""


def raised() -> list[tuple[str, str, ast.Call]]:
    """Every error of ours that is made: where, its class, and the call."""
    return [
        (f"{place}:{node.lineno}", node.func.id, node)
        for place, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS
    ]


def given() -> list[tuple[str, str]]:
    """Every hint that is written as a text, be it one of several that are chosen from."""
    found = []
    for place, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "hint":
                ways = [node.value.body, node.value.orelse] if isinstance(node.value, ast.IfExp) else [node.value]
                found += [(f"{place}:{node.value.lineno}", text_of(one)) for one in ways]
    return [(place, text) for place, text in found if text.strip(f" {HOLE}")]


def test_a_mistake_of_ones_own_always_says_what_to_do() -> None:
    """Whoever wrote the file or the flag can mend it: so each such error has a hint."""
    own = [(place, call) for place, name, call in raised() if name == "ConfigError"]
    assert len(own) > 200
    bare = [place for place, call in own if not {"hint", None} & {keyword.arg for keyword in call.keywords}]
    assert bare == []
    empty = [
        place
        for place, call in own
        for keyword in call.keywords
        if keyword.arg == "hint" and isinstance(keyword.value, ast.Constant) and not keyword.value.value
    ]
    assert empty == []


def test_each_hint_is_one_line_that_goes_on_from_the_error() -> None:
    """What follows `hint: `: no line break, no full stop, no second `hint`, backticks in pairs."""
    hints_given = given()
    assert len(hints_given) > 300
    wrong = [
        (place, text)
        for place, text in hints_given
        if "\n" in text or text.endswith((".", " ", ";")) or text.count("`") % 2 or text.lower().startswith("hint")
    ]
    assert wrong == []


def test_what_a_hint_has_somebody_type_begins_with_a_program() -> None:
    """`carnet ...` is looked up word by word above; of other programs the name is."""
    quoted = [(place, one) for place, text in given() for one in re.findall(r"`([^`]+)`", text)]
    commands = [(place, one) for place, one in quoted if re.match(r"[a-z][a-z-]* [^=]", one)]
    assert len(commands) > 40
    assert [one for one in commands if one[1].split()[0] not in TOOLS] == []
    assert [(place, one) for place, one in commands if one.startswith("carnet ") and wrong_in(one)] == []
