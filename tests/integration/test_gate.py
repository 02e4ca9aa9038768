"""`cargo carnet` with real cargo, a signed repository and real compilers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.cargo import Machine
from tests.support.machines.gatebox import EVIL, NEWER_LEAF, GateBox, gate_box
from tests.support.machines.processes import running

from carnet_gate.confinement import landlock
from carnet_gate.confinement.protection import WRITABLE
from carnet_verifier.cargo.localregistry import remove_tree
from carnet_verifier.cargo.stamps import tells

pytestmark = pytest.mark.cargo


@pytest.fixture
def box(tmp_path: Path) -> Iterator[GateBox]:
    with gate_box(tmp_path) as one:
        yield one


# --- the plain path ---


def test_without_a_lock_it_resolves_admits_compiles_and_runs(box: GateBox) -> None:
    (box.project / "Cargo.lock").unlink()
    done = box.cargo("run")
    assert done.returncode == 0, done.stderr
    assert "answer 42" in done.stdout
    assert "Admitted 2 crates (2 registry)" in done.stderr
    lock = (box.project / "Cargo.lock").read_text()
    assert lock.count('source = "registry+https://github.com/rust-lang/crates.io-index"') == 2
    assert "127.0.0.1" not in lock
    assert sorted(box.downloads()) == ["api/v1/crates/branch/0.2.0/download", "api/v1/crates/leaf/1.0.0/download"]


def test_a_second_run_compiles_nothing_and_fetches_no_crate(box: GateBox) -> None:
    assert "Compiling leaf v1.0.0" in box.works("build")
    box.registry.requests.clear()
    second = box.works("build")
    assert "Compiling" not in second
    assert "Finished" in second
    assert box.downloads() == []
    third = box.works("build", env={"PYTHONPROFILEIMPORTTIME": "1"})
    lines = [line for line in third.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "carnet_gate.gate" in imported
    assert not NEVER & imported
    if landlock.abi() >= landlock.LEAST_ABI and tells(str(box.machine.path)):  # else it is judged and compared anew
        assert WHERE_SOMETHING_CHANGED & imported == set()


NEVER = {
    *(
        "click",
        "dataclasses",
        "email",
        "hashlib",
        "http.client",
        "inspect",
        "orjson",
        "sqlite3",
        "ssl",
        "urllib.request",
    ),
    *("in_toto", "securesystemslib", "tuf", "cryptography.hazmat.primitives.serialization"),
}
WHERE_SOMETHING_CHANGED = {
    *("carnet.cargo.crate", "carnet.cargo.index_file", "carnet.cargo.index_line", "carnet.cargo.requirement"),
    *("carnet_gate.choosing.choices", "carnet_gate.comparison.state", "carnet_verifier.admit", "carnet_verifier.line"),
    *("carnet_verifier.provenance.provenance", "carnet_verifier.tarballs"),
    "cryptography.hazmat.primitives.asymmetric.ed25519",
}
"""What takes a start's time, and judges or compares what an unchanged build neither judges nor compares."""


def asked(box: GateBox, *args: str, env: dict[str, str] | None = None) -> tuple[list[str], str]:
    """The commands of cargo that a run started, and what was said."""
    told, log = box.machine.path / "cargo-that-tells", box.project / "asked"
    told.write_text(f'#!/bin/sh\necho "$1" >> {log}\nexec cargo "$@"\n')
    told.chmod(0o755)
    log.unlink(missing_ok=True)
    said = box.works(*args, env={"CARGO": str(told), **(env or {})})
    return log.read_text().split(), said


def test_cargo_is_started_for_no_more_than_is_needed(box: GateBox) -> None:
    first = ["metadata", "fetch", "build"]
    assert asked(box, "build")[0] == first  # what it knows is what another cargo said
    assert asked(box, "build")[0] == ["metadata", "build"]
    assert asked(box, "tree")[0] == ["metadata", "tree"]
    assert asked(box, "build", env={WRITABLE: "1"})[0] == first
    (box.project / "Cargo.toml").write_text((box.project / "Cargo.toml").read_text() + "[profile.dev]\nlto = false\n")
    assert asked(box, "build")[0] == first
    for tree in box.machine.sources("leaf-1.0.0"):
        remove_tree(tree)
    assert asked(box, "build")[0] == first


def test_a_lock_that_is_complete_no_longer_is_completed_whatever_is_remembered(box: GateBox) -> None:
    """Of a manifest outside of the workspace nothing is known; and what is remembered, anybody may have written."""
    beside = box.machine.project("beside")
    (beside / "src/main.rs").rename(beside / "src/lib.rs")
    manifest = box.project / "Cargo.toml"
    manifest.write_text(manifest.read_text() + f'beside = {{ path = "{beside}" }}\n')
    assert asked(box, "build")[0] == ["metadata", "fetch", "update", "fetch", "build"]
    (beside / "Cargo.toml").write_text((beside / "Cargo.toml").read_text() + 'leaf = "1"\n')
    commands, said = asked(box, "build")
    assert commands == ["metadata", "build", "fetch", "fetch", "update", "fetch", "build"], said
    (beside / "Cargo.toml").write_text((beside / "Cargo.toml").read_text() + "not toml")
    assert "Compiling" not in box.cargo("build", "--locked").stderr


@pytest.mark.skipif(landlock.abi() < landlock.LEAST_ABI, reason="nothing is remembered without Landlock")
@pytest.mark.parametrize("evil", [False, True])
def test_beside_a_crate_that_is_unpacked_the_others_are_looked_at_again(box: GateBox, evil: bool) -> None:
    """An update changes one crate of hundreds: the others are not read, unless something was done to them meanwhile."""
    if not tells(str(box.machine.path)):
        pytest.skip("nothing is remembered on this file system")
    for _ in range(2):
        box.works("build")
    box.registry.add(NEWER_LEAF)
    box.works("update", "leaf")
    (branch,) = box.machine.sources("branch-0.2.0")
    source = branch / "src/lib.rs"
    text, times = source.read_bytes(), source.stat()
    evil_text = "'pub fn n() -> u32 { leaf::n() + 3 }'"
    lines = f"chmod u+w {source} && echo {evil_text} > {source} && touch -d @{times.st_mtime} {source}"
    told, log = box.machine.path / "cargo-that-writes", box.project / "asked"
    told.write_text(f'#!/bin/sh\necho "$1" >> {log}\n[ "$1" != fetch ] || {lines if evil else ":"}\nexec cargo "$@"\n')
    told.chmod(0o755)
    done = box.cargo("run", "-q", env={"CARGO": str(told)})
    if evil:
        assert source.read_bytes() != text
        assert (done.returncode, done.stdout) == (1, "")
        assert "branch@0.2.0: 'src/lib.rs' was changed" in done.stderr
    else:
        assert (done.stdout, log.read_text().split()) == ("answer 43\n", ["metadata", "fetch", "fetch", "run"])


def test_a_build_that_fails_is_not_made_twice(box: GateBox) -> None:
    box.works("build")
    (box.project / "src/main.rs").write_text("fn main() { not rust }\n")
    done = box.cargo("build")
    assert (done.returncode, done.stderr.count("could not compile")) == (101, 1)


def test_another_project_shares_the_admitted_tarballs(box: GateBox) -> None:
    box.works("build")
    box.registry.requests.clear()
    other = box.machine.project("other", {"leaf": '"1"'}, main="fn main() { leaf::n(); }\n")
    box.works("build", cwd=other)
    assert box.downloads() == []


def test_a_project_without_dependencies(box: GateBox) -> None:
    alone = box.machine.project("alone")
    assert "Admitted 0 crates (none needed)" in box.works("build", cwd=alone)


def test_nothing_is_written_into_the_users_cargo_home(box: GateBox) -> None:
    box.works("build")
    assert not (box.machine.cargo_home / "registry").exists()
    private = box.machine.registry.parent
    assert private.stat().st_mode & 0o777 == 0o700
    assert all(home.stat().st_mode & 0o777 == 0o700 for home in private.glob("home*"))


def test_the_users_configuration_and_credentials_are_copied(box: GateBox) -> None:
    (box.machine.cargo_home / "config.toml").write_text('[build]\nrustflags = ["--cfg", "from_the_user"]\n')
    (box.machine.cargo_home / "credentials.toml").write_text('[registry]\ntoken = "secret"\n')
    (box.project / "src/main.rs").write_text('fn main() { assert!(cfg!(from_the_user)); println!("kept"); }\n')
    done = box.cargo("run", "-q")
    assert "kept" in done.stdout, done.stderr
    (copied,) = box.machine.carnet_home.glob("cargo/*/home/credentials.toml")
    assert copied.stat().st_mode & 0o777 == 0o600
    (box.machine.cargo_home / "credentials.toml").unlink()
    box.works("build")
    assert not copied.exists()


# --- commands ---


def test_other_commands(box: GateBox) -> None:
    for command, said in (
        ("fetch", "Admitted 2 crates"),
        ("tree", "leaf v1.0.0"),
        ("check", "Finished"),
        ("test", "test result: ok"),
        ("doc", "Documenting branch"),
        ("bench", "test result: ok"),
    ):
        done = box.cargo(command)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout + done.stderr


def test_clippy_when_it_is_installed(box: GateBox) -> None:
    if box.machine.run("cargo", "clippy", "--version").returncode != 0:
        pytest.skip("clippy is not installed")
    assert "Checking branch v0.2.0" in box.works("clippy")


def test_metadata_keeps_stdout_for_cargo(box: GateBox) -> None:
    done = box.cargo("metadata", "--format-version", "1")
    packages = {package["name"]: package for package in json.loads(done.stdout)["packages"]}
    assert packages["leaf"]["source"] == "registry+https://github.com/rust-lang/crates.io-index"
    assert str(box.machine.carnet_home) in packages["leaf"]["manifest_path"]


def test_add_and_update_choose_from_verified_crates(box: GateBox) -> None:
    box.registry.add(NEWER_LEAF)
    box.works("fetch")
    assert 'name = "leaf"\nversion = "1.0.0"' in (box.project / "Cargo.lock").read_text()  # what is locked stays
    assert "Updating leaf v1.0.0 -> v1.1.0" in box.works("update")
    box.works("add", "leaf@1.1")
    assert 'leaf = "1.1"' in (box.project / "Cargo.toml").read_text()
    assert "Admitted 2 crates" in box.works("fetch")
    box.works("remove", "leaf")
    (box.project / "Cargo.lock").unlink()
    box.works("generate-lockfile")
    assert (box.project / "Cargo.lock").exists()


def test_help_is_cargos_own(box: GateBox) -> None:
    done = box.cargo("build", "--help")
    assert done.returncode == 0
    assert "cargo" in done.stdout
    own = box.cargo("--help")
    assert own.returncode == 0
    assert "cargo-carnet build" in own.stdout


def test_a_command_that_was_not_tried_is_refused(box: GateBox) -> None:
    assert "`cargo xtask` is refused: it was never tried behind the gate" in box.refused("xtask", "leaf")
    assert "did you mean `cargo carnet build`?" in box.refused("biuld", status=2)
    box.refused(status=2)


def test_what_takes_no_crate_passes_to_cargo(box: GateBox) -> None:
    box.registry.requests.clear()
    for args in (("locate-project",), ("rustc", "--print", "sysroot"), ("clean", "--no-such-flag")):
        itself, done = box.machine.run("cargo", *args, cwd=box.project), box.cargo(*args)
        assert (done.returncode, done.stdout) == (itself.returncode, itself.stdout)
        assert "Admitted" not in done.stderr
    assert box.registry.requests == []
    (box.project / "rust-toolchain.toml").write_text('[toolchain]\npath = "evil"\n')
    assert "rust-toolchain.toml" in box.refused("clean")


def test_cargos_own_exit_status_is_kept(box: GateBox) -> None:
    (box.project / "src/main.rs").write_text("fn main() { std::process::exit(7) }\n")
    assert box.cargo("run").returncode == 7
    (box.project / "src/main.rs").write_text("fn main() { not rust }\n")
    done = box.cargo("build")
    assert done.returncode == 101
    assert "error: expected" in done.stderr


# --- flags ---


def test_locked_and_offline_and_frozen(box: GateBox) -> None:
    good = (box.project / "Cargo.lock").read_text()
    (box.project / "Cargo.lock").unlink()
    assert "does not exist, and --locked was given" in box.refused("build", "--locked", status=2)
    assert not (box.project / "Cargo.lock").exists()
    (box.project / "Cargo.lock").write_text(good)
    for flags in (["build", "--locked"], ["build", "--offline"], ["build", "--frozen"], ["--locked", "build"]):
        box.works(*flags)
    before = (box.project / "Cargo.lock").read_text()
    manifest = box.project / "Cargo.toml"
    manifest.write_text(manifest.read_text() + 'leaf = "1"\n')
    for flag in ("--locked", "--frozen"):
        done = box.cargo("check", flag)
        assert done.returncode == 101
        assert "--locked" in done.stderr
        assert "Compiling" not in done.stderr
    assert (box.project / "Cargo.lock").read_text() == before
    box.works("fetch")
    assert (box.project / "Cargo.lock").read_text() != before


def test_where_and_what_to_build(box: GateBox) -> None:
    elsewhere = box.machine.path / "elsewhere"
    elsewhere.mkdir()
    manifest = str(box.project / "Cargo.toml")
    target = str(elsewhere / "out")
    box.works("build", "--manifest-path", manifest, "--target-dir", target, "-p", "app", "--release", cwd=elsewhere)
    assert (elsewhere / "out/release/app").exists()
    assert "could not find `Cargo.toml`" in box.refused("build", cwd=elsewhere, status=2)


def test_arguments_of_the_program_are_its_own(box: GateBox) -> None:
    (box.project / "src/main.rs").write_text(
        'fn main() { println!("{:?}", std::env::args().skip(1).collect::<Vec<_>>()); }\n'
    )
    assert '["--locked", "x"]' in box.cargo("run", "--", "--locked", "x").stdout
    assert '["x", "--offline"]' in box.cargo("run", "x", "--offline").stdout


def test_configuration_by_flag_and_quiet(box: GateBox) -> None:
    done = box.cargo("build", "-q", "--config", "build.jobs=1")
    assert done.returncode == 0
    assert done.stderr == ""


def test_through_cargo_itself(box: GateBox) -> None:
    done = box.machine.run("cargo", "carnet", "run", cwd=box.project)
    assert done.returncode == 0, done.stderr
    assert "answer 42" in done.stdout


def test_another_toolchain(box: GateBox) -> None:
    if (
        shutil.which("rustup") is None
        or box.machine.run("rustup", "run", "nightly", "cargo", "--version").returncode != 0
    ):
        pytest.skip("no second toolchain is installed")
    box.works("build")
    assert "Compiling leaf" in box.works("+nightly", "build")
    assert "Compiling" not in box.works("+nightly", "build")


# --- workspaces ---


def test_a_workspace_has_one_lock(box: GateBox) -> None:
    root = box.machine.path / "workspace"
    for member in ("one", "two"):
        box.machine.project(
            member, {"leaf": '"1"'}, main="fn main() { leaf::n(); }\n", folder=f"workspace/members/{member}"
        )
    (root / "Cargo.toml").write_text('[workspace]\nmembers = ["members/*"]\nresolver = "2"\n')
    (root / "carnet.toml").write_text('[rules]\nyanked = "deny"\n')
    box.works("build", "--workspace", cwd=root)
    box.works("build", "-p", "two", cwd=root / "members/one")
    assert (root / "Cargo.lock").exists()
    assert not (root / "members/one/Cargo.lock").exists()
    box.registry.yank("leaf", "1.0.0")  # the policy beside the lock counts for its members
    assert "leaf@1.0.0 was yanked by the registry [yanked]" in box.refused("build", cwd=root / "members/one")


# --- refusals ---


def test_a_refused_crate_stops_cargo_with_the_reason(box: GateBox) -> None:
    box.works("fetch")
    (box.project / "carnet.toml").write_text('[policy]\nleast-level = "maintainer"\n')
    stderr = box.refused("build")
    assert "error: leaf@1.0.0 is at level registry, the policy asks for maintainer [level]" in stderr
    assert "2 of 2 crates were not admitted; nothing was compiled" in stderr
    assert "hint: its maintainers can claim it" in stderr


def test_a_tampered_tarball_is_never_kept(box: GateBox) -> None:
    box.registry.served["api/v1/crates/leaf/1.0.0/download"] = honest_crate("leaf", "1.0.0", source=EVIL)
    stderr = box.refused("build")
    assert "the tarball of leaf@1.0.0 has sha256" in stderr
    assert not (box.machine.registry / "leaf-1.0.0.crate").exists()
    del box.registry.served["api/v1/crates/leaf/1.0.0/download"]
    box.works("build")


def test_when_the_mirror_is_away_nothing_is_compiled(box: GateBox) -> None:
    box.works("fetch")
    box.registry.served["metadata/timestamp.json"] = None
    box.refused("build", status=3)


def test_without_trust_nothing_happens(box: GateBox, tmp_path: Path) -> None:
    stderr = box.refused("build", status=2, env={"CARNET_HOME": str(tmp_path / "nobody")})
    assert "carnet trust add" in stderr


def test_a_banned_version_is_not_even_chosen(box: GateBox) -> None:
    box.registry.add(NEWER_LEAF)
    (box.project / "carnet.toml").write_text('[[ban]]\ncrates = "leaf@1.1.*"\nreason = "broken"\n')
    (box.project / "Cargo.lock").unlink()
    skipped = "     Skipped leaf@1.1.0, which is banned by the policy: broken [banned], says "
    assert skipped in box.works("fetch")
    assert 'name = "leaf"\nversion = "1.0.0"' in (box.project / "Cargo.lock").read_text()
    assert "Skipped" not in box.works("fetch")
    assert skipped in box.works("update")
    assert "Skipped" not in box.works("update", "--quiet")
    manifest = box.project / "Cargo.toml"
    manifest.write_text(manifest.read_text() + 'leaf = "1.1"\n')
    said = box.cargo("build").stderr
    assert skipped in said
    assert "hint: what is skipped is not let in: `carnet policy explain leaf@1.1.0` says" in said
    assert "mirror sync" not in said
    assert "--offline" not in said, "cargo was asked once more, offline, and said what helps nobody"
    assert said.count("failed to select a version") == 1


def test_a_version_at_too_low_a_level_is_not_even_chosen(box: GateBox) -> None:
    box.registry.add(NEWER_LEAF)
    asks = '[[require]]\ncrates = "leaf@1.1.*"\nleast-level = "maintainer"\n'
    (box.project / "carnet.toml").write_text(asks)
    done = box.cargo("update", "--message-format", "json")
    assert done.returncode == 0, done.stderr
    assert "     Skipped leaf@1.1.0, which is at level registry, the policy asks for maintainer" in done.stderr
    assert 'name = "leaf"\nversion = "1.0.0"' in (box.project / "Cargo.lock").read_text()
    [told] = map(json.loads, done.stdout.splitlines())
    assert (told["reason"], told["name"], told["version"]) == ("carnet-skipped", "leaf", "1.1.0")
    (box.project / "carnet.toml").write_text(asks.replace("@1.1.*", ""))
    (box.project / "Cargo.lock").unlink()
    said = box.cargo("build", "--message-format=json")
    assert [json.loads(one)["version"] for one in said.stdout.splitlines()] == ["1.1.0"]
    assert "hint: what is skipped is not let in: `carnet policy explain leaf@1.1.0` says" in said.stderr


def test_a_locked_version_that_was_yanked_still_builds(box: GateBox) -> None:
    box.works("build")
    box.registry.yank("leaf", "1.0.0")
    assert "warning: leaf@1.0.0 was yanked by the registry" in box.works("build", "--locked")
    assert 'name = "leaf"\nversion = "1.0.0"' in (box.project / "Cargo.lock").read_text()


# --- two gates at once ---


def start(box: GateBox, cwd: Path) -> AbstractContextManager[Any]:
    command = [sys.executable, "-c", "from carnet_cli.start import cargo_main; cargo_main()", "build"]
    environment = {name: value for name, value in box.machine.env().items() if value}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return running(command, cwd=cwd, env=environment, **pipes)


def test_two_gates_at_once(box: GateBox) -> None:
    other = box.machine.project("other", {"leaf": '"1"'}, main="fn main() { leaf::n(); }\n")
    for folders in ((box.project, other), (box.project, box.project)):
        with start(box, folders[0]) as first, start(box, folders[1]) as second:
            for process in (first, second):
                _, stderr = process.communicate(timeout=60)
                assert process.returncode == 0, stderr


# --- carnet proxy ---


def test_the_proxy_serves_stock_cargo_and_tells_why_it_refuses(box: GateBox) -> None:
    user = Machine(box.machine.path / "user")
    folder = user.project(dependencies={"branch": '"0.2"'}, main="fn main() { branch::n(); }\n")
    command = [sys.executable, "-c", "from carnet_cli.start import main; main()", "proxy", "--port", "0"]
    environment = {name: value for name, value in box.machine.env().items() if value}

    def build() -> subprocess.CompletedProcess[str]:
        with running(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
            url = process.stderr.readline().rsplit(" ", 1)[1].strip()
            source = f'[source.crates-io]\nreplace-with = "carnet"\n[source.carnet]\nregistry = "{url}"\n'
            return user.run("cargo", "build", "--config", configuration(folder, source), cwd=folder)

    assert build().returncode == 0
    (folder / "carnet.toml").write_text('[[ban]]\ncrates = "branch"\nreason = "stolen token"\n')
    refused = build()  # the port is another one, so cargo's cache of the first registry does not count
    assert refused.returncode != 0
    assert "branch@0.2.0 is banned by the policy: stolen token" in refused.stderr


def configuration(folder: Path, text: str) -> str:
    path = folder / "source.toml"
    path.write_text(text)
    return str(path)
