"""cargo's configuration files: what leads around the gate is refused, the user's own is copied."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.errors import CarnetError, ConfigError, PolicyRefused
from carnet_gate import config as cargo_config
from carnet_gate import home as gate_home
from carnet_gate.config_keys import KEYS


def project(tmp_path: Path, text: str, name: str = ".cargo/config.toml") -> Path:
    folder = tmp_path / "work" / "project"
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return folder


HARMLESS = """
[build]
rustflags = ["-Cdebuginfo=1"]
[registries.corp]
index = "sparse+https://example.com/index/"
[alias]
xtask = "run -p xtask --"
[net]
retry = 3
"""


def test_what_is_harmless_passes(tmp_path: Path) -> None:
    cargo_config.check_project(project(tmp_path, HARMLESS), tmp_path / "home")


def test_a_byte_order_mark_neither_stops_nor_hides_anything(tmp_path: Path) -> None:
    cargo_config.check_project(project(tmp_path, "\ufeff" + HARMLESS), tmp_path / "home")
    with pytest.raises(CarnetError, match=r"replace-with|source"):
        cargo_config.check_project(
            project(tmp_path, "\ufeff[source.crates-io]\nreplace-with = 'evil'\n"), tmp_path / "home"
        )


@pytest.mark.parametrize(
    "text",
    [
        '[source.crates-io]\nreplace-with = "x"',
        '[source.x]\nlocal-registry = "x"',
        'source.x.directory = "x"',
        '"source"."x".git = "x"',
        'paths = ["x"]',
        '[patch.crates-io]\nserde = { path = "x" }',
        '[registries.crates-io]\nindex = "https://example.com"',
        '[registry]\nindex = "https://example.com"',
        '[resolver]\nlockfile-path = "x/Cargo.lock"',
        '[unstable]\nbuild-std = ["core"]',
        '[alias]\ncarnet = "run --"',
        '[alias]\nclippy = ["run"]',
    ],
)
@pytest.mark.parametrize("name", [".cargo/config.toml", ".cargo/config", "../.cargo/config.toml"])
def test_what_leads_cargo_around_the_gate(tmp_path: Path, text: str, name: str) -> None:
    folder = project(tmp_path, text, name)
    with pytest.raises(PolicyRefused, match="sets `"):
        cargo_config.check_project(folder, tmp_path / "home")


@pytest.mark.parametrize(
    "include", ['"more.toml"', '["more.toml"]', '[{ path = "more.toml", optional = true }]', '["a.toml", "more.toml"]']
)
def test_included_files_are_looked_at(tmp_path: Path, include: str) -> None:
    folder = project(tmp_path, f"include = {include}")
    cargo_config.check_project(folder, tmp_path / "home")
    (folder / ".cargo/more.toml").write_text('paths = ["x"]')
    with pytest.raises(PolicyRefused):
        cargo_config.check_project(folder, tmp_path / "home")


PROVIDERS = [
    '[registry]\nglobal-credential-providers = ["cargo:token", "./steal"]',
    '[registry]\nglobal-credential-providers = ["cargo:token-from-stdout ./steal"]',
    '[registry]\ncredential-provider = "tools/steal"',
    '[registries.corp]\ncredential-provider = ["sh", "-c", "steal"]',
    '[registries."any"]\ncredential-provider = "sh -c steal"',
    '[credential-alias]\ncorp = ["tools/steal"]',
    '[credential-alias]\ncorp = "sh steal"',
]


@pytest.mark.parametrize("text", PROVIDERS)
@pytest.mark.parametrize("name", [".cargo/config.toml", "../.cargo/config", ".cargo/more.toml"])
def test_a_credential_provider_of_a_projects_choice(tmp_path: Path, text: str, name: str) -> None:
    folder = project(tmp_path, text, name)
    if "more" in name:
        project(tmp_path, 'include = "more.toml"')
    with pytest.raises(PolicyRefused, match="sets a credential provider"):
        cargo_config.check_project(folder, tmp_path / "home")


def test_credential_providers_of_cargos_and_of_the_users(tmp_path: Path) -> None:
    text = (
        '[registries.corp]\ncredential-provider = "cargo:token"\n'
        '[registry]\nglobal-credential-providers = ["cargo:libsecret", "our-vault"]\n'
        'credential-provider = ["cargo:token"]\n'
    )
    cargo_config.check_project(project(tmp_path, text), tmp_path / "home")
    home = tmp_path / "work/.cargo"
    home.mkdir()
    for provider in PROVIDERS:
        (home / "more.toml").write_text(provider)
        (home / "config.toml").write_text('include = "more.toml"\n' + provider)
        cargo_config.check_home(home)
        cargo_config.check_project(tmp_path / "work/project", home)


@pytest.mark.parametrize("key", [*(key.name for key in KEYS if key.refused and key.variable), "source.crates-io.git"])
def test_a_variable_does_what_its_key_does(key: str) -> None:
    name = "CARGO_" + key.replace(".", "_").replace("-", "_").upper()
    with pytest.raises(ConfigError, match=f"{name}.* is set in the environment"):
        cargo_config.check_environment({name: "x"})


def test_a_circle_of_includes_ends(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="deeper"):
        cargo_config.check_project(project(tmp_path, 'include = "config.toml"'), tmp_path / "home")


@pytest.mark.parametrize("text", ["[", "a = \x00", "include = 3", "a = " + "[" * 3000])
def test_what_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        cargo_config.check_project(project(tmp_path, text), tmp_path / "home")


def test_the_users_own_replacement_is_no_attack(tmp_path: Path) -> None:
    text = '[source.crates-io]\nreplace-with = "corp"\n[source.corp]\nregistry = "https://example.com"\n'
    folder = project(tmp_path, text, "../../.cargo/config.toml")
    cargo_config.check_project(folder, tmp_path / ".cargo")
    with pytest.raises(PolicyRefused):
        cargo_config.check_project(folder, tmp_path / "other-home")
    assert gate_home.is_read_anyway(folder, tmp_path / ".cargo")
    assert not gate_home.is_read_anyway(folder, tmp_path / "other-home")


def test_the_users_own_overrides_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('paths = ["x"]')
    with pytest.raises(PolicyRefused):
        cargo_config.check_home(tmp_path)


@pytest.mark.parametrize("name", ["rust-toolchain.toml", "rust-toolchain"])
def test_a_toolchain_of_the_projects_own(tmp_path: Path, name: str) -> None:
    folder = project(tmp_path, '[toolchain]\nchannel = "stable"\n', name)
    cargo_config.check_project(folder, tmp_path / "home")
    for key in ("path", '"p\\u0061th"'):
        project(tmp_path, f'[toolchain]\n{key} = "evil"\n', name)
        with pytest.raises(PolicyRefused, match="cargo itself would be the project's"):
            cargo_config.check_project(folder, tmp_path / "home")


def test_flags_of_the_users(tmp_path: Path) -> None:
    cargo_config.check_argument("build.jobs=1", tmp_path)
    with pytest.raises(PolicyRefused):
        cargo_config.check_argument('source.x.replace-with="y"', tmp_path)
    (tmp_path / "more.toml").write_text("build.jobs = 1")
    cargo_config.check_argument("more.toml", tmp_path)
    (tmp_path / "more.toml").write_text('[patch.crates-io]\na = { path = "b" }')
    with pytest.raises(PolicyRefused):
        cargo_config.check_argument("more.toml", tmp_path)
    with pytest.raises(PolicyRefused):
        cargo_config.check_argument('include = "more.toml"', tmp_path)
    with pytest.raises(ConfigError):
        cargo_config.check_argument("absent.toml", tmp_path)


def test_the_copy_keeps_everything_but_sources_and_makes_paths_absolute(tmp_path: Path) -> None:
    own = tmp_path / ".cargo"
    own.mkdir()
    (own / "config.toml").write_text(
        '[source.crates-io]\nreplace-with = "corp"\n'
        '[build]\nrustc-wrapper = "tools/wrap"\nrustc = "rustc"\njobs = 2\n'
        '[target.x86_64-unknown-linux-gnu]\nlinker = "tools/ld"\nrustflags = ["-Ca"]\n[alias]\nx = ["run", "-p x"]\n'
    )
    document, left_out = gate_home.copy_of_config(own)
    assert document == {
        "build": {"rustc-wrapper": str(tmp_path / "tools/wrap"), "rustc": "rustc", "jobs": 2},
        "target": {"x86_64-unknown-linux-gnu": {"linker": str(tmp_path / "tools/ld"), "rustflags": ["-Ca"]}},
        "alias": {"x": ["run", "-p x"]},
    }
    assert "does not hold behind the gate" in left_out[0]
    assert tomllib.loads(gate_home.to_toml(document)) == document


values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_written_toml_reads_back(document: dict[str, Any]) -> None:
    assert tomllib.loads(gate_home.to_toml(document)) == document


@given(st.text(max_size=200))
def test_any_configuration_is_read_or_refused_in_our_words(text: str) -> None:
    said = ""
    try:
        cargo_config.check_argument(text, Path("/nonexistent"))
    except CarnetError as error:
        said = str(error)
    assert "\n" not in said


def test_a_table_of_the_users_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("net = 5")
    with pytest.raises(ConfigError, match="`net` is not a table"):
        gate_home.copy_of_config(tmp_path)
    (tmp_path / "config.toml").write_text("net.retry = 5")
    assert gate_home.copy_of_config(tmp_path)[0] == {"net": {"retry": 5}}
