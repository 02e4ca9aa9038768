"""The honest path of a release: a library of our own, claimed by its owners, released through every step.

The cast: Olga, Omar and Otis own the crate; Rita, Sven and Tara release it, two of three; Rita tags, Sven and Tara
review; a CI tests, a machine packages, and a rebuilder and the CI each make the tarball again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from examples.stage import DemoError, Stage

CRATE = "carnet-demo-lib"
UNLOCK = "--passphrase-file passphrase"
OWNERS = ("olga", "omar", "otis")
RELEASERS = ("rita", "sven", "tara")
MACHINES = ("ci", "packager", "rebuilder")
_MAY: Mapping[str, tuple[str, ...]] = {
    "tag": ("rita", "sven"),
    "review": ("rita", "sven", "tara"),
    "test": ("ci",),
    "package": ("packager",),
    "rebuild": ("ci", "rebuilder"),
}
"""Step -> who may carry it out."""
_GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{role}_NAME": "Rita" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "rita@example.test" for role in ("AUTHOR", "COMMITTER")},
}

_MANIFEST = """[package]
name = "{name}"
version = "{version}"
edition = "2021"
license = "Apache-2.0"
description = "A small library that the demo of carnet releases"
readme = "README.md"

[features]
# Not ready: its test fails.
unfinished = []
"""
_SOURCE = """//! A small library that the demo of carnet releases.

/// Says where it came from.
pub fn greeting() -> String {
    format!("greetings from {} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_greets() {
        assert!(super::greeting().starts_with("greetings"));
    }

    #[test]
    #[cfg(feature = "unfinished")]
    fn it_knows_the_moon() {
        assert!(super::greeting().contains("moon"));
    }
}
"""


def make_repository(stage: Stage) -> None:
    """Write the library into a git repository, `library`, with its version 0.1.0."""
    library = stage.folder / "library"
    (library / "src").mkdir(parents=True)
    (library / "src" / "lib.rs").write_text(_SOURCE)
    (library / "README.md").write_text(f"# {CRATE}\n\nIt greets.\n")
    (library / ".gitignore").write_text("target\nCargo.lock\n")
    git(stage, "init --quiet --initial-branch=main")
    commit(stage, "0.1.0")


def commit(stage: Stage, version: str, branch: str = "main") -> None:
    """Commit what stands in the library's folder as a version, and tag it."""
    manifest = _MANIFEST.format(name=CRATE, version=version)
    (stage.folder / "library" / "Cargo.toml").write_text(manifest)
    git(stage, "add --all")
    git(stage, f"commit --quiet --message 'Release {version}'")
    git(stage, f"tag v{version}")


def git(stage: Stage, command: str) -> None:
    """Run git in the library's folder, with no configuration but the demo's own."""
    stage.run(f"git -C library {command}", more=_GIT)


def claim(stage: Stage) -> None:
    """Let the owners say who may release the crate, and through which steps; the registry's holders agree."""
    stage.say("owners keep their keys in a drawer; release keys do the routine; a machine's key is for its step only")
    for name in (*OWNERS, *RELEASERS, *MACHINES):
        stage.run(f"carnet key generate {name} {UNLOCK}")
    may = " ".join(f"--may {step} {name}={name}.pub" for step, names in _MAY.items() for name in names)
    stage.run(f"carnet layout new --template release {may} -o layout.toml")
    stage.run("carnet layout lint layout.toml")
    stage.run(f"carnet layout sign layout.toml --key olga -o layout.json {UNLOCK}")
    stage.run(f"carnet layout sign layout.json --key omar {UNLOCK}")
    stage.run("carnet layout show layout.json", most=30)
    owners = " ".join(f"--owner {name}={name}.pub" for name in OWNERS)
    releasers = " ".join(f"--release-key {name}={name}.pub" for name in RELEASERS)
    stage.run(
        f"carnet claim new {CRATE} -o claim {owners} --owners-threshold 2 {releasers} --release-threshold 2 "
        "--layout layout.json --evidence 'nobody has the name, and Olga wrote the library'"
    )
    stage.run("carnet claim review claim --root ceremony/1.root.json", most=40)
    stage.say("two owners, two of those who release, and two of the registry's holders, each with a key of their own")
    for name in ("olga", "omar", "rita", "sven", "alice", "bob"):
        stage.run(f"carnet claim sign claim --key {name} --yes {UNLOCK}", most=6)
    stage.run("carnet claim status claim", most=20)
    stage.run("carnet claim submit claim")


def record(stage: Stage, version: str) -> None:
    """Carry out every step of one release, each with the key of whoever does it."""
    links = links_folder(version)
    common = f"--source library -o {links} {UNLOCK}"
    stage.run(f"carnet record tag --revision v{version} --key rita {common}")
    for name in ("sven", "tara"):
        stage.run(f"carnet record review --key {name} {common}")
    stage.run(f"carnet record test --key ci {common} -- cargo test --quiet --locked")
    stage.run(f"carnet record package --key packager {common}")
    for name in ("ci", "rebuilder"):
        stage.run(f"carnet record rebuild --key {name} {common}")


def assemble(stage: Stage, version: str) -> str:
    """Put the tarball and the evidence together.

    Returns:
        The folder that those who release will sign.
    """
    folder, links = f"release-{version}", links_folder(version)
    stage.run(f"carnet release assemble {links}/{CRATE}-{version}.crate --bundle-from {links} -o {folder}")
    return folder


def sign(stage: Stage, folder: str, *names: str) -> None:
    """Let some of those who release sign."""
    for name in names:
        stage.run(f"carnet release sign {folder} --key {name} --yes {UNLOCK}", most=8)


def links_folder(version: str) -> str:
    """Where the links of a version gather."""
    return f"links-{version}"


def release(stage: Stage) -> None:
    """Release the first version."""
    record(stage, "0.1.0")
    folder = assemble(stage, "0.1.0")
    sign(stage, folder, "rita")
    stage.say("one signature of two: `status` says who is missing, and with what command")
    stage.run(f"carnet release status {folder}", ok=False)
    sign(stage, folder, "tara")
    stage.run(f"carnet release status {folder}")
    stage.run(f"carnet release submit {folder}")


def use(stage: Stage, app: Path, version: str) -> None:
    """Add a version of the library to the program, and build it; the program then says which one it is made of."""
    stage.run(f"cargo carnet add {CRATE}@{version}", cwd=app)
    main = app / "src" / "main.rs"
    call = f"{CRATE.replace('-', '_')}::greeting()"
    if call not in main.read_text():
        source, count = re.subn(r"(fn main\(\)[^{]*\{\n)", f'\\g<1>    println!("{{}}", {call});\n', main.read_text())
        if count != 1:
            raise DemoError(f"{main} has no main function")
        main.write_text(source)
        stage.say("the program's main function now prints what the library says")
        stage.run("carnet verify app/Cargo.lock")
        stage.run(f"carnet explain {CRATE}@{version}", most=60)
    stage.run("cargo carnet build", cwd=app)
    said = stage.run("app/target/debug/carnet-example-app again", most=4)
    if f"from {CRATE} {version}" not in said:
        raise DemoError("the program did not run the library's code")
