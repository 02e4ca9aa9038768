"""The real rust-analyzer behind a shim: every cargo call that it makes is recorded, and none goes around the gate.

`make editors` runs it, with CARNET_RUST_ANALYZER, the folder of a toolchain that has `rust-analyzer` and the standard
library's sources. It opens a project whose crates have a build script and a macro, hovers, and has cargo check a file.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.cargo import Machine
from tests.support.machines.gatebox import BRANCH, LEAF, GateBox
from tests.support.machines.shim import ShimBox, shim_box
from tests.support.registries.signed import SignedRegistry
from tests.support.servers.language_server import editor

TOOLCHAIN = Path(os.environ.get("CARNET_RUST_ANALYZER", "/none"))
pytestmark = [
    pytest.mark.cargo,
    pytest.mark.skipif(
        not (TOOLCHAIN / "bin/rust-analyzer").exists(),
        reason="CARNET_RUST_ANALYZER names no toolchain that has rust-analyzer",
    ),
]

GENERATES = b"""fn main() {
    let folder = std::env::var("OUT_DIR").unwrap();
    std::fs::write(folder + "/made.rs", "/// By a build script.\\npub fn generated() -> u64 { 40 }\\n").unwrap();
}
"""
BUILT = honest_crate(
    "built",
    "1.0.0",
    source='include!(concat!(env!("OUT_DIR"), "/made.rs"));\n',
    files={"build.rs": GENERATES},
)
MACROS = honest_crate(
    "macros",
    "1.0.0",
    source="""use proc_macro::TokenStream;
#[proc_macro]
pub fn makes(_: TokenStream) -> TokenStream { "fn by_macro() -> u64 { 2 }".parse().unwrap() }
""",
    extra="[lib]\nproc-macro = true\n",
)
MAIN = """macros::makes!();

fn main() {
    let nobody_reads_this = branch::n();
    let list = vec![built::generated(), by_macro()];
    println!("{}", list.len());
}
"""
RECORDER = """#!{python}
import json, os, sys
names = ("CARGO_HOME", "CARGO_RESOLVER_LOCKFILE_PATH", "RUSTC_WRAPPER", "CARGO")
call = {{"args": sys.argv[1:], "folder": os.getcwd(), **{{name: os.environ.get(name) for name in names}}}}
with open({log!r}, "a") as log:
    log.write(json.dumps(call) + "\\n")
os.execv({cargo!r}, [{cargo!r}, *sys.argv[1:]])
"""


@dataclass
class Call:
    """One start of the user's own cargo.

    Attributes:
        args: Its arguments.
        home: Its CARGO_HOME.
    """

    args: list[str]
    home: str

    def has(self, *words: str) -> bool:
        return all(word in self.args for word in words)


@dataclass
class Workplace:
    """A machine with an editor, a shim, and a cargo that writes down how it is called."""

    shim: ShimBox
    log: Path

    @property
    def project(self) -> Path:
        return self.shim.box.project

    def calls(self) -> list[Call]:
        """Every start of the user's own cargo."""
        lines = self.log.read_text().splitlines()
        return [Call(one["args"], one["CARGO_HOME"]) for one in map(json.loads, lines)]

    def around(self) -> list[Call]:
        """Those of an editor that did not come through the shim: the shim takes its own home away."""
        return [one for one in self.calls() if one.home == str(self.shim.folder)]

    def compiling(self) -> list[Call]:
        return [one for one in self.calls() if one.has("check")]

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        machine = self.shim.box.machine
        return {name: said for name, said in machine.env(more).items() if name != "RUSTUP_TOOLCHAIN" or said}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    path = tmp_path_factory.mktemp("editor")
    registry = SignedRegistry()
    registry.add(LEAF, BRANCH, BUILT, MACROS)
    with registry.serving():
        machine = Machine(path)
        machine.trust(registry.root, registry.url)
        project = machine.project(dependencies={"branch": '"0.2"', "built": '"1"', "macros": '"1"'}, main=MAIN)
        programs = path / "programs"
        programs.mkdir()
        for tool in ("rustc", "rustdoc"):
            (programs / tool).symlink_to(TOOLCHAIN / "bin" / tool)
        recorder = programs / "cargo"
        python = shlex.quote(machine.run("sh", "-c", "command -v python3").stdout.strip())
        log = path / "calls.jsonl"
        log.touch()  # in a confinement nothing new can be made above carnet's home
        recorder.write_text(RECORDER.format(python=python, log=str(log), cargo=str(TOOLCHAIN / "bin/cargo")))
        recorder.chmod(0o755)
        machine.environment["PATH"] = f"{programs}:{machine.env()['PATH']}"
        yield Workplace(shim_box(GateBox(machine, registry, project)), log)


def settings(more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"cachePriming": {"enable": False}, "check": {"command": "check"}, **(more or {})}


def at_work(workplace: Workplace, environment: Mapping[str, str], tmp: Path) -> Any:
    return editor(
        TOOLCHAIN / "bin/rust-analyzer",
        workplace.project,
        workplace.environment(environment),
        settings(),
        tmp / "stderr",
    )


def as_documented(folder: Path) -> dict[str, str]:
    """What docs/editors.md has Visual Studio Code tell rust-analyzer."""
    page = (Path(__file__).parents[2] / "docs/editors.md").read_text()
    found = re.search(r"<!-- tested: code -->\n```json\n(.*?)```", page, re.DOTALL)
    assert found is not None
    text = found[1].replace("/home/alice/.local/share/carnet/shim", str(folder))
    variables: dict[str, str] = json.loads(text)["rust-analyzer.server.extraEnv"]
    return variables


def test_an_editor_at_work_calls_no_cargo_around_the_gate(workplace: Workplace, tmp_path: Path) -> None:
    variables = as_documented(workplace.shim.folder)
    with at_work(workplace, variables, tmp_path) as one:
        one.save("src/main.rs")
        assert "nobody_reads_this" in one.diagnostics("rustc", "unused variable")
        assert one.status["health"] == "ok", one.status
        assert "pub fn generated() -> u64" in one.hover("src/main.rs", "generated")
        assert "fn by_macro() -> u64" in one.hover("src/main.rs", "by_macro")
        assert "fn len(&self) -> usize" in one.hover("src/main.rs", "len()")
    carnet = str(workplace.shim.box.machine.carnet_home)
    assert workplace.around() == []
    assert len(workplace.compiling()) >= 2  # for build scripts and macros, and for what was saved
    assert [one for one in workplace.compiling() if not one.home.startswith(carnet)] == []


def test_an_editor_that_was_told_half_of_it_is_caught(workplace: Workplace, tmp_path: Path) -> None:
    """With CARGO_HOME alone, what it checks when a file is saved is the cargo of PATH: so both are to be told."""
    workplace.log.write_text("")
    variables = {"CARGO_HOME": str(workplace.shim.folder), "CARGO_NET_OFFLINE": "true"}
    with at_work(workplace, variables, tmp_path) as one:
        one.save("src/main.rs")
        one.wait(lambda said: "cargo check failed" in str(said.get("params")))
    assert [call for call in workplace.around() if call.has("check")]


def test_it_builds_scripts_and_macros_as_for_older_toolchains(workplace: Workplace) -> None:
    """There it is a wrapper of the compiler, which passes over all else; what comes next is compiled nevertheless."""
    wrapper = {"RUSTC_WRAPPER": str(TOOLCHAIN / "bin/rust-analyzer"), "RA_RUSTC_WRAPPER": "1"}
    args = ("check", "--quiet", "--workspace", "--message-format=json", "--all-targets", "--keep-going")
    said = [json.loads(line) for line in workplace.shim.works(*args, env=wrapper).splitlines()]
    assert any(one["reason"] == "build-script-executed" and "built@1.0.0" in one["package_id"] for one in said)
    made = [file for one in said if one["reason"] == "compiler-artifact" for file in one["filenames"]]
    assert any(Path(file).name.startswith("libmacros-") for file in made)
    assert workplace.shim.works("run", "--quiet") == "2\n"
