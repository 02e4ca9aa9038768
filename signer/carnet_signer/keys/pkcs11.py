"""Keys in tokens that speak PKCS#11: smart cards, security keys, hardware security modules, SoftHSM.

The private half never leaves the token. P-256 is signed by securesystemslib's HSMSigner, which knows no other curve of
ours; Ed25519 by python-pkcs11 beneath it. No other module imports securesystemslib, and this one does so when such a
key is opened: it comes with the extra `hsm`.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from carnet.errors import CarnetError, ConfigError, SigningError
from carnet.tuf.keys import PublicKey, Signature
from carnet_signer.keys import pkcs11_token as tokens
from carnet_signer.keys.pkcs11_uri import Pkcs11Uri
from carnet_signer.keys.signer import Access, Backend, Say, Scheme

if TYPE_CHECKING:
    from pkcs11 import Token
    from securesystemslib.signer import HSMSigner

_Result = TypeVar("_Result")

_SAY_AFTER = 3.0
"""Seconds after which a person is told that a token is waited for: SoftHSM takes 0.003, a smart card up to one."""
_GIVE_UP_AFTER = 60.0
"""Seconds; security keys wait 15 to 30 for a touch."""
_ED25519 = bytes.fromhex("06032b6570")
"""The curve's object identifier 1.3.101.112 (RFC 8410), in DER."""
_in_use = threading.Lock()
"""Modules need not be safe for threads: one call at a time, whichever token it is for."""


@dataclass(frozen=True)
class Pkcs11Signer:
    """A key in a token, which was found and opened once, and is opened again for each signature.

    Attributes:
        public_key: Its public half.
    """

    public_key: PublicKey
    _uri: Pkcs11Uri = field(repr=False)
    _say: Say = field(repr=False)
    _sign: Callable[[bytes], bytes] = field(repr=False)

    def sign(self, message: bytes) -> Signature:
        """Sign a message, waiting for a touch where the token wants one.

        Raises:
            SigningError: The token is gone, refuses, does not answer in time, or made a signature that its public half
                does not verify.
        """
        made = _patiently(lambda: self._sign(message), self._uri, self._say)
        if not self.public_key.verifies(made, message):
            raise SigningError(
                f"{self._uri.name} made a signature that its public half does not verify",
                hint="the token is at fault, or it holds the public half of another key by this id",
            )
        return Signature(self.public_key.keyid, made)

    def __reduce__(self) -> str:
        raise TypeError("a signer is not to be copied: it can open its token")


def _open(rest: str, access: Access) -> Pkcs11Signer:
    uri = Pkcs11Uri.parse(rest)
    module = tokens.module_path(uri)
    token = _patiently(lambda: tokens.find_token(module, uri), uri, access.say)  # before a PIN is typed for it
    pin = _pin(uri, access)

    def look() -> tuple[PublicKey, bytes]:
        with token.open(user_pin=pin) as session:
            key_id = tokens.id_of(session, tokens.private_key(session, uri), uri)
            return tokens.public_half(session, key_id, uri), key_id

    public, key_id = _patiently(look, uri, access.say)
    if public.keytype == "ed25519":
        return Pkcs11Signer(public, uri, access.say, lambda message: _sign_ed25519(token, pin, uri, message))
    hsm = _hsm_signer(token, pin, public, key_id, uri)
    return Pkcs11Signer(public, uri, access.say, lambda message: _sign_p256(module, hsm, message))


def _sign_ed25519(token: Token, pin: str, uri: Pkcs11Uri, message: bytes) -> bytes:
    mechanism = tokens.library().Mechanism.EDDSA
    with token.open(user_pin=pin) as session:
        signature: bytes = tokens.private_key(session, uri).sign(message, mechanism=mechanism)
        return signature


def _hsm_signer(token: Token, pin: str, public: PublicKey, key_id: bytes, uri: Pkcs11Uri) -> HSMSigner:
    from securesystemslib.signer import HSMSigner, SSlibKey

    if key_id.startswith(b"\0"):
        raise SigningError(
            f"{uri.name} has an id that begins with a zero byte, by which securesystemslib does not find it",
            hint="give it and its public half another id with the tool that came with the token",
        )
    key = SSlibKey.from_dict(public.keyid, public.to_object())
    return HSMSigner(int.from_bytes(key_id, "big"), key, lambda _: pin, token.label)


def _sign_p256(module: str, hsm: HSMSigner, message: bytes) -> bytes:
    """Sign with the module of this key, whichever one the variable names for others."""
    before = os.environ.get(tokens.MODULE_VARIABLE)
    os.environ[tokens.MODULE_VARIABLE] = module
    try:
        return bytes.fromhex(hsm.sign(message).signature)
    finally:
        if before is None:
            del os.environ[tokens.MODULE_VARIABLE]
        else:
            os.environ[tokens.MODULE_VARIABLE] = before


def _read_public(rest: str, access: Access) -> PublicKey:
    """The public half, which most tokens show to everybody; a PIN is asked for where this one does not."""
    uri = Pkcs11Uri.parse(rest)
    module = tokens.module_path(uri)

    def look(pin: str | None) -> list[PublicKey]:
        with tokens.find_token(module, uri).open(user_pin=pin) as session:
            kind = tokens.library().ObjectClass.PUBLIC_KEY
            found = tokens.objects(session, kind, label=uri.label, key_id=uri.id)
            return [tokens.to_public(key, uri) for key in found]

    found = _patiently(lambda: look(None), uri, access.say)
    if not found:
        pin = _pin(uri, access)
        found = _patiently(lambda: look(pin), uri, access.say)
    public: PublicKey = tokens.only(found, uri)
    return public


def _exists(rest: str) -> bool:
    """Whether the token is there; what is in it, it may show only to those who know its PIN."""
    uri = Pkcs11Uri.parse(rest)
    module = tokens.module_path(uri)
    return bool(_patiently(lambda: tokens.tokens(module, uri), uri, lambda _: None))


def _generate(rest: str, scheme: Scheme, access: Access) -> PublicKey:
    uri = Pkcs11Uri.parse(rest)
    module = tokens.module_path(uri)
    token = _patiently(lambda: tokens.find_token(module, uri), uri, access.say)
    pin = _pin(uri, access)

    def make() -> PublicKey:
        pkcs11 = tokens.library()
        kind, curve = (
            (pkcs11.KeyType.EC_EDWARDS, _ED25519)
            if scheme == "ed25519"
            else (pkcs11.KeyType.EC, pkcs11.util.ec.encode_named_curve_parameters("secp256r1"))
        )
        with token.open(user_pin=pin, rw=True) as session:
            for what in (pkcs11.ObjectClass.PRIVATE_KEY, pkcs11.ObjectClass.PUBLIC_KEY):
                if tokens.objects(session, what, label=uri.label, key_id=uri.id):
                    raise ConfigError(f"there is a {uri.name} already", hint="keys are never overwritten")
            parameters = session.create_domain_parameters(kind, {pkcs11.Attribute.EC_PARAMS: curve}, local=True)
            public, _ = parameters.generate_keypair(
                # At random, so that no two keys share one; `_hsm_signer` says why no zero comes first.
                id=uri.id or bytes([1 + secrets.randbelow(255)]) + secrets.token_bytes(7),
                label=uri.label,
                store=True,
                capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
                private_template={pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False},
            )
            return tokens.to_public(public, uri)

    return _patiently(make, uri, access.say)


def _pin(uri: Pkcs11Uri, access: Access) -> str:
    pin = access.passphrase(f"PIN of the {uri.place}")
    if pin is None:
        raise SigningError(
            f"{uri.place} is locked and there is nobody to ask for its PIN",
            hint="use `--passphrase-file FILE` or `--passphrase-fd N`",
        )
    try:
        return pin.decode()
    except UnicodeDecodeError:
        raise SigningError(f"{uri.place} does not open with this PIN: it is not UTF-8") from None


def _patiently(work: Callable[[], _Result], uri: Pkcs11Uri, say: Say) -> _Result:
    """Let a token work in a thread of its own, so that a person is told that it waits, and may give up at any time.

    A call into a module cannot be taken back: after a time-out it goes on until the token answers or the process ends,
    and what it answers then goes nowhere.

    Raises:
        SigningError: It refuses, or does not answer within a minute.
    """
    if not _in_use.acquire(timeout=_GIVE_UP_AFTER):
        raise _silent(uri)
    results: list[_Result] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001  -- raised again where somebody waits
            errors.append(error)
        finally:
            _in_use.release()

    thread = threading.Thread(target=run, name="token", daemon=True)
    thread.start()
    thread.join(_SAY_AFTER)
    if thread.is_alive():
        say(f"waiting for {uri.place}: does it want to be touched?")
        thread.join(_GIVE_UP_AFTER - _SAY_AFTER)
    if errors:
        if isinstance(errors[0], CarnetError):
            raise errors[0]
        raise tokens.refusal(errors[0], uri) from errors[0]
    if not results:
        raise _silent(uri)
    return results[0]


def _silent(uri: Pkcs11Uri) -> SigningError:
    return SigningError(
        f"{uri.place} did not answer within {_GIVE_UP_AFTER:.0f} s", hint="touch it in time, or plug it in anew"
    )


BACKEND = Backend(
    schemes=("pkcs11",),
    form="pkcs11:token=TOKEN;object=NAME",
    meaning="a key in a token (RFC 7512). Its module: the variable PYKCS11LIB, or ?module-path=FILE after the name",
    open=_open,
    read_public=_read_public,
    exists=_exists,
    generate=_generate,
)
