"""`carnet key`: pairs are made, imported and shown; nothing secret is printed, overwritten or left readable."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from tests.support.machines.command import carnet, done, refused

from carnet_cli.terminal import passphrase
from carnet_signer.keys import file

CARNET = (sys.executable, "-c", "from carnet_cli.start import main; main()")
PASSPHRASE = "correct horse battery staple"


@pytest.fixture(autouse=True)
def fast_and_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that open at once, in a folder of their own."""
    generate, import_ = file.generate_key, file.import_key
    monkeypatch.setattr(file, "generate_key", lambda *args: generate(*args, kdf_rounds=1))
    monkeypatch.setattr(file, "import_key", lambda *args: import_(*args, kdf_rounds=1))
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSPHRASE}\nand a second line that does not count\n")
    secret.chmod(0o600)


def test_a_key_is_made_shown_and_listed() -> None:
    made = done("key", "generate", "alice", "--passphrase-file", "secret")
    keyid = made.out.strip()
    assert len(keyid) == 64
    assert "alice.pub (hand it out)" in made.err
    shown = done("key", "show", "alice", "--message-format", "json").json
    assert shown["keyid"] == keyid
    assert shown["fingerprint"].startswith("SHA256:")
    assert done("key", "show", "alice.pub").out.splitlines()[0] == f"key id       {keyid}"
    done("key", "generate", "bob", "--scheme", "ecdsa", "--passphrase-file", "secret")
    Path("bob").unlink()
    Path("broken.pub").write_text("nonsense")
    listed = done("key", "list")
    assert [line.split()[0] + " " + line.split()[-1] for line in listed.out.splitlines()] == [
        "alice private",
        "bob public",
    ]
    assert "warning: broken.pub" in listed.err


def test_a_mistake_is_one_line_and_changes_nothing() -> None:
    done("key", "generate", "alice", "--passphrase-file", "secret")
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    refused(2, "alice.pub exists already", "key", "generate", "alice", "--passphrase-file", "secret")
    refused(2, "no-such-file: no such file", "key", "generate", "bob", "--passphrase-file", "no-such-file")
    refused(2, "not both", "key", "generate", "bob", "--passphrase-file", "secret", "--passphrase-fd", "0")
    refused(2, "folder", "key", "list", "nowhere")
    refused(2, "there is no public key file", "key", "show", "nobody")
    refused(3, "there is no private key file", "key", "import", "none", "bob", "--passphrase-file", "secret")
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_a_passphrase_that_others_can_read_or_that_is_weak_is_refused() -> None:
    Path("secret").chmod(0o644)
    refused(3, "can be read or changed by others", "key", "generate", "alice", "--passphrase-file", "secret")
    Path("secret").chmod(0o600)
    Path("secret").write_text("short\n")
    refused(2, "too weak", "key", "generate", "alice", "--passphrase-file", "secret")
    Path("secret").write_text("\nsecond line\n")
    refused(2, "no passphrase in its first line", "key", "generate", "alice", "--passphrase-file", "secret")
    assert not Path("alice").exists()


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    refused(3, "nobody to ask for the passphrase of alice", "key", "generate", "alice")


def test_a_prompt_says_what_it_wants_and_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts: list[tuple[str, bool]] = []

    def type_it(text: str, *, hide_input: bool, **_more: object) -> str:
        prompts.append((text, hide_input))
        return PASSPHRASE

    monkeypatch.setattr(passphrase, "_terminal", lambda: True)
    monkeypatch.setattr(click, "prompt", type_it)
    done("key", "generate", "alice")
    done("key", "import", "alice", "copy")
    assert passphrase.PassphraseSource().ask("PIN of the token desk") == PASSPHRASE.encode()
    assert prompts == [
        ("new passphrase for alice", True),
        ("new passphrase for copy", True),
        ("passphrase of alice", True),
        ("PIN of the token desk", True),
    ]


def test_an_unencrypted_key_needs_an_ugly_flag() -> None:
    made = done("key", "generate", "alice", "--insecure-no-passphrase")
    assert "warning: alice is not encrypted" in made.err


def test_the_passphrase_is_no_argument() -> None:
    refused(2, "no such option", "key", "generate", "alice", "--passphrase", PASSPHRASE)
    for command in ("generate", "import"):
        assert "--passphrase-fd" in done("key", command, "--help").out


def test_an_openssh_key_is_imported() -> None:
    made = done("key", "generate", "source", "--passphrase-file", "secret").out
    assert done("key", "import", "source", "copy", "--passphrase-file", "secret").out == made


def test_a_process_reads_the_passphrase_from_a_descriptor() -> None:
    """The real command with its real work factor, as people run it."""
    reader, writer = os.pipe()
    os.write(writer, PASSPHRASE.encode())
    os.close(writer)
    ran = subprocess.run(
        [*CARNET, "key", "generate", "alice", "--passphrase-fd", str(reader)],
        pass_fds=[reader], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    os.close(reader)
    assert ran.returncode == 0, ran.stderr
    assert Path("alice").stat().st_mode & 0o777 == 0o600
    assert carnet("key", "show", "alice").out.split()[2] == ran.stdout.strip()
