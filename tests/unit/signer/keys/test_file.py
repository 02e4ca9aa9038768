"""Private keys in files: made, kept for their owner only, opened, refused."""

from __future__ import annotations

import base64
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from tests.support.worlds.ceremony import PASSPHRASE

from carnet import strictjson
from carnet.errors import ConfigError, FormatError, SigningError, StorageError
from carnet.tuf.keys import PublicKey
from carnet_signer.keys import file, uri
from carnet_signer.keys.public import openssh_fingerprint, read_public_key
from carnet_signer.keys.signer import Passphrase, Scheme


def answer(secret: bytes | None) -> Passphrase:
    return lambda _: secret


def never(what: str) -> bytes | None:
    raise AssertionError(f"asked for {what}")


def make(folder: Path, name: str = "alice", scheme: Scheme = "ed25519") -> PublicKey:
    return file.generate_key(folder / name, scheme, PASSPHRASE, kdf_rounds=1)


@pytest.mark.parametrize("scheme", ["ed25519", "ecdsa"])
def test_a_key_is_made_opened_and_signs(tmp_path: Path, scheme: Scheme) -> None:
    key = make(tmp_path, scheme=scheme)
    signer = uri.load_signer(f"file:{tmp_path / 'alice'}", answer(PASSPHRASE))
    signature = signer.sign(b"message")
    assert signature.keyid == key.keyid == signer.public_key.keyid
    assert key.verifies(signature.sig, b"message")
    assert not key.verifies(signature.sig, b"another")
    assert read_public_key(tmp_path / "alice.pub") == key
    assert strictjson.parse_object((tmp_path / "alice.pub").read_bytes(), "key", max_bytes=1000) == key.to_object()


def test_the_work_factor_of_a_real_key_is_raised(tmp_path: Path) -> None:
    """Trap 22: a passphrase must be slow to guess. The rounds stand in the file, in the clear."""
    file.generate_key(tmp_path / "alice", "ed25519", PASSPHRASE)
    text = (tmp_path / "alice").read_text()
    raw = keyring_bytes(text)
    assert raw.startswith(b"openssh-key-v1\0\0\0\0\naes256-ctr\0\0\0\x06bcrypt")
    options = raw.split(b"bcrypt", 1)[1]
    salt = int.from_bytes(options[4:8], "big")
    assert int.from_bytes(options[8 + salt : 12 + salt], "big") == file.KDF_ROUNDS >= 128


def keyring_bytes(pem: str) -> bytes:
    return base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-")))


def test_a_file_is_for_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        make(tmp_path)
    finally:
        os.umask(old)
    assert (tmp_path / "alice").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o602])
def test_a_file_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    make(tmp_path)
    uri.load_signer(str(tmp_path / "alice"), answer(PASSPHRASE))
    (tmp_path / "alice").chmod(mode)
    with pytest.raises(SigningError, match="can be read or changed by others"):
        uri.load_signer(str(tmp_path / "alice"), never)


def test_a_folder_where_anybody_may_swap_the_key_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    tmp_path.chmod(0o777)
    with pytest.raises(SigningError, match="everybody may replace files"):
        uri.load_signer(str(tmp_path / "alice"), never)
    with pytest.raises(SigningError, match="everybody may replace files"):
        make(tmp_path, "bob")
    tmp_path.chmod(0o1777)  # like /tmp: nobody can replace another's file
    uri.load_signer(str(tmp_path / "alice"), answer(PASSPHRASE))


@pytest.mark.parametrize("there", ["alice", "alice.pub"])
def test_a_key_is_never_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="exists already"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [there]


def test_a_wrong_passphrase_and_none_are_refused(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(SigningError, match="does not open with this passphrase"):
        uri.load_signer(str(tmp_path / "alice"), answer(b"wrong horse battery staple"))
    with pytest.raises(SigningError, match="empty passphrase"):
        uri.load_signer(str(tmp_path / "alice"), answer(b""))
    with pytest.raises(SigningError, match="nobody to ask"):
        uri.load_signer(str(tmp_path / "alice"), answer(None))


@pytest.mark.parametrize("weak", [b"", b"short", b"aaaaaaaaaaaaaaaaaaaa", b"ababababababab", b"x" * 2000])
def test_a_weak_passphrase_is_refused_and_nothing_is_written(tmp_path: Path, weak: bytes) -> None:
    with pytest.raises(ConfigError, match="passphrase"):
        file.generate_key(tmp_path / "alice", "ed25519", weak, kdf_rounds=1)
    assert list(tmp_path.iterdir()) == []


def test_an_unencrypted_key_asks_for_nothing(tmp_path: Path) -> None:
    file.generate_key(tmp_path / "alice", "ed25519", None)
    uri.load_signer(str(tmp_path / "alice"), never)


def test_a_public_file_of_another_key_is_noticed(tmp_path: Path) -> None:
    make(tmp_path)
    make(tmp_path, "bob")
    (tmp_path / "alice.pub").write_bytes((tmp_path / "bob.pub").read_bytes())
    with pytest.raises(SigningError, match="is not the public half"):
        uri.load_signer(str(tmp_path / "alice"), answer(PASSPHRASE))


@pytest.mark.parametrize("damage", [b"", b"not a key", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", b"\0" * 70_000])
def test_what_is_no_private_key_is_one_error(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "alice").write_bytes(damage)
    (tmp_path / "alice").chmod(0o600)
    with pytest.raises((SigningError, StorageError)) as caught:
        uri.load_signer(str(tmp_path / "alice"), answer(PASSPHRASE))
    assert "\n" not in str(caught.value)


def test_damage_anywhere_in_a_key_file_is_one_error(tmp_path: Path) -> None:
    make(tmp_path)
    data = (tmp_path / "alice").read_bytes()
    for position in range(40, len(data) - 40, 5):
        damaged = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        (tmp_path / "alice").write_bytes(damaged)
        try:
            signer = uri.load_signer(str(tmp_path / "alice"), answer(PASSPHRASE))
        except SigningError:
            continue
        assert signer.public_key.verifies(signer.sign(b"m").sig, b"m")  # base64 slack at the end of a line


def test_a_work_factor_that_takes_hours_is_refused_at_once(tmp_path: Path) -> None:
    make(tmp_path)
    raw = bytearray(keyring_bytes((tmp_path / "alice").read_text()))
    start = raw.index(b"bcrypt") + 6
    rounds = start + 8 + int.from_bytes(raw[start + 4 : start + 8], "big")
    raw[rounds : rounds + 4] = (2**31).to_bytes(4, "big")
    body = base64.encodebytes(bytes(raw)).decode()
    (tmp_path / "alice").write_text(f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}-----END OPENSSH PRIVATE KEY-----\n")
    with pytest.raises(SigningError, match="bcrypt rounds"):
        uri.load_signer(str(tmp_path / "alice"), answer(PASSPHRASE))


def test_missing_folder_pipe_and_foreign_uri_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SigningError, match="there is no private key file"):
        uri.load_signer(str(tmp_path / "none"), never)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(StorageError, match="not a regular file"):
        uri.load_signer(str(tmp_path / "pipe"), never)
    with pytest.raises(ConfigError, match="of no known kind"):
        uri.load_signer("awskms:whatever", never)


def test_an_encrypted_pkcs8_key_is_refused(tmp_path: Path) -> None:
    """Trap 22: it would open, and 2,048 rounds of PBKDF2 make thousands of guesses a second."""
    private = ed25519.Ed25519PrivateKey.generate()
    place = tmp_path / "key"
    place.touch(mode=0o600)
    place.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE)))
    with pytest.raises(SigningError, match="is not a private key that carnet can read"):
        uri.load_signer(str(place), answer(PASSPHRASE))
    file.store_key(tmp_path / "same", private, PASSPHRASE, kdf_rounds=1)  # the control: the same key in our format
    assert uri.load_signer(str(tmp_path / "same"), answer(PASSPHRASE)).public_key.keyid


@pytest.mark.parametrize("kind", ["rsa", "p384"])
def test_other_kinds_of_keys_are_refused(tmp_path: Path, kind: str) -> None:
    private: Any = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP384R1())
    (tmp_path / "key").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(SigningError, match="neither an Ed25519 nor an ECDSA P-256"):
        uri.load_signer(str(tmp_path / "key"), never)


def test_an_openssh_key_is_imported_and_encrypted_anew(tmp_path: Path) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    source = tmp_path / "id_ed25519"
    encryption = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(1).build(b"old")
    source.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption))
    source.chmod(0o600)
    before = source.read_bytes()
    key = file.import_key(source, tmp_path / "alice", answer(b"old"), PASSPHRASE, kdf_rounds=1)
    assert key.material == private.public_key().public_bytes_raw()
    assert source.read_bytes() == before
    uri.load_signer(str(tmp_path / "alice"), answer(PASSPHRASE))


def test_ssh_keygen_reads_our_keys_and_agrees_about_the_fingerprint(tmp_path: Path) -> None:
    for scheme in ("ed25519", "ecdsa"):
        key = file.generate_key(tmp_path / scheme, scheme, None)
        try:
            public = subprocess.run(
                ["ssh-keygen", "-y", "-f", tmp_path / scheme], capture_output=True, text=True, check=True
            ).stdout
        except FileNotFoundError:
            pytest.skip("ssh-keygen is not installed")
        (tmp_path / "ssh.pub").write_text(public)
        assert read_public_key(tmp_path / "ssh.pub").material == key.material
        shown = subprocess.run(
            ["ssh-keygen", "-l", "-f", tmp_path / "ssh.pub"], capture_output=True, text=True, check=True
        ).stdout
        assert openssh_fingerprint(key) == shown.split()[1]


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"ssh-ed25519 AAAA", b"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQ== x", b'{"keytype":"ed25519"}']
)
def test_what_is_no_public_key_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.pub").write_bytes(data)
    with pytest.raises(FormatError):
        read_public_key(tmp_path / "x.pub")


def test_a_private_key_in_place_of_a_public_one_is_named(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(ConfigError, match="is a private key"):
        read_public_key(tmp_path / "alice")
    with pytest.raises(ConfigError, match="there is no public key file"):
        read_public_key(tmp_path / "none.pub")


def test_a_signer_shows_and_copies_no_secret(tmp_path: Path) -> None:
    make(tmp_path)
    signer = uri.load_signer(str(tmp_path / "alice"), answer(PASSPHRASE))
    assert "PrivateKey" not in repr(signer)
    with pytest.raises(TypeError, match="not to be copied"):
        pickle.dumps(signer)
