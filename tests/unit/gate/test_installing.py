"""What `cargo install` is asked for, as a project that depends on the program; and where it would go."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.machines.gatebox import BRANCH
from tests.support.machines.program import lock_of_tool, tool

from carnet import stricttoml
from carnet.cargo.crate import read_crate
from carnet.cargo.lockfile import CRATES_IO, read_lockfile
from carnet.cargo.names import CrateName
from carnet.errors import ConfigError, PolicyRefused
from carnet.lock import take_folder
from carnet_gate.args import parse
from carnet_gate.choosing.resolving import Resolved
from carnet_gate.without_lock import dependent, installing
from carnet_verifier.cargo.localregistry import Poisoned


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


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ([], "has to be told what"),
        (["-q", "--locked"], "has to be told what"),
        (["--git", "https://e.x/y", "--locked", "x"], "cannot be read before it is fetched"),
    ],
)
def test_what_cannot_be_begun(args: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        installing.programs(parse(["install", *args]))


UNCONFINED: Any = lambda *_, **__: nullcontext(None)  # noqa: E731  -- as `confinement` is called


class Asked:
    """A cargo that keeps what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.environment = folder, dict[str, str]()
        self.commands: list[tuple[str, ...]] = []

    def ask(self, *args: str, within: object) -> None:
        self.commands.append(args)


def program(folder: Path, root: Path) -> tuple[installing.Program, Asked]:
    cargo = Asked(folder)
    project: Any = SimpleNamespace(cargo=cargo, invocation=parse(["install", "tool"]))
    return installing.Program(project, CrateName("tool"), root), cargo


@pytest.mark.parametrize("inside", ["", "bin", "../carnet", ".."])
def test_nothing_is_installed_into_carnets_home_nor_around_it(tmp_path: Path, inside: str) -> None:
    home = tmp_path / "carnet"
    found, _ = program(tmp_path, home / inside)
    with (
        pytest.raises(ConfigError, match="are not apart"),
        installing.place(found, home, home / "cargo/id", tmp_path / ".cargo"),
    ):
        pass


def test_configuration_above_carnets_home_leads_no_program_around_the_gate(tmp_path: Path) -> None:
    found, _ = program(tmp_path, tmp_path / "root")
    home = tmp_path / "above/carnet"
    with installing.place(found, home, home / "cargo/id", tmp_path / ".cargo") as place:
        assert place.parent == home / "cargo"
    assert not place.exists()
    (tmp_path / "above/.cargo").mkdir()
    (tmp_path / "above/.cargo/config.toml").write_text('paths = ["/elsewhere"]\n')
    with (
        pytest.raises(PolicyRefused),
        installing.place(found, home, home / "cargo/id", tmp_path / ".cargo"),
    ):
        pass


@pytest.mark.parametrize("installed", [True, False])
def test_what_was_compiled_from_changed_sources_is_taken_back(tmp_path: Path, installed: bool) -> None:
    found, cargo = program(tmp_path, tmp_path)

    def build() -> None:
        with installing.taken_back(found, UNCONFINED):
            if installed:
                (tmp_path / ".crates2.json").write_text("{}")
            raise Poisoned("a source was changed", hint="x")

    with pytest.raises(Poisoned, match="changed"):
        build()
    assert cargo.commands == ([("uninstall", "--root", str(tmp_path), "tool")] if installed else [])


@pytest.mark.parametrize("passes", [0, 1])
def test_a_program_that_cannot_be_resolved_is_not_installed(
    tmp_path: Path, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither at first, nor with the features of the version that was chosen then."""
    crate = read_crate(tool())
    statuses = iter([0] * passes + [101])
    project: Any = SimpleNamespace(workspace=tmp_path, invocation=parse(["install", "tool", "--all-features"]))
    (tmp_path / "Cargo.lock").write_text("version = 4\n")
    verified = SimpleNamespace(file=crate)
    monkeypatch.setattr(installing, "bring_up_to_date", lambda *_: Resolved(next(statuses)))
    monkeypatch.setattr(installing, "_chosen", lambda *_: SimpleNamespace(id=crate.id, checksum=crate.sha256))
    monkeypatch.setattr(installing, "admit_tarball", lambda *_, **__: (None, verified))
    grounds: Any = SimpleNamespace(
        open_view=lambda: nullcontext(SimpleNamespace(repository=None)), policy=None, trust=None, clock=lambda: None
    )
    grounds.asks = lambda *_: SimpleNamespace(trying=lambda attempt: attempt())
    reporter: Any = None
    found = installing.Program(project, CrateName("tool"), tmp_path)
    with pytest.raises(ConfigError, match="cargo could not resolve tool"):
        installing.choose(found, grounds, tmp_path, UNCONFINED, reporter)
    assert list(statuses) == []


def test_the_configuration_of_a_program_in_a_folder_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "tool/.cargo").mkdir(parents=True)
    (tmp_path / "tool/.cargo/config.toml").write_text('paths = ["/elsewhere"]\n')
    (invocation,) = installing.programs(parse(["install", "--path", "tool"]))
    with pytest.raises(PolicyRefused, match="paths"):
        installing.open_program(invocation, tmp_path, tmp_path / "home", {}, UNCONFINED, scratch=tmp_path / "s")
