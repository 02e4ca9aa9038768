"""The house: modules and folders of a size to be read, one name for one thing, no check whose answer can be dropped."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PROJECT = Path(__file__).parent.parent
ROOMS = ("core", "evidence", "signer", "verifier", "gate", "mirror", "cli", "layouts")
MODULES = sorted(path for room in ROOMS for path in (PROJECT / room).rglob("*.py"))
MOST_LINES = 500
MOST_MODULES = 14
CHECKS = ("check", "verify", "compare", "require", "demand", "refuse", "lint", "judge")


def trees() -> dict[str, ast.Module]:
    found = {str(path.relative_to(PROJECT)): ast.parse(path.read_text()) for path in MODULES}
    assert len(found) > 150
    return found


def test_no_module_is_too_long_to_be_read() -> None:
    lengths = {str(path.relative_to(PROJECT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_no_folder_holds_more_than_a_reader_sees_at_once() -> None:
    folders: dict[str, int] = defaultdict(int)
    for path in MODULES:
        folders[str(path.parent.relative_to(PROJECT))] += path.name != "__init__.py"
    assert {folder: count for folder, count in folders.items() if count > MOST_MODULES} == {}


def test_two_things_have_two_names() -> None:
    """A class that others import is called as no other one is, wherever it stands."""
    places: dict[str, list[str]] = defaultdict(list)
    for name, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_check_answers_with_a_bool() -> None:
    """Whoever calls a check and drops what it says has not checked anything: it returns evidence or raises."""
    answers = [
        f"{name}:{node.lineno} {node.name}"
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.lstrip("_").partition("_")[0] in CHECKS
        and node.returns is not None
        and ast.unparse(node.returns) == "bool"
    ]
    assert answers == []


def test_modules_are_named_for_what_they_hold() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "manager", "misc", "base", "tools"}
    assert [str(path.relative_to(PROJECT)) for path in MODULES if path.stem in vague] == []


def test_no_test_waits_for_ever_for_a_process_that_nobody_ends() -> None:
    """`with Popen(...)` does, when the test fails inside: `tests.support.machines.processes.running` ends it first."""
    waiting = {
        str(path.relative_to(PROJECT))
        for path in (PROJECT / "tests").rglob("*.py")
        if path != Path(__file__) and "with subprocess.Popen(" in path.read_text()
    }
    assert waiting == {"tests/support/machines/processes.py"}


def test_each_parser_has_one_door() -> None:
    """What a parser raises and takes is bounded in one module, so nobody else imports it."""
    doors = {
        "tomli": {"core/carnet/stricttoml.py"},
        "tomllib": set[str](),
        # Writing as cargo's index and as in-toto write it; and:
        "json": {
            "core/carnet/strictjson.py",
            "core/carnet/cargo/index_file.py",
            # What `cargo metadata` says, by the user's own cargo: any numbers; the second hands it on to an editor.
            "gate/carnet_gate/project.py",
            "cli/carnet_cli/commands/editors/standard_library.py",
            "mirror/carnet_mirror/second_opinion/in_toto_steps.py",
        },
    }
    found: dict[str, set[str]] = {parser: set() for parser in doors}
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            else:
                imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in imported:
                if module.partition(".")[0] in found:
                    found[module.partition(".")[0]].add(name)
    assert found == doors


def test_times_have_one_door() -> None:
    """Where the calendar ends, and which digits and forms count, is decided in `carnet.times`."""
    readers = {"strptime", "fromisoformat", "fromtimestamp", "utcfromtimestamp", "parsedate_to_datetime", "parsedate"}
    found = {
        name
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in readers
    }
    assert found == {"core/carnet/times.py"}
