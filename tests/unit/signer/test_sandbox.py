"""What a crate's own tests find around them, in each sandbox that this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.machines.container import container

from carnet.errors import ConfigError
from carnet_signer.steps import sandbox

ENVIRONMENT = {"PATH": os.environ["PATH"]}
pytestmark = pytest.mark.root


def sh(script: str, folder: Path, kind: sandbox.Kind, *hide: Path, scratch: Path | None = None, **more: str) -> str:
    """What a script prints that must succeed."""
    outcome = sandbox.run(["sh", "-c", script], folder, {**ENVIRONMENT, **more}, kind=kind, hide=hide, scratch=scratch)
    assert (outcome.status, outcome.sandbox) == (0, kind), outcome
    return outcome.output


def test_tmp_is_the_commands_own(tmp_path: Path, sandbox_kind: sandbox.Kind) -> None:
    mine = Path("/tmp") / f"carnet-test-{os.getpid()}"
    mine.mkdir()
    try:
        assert sh(f"ls -d {mine}", tmp_path, "none") == f"{mine}\n"  # the control
        script = f"test ! -e {mine} && echo x > /tmp/made && cat /tmp/made && mkdir {mine} && touch {mine}/made"
        assert sh(script, tmp_path, sandbox_kind) == "x\n"
        assert list(mine.iterdir()) == []
        assert not Path("/tmp/made").exists()
    finally:
        mine.rmdir()


def test_the_scratch_folder_below_tmp_is_written_to_for_good(sandbox_kind: sandbox.Kind) -> None:
    """`record test` works in a temporary folder: below /tmp, unless TMPDIR says otherwise."""
    scratch = Path("/tmp") / f"carnet-test-{os.getpid()}"
    (scratch / "source/member").mkdir(parents=True)
    try:
        script = "pwd; ls ..; touch here ../../target"
        assert (
            sh(script, scratch / "source/member", sandbox_kind, scratch=scratch) == f"{scratch}/source/member\nmember\n"
        )
        assert (scratch / "source/member/here").exists()
        assert (scratch / "target").exists()
        assert sorted(path.name for path in scratch.iterdir()) == ["source", "target"]
    finally:
        shutil.rmtree(scratch)


@pytest.mark.parametrize("below", ["beside", "above", "inside"])
def test_hidden_folders_are_empty_wherever_they_lie(tmp_path: Path, sandbox_kind: sandbox.Kind, below: str) -> None:
    scratch = tmp_path / "keys/scratch" if below == "above" else tmp_path / "scratch"
    keys = {"beside": tmp_path / "keys", "above": tmp_path / "keys", "inside": scratch / "keys"}[below]
    for folder in (scratch, keys):
        folder.mkdir(parents=True, exist_ok=True)
    (keys / "release.key").write_text("PRIVATE")
    assert "PRIVATE" in sh(f"cat {keys}/release.key", scratch, "none")  # the control
    assert sh(f"find /tmp {keys} -name release.key; touch here", scratch, sandbox_kind, keys) == ""
    assert (scratch / "here").exists()
    assert (keys / "release.key").read_text() == "PRIVATE"


def test_what_path_names_below_tmp_is_in_sight_and_keys_in_it_are_not(
    tmp_path: Path, sandbox_kind: sandbox.Kind
) -> None:
    tools, work = tmp_path / "tools", tmp_path / "work"
    for folder in (tools / "bin", tools / "lib", tools / "keys", work):
        folder.mkdir(parents=True)
    (tools / "lib/said").write_text("hello\n")
    (tools / "keys/release.key").write_text("PRIVATE")
    (tools / "bin/tool").write_text(f"#!/bin/sh\ncat {tools}/lib/said; ls {tools}/keys\n")
    (tools / "bin/tool").chmod(0o755)
    path = f"{tools}/bin:{os.environ['PATH']}"
    assert sh("tool", work, "none", PATH=path) == "hello\nrelease.key\n"
    assert sh("tool", work, sandbox_kind, tools / "keys", PATH=path) == "hello\n"


def test_nothing_is_visible_through_a_hidden_folder_on_path(tmp_path: Path, sandbox_kind: sandbox.Kind) -> None:
    keys, work = tmp_path / "keys", tmp_path / "work"
    for folder in (keys / "bin", keys / "tools/bin", work):
        folder.mkdir(parents=True)
        (folder / "release.key").write_text("PRIVATE")
    path = f"{keys}/bin:{keys}/tools/bin:{os.environ['PATH']}"
    assert sh(f"ls -R {keys}", work, sandbox_kind, keys, PATH=path) == f"{keys}:\n"


def test_a_home_in_the_scratch_folder_is_written_to(tmp_path: Path, sandbox_kind: sandbox.Kind) -> None:
    """The environment names it, and what it names besides is only to be looked at."""
    source, home = tmp_path / "source", tmp_path / "home"
    for folder in (source, home):
        folder.mkdir()
    sh("touch $HOME/here", source, sandbox_kind, scratch=tmp_path, HOME=str(home))
    assert (home / "here").exists()


def test_nobody_hides_the_root_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds everything") as refusal:
        sandbox.run(["true"], tmp_path, ENVIRONMENT, hide=[Path("/")])
    assert "a folder of its own" in refusal.value.hint


def test_the_command_has_no_capability_and_no_network(tmp_path: Path, sandbox_kind: sandbox.Kind) -> None:
    """Root's capabilities are worth nothing outside of the user namespace that unshare makes; bubblewrap makes none."""
    script = "grep -E 'CapEff|CapPrm' /proc/self/status; ls /sys/class/net 2>/dev/null; cat /proc/net/dev"
    said = sh(script, tmp_path, sandbox_kind)
    if sandbox_kind == "bwrap":
        assert said.startswith("CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n")
    else:
        held = sh("readlink /proc/self/ns/user", tmp_path, sandbox_kind)
        assert held != sh("readlink /proc/self/ns/user", tmp_path, "none")
    devices = [line.split(":")[0].strip() for line in said.splitlines() if ":" in line and "Cap" not in line]
    assert devices == ["lo"]


def test_the_machine_is_read_only_in_bubblewrap(tmp_path: Path) -> None:
    if sandbox.why_not("bwrap"):
        pytest.skip(sandbox.why_not("bwrap"))
    work, other = tmp_path / "work", Path(__file__).parent
    work.mkdir()
    script = f"touch {other}/x; mount -o remount,rw,bind / ; touch {other}/x; umount /tmp; true"
    sh(script, work, "bwrap")
    assert not (other / "x").exists()


@pytest.mark.parametrize("sandbox_kind", ["none", *sandbox.SANDBOXES], indirect=True)
def test_a_program_that_is_not_there_is_no_failed_test(tmp_path: Path, sandbox_kind: sandbox.Kind) -> None:
    (tmp_path / "text").write_text("no program")
    for program in ("there-is-no-such-program", "./text", f"{tmp_path}/missing"):
        with pytest.raises(ConfigError, match="no program"):
            sandbox.run([program], tmp_path, ENVIRONMENT, kind=sandbox_kind)


def test_a_program_is_found_from_the_folder_that_it_runs_in(tmp_path: Path, sandbox_kind: sandbox.Kind) -> None:
    (tmp_path / "ci.sh").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "ci.sh").chmod(0o755)
    assert sandbox.run(["./ci.sh"], tmp_path, ENVIRONMENT, kind=sandbox_kind).output == "ran\n"


@pytest.mark.cargo
def test_doctests_run(tmp_path: Path, sandbox_kind: sandbox.Kind) -> None:
    """rustdoc compiles them in /tmp."""
    (tmp_path / "src").mkdir()
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "a"\nversion = "0.0.0"\nedition = "2021"\n')
    (tmp_path / "src/lib.rs").write_text("//! ```\n//! assert_eq!(a::two(), 2);\n//! ```\npub fn two() -> u8 { 2 }\n")
    rustup = os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup"))
    environment = {**ENVIRONMENT, "HOME": str(tmp_path / "home"), "RUSTUP_HOME": rustup}
    outcome = sandbox.run(["cargo", "test", "--doc"], tmp_path, environment, kind=sandbox_kind)
    assert outcome.status == 0, outcome.output
    assert "1 passed" in outcome.output


@pytest.mark.parametrize("user", [0, 1234])
def test_where_namespaces_are_forbidden_there_is_none_and_the_reason_is_told(user: int) -> None:
    asked = (
        "from carnet_signer.steps import sandbox\n"
        "print(sandbox.available(), *map(sandbox.why_not, sandbox.SANDBOXES), sep='\\n')"
    )
    asking = container([sys.executable, "-c", asked], user=user)
    said = subprocess.run(asking, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] == "none"
    assert said[1].startswith(("bwrap does not work: ", "bwrap is not installed"))
    assert said[2].startswith("unshare does not work: ")
    assert len(said) == 3
