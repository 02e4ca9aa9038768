"""Every configuration key that cargo documents: allowed or refused, each with its reason, in files and variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from carnet.errors import ConfigError, PolicyRefused
from carnet_gate import config, config_keys

GOLDEN = Path(__file__).parents[2] / "golden"
PAGE = Path(__file__).parents[3] / "docs/build-systems.md"

# The headings of cargo's own chapters "Configuration" and "Unstable features" (1.96 nightly, August 2026).
DOCUMENTED = (GOLDEN / "cargo-config-keys.txt").read_text().split()

HELD_FOR_ONE_NAME = {"registries.crates-io.index", "unstable.build-std", "alias.carnet", "alias.clippy"}
"""Refused for one name of a documented `<name>` only."""


def as_toml(name: str) -> str:
    parts = [re.sub(r"<.*>", "anything", part) for part in name.split(".")]
    return ".".join(parts) + ' = "x"\n'


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "project/.cargo/config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return tmp_path / "project"


def test_each_documented_key_has_one_row() -> None:
    rows = [key.name for key in config_keys.KEYS]
    assert len(rows) == len(set(rows))
    assert set(rows) == set(DOCUMENTED) | HELD_FOR_ONE_NAME


@pytest.mark.parametrize("key", config_keys.KEYS, ids=[key.name for key in config_keys.KEYS])
def test_a_project_file_with_the_key(tmp_path: Path, key: config_keys.Key) -> None:
    text = 'include = "more.toml"\n' if key.name == "include" else as_toml(key.name)
    folder = write(tmp_path, text)
    if not key.refused:
        config.check_project(folder, tmp_path / "home")
        return
    with pytest.raises(PolicyRefused) as caught:
        config.check_project(folder, tmp_path / "home")
    assert f"sets `{key.name}`: {key.why}" in str(caught.value)


def test_reasons_are_sentences_that_follow_the_key() -> None:
    for key in config_keys.KEYS:
        assert re.match(r"(it|its|the|cargo|commands|what|`cargo) ", key.why.split("carnet")[0]), key
        assert not key.why.endswith("."), key


@pytest.mark.parametrize(
    "text",
    [
        '[registries.crates-io]\nprotocol = "sparse"',
        '[registries.crates-io]\nprotocol = "git"',
        '[registries.crates-io]\ntoken = "x"\ncredential-provider = "cargo:token"',
        'registries = { crates-io = { protocol = "sparse" }, corp = { index = "sparse+https://example.com/" } }',
        'registries = "x"',
        'registries.crates-io = "x"',
    ],
)
def test_what_chooses_cargos_own_default_is_harmless(tmp_path: Path, text: str) -> None:
    config.check_project(write(tmp_path, text), tmp_path / "home")


@pytest.mark.parametrize("name", ["index", "replace-with", "dl", "api", "mirror"])
def test_what_is_not_known_of_crates_io_is_refused(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path, f'registries = {{ crates-io = {{ protocol = "sparse", {name} = "x" }} }}')
    with pytest.raises(PolicyRefused, match=f"sets `registries.crates-io.{name}`"):
        config.check_project(folder, tmp_path / "home")


@pytest.mark.parametrize(
    "name",
    [
        "CARGO_REGISTRIES_CRATES_IO_INDEX",
        "CARGO_REGISTRIES_CRATES_IO_MIRROR",
        "CARGO_REGISTRY_INDEX",
        "CARGO_RESOLVER_LOCKFILE_PATH",
        "CARGO_UNSTABLE_BUILD_STD",
        "CARGO_ALIAS_CARNET",
        "CARGO_SOURCE_CRATES_IO_REPLACE_WITH",
        "CARGO_SOURCE_CRATES_IO_REGISTRY",
        "CARGO_SOURCE_CRATES_IO_DIRECTORY",
        "__CARGO_TEST_CRATES_IO_URL_DO_NOT_USE_THIS",
        "__CARGO_TEST_DEPENDENCY_CONFUSION_VULNERABILITY_DO_NOT_USE_THIS",
        "__CARGO_TESTS_ONLY_SRC_ROOT",
    ],
)
def test_variables_that_lead_around_the_gate(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is set in the environment: "):
        config.check_environment({"PATH": "/bin", name: "x"})


@pytest.mark.parametrize(
    "name",
    [
        "CARGO_REGISTRIES_CRATES_IO_PROTOCOL",  # set in many CI systems since sparse indexes were new
        "CARGO_REGISTRIES_CRATES_IO_TOKEN",
        "CARGO_REGISTRIES_CRATES_IO_CREDENTIAL_PROVIDER",
        "CARGO_REGISTRY_DEFAULT",
        "CARGO_REGISTRY_TOKEN",
        "CARGO_REGISTRIES_CORP_INDEX",
        "CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS",
        "CARGO_SOURCE_CORP_REGISTRY",  # cargo knows no such source, and reads none from the environment
        "CARGO_UNSTABLE_SPARSE_REGISTRY",
        "CARGO_HTTP_CAINFO",
        "CARGO_NET_GIT_FETCH_WITH_CLI",
        "CARGO_ALIAS_XTASK",
        "CARGO_TARGET_DIR",
        "__CARGO_DEFAULT_LIB_METADATA",
        "__CARGO_USE_GITOXIDE_INSTEAD_OF_GIT2",
    ],
)
def test_variables_that_are_harmless(name: str) -> None:
    config.check_environment({"PATH": "/bin", name: "x"})


def test_the_page_for_build_systems_has_all_that_is_refused() -> None:
    rows = re.findall(
        r"^\| `([a-z.-]+)` \| (.+) \|$", PAGE.read_text().partition("behind the gate\n\ncargo reads")[2], re.M
    )
    assert rows == [(key.name, key.why) for key in config_keys.KEYS if key.refused]
