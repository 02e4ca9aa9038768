"""Keys that other programs made: imported where they can be, and told apart, with what to type, where they cannot."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.machines.command import done, refused

from carnet.errors import SigningError
from carnet_signer.keys import file
from carnet_signer.keys.signer import Access

PASSPHRASE = "correct horse battery staple"
WITH_PASSPHRASE = Access(lambda _: PASSPHRASE.encode(), lambda _: None)
OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, keys that open at once, and a passphrase in the file `secret`."""
    import_ = file.import_key
    monkeypatch.setattr(file, "import_key", lambda *args: import_(*args, kdf_rounds=1))
    monkeypatch.chdir(tmp_path)
    private("secret", f"{PASSPHRASE}\n".encode())


def private(name: str, data: bytes) -> None:
    Path(name).write_bytes(data)
    Path(name).chmod(0o600)


def run(line: str) -> None:
    """A command line of another program, as a person types it; what it makes is its owner's alone."""
    subprocess.run(line, shell=True, check=True, capture_output=True, timeout=60)
    for path in Path().iterdir():
        if path.is_file():
            path.chmod(0o600)


def hint(err: str) -> str:
    (found,) = [line.removeprefix("hint: ") for line in err.splitlines() if line.startswith("hint: ")]
    return found


MADE = {
    "PKCS#8": "openssl genpkey -algorithm ed25519 -out key.pem",
    "PKCS#8 for P-256": "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
    "encrypted PKCS#8": "openssl genpkey -algorithm ed25519 -aes-256-cbc -pass file:secret -out key.pem",
    "SEC 1": "openssl ecparam -name prime256v1 -genkey -out key.pem",
    "encrypted SEC 1": (
        "openssl ecparam -name prime256v1 -genkey -noout | openssl ec -aes256 -passout file:secret -out key.pem"
    ),
}


@needs_openssl
@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_what_openssl_makes_is_imported_by_the_command_that_the_hint_names(made: str) -> None:
    run(made)
    with pytest.raises(SigningError, match="not a private key that carnet can read") as told:
        file.open_key(Path("key.pem"), WITH_PASSPHRASE)
    assert "`carnet key import key.pem NAME`" in told.value.hint
    keyid = done("key", "import", "key.pem", "NAME", "--passphrase-file", "secret").out.strip()
    opened = file.open_key(Path("NAME"), WITH_PASSPHRASE)
    assert opened.public_key.keyid == keyid
    assert b"OPENSSH PRIVATE KEY" in Path("NAME").read_bytes()
    public = subprocess.run(
        ["openssl", "pkey", "-in", "key.pem", "-passin", "file:secret", "-pubout", "-outform", "DER"],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    assert public.endswith(opened.public_key.material[-32:])


@needs_openssl
def test_a_public_key_of_openssls_is_read() -> None:
    run("openssl genpkey -algorithm ed25519 -out key.pem && openssl pkey -in key.pem -pubout -out key.pub")
    keyid = done("key", "import", "key.pem", "copy", "--passphrase-file", "secret").out
    assert done("key", "show", "key.pub").out.split()[2] == keyid.strip()
    run("openssl genrsa -out rsa.pem 2048 && openssl pkey -in rsa.pem -pubout -out rsa.pub")
    assert "carnet key generate NAME" in refused(2, "neither Ed25519 nor", "key", "show", "rsa.pub").err


@needs_openssl
def test_a_binary_key_goes_through_the_command_of_its_hint() -> None:
    run("openssl genpkey -algorithm ed25519 -outform DER -out key.der")
    err = refused(2, "it is binary", "key", "import", "key.der", "copy", "--passphrase-file", "secret").err
    first, second = hint(err).split("`")[1::2]
    run(first)
    assert second == "carnet key import NEW NAME"
    done(*second.split()[1:], "--passphrase-file", "secret")


OTHERS = {
    b"": ("it is empty", "`carnet key generate NAME`"),
    b"hello": ("it is not a private key", "`carnet key generate NAME`"),
    b"PuTTY-User-Key-File-3: ssh-ed25519\n": ("PuTTY", "`puttygen key -O private-openssh-new -o NEW`"),
    b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n": ("an RSA key", "`carnet key generate NAME`"),
    b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n": ("an OpenPGP key", "`carnet key generate NAME`"),
    b"-----BEGIN CERTIFICATE-----\nAAAA\n": ("a certificate", "name the file of the private key"),
    b"-----BEGIN PUBLIC KEY-----\nAAAA\n": ("a public key", "name the private key"),
    b"ssh-ed25519 AAAA me\n": ("a public key", "without `.pub`"),
    b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n": ("a damaged private key", "backup"),
}


@pytest.mark.parametrize(("data", "told"), OTHERS.items(), ids=[what for what, _ in OTHERS.values()])
def test_what_cannot_be_a_key_is_named_and_the_way_on_with_it(data: bytes, told: tuple[str, str]) -> None:
    private("key", data)
    before = sorted(Path().iterdir())
    err = refused(2, told[0], "key", "import", "key", "copy", "--passphrase-file", "secret").err
    assert told[1] in hint(err)
    assert sorted(Path().iterdir()) == before


@needs_openssl
def test_a_locked_key_says_how_to_open_it_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carnet_cli.terminal.passphrase._terminal", lambda: False)
    run("openssl genpkey -algorithm ed25519 -aes-256-cbc -pass file:secret -out key.pem")
    err = refused(3, "key.pem is locked and there is nobody to ask", "key", "import", "key.pem", "copy",
                  "--insecure-no-passphrase").err  # fmt: skip
    assert "`--passphrase-file FILE`" in hint(err)
    private("wrong", b"another long passphrase\n")
    err = refused(3, "does not open with this passphrase", "key", "import", "key.pem", "copy",
                  "--source-passphrase-file", "wrong", "--passphrase-file", "secret").err  # fmt: skip
    assert "`openssl pkey -in key.pem -noout -check`" in hint(err)


def test_a_key_that_was_moved_is_looked_for_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "old keys").mkdir()
    done("key", "generate", "old keys/alice", "--insecure-no-passphrase")
    err = refused(3, "there is no private key file old keys/bob", "key", "import", "old keys/bob", "x",
                  "--passphrase-file", "secret").err  # fmt: skip
    assert "`carnet key list 'old keys'`" in hint(err)
    assert done("key", "list", "old keys").out.split()[0] == "alice"
    err = refused(2, "there is no public key file old keys/bob", "key", "show", "old keys/bob").err
    assert "`carnet key list 'old keys'`" in hint(err)
