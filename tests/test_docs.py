"""The documents say what is there: commands, errors, attackers, decisions."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from carnet import errors
from carnet_cli import main

PROJECT = Path(__file__).parent.parent
ROOMS = (
    "core/carnet",
    "evidence/carnet_evidence",
    "signer/carnet_signer",
    "verifier/carnet_verifier",
    "gate/carnet_gate",
    "mirror/carnet_mirror",
    "cli/carnet_cli",
)
DOCS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), *PROJECT.glob("examples/**/*.md")])


def test_every_error_is_drawn_in_the_tree() -> None:
    drawn = set(re.findall(r"^ +([A-Z][A-Za-z]+)(?: |$)", errors.__doc__ or "", re.MULTILINE))
    there = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert drawn == there


@pytest.mark.parametrize("document", DOCS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert missing == []


def test_every_attack_has_a_row_and_every_row_its_tests() -> None:
    text = (PROJECT / "docs/threat-model.md").read_text()
    rows = [row for row in text.splitlines() if row.startswith("| ")][2:]
    named = set(re.findall(r"attacks/(test_\w+\.py)", "\n".join(rows)))
    assert named == {path.name for path in PROJECT.glob("tests/attacks/test_*.py")}
    for row in rows:
        assert re.search(r"attacks/test_|not yet defended", row), row


def test_every_decision_is_in_the_index() -> None:
    index = (PROJECT / "docs/adr/README.md").read_text()
    for record in PROJECT.glob("docs/adr/0*.md"):
        assert f"({record.name})" in index
        assert record.read_text().startswith(f"# {record.name[:4]}: ")


def all_commands(group: click.Group, prefix: str) -> list[str]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(f"{prefix} {name}")
        if isinstance(command, click.Group):
            found += all_commands(command, f"{prefix} {name}")
    return found


def test_every_command_is_documented_and_explains_itself() -> None:
    text = " ".join("\n".join(document.read_text() for document in DOCS).split())
    commands = all_commands(main.cli, "carnet")
    assert len(commands) > 5
    assert [command for command in commands if command not in text] == []


def modules() -> list[Path]:
    """Every module of ours, at any depth, as git has them: one that a glob missed would leave the list in silence."""
    on_disk = {path for room in ROOMS for path in (PROJECT / room).rglob("*.py")}
    if shutil.which("git") is not None and (PROJECT / ".git").exists():
        ours = ["git", "-c", f"safe.directory={PROJECT}", "ls-files", "-co", "--exclude-standard", *ROOMS]
        listed = subprocess.run(ours, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.splitlines()
        known = {PROJECT / line for line in listed if line.endswith(".py")}
        assert {path for path in known if path.exists()} == on_disk
    return sorted(path for path in on_disk if path.name != "__init__.py")


def described(text: str) -> dict[str, str]:
    """The tables of modules: path below the project to the line beside it."""
    found, folder = {}, ""
    for line in text.splitlines():
        heading = re.match(r"\*\*`([\w/]+)`\*\*", line)
        row = re.match(r"\| `(\w+\.py)` \| (.*) \|$", line)
        if heading is not None:
            folder = heading[1]
        elif row is not None:
            found[f"{folder}/{row[1]}"] = row[2]
    return found


def test_every_module_is_described_in_the_architecture_by_its_own_first_line() -> None:
    there = {
        str(module.relative_to(PROJECT)): (ast.get_docstring(ast.parse(module.read_text())) or "").partition("\n")[0]
        for module in modules()
    }
    assert len(there) > 100
    assert described((PROJECT / "docs/architecture.md").read_text()) == there


@pytest.mark.parametrize("module", sorted(PROJECT.glob("tests/**/*.py")), ids=lambda path: path.name)
def test_every_file_of_tests_opens_with_what_it_holds(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text())), module


def in_backticks() -> list[tuple[str, str]]:
    """Every word that a document sets in backticks, and where; the tables of modules have a test of their own."""
    found = []
    for document in [*DOCS, PROJECT / "keys-example/README.md"]:
        for line in re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE).splitlines():
            if re.match(r"\| `\w+\.py` \| ", line) is None:
                found += [(str(document.relative_to(PROJECT)), word) for word in re.findall(r"`([^`\s]+)`", line)]
    return found


def test_every_path_that_a_document_names_is_there() -> None:
    """A path in the repository is written from its top: by its first folder, or by its ending, it is seen."""
    tops = {path.name for path in PROJECT.iterdir() if path.is_dir() and not path.name.startswith(".")} - {
        "dist",
        "target",
    }
    named = [
        (document, word)
        for document, word in in_backticks()
        if re.fullmatch(r"[\w.*-]+(/[\w.*-]+)*/?", word)
        and ((word.partition("/")[0] in tops and "/" in word) or word.endswith((".py", ".md")))
    ]
    assert len(named) > 40
    assert [(document, word) for document, word in named if not list(PROJECT.glob(word.rstrip("/")))] == []


def test_every_module_and_name_that_a_document_spells_with_dots_is_there() -> None:
    spelled = [(document, word) for document, word in in_backticks() if re.fullmatch(r"carnet(_\w+)?(\.\w+)+", word)]
    assert len(spelled) > 10
    files = {"carnet.toml", "carnet.adopted"}
    assert [(document, word) for document, word in spelled if word not in files and not is_there(word)] == []


def is_there(dotted: str) -> bool:
    """Whether a dotted name is a module of ours, or a name in one."""
    room, *parts = dotted.split(".")
    folder = next((PROJECT / one for one in ROOMS if one.endswith(f"/{room}")), PROJECT / "nowhere")
    for depth, part in enumerate(parts):
        if (folder / part).is_dir():
            folder /= part
            continue
        module = folder / f"{part}.py"
        rest = parts[depth + 1 :]
        return module.exists() and (not rest or rest[0] in defined(module))
    return folder.is_dir()


def defined(module: Path) -> set[str]:
    return {
        node.name for node in ast.parse(module.read_text()).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
