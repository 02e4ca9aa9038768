"""A shim: what compiles or chooses goes through the gate, the rest is the user's own cargo, and nothing goes twice."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.machines.gatebox import gate_box
from tests.support.machines.processes import running
from tests.support.machines.shim import ShimBox, shim_box

pytestmark = pytest.mark.cargo

FAKE = """#!/bin/sh
echo "args=$*" "home=$CARGO_HOME" "cargo=$CARGO" "tc=$RUSTUP_TOOLCHAIN" "wrapper=$RUSTC_WRAPPER"
[ "$1" = login ] && exit 7
[ "$1" = new ] && exec sleep 60
exit 0
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShimBox]:
    with gate_box(tmp_path_factory.mktemp("shim")) as box:
        yield shim_box(box)


@pytest.fixture
def before_a_fake(shim: ShimBox, tmp_path: Path) -> ShimBox:
    """Another shim, which stands before a cargo that tells how it was called."""
    (tmp_path / "programs").mkdir()
    fake = tmp_path / "programs/cargo"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    path = f"{fake.parent}:{shim.box.machine.env()['PATH']}"
    other = ShimBox(shim.box, tmp_path / "shim")
    done = shim.box.machine.carnet("shim", str(other.folder), env={"PATH": path})
    assert done.returncode == 0, done.stderr
    assert f"before {fake}" in done.stdout
    return other


def test_what_compiles_or_resolves_goes_through_the_gate(shim: ShimBox) -> None:
    for args in (("check", "--workspace", "--message-format=json"), ("metadata", "--format-version", "1")):
        done = shim.call(*args)
        assert done.returncode == 0, done.stderr
        assert "Admitted 2 crates" in done.stderr
        documents = [json.loads(line) for line in done.stdout.splitlines()]  # stdout is cargo's alone
        assert documents
    sources = [package["manifest_path"] for package in documents[0]["packages"] if package["source"]]
    assert all(path.startswith(str(shim.box.machine.carnet_home)) for path in sources)


def test_cargo_carnet_means_the_same_as_without_a_shim(shim: ShimBox) -> None:
    assert "Admitted 2 crates" in shim.call("carnet", "tree").stderr


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--version",),
        ("-vV",),
        ("--list",),
        ("locate-project", "--workspace"),
        ("pkgid",),
        ("metadata", "--no-deps", "--format-version", "1"),
        ("read-manifest",),
    ],
)
def test_what_is_harmless_says_what_cargo_itself_says(shim: ShimBox, args: tuple[str, ...]) -> None:
    asked = len(shim.box.registry.requests)
    itself = shim.box.machine.run("cargo", *args, cwd=shim.box.project)
    done = shim.call(*args)
    assert (done.returncode, done.stdout) == (itself.returncode, itself.stdout)
    assert "Admitted" not in done.stderr
    assert len(shim.box.registry.requests) == asked  # nothing is asked of anybody


def test_a_harmless_call_loads_no_verifier(shim: ShimBox) -> None:
    """What it loads is what it costs; of cryptography no more than digests."""
    code = "import sys, carnet_cli.commands.editors.calls as calls\ncalls.os.execvpe = lambda *_: print(*sys.modules)\n"
    code += "calls._pass(sys.executable, ['--version'], calls.Path('/'))"
    loaded = shim.box.machine.run(sys.executable, "-I", "-c", code).stdout.split()
    assert "carnet_gate.args" in loaded
    heavy = ("carnet_verifier", "carnet_evidence", "click", "tuf", "dataclasses", "carnet_gate.gate")
    assert [name for name in loaded if name.startswith(heavy)] == []


def test_cargo_gets_its_own_home_its_toolchain_and_no_shim(before_a_fake: ShimBox) -> None:
    machine = before_a_fake.box.machine
    path = f"{before_a_fake.folder}/bin:{machine.env()['PATH']}"
    said = before_a_fake.works("+nightly", "fmt", "--check", env={"PATH": path, "CARGO": str(before_a_fake.program)})
    assert said == f"args=+nightly fmt --check home={machine.cargo_home} cargo= tc= wrapper=\n"
    said = before_a_fake.works("logout", env={"RUSTUP_TOOLCHAIN": "beta", "RUSTC_WRAPPER": "/of/the/project"})
    assert said == f"args=logout home={machine.cargo_home} cargo= tc=beta wrapper=\n"
    said = before_a_fake.works("logout", env={"CARGO_HOME": "/another"})
    assert "home=/another " in said  # whoever names one keeps it


def test_the_exit_status_and_signals_are_cargos(before_a_fake: ShimBox) -> None:
    assert before_a_fake.call("login").returncode == 7
    environment = before_a_fake.box.machine.env({"CARGO_HOME": str(before_a_fake.folder)})
    command = [str(before_a_fake.program), "new", "x"]
    with running(command, cwd=before_a_fake.box.project, env=environment, stdout=-1, text=True) as process:
        assert process.stdout.readline().startswith("args=new x")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM


def test_what_fails_behind_the_gate_fails_before_it(shim: ShimBox) -> None:
    assert shim.call("check", "-p", "nothing").returncode == 101


def test_a_shim_that_stands_before_nothing_finds_itself_nowhere(shim: ShimBox, tmp_path: Path) -> None:
    """Made again with itself first in PATH and in CARGO_HOME: it is never taken for the user's cargo."""
    path = f"{shim.folder}/bin:{shim.box.machine.env()['PATH']}"
    done = shim.box.machine.carnet("shim", str(shim.folder), env={"PATH": path})
    assert done.returncode == 0
    assert "stood already" in done.stdout
    done = shim.box.machine.carnet("shim", str(tmp_path / "x"), env={"CARGO_HOME": str(shim.folder)})
    assert done.returncode == 2
    assert "is a shim's" in done.stderr
    done = shim.box.machine.carnet("shim", str(tmp_path / "x"), env={"PATH": f"{shim.folder}/bin:/nowhere"})
    assert done.returncode == 2
    assert "cargo is not installed" in done.stderr


def test_what_the_gate_refuses_is_refused_and_says_where_cargo_is(shim: ShimBox) -> None:
    for name in ("watch", "unheard-of", "src/main.rs"):
        done = shim.call(name)
        assert done.returncode == 1
        assert f"`cargo {name}` is refused" in done.stderr
        assert "is cargo itself" in done.stderr


def test_again_changes_nothing_and_a_new_place_of_carnet_is_written(shim: ShimBox) -> None:
    before = shim.program.stat()
    assert "stood already" in shim.make().stdout
    assert shim.program.stat() == before
    script = shim.program.read_text()
    shim.program.write_text(script.replace(sys.executable, "/gone/python"))
    done = shim.call("--version")
    assert done.returncode == 2
    assert "error: carnet is not in" in done.stderr
    assert f"hint: run `carnet shim {shim.folder}` again" in done.stderr
    assert "stands before" in shim.make().stdout
    assert shim.program.read_text() == script


def test_a_python_that_lost_carnet_says_so(shim: ShimBox) -> None:
    script = shim.program.read_text()
    shim.program.write_text(script.replace("carnet_cli.start", "carnet_that_is_gone"))
    done = shim.call("--version")
    assert done.returncode == 2
    assert "finds no carnet" in done.stderr
    assert "Traceback" not in done.stderr
    assert shim.make().returncode == 0


def test_a_cargo_that_is_gone_is_named(before_a_fake: ShimBox, tmp_path: Path) -> None:
    (tmp_path / "programs/cargo").unlink()
    done = before_a_fake.call("--version")
    assert done.returncode == 2
    assert f"{tmp_path}/programs/cargo is gone" in done.stderr


def test_a_foreign_folder_is_refused_and_stays_as_it_is(shim: ShimBox, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/cargo").write_text("another\n")
    for args in ((), ("--remove",)):
        done = shim.box.machine.carnet("shim", *args, str(tmp_path))
        assert done.returncode == 2
        assert "did not write" in done.stderr
    assert (tmp_path / "bin/cargo").read_text() == "another\n"
    done = shim.box.machine.carnet("shim", str(shim.box.project / "tools"))
    assert done.returncode == 2
    assert "lies in the project" in done.stderr


def test_removing_takes_away_what_was_written_and_nothing_else(shim: ShimBox, tmp_path: Path) -> None:
    other = ShimBox(shim.box, tmp_path / "other")
    own = other.box.machine.cargo_home / "bin"
    own.mkdir(exist_ok=True)
    (own / "rustfmt").symlink_to(shutil.which("rustfmt") or "/bin/true")
    other.make()
    assert (other.folder / "bin/rustfmt").readlink() == own / "rustfmt"
    (other.folder / "mine").touch()
    done = other.make("--remove")
    assert done.returncode == 0, done.stderr
    assert [*other.folder.iterdir()] == [other.folder / "mine"]
    assert "mine" in done.stderr
    (other.folder / "mine").unlink()
    assert other.make("--remove").returncode == 0
    again = other.make("--remove")
    assert again.returncode == 0
    assert again.stdout == f"there is no shim in {other.folder}: nothing was removed\n"


@pytest.mark.parametrize("ways", [("PATH", "CARGO_HOME"), ("CARGO",)])
def test_the_gate_that_is_called_itself_finds_the_users_cargo_behind_a_shim(
    shim: ShimBox, ways: tuple[str, ...]
) -> None:
    """As `cargo-carnet` in a shell whose PATH has the shim first: it does not go through the gate twice."""
    machine = shim.box.machine
    leads = {
        "PATH": f"{shim.folder}/bin:{machine.env()['PATH']}",
        "CARGO": str(shim.program),
        "CARGO_HOME": str(shim.folder),
    }
    done = shim.box.cargo("tree", env={way: leads[way] for way in ways})
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Admitted 2 crates") == 1
