"""Whoever can write a project's cargo configuration: it leads nothing around the gate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.gatebox import EVIL, LEAF, GateBox, gate_box

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import line_from_crate
from carnet.tuf import paths

pytestmark = pytest.mark.cargo

EVIL_LEAF = honest_crate("leaf", "1.0.0", source=EVIL)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[GateBox]:
    with gate_box(tmp_path) as one:
        yield one


def evil_registry(box: GateBox) -> Path:
    """A local registry of the attacker's, with a `leaf` of its own."""
    folder = box.project / "evil"
    for data in (
        EVIL_LEAF,
        next(data for path, data in box.registry.publication.files.items() if "branch/0.2" in path),
    ):
        crate = read_crate(data)
        index = folder / paths.index_path(crate.id.name)
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_bytes(line_from_crate(crate, pubtime=None).to_bytes() + b"\n")
        (folder / f"{crate.id.stem}.crate").write_bytes(data)
    return folder


def configure(box: GateBox, text: str, *, folder: Path | None = None, name: str = "config.toml") -> None:
    file = (folder or box.project) / ".cargo" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


def evil_package(box: GateBox) -> Path:
    folder = box.project / "evil-leaf"
    (folder / "src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text('[package]\nname = "leaf"\nversion = "1.0.0"\nedition = "2021"\n')
    (folder / "src/lib.rs").write_text(EVIL)
    return folder


def replacing(box: GateBox) -> str:
    return f'[source.crates-io]\nreplace-with = "x"\n[source.x]\nlocal-registry = "{evil_registry(box)}"\n'


def test_the_attacks_work_without_the_gate(box: GateBox) -> None:
    """The control of the controls: these configurations do redirect stock cargo, where no lock stands in the way."""
    (box.project / "Cargo.lock").unlink()
    configure(box, replacing(box))
    assert "EVIL" in box.machine.run("cargo", "run", cwd=box.project).stdout
    configure(box, replacing(box) + f'[patch.crates-io]\nleaf = {{ path = "{evil_package(box)}" }}\n')
    assert "EVIL" in box.machine.run("cargo", "run", cwd=box.project).stdout


@pytest.mark.parametrize("name", ["config.toml", "config"])
def test_a_project_that_replaces_crates_io_is_refused(box: GateBox, name: str) -> None:
    box.works("fetch")
    configure(box, replacing(box), name=name)
    assert "sets `source`: it replaces where crates come from" in box.refused("build")


def test_a_configuration_above_the_project_counts(box: GateBox) -> None:
    configure(box, replacing(box), folder=box.machine.path)
    assert "sets `source`" in box.refused("build")


def test_a_configuration_that_includes_the_attack(box: GateBox) -> None:
    configure(box, 'include = ["harmless.toml"]\n')
    (box.project / ".cargo/harmless.toml").write_text(replacing(box))
    assert "sets `source`" in box.refused("build")


def test_overrides_by_path_are_refused(box: GateBox) -> None:
    configure(box, f'paths = ["{evil_package(box)}"]\n')
    assert "sets `paths`: it replaces crates behind the lock's back" in box.refused("build")


def test_a_patch_in_the_configuration_is_refused(box: GateBox) -> None:
    configure(box, f'[patch.crates-io]\nleaf = {{ path = "{evil_package(box)}" }}\n')
    assert "sets `patch`" in box.refused("build")


def test_an_alias_cannot_stand_in_for_the_gate(box: GateBox) -> None:
    """`cargo carnet` would run the alias; `cargo-carnet` is run and tells."""
    configure(box, '[alias]\ncarnet = "run --"\n')
    assert "sets `alias.carnet`" in box.refused("build")


def test_an_alias_for_a_short_name_is_not_followed(box: GateBox) -> None:
    configure(box, '[alias]\nb = "run --"\nbuild = "run --"\n')
    stderr = box.works("b")
    assert "Finished" in stderr
    assert "Running" not in stderr


def evil_toolchain(box: GateBox) -> tuple[Path, Path]:
    """A toolchain in the project whose cargo leaves a trace; returns its folder, and the trace."""
    toolchain, trace = box.project / "toolchain", box.machine.path / "trace"
    (toolchain / "bin").mkdir(parents=True)
    (toolchain / "bin/cargo").write_text(f"#!/bin/sh\ntouch {trace}\n")
    (toolchain / "bin/cargo").chmod(0o755)
    return toolchain, trace


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rust-toolchain.toml", '[toolchain]\npath = "toolchain"\n'),
        ("rust-toolchain.toml", '[toolchain]\n"p\\u0061th" = "toolchain"\n'),
        ("rust-toolchain", '[toolchain]\npath = "toolchain"\n'),
        ("rust-toolchain", "{absolute}"),
        ("rust-toolchain", "\n\u00a0\t{absolute} \n\n"),
    ],
)
def test_a_toolchain_of_the_projects_own_is_refused(box: GateBox, name: str, text: str) -> None:
    toolchain, trace = evil_toolchain(box)
    (box.project / name).write_text(text.replace("{absolute}", str(toolchain)))
    stderr = box.refused("build", env={"RUSTUP_TOOLCHAIN": ""})
    assert "sets `toolchain.path`: cargo itself would be the project's" in stderr
    assert not trace.exists()


def test_a_question_for_help_starts_no_cargo_of_the_projects(box: GateBox) -> None:
    """It comes before anything of the project was looked at."""
    _, trace = evil_toolchain(box)
    (box.project / "rust-toolchain.toml").write_text('[toolchain]\npath = "toolchain"\n')
    done = box.cargo("build", "--help", env={"RUSTUP_TOOLCHAIN": ""})
    assert "cargo" in done.stdout
    assert not trace.exists()


def test_a_toolchain_that_a_project_names_by_its_channel_is_taken(box: GateBox) -> None:
    """The control: the usual file, which is one line and no TOML."""
    channel = box.machine.run("rustc", "-vV", cwd=box.machine.path).stdout.partition("release: ")[2].split()[0]
    for name, text in (("rust-toolchain", channel), ("rust-toolchain.toml", f'[toolchain]\nchannel = "{channel}"\n')):
        (box.project / name).write_text(text)
        box.works("fetch", env={"RUSTUP_AUTO_INSTALL": "0"})


def test_flags_cannot_replace_sources_either(box: GateBox) -> None:
    folder = evil_registry(box)
    replace = ("--config", 'source.crates-io.replace-with="x"', "--config", f'source.x.local-registry="{folder}"')
    assert "sets `source`" in box.refused("build", *replace)
    file = box.project / "more.toml"
    file.write_text(replacing(box))
    assert "sets `source`" in box.refused("build", f"--config={file}")
    assert "sets `source`" in box.refused("--config", str(file), "build")


@pytest.mark.parametrize(
    "name",
    ["CARGO_SOURCE_CRATES_IO_REPLACE_WITH", "__CARGO_TEST_CRATES_IO_URL_DO_NOT_USE_THIS", "CARGO_ALIAS_CLIPPY"],
)
def test_the_environment_cannot_either(box: GateBox, name: str) -> None:
    assert f"{name} is set in the environment" in box.refused("build", status=2, env={name: "x"})


@pytest.mark.parametrize("protocol", ["sparse", "git"])
def test_cargos_own_default_reached_in_either_way_is_harmless(box: GateBox, protocol: str) -> None:
    """Behind the gate it makes no difference, for choosing versions as for compiling."""
    box.works("generate-lockfile", env={"CARGO_REGISTRIES_CRATES_IO_PROTOCOL": protocol})
    configure(box, f'[registries.crates-io]\nprotocol = "{protocol}"\n')
    done = box.cargo("run")
    assert done.returncode == 0, done.stderr
    assert "answer 42" in done.stdout


def test_a_project_starts_no_program_where_sources_are_unpacked(box: GateBox) -> None:
    """A credential provider is started when cargo fetches; what it leaves running could write there ever after."""
    program = box.project / "provider"
    program.write_text(f"#!/bin/sh\ntouch {box.machine.path}/trace\n")
    program.chmod(0o755)
    configure(box, '[registries.corp]\nindex = "sparse+http://127.0.0.1:9/"\ncredential-provider = "./provider"\n')
    assert "sets a credential provider" in box.refused("build")
    assert not (box.machine.path / "trace").exists()


def test_a_project_that_knows_the_sources_name_gains_nothing(box: GateBox) -> None:
    """Somebody who could read the random name still cannot define the source."""
    box.works("fetch")
    (name,) = [path.read_text() for path in box.machine.carnet_home.glob("cargo/*/home*/source-name")]
    configure(box, f'[source.{name}]\nlocal-registry = "{evil_registry(box)}"\n')
    assert "sets `source`" in box.refused("build")


def test_offline_and_net_settings_do_not_open_the_gate(box: GateBox) -> None:
    configure(box, '[net]\noffline = false\n[http]\nproxy = "http://127.0.0.1:1"\n[registry]\ndefault = "crates-io"\n')
    done = box.cargo("run")
    assert done.returncode == 0, done.stderr
    assert "answer 42" in done.stdout


def test_a_proxy_in_the_environment_does_not_capture_loopback(box: GateBox) -> None:
    captured = {
        "http_proxy": "http://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
    }
    (box.project / "Cargo.lock").unlink()
    box.works("fetch", env=captured)


def test_the_users_own_replacement_loses_to_the_gate(box: GateBox) -> None:
    (box.machine.cargo_home / "config.toml").write_text(replacing(box))
    done = box.cargo("run")
    assert done.returncode == 0, done.stderr
    assert "answer 42" in done.stdout
    assert "`[source]` does not hold behind the gate" in done.stderr
    # A project below the folder of the user's own `.cargo` reads that file anyway.
    beneath = box.machine.home / "beneath"
    box.project.rename(beneath)
    done = box.cargo("run", cwd=beneath)
    assert done.returncode == 0, done.stderr
    assert "answer 42" in done.stdout


def test_a_lock_that_names_other_bytes_is_refused(box: GateBox) -> None:
    box.works("fetch")
    lock = box.project / "Cargo.lock"
    lock.write_text(lock.read_text().replace(read_crate(LEAF).sha256, read_crate(EVIL_LEAF).sha256))
    assert "leaf@1.0.0 has checksum" in box.refused("build")
