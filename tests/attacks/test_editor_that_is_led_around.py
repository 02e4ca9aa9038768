"""An editor opens a project and calls the cargo of a shim: nothing in the project, or on the way to it, gets in.

Each attack has its positive control: the same against plain cargo, or with a door left open, where it succeeds.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.gatebox import BRANCH, EVIL, LEAF, LOCK, NEWER_LEAF, gate_box
from tests.support.machines.naming import can_name, naming
from tests.support.machines.shim import ShimBox, shim_box

from carnet.cargo.crate import read_crate
from carnet.errors import ConfigError
from carnet_cli.config.shims.folder import Shim
from carnet_gate.commands.variables import compiling_nothing
from carnet_gate.confinement.protection import WRITABLE, Means, find_protection

pytestmark = pytest.mark.cargo
names = pytest.mark.skipif(not can_name(), reason="this cargo follows no lock elsewhere")

EVIL_LEAF = honest_crate("leaf", "1.0.0", source=EVIL)
SHA256 = {name: read_crate(data).sha256 for name, data in (("leaf", LEAF), ("branch", BRANCH), ("evil", EVIL_LEAF))}
HONEST = LOCK.format(**SHA256)
NEWER = HONEST.replace(SHA256["leaf"], read_crate(NEWER_LEAF).sha256).replace(
    'name = "leaf"\nversion = "1.0.0"', 'name = "leaf"\nversion = "1.1.0"'
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShimBox]:
    with gate_box(tmp_path_factory.mktemp("editor"), NEWER_LEAF) as box:
        yield shim_box(box)


@pytest.fixture
def project(shim: ShimBox) -> Iterator[Path]:
    """The project, which is as it was afterwards."""
    yield shim.box.project
    for name in (".cargo/config.toml", "rust-toolchain.toml", "build.rs"):
        (shim.box.project / name).unlink(missing_ok=True)
    (shim.box.project / "Cargo.lock").write_text(HONEST)


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


# --- a project that writes to the shim ---

WRITES = """use std::{{fs, os::unix::fs::PermissionsExt}};
fn main() {{
    let (bin, log) = ({bin:?}, {log:?});
    let cargo = format!("{{bin}}/cargo");
    let mut said = vec![];
    said.push(("append", fs::OpenOptions::new().append(true).open(&cargo).is_ok()));
    said.push(("open", fs::set_permissions(&cargo, fs::Permissions::from_mode(0o777)).is_ok()));
    let new = format!("{{bin}}/new");
    said.push(("replace", fs::write(&new, "").and_then(|_| fs::rename(&new, &cargo)).is_ok()));
    said.push(("remove", fs::remove_file(&cargo).is_ok()));
    said.push(("rename", fs::rename(&bin, format!("{{bin}}-x")).is_ok()));
    let said: Vec<String> = said.iter().filter(|one| one.1).map(|one| one.0.to_string()).collect();
    fs::write(log, said.join(" ")).unwrap();
}}
"""


@pytest.mark.parametrize("confined", [True, False], ids=["confined", "the positive control"])
def test_a_build_script_does_not_write_to_the_shim(shim: ShimBox, confined: bool) -> None:
    if find_protection(shim.box.machine.carnet_home, {}).means is Means.NONE:
        pytest.skip("nothing keeps builds from writing here")
    project = shim.box.machine.project(f"writes-{confined}".lower())
    log = project / "log"
    log.touch()
    source = WRITES.replace("{bin:?}", f'"{shim.folder}/bin"').replace("{log:?}", f'"{log}"')
    (project / "build.rs").write_text(source.replace("{{", "{").replace("}}", "}"))
    before = shim.program.read_bytes()
    done = shim.call("check", cwd=project, env={} if confined else {WRITABLE: "1"})
    wrote = set(log.read_text().split())
    if confined:
        assert wrote - {"open"} == set(), done.stderr  # permissions are compared afterwards
        assert shim.program.read_bytes() == before
        if "open" in wrote:  # Landlock holds no permissions: the run tells what they have become
            assert done.returncode == 1
            assert f"{shim.program} was opened to others while cargo ran" in done.stderr
        shim.program.chmod(0o700)
        return
    assert wrote == {"append", "open", "replace", "remove", "rename"}
    (shim.folder / "bin-x").rename(shim.folder / "bin")
    shim.program.write_bytes(before)
    shim.program.chmod(0o700)


# --- a project that leads around it ---


def evil_registry(shim: ShimBox) -> Path:
    """A folder of sources in which `leaf` is the attacker's; both are there."""
    folder = shim.box.machine.path / "evil"
    for data in (EVIL_LEAF, BRANCH):
        crate = read_crate(data)
        for entry in crate.entries:
            path = folder / crate.id.stem / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(entry.data)
        listed = {"files": {}, "package": SHA256[str(crate.id.name)]}
        (folder / crate.id.stem / ".cargo-checksum.json").write_text(json.dumps(listed))
    return folder


def test_a_projects_configuration_leads_no_call_around_the_gate(shim: ShimBox, project: Path) -> None:
    (project / ".cargo").mkdir(exist_ok=True)
    (project / ".cargo/config.toml").write_text(
        f'[source.crates-io]\nreplace-with = "x"\n[source.x]\ndirectory = "{evil_registry(shim)}"\n'
    )
    plain = shim.box.machine.run("cargo", "metadata", "--format-version", "1", "--offline", cwd=project)
    assert f"{shim.box.machine.path}/evil/leaf-1.0.0/src/lib.rs" in plain.stdout, plain.stderr  # the positive control
    for args in (("check", "--message-format=json"), ("metadata", "--format-version", "1")):
        done = shim.call(*args)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert "sets `source`" in done.stderr


def test_a_call_that_passes_starts_no_program_of_the_projects(shim: ShimBox, project: Path) -> None:
    logs = project / "tools/rustc.log", project / "tools/rustc-wrapper.log"
    says = 'echo pwned >> "$0.log"; case "$1" in *rustc) exec "$@";; esac; exec rustc "$@"'
    tools = {log.stem: script(log.with_suffix(""), says) for log in logs}
    (project / ".cargo").mkdir(exist_ok=True)
    settings = "".join(f'{key} = "{path}"\n' for key, path in tools.items())
    (project / ".cargo/config.toml").write_text(f"[build]\n{settings}")
    for args in (NO_DEPS, PRINTS, ("pkgid",)):
        assert shim.call(*args, env=NIGHTLY).returncode == 0, args
        assert not any(log.exists() for log in logs), args
    shim.box.machine.run("cargo", *PRINTS, cwd=project, env=NIGHTLY)
    assert all(log.exists() for log in logs)  # the positive control


@pytest.mark.parametrize("args", [("clean",), ("--explain", "E0001"), ("PRINTS",)], ids=["clean", "explain", "print"])
def test_what_configuration_makes_a_call_that_passes_run_writes_nothing_that_decides(
    shim: ShimBox, project: Path, args: tuple[str, ...]
) -> None:
    """cargo sets `[env]` for the compiler that it asks for its version: so PATH leads to the project's own."""
    home, elsewhere = shim.box.machine.carnet_home, shim.box.machine.path / "elsewhere"
    if find_protection(home, {}).means is Means.NONE:
        pytest.skip("nothing keeps builds from writing here")
    home.mkdir(exist_ok=True)
    pwned = home / "pwned"
    script(project / "tools/rustc", f'touch {elsewhere} {pwned} 2>/dev/null; exec {shutil.which("rustc")} "$@"')
    path = f"{project / 'tools'}:{shim.box.machine.env()['PATH']}"
    (project / ".cargo").mkdir(exist_ok=True)
    (project / ".cargo/config.toml").write_text(f'[env]\nPATH = {{ value = "{path}", force = true }}\n')
    command = PRINTS if args == ("PRINTS",) else args
    shim.call(*command, env=NIGHTLY)
    assert not pwned.exists()
    plain = {name: said for name, said in compiling_nothing(shim.box.machine.env(NIGHTLY)).items() if said}
    shim.box.machine.run("cargo", *command, cwd=project, env=plain)
    if args != ("--explain", "E0001"):
        assert pwned.exists()  # the positive control: it was started, and unconfined it writes there
    pwned.unlink(missing_ok=True)


NO_DEPS = ("metadata", "--no-deps", "--format-version", "1")
PRINTS = ("rustc", "-Zunstable-options", "--print", "cfg")
NIGHTLY = {"__CARGO_TEST_CHANNEL_OVERRIDE_DO_NOT_USE_THIS": "nightly", "RUSTC_BOOTSTRAP": "1"}


def test_a_projects_toolchain_file_brings_no_cargo_of_its_own(shim: ShimBox, project: Path) -> None:
    """Also where the editor looked it up, and names what it found to every cargo: RUSTUP_TOOLCHAIN."""
    evil = script(project / "chain/bin/cargo", "echo EVIL")
    (project / "rust-toolchain.toml").write_text(f'[toolchain]\npath = "{project}/chain"\n')
    named = {"RUSTUP_TOOLCHAIN": str(project / "chain")}
    for args, more in ((("check",), named), (NO_DEPS, {}), (("--version",), named), (("fmt",), {})):
        done = shim.call(*args, env=more)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert "sets `toolchain.path`" in done.stderr
    assert shim.box.machine.run(str(evil)).stdout == "EVIL\n"  # the positive control: it is a program


def test_whatever_the_editor_names_as_cargo_is_not_started(shim: ShimBox, project: Path) -> None:
    """A project's settings for the editor may set CARGO, and put a folder of its own before PATH."""
    evil = script(project / "named/cargo", "echo EVIL")
    path = f"{evil.parent}:{shim.box.machine.env()['PATH']}"
    for args in (("tree",), ("--version",)):
        done = shim.call(*args, env={"CARGO": str(evil), "PATH": path})
        assert done.returncode == 0, done.stderr
        assert "EVIL" not in done.stdout
    assert shim.box.machine.run("cargo", "--version", env={"PATH": path}).stdout == "EVIL\n"  # the positive control


def test_an_alias_hides_in_the_place_of_no_call_that_passes(shim: ShimBox, project: Path) -> None:
    """cargo follows one before an external subcommand such as `fmt`; `-C` would lead it to another folder's."""
    (project / ".cargo").mkdir(exist_ok=True)
    (project / ".cargo/config.toml").write_text('[alias]\nfmt = "run"\n')
    lock = (project / "Cargo.lock").read_text()
    (project / "Cargo.lock").write_text(lock.replace(SHA256["leaf"], SHA256["evil"]))
    done = shim.call("fmt")
    assert (done.returncode, done.stdout) == (1, "")
    assert "leaf@1.0.0 has checksum" in done.stderr  # it is judged as the command that it means
    elsewhere = ("-Zunstable-options", "-C", str(project), "fmt")
    done = shim.call(*elsewhere, cwd=shim.box.machine.path, env=NIGHTLY)
    assert (done.returncode, done.stdout) == (2, "")
    assert "`-C` is not supported" in done.stderr
    (project / ".cargo/config.toml").write_text('[alias]\nfmt = "pkgid"\n')
    plain = shim.box.machine.run("cargo", *elsewhere, env=NIGHTLY)
    assert plain.stdout.startswith("path+file://"), plain.stderr  # the positive control


# --- the lock that is named ---


@names
def test_a_named_lock_with_a_crate_that_nobody_admitted_is_refused(shim: ShimBox, tmp_path: Path) -> None:
    lock = tmp_path / "Cargo.lock"
    flags, variables = naming(lock)
    lock.write_text(HONEST)
    assert shim.call("tree", *flags, env=variables).returncode == 0  # the positive control
    lock.write_text(HONEST.replace(SHA256["leaf"], SHA256["evil"]))
    done = shim.call("run", *flags, env=variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert "leaf@1.0.0 has checksum" in done.stderr
    assert "Compiling" not in done.stderr


@names
def test_a_lock_that_is_swapped_when_cargo_starts_is_not_what_cargo_reads(shim: ShimBox, tmp_path: Path) -> None:
    """The user's cargo swaps it, as late as can be."""
    other, lock, swapped = tmp_path / "other.lock", tmp_path / "Cargo.lock", tmp_path / "swapped"
    target = tmp_path / "target"
    other.write_text(NEWER)
    flags, variables = naming(lock)
    lock.write_text(NEWER)  # it was admitted once, and its crates are in the folder that cargo compiles from
    assert shim.call("tree", *flags, env=variables).returncode == 0
    lock.write_text(HONEST)
    real = shim.box.machine.run("sh", "-c", "command -v cargo").stdout.strip()
    swaps = f'file=$(cat "{target}"); chmod u+w "$file"; cat "{other}" > "$file"; echo > "{swapped}"'
    swapper = script(tmp_path / "programs/cargo", f'case "$1" in tree) {swaps};; esac; exec "{real}" "$@"')
    box = ShimBox(shim.box, tmp_path / "shim")
    made = shim.box.machine.carnet("shim", str(box.folder), env={"PATH": f"{swapper.parent}:{os.environ['PATH']}"})
    assert made.returncode == 0, made.stderr
    swapped.touch()  # in a confinement nothing new can be made above carnet's home
    target.write_text(str(lock))
    done = box.call("tree", *flags, env=variables)
    assert ("leaf v1.0.0" in done.stdout, swapped.read_text(), lock.read_text()) == (True, "\n", NEWER), done.stderr
    # The positive control: what cargo does read counts. Only who may write to carnet's home could swap that.
    lock.write_text(HONEST)
    copies = shim.box.machine.carnet_home.glob("cargo/*/locks/*/Cargo.lock")
    target.write_text(str(next(path for path in copies if path.read_text() == HONEST)))
    done = box.call("tree", *flags, env={**variables, WRITABLE: "1"})
    assert "leaf v1.1.0" in done.stdout, done.stderr


# --- the standard library's look-alike ---


def test_a_folder_that_looks_like_a_toolchain_is_a_project_like_others(shim: ShimBox) -> None:
    fake = shim.box.project / "chain/lib/rustlib/src/rust/library"
    for name, text in (("", '[workspace]\nmembers = ["std"]\n'), ("std/", MANIFEST)):
        (fake / name).mkdir(parents=True, exist_ok=True)
        (fake / f"{name}Cargo.toml").write_text(text)
    (fake / "std/src").mkdir(exist_ok=True)
    (fake / "std/src/lib.rs").touch()
    lock = HONEST.replace(SHA256["leaf"], SHA256["evil"]).replace('name = "app"', 'name = "std"')
    (fake / "Cargo.lock").write_text(lock)
    asks = ("metadata", "--format-version", "1", "--manifest-path", str(fake / "Cargo.toml"))
    done = shim.call(*asks, cwd=fake)
    assert (done.returncode, done.stdout) == (1, "")
    assert "leaf@1.0.0 has checksum" in done.stderr
    (fake / "Cargo.lock").write_text(HONEST.replace('name = "app"', 'name = "std"'))
    assert shim.call(*asks, cwd=fake).returncode == 0  # the positive control: its lock is what was refused


MANIFEST = '[package]\nname = "std"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\nbranch = "0.2"\n'


# --- the shim's own folder ---


def test_no_shim_is_written_where_others_can_write(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    one = Shim(tmp_path / "open/shim", Path("/bin/cargo"), tmp_path)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ConfigError, match="can be written by others than you"):
        one.write()
    assert not (tmp_path / "open/shim").exists()
    (tmp_path / "open").chmod(0o700)
    one.write()  # the positive control
    (tmp_path / "open/shim/bin").chmod(0o777)
    with pytest.raises(ConfigError):
        one.write()
