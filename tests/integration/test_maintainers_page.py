"""`docs/maintainers.md`, command by command, against a real registry."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.machines.softhsm import needs_softhsm, softhsm
from tests.support.registries.live import LiveRegistry, live_registry
from tests.support.registries.mirror_process import CARNET
from tests.support.worlds.ceremony import PASSPHRASE
from tests.support.worlds.release import make_repository

PAGE = Path(__file__).parents[2] / "docs/maintainers.md"
URL = "http://127.0.0.1:8790"
FILES = {
    "Cargo.toml": b'[package]\nname = "demo-lib"\nversion = "0.1.0"\nedition = "2021"\ndescription = "a demo"\n'
    b'license = "MIT"\n',
    "src/lib.rs": b"pub fn answer() -> u32 {\n    42\n}\n",
}
KEYS = """
import sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from carnet_signer.keys.file import store_key
store_key(Path(sys.argv[1]), Ed25519PrivateKey.generate(), Path("passphrase").read_bytes().strip(), kdf_rounds=1)
"""


TOKEN_SECTION = re.compile(r"^## Keys in tokens$.*?(?=^## )", re.DOTALL | re.MULTILINE)
IN_TOKEN = "'pkcs11:token=desk;object=alice'"


def commands(text: str) -> list[str]:
    """Every command of a page or a section, in order."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            found.append(command.replace("\\\n", " ").strip())
    return found


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[LiveRegistry]:
    with live_registry(tmp_path, trusted=False) as registry:
        make_repository(registry.folder / "demo-lib", FILES)
        yield registry


def _typed(command: str) -> str:
    """The command with what a person would type at its prompts."""
    words = command.split()
    if words[0] != "carnet":
        return command
    if "pkcs11:" in command and words[1:3] == ["key", "generate"]:
        return command + " --passphrase-file passphrase"
    if words[1:3] == ["key", "generate"]:
        # As it is, each key costs a second of bcrypt: the first one is made so, the others open faster.
        fast = f"$PYTHON fast-key.py {words[3]}"
        return command + " --passphrase-file passphrase" if words[3] == "alice-owner" else fast
    if "sign" in words[1:3] or words[1] == "record":
        command += " --passphrase-file passphrase"
    if words[1] in ("claim", "release") and words[2] == "sign":
        command += " --yes"
    return command


@pytest.mark.cargo
def test_every_command_of_the_page_works(registry: LiveRegistry) -> None:
    page = commands(TOKEN_SECTION.sub("", PAGE.read_text()))
    assert len(page) > 40
    follow(page, registry)


@needs_softhsm
@pytest.mark.cargo
def test_every_command_of_the_page_works_with_a_key_in_a_token(tmp_path: Path) -> None:
    """The page again, with Alice's release key in SoftHSM: the layout's step `tag`, releases, yanks."""
    section = TOKEN_SECTION.search(PAGE.read_text())
    assert section is not None
    in_token = commands(section[0])
    assert len(in_token) == 3
    page = []
    for command in commands(TOKEN_SECTION.sub("", PAGE.read_text())):
        made = command == "carnet key generate alice"
        page += in_token if made else [re.sub(r"--key alice(?= |$)", f"--key {IN_TOKEN}", command)]
    assert sum(IN_TOKEN in command for command in page) >= 8
    with softhsm(tmp_path / "softhsm") as hsm, live_registry(tmp_path, trusted=False) as registry:
        hsm.add_token("desk", PASSPHRASE.decode())
        make_repository(registry.folder / "demo-lib", FILES)
        follow(page, registry)
        assert not (registry.folder / "alice").exists()


def follow(page: list[str], registry: LiveRegistry) -> None:
    """Type the commands, and look at what the important ones say."""
    desk = registry.folder
    (desk / "fast-key.py").write_text(KEYS)
    (desk / "passphrase").write_bytes(PASSPHRASE + b"\n")
    environment = registry.environment | {"PYTHON": CARNET[0]}
    script = f'carnet() {{ "$PYTHON" -P -c "{CARNET[2]}" "$@"; }}; '
    output = {}
    for command in page:
        done = subprocess.run(
            ["bash", "-euc", script + _typed(command).replace(URL, registry.url)],
            cwd=desk,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        output[command] = done.stdout + done.stderr
    assert "provenance" in output["carnet verify demo-lib@0.1.0"]
    assert "everything is signed" in output["carnet claim status claim"]
    assert "yanked 0.1.0" in output["carnet release submit yank"]


def test_the_page_names_every_command_of_claim_and_release() -> None:
    from carnet_cli.commands.maintain import claim, release

    text = PAGE.read_text()
    for name, group in (("claim", claim.command), ("release", release.command)):
        for command in group.commands:
            assert f"carnet {name} {command}" in text
