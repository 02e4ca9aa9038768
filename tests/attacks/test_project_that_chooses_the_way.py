"""A project under judgement says nothing of how carnet reaches its mirror: not by a proxy, an authority or a name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.locks import LEAF, locked
from tests.support.machines.cargo import Machine
from tests.support.registries.signed import SignedRegistry
from tests.support.servers.forward_proxy import ForwardProxy, forward_proxy


@pytest.fixture(scope="module")
def registry() -> Iterator[SignedRegistry]:
    one = SignedRegistry()
    one.add(LEAF)
    with one.serving():
        yield one


@pytest.fixture
def eve() -> Iterator[ForwardProxy]:
    """A proxy of the project's choice."""
    with forward_proxy() as proxy:
        yield proxy


@pytest.fixture
def machine(tmp_path: Path, registry: SignedRegistry) -> Machine:
    one = Machine(tmp_path)
    one.trust(registry.root, registry.url)
    (tmp_path / "app/.git").mkdir(parents=True)
    (tmp_path / "app/Cargo.lock").write_text(locked(LEAF))
    return one


def write(folder: Path, proxy: str) -> None:
    (folder / ".cargo").mkdir(exist_ok=True)
    text = f'[http]\nproxy = "{proxy}"\ncainfo = "authority.pem"\n[env]\nHTTPS_PROXY = "{proxy}"\n'
    (folder / ".cargo/config.toml").write_text(text)


def test_the_users_own_configuration_is_used(machine: Machine, eve: ForwardProxy, registry: SignedRegistry) -> None:
    """The control: the same file, where it is the user's."""
    write(machine.home, eve.url)
    (machine.home / "authority.pem").write_text("")
    done = machine.carnet("verify", cwd=machine.path / "app")
    assert done.returncode == 0, done.stderr
    assert f"GET {registry.url}/metadata/timestamp.json" in eve.asked


def test_a_projects_own_is_not(machine: Machine, eve: ForwardProxy) -> None:
    app = machine.path / "app"
    write(app, eve.url)
    (app / "member").mkdir()
    write(app / "member", eve.url)
    for folder in (app, app / "member"):
        done = machine.carnet("verify", str(app / "Cargo.lock"), cwd=folder)
        assert done.returncode == 0, done.stderr
    assert eve.heads == []


@pytest.mark.parametrize("how", ["CARGO_HOME", "HOME", "a link", "an include"])
def test_the_users_own_that_lies_in_the_project_is_not_and_says_so(
    how: str, machine: Machine, eve: ForwardProxy
) -> None:
    """As where CI puts CARGO_HOME into the checkout, to cache it: the project can bring that file as well."""
    app = machine.path / "app"
    write(app, eve.url)
    environment = {
        "CARGO_HOME": {"CARGO_HOME": str(app / ".cargo")},
        "HOME": {"HOME": str(app), "CARGO_HOME": ""},
    }.get(how, {})
    if how == "a link":
        shutil.rmtree(machine.cargo_home)
        machine.cargo_home.symlink_to(app / ".cargo")
    elif how == "an include":
        (machine.cargo_home / "config.toml").write_text(f'include = "{app}/.cargo/config.toml"\n')
    done = machine.carnet("verify", cwd=app, env=environment)
    assert done.returncode == 0, done.stderr
    assert eve.heads == []
    assert "lies in the project: what it says with `http.cainfo` and `http.proxy` does not count" in done.stderr
    # The lock is named from elsewhere: what comes with it is the project's all the same.
    done = machine.carnet("verify", "app/Cargo.lock", env=environment)
    assert (done.returncode, eve.heads) == (0, []), done.stderr


@pytest.mark.cargo
def test_behind_the_gate_it_decides_nothing_either(machine: Machine, eve: ForwardProxy) -> None:
    app = machine.project("program", {"leaf": '"1"'})
    write(app, eve.url)
    done = machine.cargo_carnet("fetch", cwd=app)
    assert done.returncode == 0, done.stderr
    assert eve.heads == []
