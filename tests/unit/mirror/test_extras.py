"""What is installed with an extra only is missed in one line, with the command that brings it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
ROOMS = ("core", "evidence", "signer", "verifier", "gate", "mirror", "cli", "layouts")
EXTRAS = {"granian": "mirror/carnet_mirror/web/serve.py"}
"""Import name of what an extra brings -> the one module that imports it, and says so when it is not there."""
_WITHOUT = "import sys; sys.modules['{0}'] = None; from carnet_cli.start import main; main()"


@pytest.mark.parametrize("more", [(), ("--read-only",)])
def test_serving_without_a_web_server_is_an_error_with_a_way_out(tmp_path: Path, more: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", _WITHOUT.format("granian"), "mirror", "serve", str(tmp_path / "mirror"), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: the web server granian is not installed")
    assert "pip install '.[mirror]'" in hint


def test_whatever_else_is_imported_comes_with_a_plain_install() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    plain = {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in project["dependencies"]}
    extra = {re.split(r"[^\w-]", line)[0] for line in project["optional-dependencies"]["mirror"]}
    assert extra == set(EXTRAS)
    odd = {}
    for room in ROOMS:
        for module in (PROJECT / room).rglob("*.py"):
            place = str(module.relative_to(PROJECT))
            for name in imported(module):
                ours = name in sys.stdlib_module_names or name.split("_")[0] == "carnet"
                if not ours and name not in plain and EXTRAS.get(name) != place:
                    odd[place] = name
    assert odd == {}


def imported(module: Path) -> set[str]:
    """The top-level names that a module imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module.partition(".")[0])
    return found
