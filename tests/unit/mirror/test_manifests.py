"""What a workspace without a lock asks for: its manifests are data, and nothing outside of its folder is read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import CARNET, make_mirror
from tests.support.registries.sparse import sparse_registry

from carnet.errors import ConfigError, StorageError
from carnet_mirror.sync.manifests import read_workspace

_PACKAGE = '[package]\nname = "{0}"\nversion = "0.1.0"\n'


def _write(where: Path, /, **files: str) -> Path:
    for folder, text in files.items():
        path = where / ("" if folder == "root" else folder.replace("__", "/")) / "Cargo.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return where / "Cargo.toml"


def _asked(manifest: Path) -> list[str]:
    return [*map(str, read_workspace(manifest).asked)]


def test_every_kind_target_and_optional_dependency_is_asked_for(tmp_path: Path) -> None:
    text = _PACKAGE.format("app") + (
        '[dependencies]\nserde = "1.0"\nrenamed = { version = "2", package = "real", optional = true }\n'
        'home = { version = "0.5", registry = "crates-io" }\n'
        '[dev-dependencies]\ntests-only = "*"\n[build_dependencies]\ncc = "=1.0.3"\n'
        "[target.'cfg(windows)'.dependencies]\nwin = \">=0.3, <0.5\"\n"
    )
    assert _asked(_write(tmp_path, root=text)) == [
        "cc@=1.0.3", "home@^0.5", "real@^2", "serde@^1.0", "tests-only@*", "win@>=0.3, <0.5",
    ]  # fmt: skip


def test_members_by_pattern_and_by_path_and_what_they_inherit(tmp_path: Path) -> None:
    manifest = _write(
        tmp_path,
        root='[workspace]\nmembers = ["crates/*"]\nexclude = ["crates/out"]\n'
        '[workspace.package]\nversion = "0.1.0"\n'
        '[workspace.dependencies]\nshared = { version = "3", features = ["x"] }\nlocal = { path = "tools/local" }\n',
        crates__a='[package]\nname = "a"\nversion.workspace = true\n'
        "[dependencies]\nshared.workspace = true\nlocal = { workspace = true, optional = true }\n",
        crates__b=_PACKAGE.format("b") + '[dependencies]\na = { path = "../a" }\nof-b = "1"\n',
        crates__out=_PACKAGE.format("out") + '[dependencies]\nexcluded = "1"\n',
        tools__local=_PACKAGE.format("local") + '[dependencies]\nof-local = "1"\n',
        unasked=_PACKAGE.format("unasked") + '[dependencies]\nnobody = "1"\n',
    )
    (tmp_path / "crates" / "no-package").mkdir()
    assert _asked(manifest) == ["of-b@^1", "of-local@^1", "shared@^3"]


def test_what_is_not_this_registrys_is_told(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "Cargo.toml").write_text("this is not read, so it may be anything")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "link").symlink_to(tmp_path / "outside")
    text = _PACKAGE.format("app") + (
        '[dependencies]\ng = { git = "https://example.org/g" }\nr = { version = "1", registry = "corp" }\n'
        'o = { path = "../outside", version = "1" }\nl = { path = "link" }\n'
    )
    asks = read_workspace(_write(tmp_path / "app", root=text))
    assert asks.asked == ()
    assert len(asks.notes) == 4
    assert sum("lies outside of the workspace, and was not read" in note for note in asks.notes) == 2


@pytest.mark.parametrize(
    ("text", "says_what"),
    [
        ("", "neither a package's manifest nor a workspace's"),
        ("[package", "not TOML"),
        ('[workspace]\nmembers = ["../x"]', "outside of the workspace's folder"),
        ('[workspace]\nmembers = ["/etc"]', "outside of the workspace's folder"),
        ('[workspace]\nmembers = "x"', "must be a list of strings"),
        ('[workspace]\nmembers = ["gone"]', "there is no manifest"),
        ('[workspace]\nmembers = ["link"]', "a link that leads out"),
        ('[workspace]\nmembers = ["linked"]', "a link that leads out"),
        ("[package]\n[dependencies]\nx.workspace = true", "no such workspace dependency"),
        ("[package]\n[dependencies]\nx = 1", "`x` must be a table"),
        ('[package]\n[dependencies]\nx = "latest"', "latest"),
        ('[package]\n[dependencies]\n"../x" = "1"', "x"),
        ("dependencies = 1\n[package]", "must be a table"),
    ],
)
def test_a_manifest_that_is_none_is_the_users_to_mend(text: str, says_what: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    manifest = _write(root, root=text)
    _write(tmp_path, elsewhere=_PACKAGE.format("elsewhere"))
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "linked").mkdir()
    (root / "linked" / "Cargo.toml").symlink_to(tmp_path / "elsewhere" / "Cargo.toml")
    with pytest.raises(ConfigError, match=says_what) as refused:
        read_workspace(manifest)
    assert refused.value.hint


def test_links_that_lead_in_a_circle_are_told(tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with pytest.raises(StorageError, match=r"round/Cargo\.toml: too many"):
        read_workspace(_write(tmp_path, root='[workspace]\nmembers = ["round"]'))


def test_a_workspace_is_resolved_by_the_mirror_and_nothing_of_it_runs(tmp_path: Path) -> None:
    make_mirror(tmp_path / "mirror")
    manifest = _write(tmp_path / "app", root=_PACKAGE.format("app") + '[dependencies]\nbranch = "0.1"\n')
    (tmp_path / "app" / "build.rs").write_text('fn main() { std::fs::write("/dev/full", "ran").unwrap(); }')
    with sparse_registry() as registry:
        registry.add(honest_crate("leaf"))
        registry.add(honest_crate("branch", extra='[dependencies]\nleaf = "0.1"\n'))
        done = subprocess.run(
            [
                *CARNET,
                "mirror",
                "sync",
                "mirror",
                "--workspace",
                manifest,
                "--upstream",
                registry.index_url,
                "--dry-run",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={"PATH": "/nonexistent", "CARNET_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
            | {key: value for key, value in os.environ.items() if key.startswith("PYTHON")},
        )
    assert done.stdout.startswith("would add branch@0.1.0\nwould add leaf@0.1.0\n")
    assert not (tmp_path / "app" / "Cargo.lock").exists()
