"""What `cargo install` is asked for, as a project that depends on the program; and where it would go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.machines.gatebox import BRANCH
from tests.support.machines.program import lock_of_tool, tool

from carnet import stricttoml
from carnet.cargo.crate import read_crate
from carnet.cargo.lockfile import CRATES_IO, read_lockfile
from carnet.errors import ConfigError
from carnet.lock import take_folder
from carnet_gate.args import parse
from carnet_gate.without_lock import dependent, installing


def asked(folder: Path, *args: str) -> stricttoml.Table:
    """What the scratch project depends on."""
    (invocation,) = installing.programs(parse(["install", *args]))
    name = dependent.write(folder, invocation)
    document = stricttoml.parse((folder / "Cargo.toml").read_bytes(), "it", max_bytes=10_000)
    assert document["workspace"] == {}  # whatever lies above the folder
    dependencies = document["dependencies"]
    assert list(dependencies) == [str(name)]
    found: stricttoml.Table = dependencies[str(name)]
    return found


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        (["x"], {"version": "*"}),
        (["x@1.2.3"], {"version": "=1.2.3"}),
        (["x@1.2.3-rc.1+b"], {"version": "=1.2.3-rc.1+b"}),
        (["x@^1.2"], {"version": "^1.2"}),
        (["--version", "~1", "x"], {"version": "~1"}),
        (["-f", "x", "--vers=1.*"], {"version": "1.*"}),
        (["-fq", "x"], {"version": "*"}),
        (["x", "-Fa,b", "--features", "x/c d", "--bin", "y"], {"version": "*", "features": ["a", "b", "c", "d"]}),
        (["x", "--no-default-features"], {"version": "*", "default-features": False}),
        (["x", "--git", "https://e.x/y", "--tag=v1"], {"git": "https://e.x/y", "tag": "v1"}),
    ],
)
def test_what_is_asked_for(tmp_path: Path, args: list[str], wanted: dict[str, object]) -> None:
    assert asked(tmp_path, *args) == {"features": [], "default-features": True, **wanted}


@pytest.mark.parametrize("args", [["x@1.2"], ["x", "--version", "one"], ["../x"], ['x"']])
def test_what_is_no_name_or_no_version(tmp_path: Path, args: list[str]) -> None:
    with pytest.raises(ConfigError):
        asked(tmp_path, *args)


def test_a_requirement_of_any_text_stays_a_text(tmp_path: Path) -> None:
    assert asked(tmp_path, 'x@^1"\n[patch]')["version"] == '^1"\n[patch]'  # which cargo then does not take


def test_all_features_are_those_of_the_manifest_and_optional_dependencies(tmp_path: Path) -> None:
    crate = read_crate(tool(extra='[features]\nextra = []\ndefault = ["extra"]\n'))
    (invocation,) = installing.programs(parse(["install", "tool", "--all-features"]))
    dependent.write(tmp_path, invocation, crate)
    document = stricttoml.parse((tmp_path / "Cargo.toml").read_bytes(), "it", max_bytes=10_000)
    assert document["dependencies"]["tool"]["features"] == ["extra", "leaf"]
    hidden = read_crate(tool(extra='[features]\nextra = ["dep:leaf"]\n'))
    dependent.write(tmp_path, invocation, hidden)
    document = stricttoml.parse((tmp_path / "Cargo.toml").read_bytes(), "it", max_bytes=10_000)
    assert document["dependencies"]["tool"]["features"] == ["extra"]


def test_each_program_is_a_command_of_its_own() -> None:
    found = installing.programs(parse(["install", "-q", "a", "--bin", "x", "b@1.0.0", "--locked"]))
    assert [one.args for one in found] == [
        ("-q", "a", "--bin", "x", "--locked"),
        ("-q", "--bin", "x", "b@1.0.0", "--locked"),
    ]


def test_a_commit_stands_in_the_place_of_what_names_one() -> None:
    found = parse(["install", "--git", "u", "--branch", "main", "--tag=v1", "x", "--rev", "HEAD"])
    assert found.at_commit("abc").args == ("--rev", "abc", "--git", "u", "x")


def test_the_lock_of_a_program_is_that_of_a_project_that_depends_on_it() -> None:
    crate = read_crate(tool())
    lock = read_lockfile(dependent.lock(lock_of_tool(), "it", crate))
    packages = {str(package.id.name): package for package in lock.packages}
    assert set(packages) == {"tool", "branch", "leaf", "carnet-installs"}
    assert (packages["tool"].source, packages["tool"].checksum) == (CRATES_IO, crate.sha256)
    assert packages["branch"].checksum == read_crate(BRANCH).sha256
    assert packages["carnet-installs"].source is None


def test_where_it_goes(tmp_path: Path) -> None:
    """By flag, `--config`, variable, the nearest file, CARGO_HOME."""
    home, folder = tmp_path / "home/.cargo", tmp_path / "work/here"
    folder.mkdir(parents=True)
    home.mkdir(parents=True)

    def root(*args: str, **environment: str) -> Path:
        return installing.root_of(parse(["install", "x", *args]), folder, folder, home, environment)

    assert root() == home
    (home / "config.toml").write_text('install.root = "of-home"\n')
    assert root() == tmp_path / "home/of-home"
    (tmp_path / "work/.cargo").mkdir()
    (tmp_path / "work/.cargo/config.toml").write_text('install.root = "near"\n')
    assert root() == tmp_path / "work/near"
    assert root(CARGO_INSTALL_ROOT="/by/variable") == Path("/by/variable")
    assert root("--config", "install.root='by-flag'", CARGO_INSTALL_ROOT="/x") == folder / "by-flag"
    assert root("--root=/asked", "--config", "install.root='by-flag'") == Path("/asked")


def test_what_a_killed_run_left_is_removed_and_what_another_run_works_in_is_not(tmp_path: Path) -> None:
    held, left, other = (tmp_path / name for name in ("id-install-1", "id-install-2", "id2-install-3"))
    for folder in (held, left, other):
        (folder / "registry/src").mkdir(parents=True)
        (folder / "registry/src/lib.rs").touch()
        (folder / "registry/src").chmod(0o500)
    descriptor = take_folder(held, alone=True, timeout=0, busy=ConfigError("never"))
    try:
        installing.remove_unheld(tmp_path, "id-install-")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["id-install-1", "id2-install-3"]
        assert (held / "registry/src/lib.rs").exists()
    finally:
        os.close(descriptor)
    installing.remove_unheld(tmp_path, "id-install-")
    assert [path.name for path in tmp_path.iterdir()] == ["id2-install-3"]
