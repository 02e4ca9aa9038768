"""examples/ci: what is to be copied parses, names what is there, pins what it uses, and its steps do what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from tests.support.crates.locks import LEAF, locked
from tests.support.machines.cargo import Machine
from tests.support.machines.image import PROJECT
from tests.support.registries.signed import SignedRegistry
from tests.support.worlds.release import git

from carnet import VERSION
from carnet.digests import sha256_hex
from carnet_cli import main

pytestmark = pytest.mark.xdist_group("ci-examples")  # one worker makes the mirror once

EXAMPLES = PROJECT / "examples/ci"
YAML = sorted(EXAMPLES.rglob("*.yml"))
ACTION: Any = yaml.safe_load((EXAMPLES / "github/action.yml").read_text())
GITLAB: Any = yaml.safe_load((EXAMPLES / "gitlab.yml").read_text())


def values(of: Any, key: str) -> Iterator[Any]:
    """Everything that stands under a key, however deep."""
    for name, value in of.items() if isinstance(of, dict) else enumerate(of) if isinstance(of, list) else ():
        if name == key:
            yield value
        yield from values(value, key)


def scripts(file: Path) -> list[str]:
    """The lines of shell in a file."""
    if file.suffix != ".yml":
        text = file.read_text()
        return re.findall(r"```console\n(.*?)```", text, re.DOTALL) if file.suffix == ".md" else [text]
    found: list[str] = []
    for key in ("run", "script", "before_script"):
        for value in values(yaml.safe_load(file.read_text()), key):
            found += [value] if isinstance(value, str) else [str(line) for line in value]
    return found


# --- what is written ---


def test_what_is_used_is_pinned() -> None:
    used = [value for file in YAML for value in values(yaml.safe_load(file.read_text()), "uses")]
    assert len(used) == 3
    assert all(value == "./ci/carnet" or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", value) for value in used), used
    images = [value for file in YAML for value in values(yaml.safe_load(file.read_text()), "image")]
    assert len(images) == 2
    assert all(re.fullmatch(r"[\w./-]+@sha256:[0-9a-f]{64}", image) for image in images), images
    text = "\n".join(file.read_text() for file in [*YAML, EXAMPLES / "pre-commit"])
    assert set(re.findall(r"carnet-(\d+\.\d+\.\d+)-py3", text)) == {VERSION}
    assert "latest" not in text
    installs = [line for line in text.splitlines() if " install --" in line and "pip" in line]
    assert installs
    assert all("--no-index" in line for line in installs)


@pytest.mark.parametrize("file", YAML, ids=lambda path: path.name)
def test_nothing_from_outside_becomes_shell(file: Path) -> None:
    """A branch's or a file's name in a script would be run; in a variable it is a word."""
    found = scripts(file)
    assert found
    assert [line for line in found if "${{" in line] == []
    bare = [re.sub(r'"[^"]*"', "", line) for script in found for line in script.splitlines()]
    assert [line for line in bare if re.search(r"\$\{?[A-Z_]", line)] == []


def invocations() -> list[list[str]]:
    found = []
    for file in [*YAML, EXAMPLES / "README.md", PROJECT / "docs/build-systems.md"]:
        for script in scripts(file):
            for match in re.finditer(r"(?:^|[;&|(`]|\$ |do )\s*(carnet(?: [^;&|()`\n#]+)?)", script, re.MULTILINE):
                found.append(match[1].split(" > ")[0].split(" >> ")[0].split())
    return found


def test_every_command_and_flag_is_there() -> None:
    checked = 0
    for words in invocations():
        command: click.Command = main.cli
        rest = words[1:]
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            found = command.get_command(click.Context(command), rest[0])
            assert found is not None, words
            command, rest = found, rest[1:]
        flags = {flag for parameter in command.params for flag in parameter.opts} | {"--help"}
        named = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert named <= flags, words
        checked += len(named) + 1
    assert checked > 20
    hook = set(re.findall(r"(?<= )--[a-z-]+", (EXAMPLES / "pre-commit").read_text()))
    verify = main.cli.get_command(click.Context(main.cli), "verify")
    assert verify is not None
    assert {"--no-less-than", "--update-memory"} <= hook & {flag for one in verify.params for flag in one.opts}


# --- what is done ---


class Project:
    """A project with an honest `carnet.lock` on its main branch, and a machine of its CI."""

    def __init__(self, folder: Path, registry: SignedRegistry) -> None:
        self.registry = registry
        self.developer, self.runner = Machine(folder / "developer"), Machine(folder / "runner")
        self.folder = folder / "project"
        for place in (self.folder / "ci", self.developer.path, self.runner.path):
            place.mkdir(parents=True)
        self.developer.trust(registry.root, registry.url)
        (self.folder / "ci/root.json").write_bytes(registry.root)
        (self.folder / "Cargo.lock").write_text(locked(LEAF))
        done = self.developer.carnet("verify", "--update-memory", cwd=self.folder)
        assert done.returncode == 0, done.stderr
        self.memory = (self.folder / "carnet.lock").read_bytes()
        git(self.folder, "init", "-q", "-b", "main")
        git(self.folder, "add", ".")
        git(self.folder, "commit", "-q", "-m", "all")
        git(self.folder, "update-ref", "refs/remotes/origin/main", "HEAD")

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """As a runner does: bash, and nobody who answers."""
        bash = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script)
        return self.runner.run(*bash, cwd=self.folder, env={"RUNNER_TEMP": str(self.runner.path), **variables})

    def action(self, **said: str) -> subprocess.CompletedProcess[str]:
        """The action's steps after the first, until one fails."""
        inputs = {name: str(about.get("default", "")) for name, about in ACTION["inputs"].items()}
        inputs |= {"mirror": self.registry.url, "fingerprint": sha256_hex(self.registry.root)}
        inputs |= {name.replace("_", "-"): value for name, value in said.items()}
        done = None
        for step in ACTION["runs"]["steps"][1:]:
            if "if" in step:
                assert step["if"] == "inputs.no-less-than != ''"
                if not inputs["no-less-than"]:
                    continue
            variables = {
                name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: inputs[found[1]], value)
                for name, value in step.get("env", {}).items()
            }
            done = self.run(step["run"], **variables)
            if done.returncode != 0:
                break
        assert done is not None
        return done

    def gitlab(self, job: str) -> subprocess.CompletedProcess[str]:
        template, own = GITLAB[".carnet"], GITLAB.get(job, {})
        variables = {**template["variables"], **own.get("variables", {})}
        variables |= {"MIRROR": self.registry.url, "MIRROR_FINGERPRINT": sha256_hex(self.registry.root)}
        variables["CI_MERGE_REQUEST_DIFF_BASE_SHA"] = git(self.folder, "rev-parse", "origin/main").strip()
        lines = [*template["before_script"], *own.get("script", [])]
        script = "\n".join(lines).replace("/tmp/", f"{self.runner.path}/")
        return self.run(script, **{name: str(value) for name, value in variables.items()})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    registry = SignedRegistry()
    registry.add(LEAF)
    with registry.serving():
        yield Project(tmp_path_factory.mktemp("examples"), registry)


@pytest.fixture
def project(made: Project) -> Iterator[Project]:
    yield made
    (made.folder / "carnet.lock").write_bytes(made.memory)


def less(project: Project) -> None:
    """As whoever sends a change would make it: an older state passes."""
    lines = [json.loads(line) for line in project.memory.splitlines()]
    lines[3]["snapshot"]["version"] -= 1
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    (project.folder / "carnet.lock").write_text(text)


def test_the_steps_of_the_action(project: Project) -> None:
    done = project.action(no_less_than="main")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 allowed, 0 refused" in done.stdout
    assert project.action(no_less_than="nowhere").returncode != 0, "a branch that is not there is none that is passed"
    assert "not the one that you gave" in project.action(fingerprint="0" * 64).stderr
    less(project)
    refused = project.action(no_less_than="main")
    assert refused.returncode == 1
    assert "carnet.lock says less in its line 'snapshot'" in refused.stderr
    (project.folder / "carnet.lock").unlink()
    refused = project.action()
    assert refused.returncode == 1
    assert "[no-memory]" in refused.stderr


def test_the_jobs_of_gitlab(project: Project) -> None:
    done = project.gitlab("carnet-lock")  # which begins as every job does
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("1 allowed, 0 refused") == 2
    less(project)
    refused = project.gitlab("carnet-lock")
    assert refused.returncode == 1
    assert "carnet.lock says less" in refused.stderr
    (project.folder / "carnet.lock").unlink()
    assert "[no-memory]" in project.gitlab(".carnet").stderr


def test_the_folder_of_the_programs_is_this_environments() -> None:
    """Else `carnet` in a script above would be another one, or nobody's."""
    assert (Path(sys.executable).parent / "carnet").exists()
