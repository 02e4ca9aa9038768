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
EXTRAS = {
    "keyring": {"cli/carnet_cli/config/network/logins.py"},
    "granian": {"mirror/carnet_mirror/web/serve.py"},
    "prometheus_client": {"mirror/carnet_mirror/web/metrics.py"},
    "pkcs11": {"signer/carnet_signer/keys/pkcs11_token.py", "signer/carnet_signer/keys/pkcs11.py"},
    "securesystemslib": {"signer/carnet_signer/keys/pkcs11.py"},
}
"""Import name of what an extra brings -> the modules that import it; the first one asked says so when it is missing."""
_WITHOUT = "import sys; sys.modules['{0}'] = None; from carnet_cli.start import main; main()"


@pytest.mark.parametrize("more", [(), ("--read-only",)])
def test_serving_without_a_web_server_is_an_error_with_a_way_out(tmp_path: Path, more: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", _WITHOUT.format("granian"), "mirror", "serve", str(tmp_path / "mirror"), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: the web server granian is not installed")
    assert "pip install '.[mirror]'" in hint


_EVERY_HELP = """
import sys
for name in ('granian', 'pkcs11', 'securesystemslib.signer', 'securesystemslib.hash'):
    sys.modules[name] = None
import click
from carnet_cli.main import cli, run

def walk(command, words):
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), [*words, name])

for words in list(walk(cli, [])):
    assert run(cli, [*words, '--help'], 'carnet') == 0, words
    print('--', *words)
"""


def test_every_command_explains_itself_in_a_plain_installation_without_any_other_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _EVERY_HELP], capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(re.findall("^--", done.stdout, re.MULTILINE)) > 60


def test_whatever_else_is_imported_comes_with_a_plain_install() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    plain = {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in project["dependencies"]}
    groups = project["optional-dependencies"]
    extra = {
        re.split(r"[^\w-]", line)[0].removeprefix("python-").replace("-", "_")
        for name in ("mirror", "hsm", "keyring")
        for line in groups[name]
    }
    assert extra == set(EXTRAS)
    assert set(groups) == {"mirror", "hsm", "keyring", "dev"}
    odd = {}
    for room in ROOMS:
        for module in (PROJECT / room).rglob("*.py"):
            place = str(module.relative_to(PROJECT))
            for name in imported(module):
                ours = name in sys.stdlib_module_names or name.split("_")[0] == "carnet"
                if not ours and name not in plain and place not in EXTRAS.get(name, ()):
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
