"""Every key backend does the same: its signatures are good for carnet, python-tuf and in-toto; it fails in one line."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from in_toto.models.metadata import Envelope as TheirEnvelope
from securesystemslib.signer import SSlibKey
from tests.support.machines.softhsm import needs_softhsm
from tests.unit.signer.keys.places import PLACES, Place
from tuf.api.metadata import Metadata, Root, Timestamp

from carnet import strictjson
from carnet.errors import SigningError
from carnet.intoto.dsse import Envelope
from carnet.intoto.values import Link
from carnet.tuf import roles
from carnet.tuf.keys import signers
from carnet.tuf.read import parse_role
from carnet.tuf.roles import MetaFile, RoleKeys
from carnet_signer.keys import uri
from carnet_signer.keys.public import read_public_key, write_public_key
from carnet_signer.keys.signer import Scheme, Signer
from carnet_signer.metadata import role_files
from carnet_signer.steps.record import sign_link

SCHEMES: tuple[Scheme, ...] = ("ed25519", "ecdsa")
EXPIRES = datetime(2040, 1, 1, tzinfo=UTC)


@pytest.fixture(params=[pytest.param(name, marks=needs_softhsm if name == "pkcs11" else ()) for name in PLACES])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with PLACES[request.param](tmp_path) as place:
        yield place


def load(place: Place, name: str, secret: bytes | None = None) -> Signer:
    return uri.load_signer(place.uri(name), lambda _: place.secret if secret is None else secret)


def never(prompt: str) -> bytes | None:
    raise AssertionError(f"asked for {prompt}")


def test_every_backend_takes_these_tests() -> None:
    assert {scheme for backend in uri.backends() for scheme in backend.schemes} == set(PLACES)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_tuf_metadata_is_good_for_carnet_and_for_python_tuf(place: Place, scheme: Scheme) -> None:
    public = place.make("alice", scheme)
    signer = load(place, "alice")
    message = strictjson.canonical(role_files.timestamp(7, EXPIRES, MetaFile(3, 10, {"sha256": "0" * 64})))
    data = role_files.file_bytes(message, [signer.sign(message)])

    ours = parse_role(data, roles.Timestamp, max_bytes=10_000)
    RoleKeys((public,), 1).check(ours, "timestamp", "5.4.1")
    root = Root()
    root.add_key(SSlibKey.from_dict(public.keyid, public.to_object()), "timestamp")
    theirs = Metadata[Timestamp].from_bytes(data)
    root.verify_delegate("timestamp", theirs.signed_bytes, theirs.signatures)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_link_is_good_for_carnet_and_for_in_toto(place: Place, scheme: Scheme) -> None:
    public = place.make("alice", scheme)
    signed = sign_link(Link("tag", {}, {"demo-1.0.0/tree": "0" * 64}, {"return-value": 0}), load(place, "alice"))

    ours = Envelope.from_bytes(signed.to_bytes())
    assert signers([public], ours.signatures, ours.message) == [public]
    theirs = TheirEnvelope.from_dict(json.loads(signed.to_bytes()))
    theirs.verify_signature({"keyid": public.keyid, **public.to_object()})


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [0, 1, 1_000_000])
def test_any_message_is_signed(place: Place, scheme: Scheme, size: int) -> None:
    public = place.make("alice", scheme)
    signature = load(place, "alice").sign(b"m" * size)
    assert signature.keyid == public.keyid
    assert public.verifies(signature.sig, b"m" * size)
    assert not public.verifies(signature.sig, b"n" + b"m" * size)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_key_has_one_public_half_and_the_id_that_others_compute(place: Place, scheme: Scheme, tmp_path: Path) -> None:
    made = place.make("alice", scheme)
    assert load(place, "alice").public_key == made
    assert uri.read_public_half(place.uri("alice"), never) == made
    write_public_key(tmp_path / "exported.pub", made)
    assert read_public_key(tmp_path / "exported.pub") == made
    raw = made.material
    theirs = Ed25519PublicKey.from_public_bytes(raw) if scheme == "ed25519" else load_der_public_key(raw)
    assert SSlibKey.from_crypto(theirs).keyid == made.keyid


def test_a_wrong_secret_opens_nothing(place: Place) -> None:
    place.make("alice", "ecdsa")
    with pytest.raises(SigningError, match=r"does not open with this (passphrase|PIN)"):
        load(place, "alice", b"the wrong one")
    load(place, "alice")


def test_nobody_to_ask_opens_nothing(place: Place) -> None:
    place.make("alice", "ecdsa")
    with pytest.raises(SigningError, match="is locked and there is nobody to ask for its"):
        uri.load_signer(place.uri("alice"), lambda _: None)


def test_a_person_is_asked_once_and_told_what_for(place: Place) -> None:
    place.make("alice", "ecdsa")
    prompts = []

    def ask(prompt: str) -> bytes:
        prompts.append(prompt)
        return place.secret

    signer = uri.load_signer(place.uri("alice"), ask)
    signer.sign(b"one")
    signer.sign(b"two")
    assert prompts in (["passphrase of alice"], ["PIN of the token desk"])


def test_a_key_that_is_not_there_is_named(place: Place) -> None:
    place.make("alice", "ecdsa")
    with pytest.raises(SigningError, match=r"there is no .*bob"):
        load(place, "bob")


def test_keys_at_one_place_are_told_apart(place: Place) -> None:
    names = {name: place.make(name, scheme) for name, scheme in zip(("alice", "bob"), SCHEMES, strict=True)}
    names["carol"] = place.make("carol", "ecdsa")
    assert len({key.material for key in names.values()}) == 3
    for name, key in names.items():
        assert load(place, name).public_key == key
        assert key.verifies(load(place, name).sign(b"message").sig, b"message")


def test_a_key_is_found_without_asking(place: Place) -> None:
    place.make("alice", "ecdsa")
    assert uri.exists(place.uri("alice"))


def test_a_key_is_never_overwritten(place: Place) -> None:
    made = place.make("alice", "ecdsa")
    with pytest.raises(Exception, match="already"):
        place.make("alice", "ecdsa")
    assert load(place, "alice").public_key == made


def test_a_signer_shows_and_copies_no_secret(place: Place) -> None:
    place.make("alice", "ecdsa")
    signer = load(place, "alice")
    assert place.secret.decode() not in repr(signer)
    assert "PrivateKey" not in repr(signer)
    with pytest.raises(TypeError, match="not to be copied"):
        pickle.dumps(signer)
