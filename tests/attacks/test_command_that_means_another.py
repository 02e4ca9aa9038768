"""A project whose aliases, links, folders and flags make a cargo command mean something else than it says.

Controls: stock cargo follows such an alias and runs the attacker's code, and empties the folder that a link leads to.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.gatebox import EVIL, GateBox, gate_box

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import line_from_crate
from carnet.errors import CarnetError, ConfigError, PolicyRefused
from carnet.tuf import paths
from carnet_gate.args import parse
from carnet_gate.commands.aliases import Aliases
from carnet_gate.confinement.protection import WRITABLE, Means, find_protection
from carnet_gate.project import Project, open_folder

pytestmark = pytest.mark.cargo

BANNED = honest_crate("banned", "1.0.0", source="pub fn n() -> u32 { 1 }\n")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateBox]:
    with gate_box(tmp_path_factory.mktemp("meaning"), BANNED) as one:
        yield one


@pytest.fixture
def box(clean: GateBox) -> Iterator[GateBox]:
    """With the project, and the user's cargo configuration, as they were."""
    pristine = clean.machine.path / "pristine"
    if not pristine.exists():
        shutil.copytree(clean.project, pristine)
    shutil.rmtree(clean.project)
    shutil.copytree(pristine, clean.project)
    yield clean
    for file in clean.machine.cargo_home.glob("config*"):
        file.unlink()


def configure(folder: Path, text: str) -> None:
    (folder / ".cargo").mkdir(exist_ok=True)
    (folder / ".cargo/config.toml").write_text(text)


def evil_registry(box: GateBox) -> Path:
    folder = box.project / "evil"
    branch = next(data for path, data in box.registry.publication.files.items() if "branch/0.2" in path)
    for data in (honest_crate("leaf", "1.0.0", source=EVIL), branch):
        crate = read_crate(data)
        index = folder / paths.index_path(crate.id.name)
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_bytes(line_from_crate(crate, pubtime=None).to_bytes() + b"\n")
        (folder / f"{crate.id.stem}.crate").write_bytes(data)
    return folder


def hidden(box: GateBox) -> list[str]:
    """Flags that put the attacker's registry in the place of crates.io."""
    return [
        *("--config", 'source.crates-io.replace-with="x"'),
        *("--config", f'source.x.local-registry="{evil_registry(box)}"'),
    ]


# --- aliases: what is looked at before any cargo is started, so none is here ---


def looked_at(box: GateBox, *args: str, **environment: str) -> Project:
    """What the gate makes of a command line in the project."""
    home = box.machine.cargo_home
    home.mkdir(parents=True, exist_ok=True)
    variables = {**box.machine.env(), **environment}
    invocation = parse(args, Aliases(box.project, home, variables))
    return open_folder(invocation, box.project, home, variables, box.project)


def test_an_alias_that_hides_another_source(box: GateBox) -> None:
    configure(box.project, f"[alias]\nrelease = {['run', *hidden(box)]}\n")
    (box.project / "Cargo.lock").unlink()
    assert "EVIL" in box.machine.run("cargo", "release", cwd=box.project).stdout  # the control
    assert "sets `source`: it replaces where crates come from" in box.refused("release")


@pytest.mark.parametrize(
    "command", ["check", "package", "vendor", "nextest run", "fix", "llvm-cov", "update", "info x"]
)
def test_and_that_hides_it_behind_another_alias_or_in_a_file(box: GateBox, command: str) -> None:
    configure(box.project, f'[alias]\none = "--config more.toml two"\ntwo = "{command}"\n')
    (box.project / "more.toml").write_text("[build]\njobs = 1\n")
    assert looked_at(box, "one").invocation.configs == ("more.toml",)  # the control
    (box.project / "more.toml").write_text('[source.crates-io]\nreplace-with = "x"\n')
    with pytest.raises(PolicyRefused, match="sets `source`"):
        looked_at(box, "one")


def test_an_alias_in_the_users_home_or_a_variable_is_looked_at_in_the_same_way(box: GateBox) -> None:
    flags = " ".join(flag.replace('"', "'") for flag in hidden(box))
    with pytest.raises(PolicyRefused, match="sets `source`"):
        looked_at(box, "two", CARGO_ALIAS_TWO=f"run {flags}")
    box.machine.cargo_home.mkdir(parents=True, exist_ok=True)
    (box.machine.cargo_home / "config.toml").write_text(f'[alias]\nthree = "run {flags}"\n')
    with pytest.raises(PolicyRefused, match="sets `source`"):
        looked_at(box, "three")


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("up", PolicyRefused, "`cargo publish` is refused"),
        ("like", PolicyRefused, "never tried behind the gate"),
        ("other", PolicyRefused, "is refused with --index"),
        ("std", ConfigError, "`-Z build-std` is not supported"),
        ("away", ConfigError, "`-C` is not supported"),
        ("lock", ConfigError, "`--lockfile-path` is not supported"),
        ("tip", ConfigError, "names a toolchain"),
        ("a", ConfigError, "leads to itself: 'a' -> 'b1' -> 'a'"),
    ],
)
def test_an_alias_of_what_is_refused_of_a_toolchain_or_of_itself(
    box: GateBox, name: str, error: type[CarnetError], said: str
) -> None:
    configure(
        box.project,
        '[alias]\nup = "publish"\ntip = "+nightly build"\na = "b1"\nb1 = "a"\nlike = "xtask"\naway = "check -C /"\n'
        'lock = "--lockfile-path x vendor"\n'
        'other = "install --index https://example.com x"\nstd = "-Zbuild-std check"\n',
    )
    with pytest.raises(error, match=said):
        looked_at(box, name)


def test_an_alias_in_the_place_of_an_external_subcommand_is_what_is_judged(box: GateBox) -> None:
    """cargo would follow it: so it is followed, and never taken for the program."""
    configure(box.project, f"[alias]\nnextest = {['run', *hidden(box)]}\n")
    with pytest.raises(PolicyRefused, match="sets `source`"):
        looked_at(box, "nextest", "run")
    configure(box.project, '[alias]\nnextest = "tree --depth"\n')
    assert looked_at(box, "nextest", "0").invocation.command.words == ("tree",)


# --- another lock, another folder ---


def test_a_manifest_elsewhere_brings_its_own_lock_and_that_is_judged(box: GateBox) -> None:
    other = box.machine.path / "other"
    if not other.exists():
        box.machine.project("other", {"banned": '"1"'}, main="fn main() { banned::n(); }\n")
        box.works("generate-lockfile", cwd=other)
    manifest = ("--manifest-path", str(other / "Cargo.toml"))
    box.works("vendor", *manifest, str(other / "vendor"))  # the control
    (other / "carnet.toml").write_text('[[ban]]\ncrates = "banned"\nreason = "it is"\n')
    assert "banned@1.0.0 is banned by the policy" in box.refused("package", *manifest)
    with pytest.raises(PolicyRefused, match="is refused with --sync"):  # it would bring more locks
        looked_at(box, "vendor", "--sync", str(other / "Cargo.toml"))


def test_a_link_does_not_make_vendoring_empty_carnets_home(box: GateBox) -> None:
    """cargo removes from the folder whatever is not to be there."""
    box.works("fetch")
    victim = box.machine.path / "victim"
    (victim / "folder").mkdir(parents=True)
    (box.project / "vendor").symlink_to(victim)
    assert box.works("vendor")
    assert sorted(path.name for path in victim.iterdir()) == ["branch", "leaf"]  # the control: a folder of the user's
    (box.project / "vendor").unlink()
    (box.project / "vendor").symlink_to(box.machine.registry)
    assert "are not apart" in box.refused("vendor", status=2, env={WRITABLE: "1"})
    assert box.machine.registry.joinpath("index").is_dir()


def test_what_packing_runs_changes_no_admitted_source(box: GateBox) -> None:
    """Its build script runs like that of a build."""
    box.works("fetch")
    (leaf,) = box.machine.sources("leaf-1.0.0")
    (box.project / "build.rs").write_text(
        f"""fn main() {{
            if std::env::var("CHMOD").is_ok() {{
                std::process::Command::new("chmod").args(["-R", "u+w", "{leaf}"]).status().unwrap();
            }}
            let _ = std::fs::write("{leaf}/src/lib.rs", "pub fn n() -> u32 {{ 666 }}");
        }}"""
    )
    before = (leaf / "src/lib.rs").read_bytes()
    if find_protection(box.machine.carnet_home, {}).means is not Means.NONE:
        box.works("package", "--allow-dirty")
        assert (leaf / "src/lib.rs").read_bytes() == before
    (box.project / "build.rs").write_text((box.project / "build.rs").read_text() + "\n")
    # The control: without a protection it does, and that is told.
    done = box.cargo("package", "--allow-dirty", env={WRITABLE: "1", "CHMOD": "1"})
    assert (leaf / "src/lib.rs").read_bytes() != before
    assert done.returncode == 1
    assert "was changed while cargo ran" in done.stderr
    assert box.machine.carnet("trust", "clean").returncode == 0
