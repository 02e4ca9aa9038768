"""The wheel that `make dist` builds, installed where nothing else of carnet is; and no document installs it by name."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.signed import SignedRegistry

PROJECT = Path(__file__).parents[2]
VERSION = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
WHEEL = f"carnet-{VERSION}-py3-none-any.whl"
DOCS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), *PROJECT.glob("examples/**/*.md")])
CODE = sorted(
    path
    for folder in ("core", "evidence", "signer", "verifier", "gate", "mirror", "cli", "layouts", "examples")
    for path in (PROJECT / folder).rglob("*.py")
)


def build(folder: Path, *, umask: int) -> dict[str, bytes]:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1790000000"}
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=PROJECT, env=environment, umask=umask, check=True, capture_output=True)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build(folder, umask=0o022)
    return folder / WHEEL


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel in it, which sees the libraries of this one but not its carnet."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert pip(folder, f"carnet @ file://{wheel}#sha256={digest}").returncode == 0
    libraries = Path(sysconfig.get_path("purelib"))
    (next(folder.glob("lib/*/site-packages")) / "libraries.pth").write_text(f"{libraries}\n")
    return folder / "bin"


def pip(environment: Path, what: str) -> subprocess.CompletedProcess[str]:
    command = ("install", "--no-index", "--no-deps", "--disable-pip-version-check", "--quiet", what)
    return subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(environment / "bin/python"), *command],
        capture_output=True,
        text=True,
        check=False,
    )


def run(program: Path, *arguments: str, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "NO_COLOR": "1", **env}
    return subprocess.run(
        [str(program), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_the_same_source_gives_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    again = build(tmp_path, umask=0o077)
    assert set(again) == {WHEEL, f"carnet-{VERSION}.tar.gz"}
    assert again == {path.name: path.read_bytes() for path in wheel.parent.iterdir()}


def test_a_wheel_of_other_bytes_is_not_installed(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv")
    refused = pip(tmp_path / "venv", f"carnet @ file://{wheel}#sha256={'0' * 64}")
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr


def test_what_is_installed_verifies(installed: Path, tmp_path: Path) -> None:
    home = {"CARNET_HOME": str(tmp_path / "carnet")}
    where = [str(installed / "python"), "-c", "import carnet, carnet_cli; print(carnet.__path__, carnet_cli.__path__)"]
    assert str(PROJECT) not in run(Path(where[0]), *where[1:], cwd=tmp_path, env=home).stdout
    assert run(installed / "carnet", "--version", cwd=tmp_path, env=home).stdout == f"carnet {VERSION}\n"
    assert "Usage: carnet " in run(installed / "carnet", "--help", cwd=tmp_path, env=home).stdout
    assert (installed / "cargo-carnet").exists()
    layout = run(installed / "carnet", "layout", "new", "--help", cwd=tmp_path, env=home)
    assert layout.returncode == 0

    registry = SignedRegistry()
    registry.add(honest_crate("good", "1.0.0"))
    registry.publish()
    (tmp_path / "root.json").write_bytes(registry.root)
    with registry.serving():
        added = run(installed / "carnet", "trust", "add", registry.url, "--root", "root.json", cwd=tmp_path, env=home)
        assert added.returncode == 0, added.stderr
        good = run(installed / "carnet", "verify", "good@1.0.0", cwd=tmp_path, env=home)
        bad = run(installed / "carnet", "verify", "good@2.0.0", cwd=tmp_path, env=home)
    assert good.returncode == 0, good.stderr
    assert bad.returncode == 1, bad.stderr
    assert "good@2.0.0" in bad.stderr


def test_documents_name_the_wheel_that_is_built() -> None:
    text = "\n".join(document.read_text() for document in DOCS)
    assert set(re.findall(r"\bcarnet-\d[^\s`]*?\.whl", text)) == {WHEEL}


INSTALL = re.compile(r"\b(?:pip|pipx|uv|uvx|poetry|conda)[`' ]+(?:tool )?(?:install|run|add)\b([^\n]*(?:\n\S+)?)")
BY_NAME = re.compile(r"(cargo-)?carnet(\[[\w,]+\])?([=<>~!]=?.*)?")


def by_name(text: str) -> list[str]:
    """Commands that let an index, or whoever took the name on it, decide what carnet is."""
    found = []
    for words in INSTALL.findall(text):
        command = words.partition("- run:")[0].partition(" #")[0]
        if any(BY_NAME.fullmatch(word.strip("`'\".,;:)")) for word in command.split()) and "@ file://" not in command:
            found.append(words)
    return found


@pytest.mark.parametrize(
    "text",
    [
        "pip install carnet",
        "- run: pip install -U 'carnet[mirror]'",
        "pipx install carnet==0.1.0",
        "uv tool install carnet",
        "you can `pip install\ncarnet` then",
    ],
)
def test_what_installs_by_name_is_seen(text: str) -> None:
    assert by_name(text)


def test_nobody_is_told_to_install_carnet_by_name() -> None:
    assert {str(path): found for path in (*DOCS, *CODE) if (found := by_name(path.read_text()))} == {}
