"""The root of a workspace is found where cargo finds it, which the tests ask cargo itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from carnet.errors import ConfigError
from carnet_cli.config import places
from carnet_cli.config.workspace import workspace_root

MEMBER = '[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n{more}'

TREES: dict[str, tuple[dict[str, str], str, str]] = {
    # what stands where ("" is the top), where a command runs, and the root
    "a package alone": ({"": ""}, "", ""),
    "a folder of a package": ({"": ""}, "src/deep", ""),
    "a member": ({"": '[workspace]\nmembers = ["crates/*"]', "crates/a": ""}, "crates/a/src", ""),
    "a member that is not listed": ({"": '[workspace]\nmembers = ["b"]', "a": "", "b": ""}, "b", ""),
    "a package that is left out": ({"": '[workspace]\nexclude = ["a"]', "a": ""}, "a", "a"),
    "left out, and below a member": ({"": '[workspace]\nexclude = ["a"]\nmembers = ["a/b"]', "a/b": ""}, "a/b", ""),
    "a workspace in a workspace": ({"": '[workspace]\nexclude = ["in"]', "in": "[workspace]", "in/a": ""}, "in", "in"),
    "a member that names its root": (
        {"ws": '[workspace]\nmembers = ["../a"]', "a": 'workspace = "../ws"'},
        "a/src",
        "ws",
    ),
    "a root that is written with escapes": ({"": '["work\\u0073pace"]\nmembers = ["a"]', "a": ""}, "a", ""),
    "no manifest between": ({"": '[workspace]\nmembers = ["x/y/a"]', "x/y/a": ""}, "x/y/a", ""),
}


def build(top: Path, manifests: dict[str, str]) -> None:
    for folder, more in manifests.items():
        place = top / folder
        (place / "src" / "deep").mkdir(parents=True)
        (place / "src" / "lib.rs").touch()
        name = f"p{folder.replace('/', '-')}"
        (place / "Cargo.toml").write_text(MEMBER.format(name=name, more=more))


@pytest.mark.parametrize(("manifests", "here", "root"), TREES.values(), ids=TREES)
def test_the_root_is_the_one_that_cargo_finds(tmp_path: Path, manifests: dict[str, str], here: str, root: str) -> None:
    build(tmp_path, manifests)
    assert workspace_root(tmp_path / here) == tmp_path / root
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("no cargo to ask whether it finds the same")
    asked = subprocess.run(
        [cargo, "locate-project", "--workspace", "--offline"],
        cwd=tmp_path / here,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(asked.stdout)["root"] == str(tmp_path / root / "Cargo.toml")


def test_a_root_that_is_none_is_not_guessed(tmp_path: Path) -> None:
    build(tmp_path, {"a": 'workspace = "../nowhere"'})
    with pytest.raises(ConfigError, match="there is no root of one") as refused:
        workspace_root(tmp_path / "a")
    assert "package.workspace" in refused.value.hint


@pytest.mark.parametrize("text", ["[workspace", "[workspace]\n[workspace]\n", '"\\u00zz" = 1'])
def test_a_manifest_that_does_not_parse_is_the_users_to_mend(tmp_path: Path, text: str) -> None:
    build(tmp_path, {"": "", "a": ""})
    (tmp_path / "Cargo.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"Cargo\.toml is not TOML") as refused:
        workspace_root(tmp_path / "a")
    assert refused.value.exit_code == 2


def test_no_root_is_looked_for_beyond_cargos_home(tmp_path: Path) -> None:
    build(tmp_path, {"": "[workspace]", "home/registry/a": ""})
    assert workspace_root(tmp_path / "home" / "registry" / "a", tmp_path / "home") == tmp_path / "home/registry/a"
    assert workspace_root(tmp_path / "home" / "registry" / "a") == tmp_path


def test_without_a_manifest_it_is_the_nearest_lock(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "Cargo.lock").touch()
    assert workspace_root(tmp_path / "a" / "b") is None
    assert places.project_folder(tmp_path / "a" / "b") == tmp_path
