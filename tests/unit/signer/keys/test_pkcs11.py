"""Keys in tokens: what can go wrong between a person, a token and the module that reaches it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.machines.softhsm import MODULE, PIN, SoftHsm, needs_softhsm, softhsm

from carnet.errors import ConfigError, SigningError
from carnet_signer.keys import pkcs11 as backend
from carnet_signer.keys import uri

URI = "pkcs11:token=desk;object=alice"


@pytest.fixture
def hsm(tmp_path: Path) -> Iterator[SoftHsm]:
    with softhsm(tmp_path / "softhsm") as hsm:
        hsm.add_token("desk")
        yield hsm


def pin(_prompt: str) -> bytes:
    return PIN.encode()


def answer(secret: bytes) -> Callable[[str], bytes]:
    return lambda _: secret


def never(prompt: str) -> bytes | None:
    raise AssertionError(f"asked for {prompt}")


def change(label: str, edit: Callable[[Any, Any], None]) -> None:
    """Change the objects of a token by hand: edit(session, pkcs11)."""
    import pkcs11

    token = pkcs11.lib(os.path.realpath(MODULE)).get_token(token_label=label)
    with token.open(user_pin=PIN, rw=True) as session:
        edit(session, pkcs11)


def make_p256(session: Any, pkcs11: Any, **more: Any) -> None:
    curve = {pkcs11.Attribute.EC_PARAMS: pkcs11.util.ec.encode_named_curve_parameters(more.pop("curve", "secp256r1"))}
    session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True).generate_keypair(store=True, **more)


@needs_softhsm
def test_what_a_token_makes_it_does_not_give_away(hsm: SoftHsm) -> None:
    uri.generate(URI, "ecdsa", pin)

    def look(session: Any, pkcs11: Any) -> None:
        (private,) = session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY})
        assert private[pkcs11.Attribute.EXTRACTABLE] is False
        assert private[pkcs11.Attribute.SENSITIVE] is True
        with pytest.raises(pkcs11.AttributeSensitive):
            private[pkcs11.Attribute.VALUE]

    change("desk", look)


@needs_softhsm
def test_a_key_is_found_by_its_id_and_by_all_that_its_token_says(hsm: SoftHsm) -> None:
    made = uri.generate(f"{URI};id=%05%06", "ecdsa", pin)
    for name in (
        "pkcs11:token=desk;id=%05%06",
        "pkcs11:token=desk;model=SoftHSM%20v2;manufacturer=SoftHSM%20project;object=alice;type=private",
        f"pkcs11:token=desk;object=alice?module-path={MODULE}",
    ):
        assert uri.load_signer(name, pin).public_key == made
    with pytest.raises(SigningError, match="there is no token desk"):
        uri.load_signer("pkcs11:token=desk;model=other;object=alice", never)


@needs_softhsm
def test_a_token_that_is_not_there_is_said_before_anybody_is_asked(hsm: SoftHsm) -> None:
    with pytest.raises(SigningError, match="there is no token drawer"):
        uri.load_signer("pkcs11:token=drawer;object=alice", never)
    assert not uri.exists("pkcs11:token=drawer;object=alice")
    assert uri.exists(URI)


@needs_softhsm
@pytest.mark.parametrize("scheme", ["ed25519", "ecdsa"])
def test_a_token_that_goes_away_is_one_error(hsm: SoftHsm, scheme: Any) -> None:
    uri.generate(URI, scheme, pin)
    signer = uri.load_signer(URI, pin)
    hsm.remove_tokens()
    with pytest.raises(SigningError, match="token desk"):
        signer.sign(b"message")


@needs_softhsm
def test_two_tokens_of_one_name_are_told_apart_by_serial_or_not_at_all(hsm: SoftHsm) -> None:
    uri.generate(URI, "ed25519", pin)
    hsm.add_token("desk")
    with pytest.raises(SigningError, match="more than one token desk") as refused:
        uri.load_signer(URI, never)
    assert "serial=" in refused.value.hint


@needs_softhsm
def test_two_keys_of_one_name_are_not_guessed_between(hsm: SoftHsm) -> None:
    for key_id in (b"\x01", b"\x02"):
        change("desk", lambda *it, key_id=key_id: make_p256(*it, label="alice", id=key_id))
    with pytest.raises(SigningError, match="more than one key alice") as refused:
        uri.load_signer(URI, pin)
    assert "id=" in refused.value.hint
    uri.load_signer(f"{URI};id=%01", pin)
    with pytest.raises(SigningError, match="more than one key alice"):
        uri.read_public_half(URI, never)


@needs_softhsm
@pytest.mark.parametrize(
    ("key_ids", "reason"), [((b"\x00\x01",), "begins with a zero byte"), ((b"\x07", b"\x07"), "no id of its own")]
)
def test_an_id_that_does_not_lead_to_the_key_is_refused(hsm: SoftHsm, key_ids: tuple[bytes, ...], reason: str) -> None:
    for number, key_id in enumerate(key_ids):
        label = "alice" if number == 0 else "other"
        change("desk", lambda *it, label=label, key_id=key_id: make_p256(*it, label=label, id=key_id))
    with pytest.raises(SigningError, match=reason):
        uri.load_signer(URI, pin)


@needs_softhsm
def test_other_kinds_of_keys_are_refused(hsm: SoftHsm) -> None:
    change("desk", lambda *it: make_p256(*it, label="alice", id=b"\x01", curve="secp384r1"))
    change("desk", lambda session, pkcs11: session.generate_keypair(pkcs11.KeyType.RSA, 2048, store=True, label="rsa", id=b"\x02"))  # fmt: skip  # noqa: E501
    for label in ("alice", "rsa"):
        for read in (uri.load_signer, uri.read_public_half):
            with pytest.raises(SigningError, match="neither an Ed25519 nor an ECDSA P-256 key"):
                read(f"pkcs11:token=desk;object={label}", pin)


def _public(session: Any, pkcs11: Any, label: str) -> Any:
    (found,) = session.get_objects(
        {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PUBLIC_KEY, pkcs11.Attribute.LABEL: label}
    )
    return found


@needs_softhsm
def test_a_key_without_its_public_half_is_refused(hsm: SoftHsm) -> None:
    uri.generate(URI, "ecdsa", pin)
    change("desk", lambda session, pkcs11: _public(session, pkcs11, "alice").destroy())
    with pytest.raises(SigningError, match="public half of key alice in token desk is not in the token"):
        uri.load_signer(URI, pin)
    with pytest.raises(SigningError, match="there is no key alice"):
        uri.read_public_half(URI, pin)


@needs_softhsm
@pytest.mark.parametrize("scheme", ["ed25519", "ecdsa"])
def test_a_signature_that_the_public_half_does_not_verify_is_not_handed_out(hsm: SoftHsm, scheme: Any) -> None:
    uri.generate(f"{URI};id=%01", scheme, pin)
    uri.generate("pkcs11:token=desk;object=mallory;id=%02", scheme, pin)

    def swap(session: Any, pkcs11: Any) -> None:
        _public(session, pkcs11, "alice").destroy()
        theirs = _public(session, pkcs11, "mallory")
        theirs.copy({pkcs11.Attribute.LABEL: "alice", pkcs11.Attribute.ID: b"\x01"})

    change("desk", swap)
    signer = uri.load_signer(URI, pin)
    with pytest.raises(SigningError, match="made a signature that its public half does not verify"):
        signer.sign(b"message")


@needs_softhsm
def test_a_public_half_behind_the_pin_is_asked_for(hsm: SoftHsm) -> None:
    change(
        "desk",
        lambda session, pkcs11: make_p256(
            session, pkcs11, label="alice", id=b"\x01", public_template={pkcs11.Attribute.PRIVATE: True}
        ),
    )
    with pytest.raises(SigningError, match="nobody to ask for its PIN"):
        uri.read_public_half(URI, lambda _: None)
    assert uri.read_public_half(URI, pin) == uri.load_signer(URI, pin).public_key


@needs_softhsm
def test_a_pin_that_is_no_text_and_one_that_is_too_short_are_wrong_pins(hsm: SoftHsm) -> None:
    uri.generate(URI, "ecdsa", pin)
    for wrong in (b"\xff\xfe", b"1", b"x" * 300):
        with pytest.raises(SigningError, match="does not open with this PIN"):
            uri.load_signer(URI, answer(wrong))


@needs_softhsm
def test_a_person_is_told_that_a_token_waits_and_is_not_kept_for_ever(
    hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri.generate(URI, "ecdsa", pin)
    said: list[str] = []
    signer = uri.load_signer(URI, pin, say=said.append)
    at_once = backend._sign_p256

    def after_a_touch(*arguments: Any) -> bytes:
        time.sleep(0.4)
        return at_once(*arguments)

    monkeypatch.setattr(backend, "_sign_p256", after_a_touch)
    monkeypatch.setattr(backend, "_SAY_AFTER", 0.1)
    assert signer.sign(b"touched in time").sig
    assert said == ["waiting for token desk: does it want to be touched?"]
    monkeypatch.setattr(backend, "_GIVE_UP_AFTER", 0.2)
    with pytest.raises(SigningError, match="token desk did not answer within"):
        signer.sign(b"not touched")
    with pytest.raises(SigningError, match="token desk did not answer within"):
        signer.sign(b"and the call before is still under way: two at once might harm the module")
    time.sleep(0.5)
    monkeypatch.setattr(backend, "_GIVE_UP_AFTER", 5.0)
    assert signer.sign(b"touched at last").sig


@needs_softhsm
def test_the_variable_of_the_module_stays_as_it_was(hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    uri.generate(URI, "ecdsa", pin)
    monkeypatch.delenv("PYKCS11LIB")
    uri.load_signer(f"{URI}?module-path={MODULE}", pin).sign(b"message")
    assert "PYKCS11LIB" not in os.environ
    monkeypatch.setenv("PYKCS11LIB", "/other.so")
    uri.load_signer(f"{URI}?module-path={MODULE}", pin).sign(b"message")
    assert os.environ["PYKCS11LIB"] == "/other.so"


# --- the module and the extra; SoftHSM is not needed for these ---


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(ConfigError, match="need the extra `hsm`") as refused:
        uri.load_signer(f"{URI}?module-path={sys.executable}", never)
    assert "pip install '.[hsm]'" in refused.value.hint
    assert "pip install carnet" not in refused.value.hint


def test_a_module_that_is_not_named_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYKCS11LIB", raising=False)
    with pytest.raises(ConfigError, match="which PKCS#11 module") as refused:
        uri.load_signer(URI, never)
    assert "module-path=" in refused.value.hint
    assert "PYKCS11LIB" in refused.value.hint


def test_a_module_is_code_so_nobody_else_may_have_put_it_there(tmp_path: Path) -> None:
    module = tmp_path / "module.so"
    named = f"{URI}?module-path={module}"
    with pytest.raises(ConfigError, match="no such file"):
        uri.load_signer(named, never)
    module.write_bytes(b"")
    module.chmod(0o602)
    with pytest.raises(ConfigError, match="everybody may replace it"):
        uri.load_signer(named, never)
    module.chmod(0o600)
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match="everybody may replace it"):
        uri.load_signer(named, never)
    tmp_path.chmod(0o700)
    with pytest.raises(ConfigError, match="not a regular file"):
        uri.load_signer(f"{URI}?module-path={tmp_path}", never)
    with pytest.raises(ConfigError, match="whole path"):
        uri.load_signer(f"{URI}?module-path=libsofthsm2.so", never)


def test_a_library_that_is_no_module_is_one_error(tmp_path: Path) -> None:
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed (the extra `hsm`)")
    module = tmp_path / "module.so"
    module.write_bytes(b"not a library")
    with pytest.raises(SigningError, match="does not work"):
        uri.load_signer(f"{URI}?module-path={module}", never)
