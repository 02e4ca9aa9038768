"""Tokens that speak PKCS#11: the module that reaches one, the token that a URI names, and the keys in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carnet.errors import ConfigError, FormatError, SigningError
from carnet.tuf.keys import PublicKey
from carnet_signer.keys.pkcs11_uri import Pkcs11Uri
from carnet_signer.keys.public import from_cryptography

if TYPE_CHECKING:
    from pkcs11 import ObjectClass, Session, Token

MODULE_VARIABLE = "PYKCS11LIB"
"""securesystemslib finds the PKCS#11 module by this variable and by nothing else; so it is ours as well."""
_WRONG_PIN = ("PinIncorrect", "PinInvalid", "PinLenRange")
_GONE = ("TokenNotPresent", "TokenNotRecognised", "DeviceRemoved", "SlotIDInvalid", "SessionHandleInvalid")
_OCTETS_OF_32 = b"\x04\x20"


def library() -> Any:
    """python-pkcs11, imported when the first token is looked for: most people have none, and no extra `hsm`.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import pkcs11
    except ImportError:
        raise ConfigError(
            "keys in tokens need the extra `hsm`, which is not installed",
            hint="in a checkout: `pip install '.[hsm]'`; with a wheel: `pip install './THE-WHEEL.whl[hsm]'`",
        ) from None
    return pkcs11


def module_path(uri: Pkcs11Uri) -> str:
    """The shared library that reaches the token: code that will run in this process.

    Raises:
        ConfigError: It is not named, not there, or others may replace it.
    """
    path = uri.module or Path(os.environ.get(MODULE_VARIABLE, ""))
    if path == Path():
        raise ConfigError(
            f"say which PKCS#11 module reaches {uri.place}",
            hint=f"end the URI with '?module-path=/usr/lib/softhsm/libsofthsm2.so', or set {MODULE_VARIABLE} to it",
        )
    if not path.is_absolute():
        raise ConfigError(
            f"PKCS#11 module {str(path)!a} is not named by its whole path",
            hint="write it from the root on, as in module-path=/usr/lib/softhsm/libsofthsm2.so",
        )
    try:
        real = path.resolve(strict=True)
        file, folder = real.stat(), real.parent.stat()
    except OSError as error:
        raise ConfigError(
            f"PKCS#11 module {str(path)!a}: {(error.strerror or 'cannot be read').lower()}",
            hint="install the token's PKCS#11 library, or name where it is with module-path=",
        ) from None
    if not stat.S_ISREG(file.st_mode):
        raise ConfigError(
            f"PKCS#11 module {str(path)!a} is not a regular file",
            hint="name the library itself, a file that ends in .so",
        )
    mine = {0, os.geteuid()}
    if not {file.st_uid, folder.st_uid} <= mine or (file.st_mode | folder.st_mode) & stat.S_IWOTH:
        raise ConfigError(
            f"PKCS#11 module {str(path)!a} is another user's, or everybody may replace it",
            hint="it runs with your PIN in hand: use the one that your system installed, or `chmod go-w` it",
        )
    return str(real)


def tokens(module: str, uri: Pkcs11Uri) -> list[Token]:
    """The tokens that a URI names, among those that a module reaches."""
    pkcs11 = library()
    found = []
    for slot in pkcs11.lib(module).get_slots(token_present=True):
        token = slot.get_token()
        says = {
            "token": token.label,
            "serial": token.serial.decode("utf-8", "replace"),
            "model": token.model,
            "manufacturer": token.manufacturer_id,
        }
        if pkcs11.TokenFlag.TOKEN_INITIALIZED in token.flags and uri.token.items() <= says.items():
            found.append(token)
    return found


def find_token(module: str, uri: Pkcs11Uri) -> Token:
    """The one token that a URI names.

    Raises:
        SigningError: There is none, or more than one.
    """
    found = tokens(module, uri)
    if not found:
        raise SigningError(f"there is no {uri.place}", hint="is it plugged in, and is this the module that reaches it?")
    if len(found) > 1:
        raise SigningError(f"there is more than one {uri.place}", hint="add ;serial= to the URI")
    return found[0]


def objects(session: Session, what: ObjectClass, *, label: str | None = None, key_id: bytes | None = None) -> list[Any]:
    """The objects of a class with this label and this id, as far as the session may see them."""
    attribute = library().Attribute
    wanted: dict[Any, Any] = {attribute.CLASS: what}
    if label is not None:
        wanted[attribute.LABEL] = label
    if key_id is not None:
        wanted[attribute.ID] = key_id
    return list(session.get_objects(wanted))


def only(found: list[Any], uri: Pkcs11Uri) -> Any:
    """The one object that was found.

    Raises:
        SigningError: There is none, or more than one.
    """
    if not found:
        raise SigningError(f"there is no {uri.name}", hint="the tool that came with the token lists what is in it")
    if len(found) > 1:
        raise SigningError(f"there is more than one {uri.name}", hint="name it by both object= and id=")
    return found[0]


def private_key(session: Session, uri: Pkcs11Uri) -> Any:
    """The one private key that a URI names; as for `only`."""
    return only(objects(session, library().ObjectClass.PRIVATE_KEY, label=uri.label, key_id=uri.id), uri)


def id_of(session: Session, private: Any, uri: Pkcs11Uri) -> bytes:
    """A private key's id, by which its public half is found, and which no other private key may have.

    Raises:
        SigningError: It has none, or shares it.
    """
    pkcs11 = library()
    key_id: bytes = private[pkcs11.Attribute.ID]
    if not key_id or len(objects(session, pkcs11.ObjectClass.PRIVATE_KEY, key_id=key_id)) > 1:
        raise SigningError(
            f"{uri.name} has no id of its own in the token",
            hint="give it one with the tool that came with the token, and the same to its public half",
        )
    return key_id


def public_half(session: Session, key_id: bytes, uri: Pkcs11Uri) -> PublicKey:
    """The public half of the private key with this id.

    Raises:
        SigningError: The token does not hold it, or it is of a kind that carnet does not use.
    """
    found = objects(session, library().ObjectClass.PUBLIC_KEY, key_id=key_id)
    if not found:
        raise SigningError(f"the public half of {uri.name} is not in the token", hint="store it there, by the same id")
    return to_public(only(found, uri), uri)


def to_public(key: Any, uri: Pkcs11Uri) -> PublicKey:
    """A public key in a token, as metadata carries it.

    Raises:
        SigningError: Neither Ed25519 nor ECDSA P-256.
    """
    pkcs11 = library()
    kind = key[pkcs11.Attribute.KEY_TYPE]
    try:
        if kind == pkcs11.KeyType.EC_EDWARDS:
            # Octets in DER since PKCS#11 3.0; some tokens give the 32 bytes alone.
            return PublicKey.ed25519(key[pkcs11.Attribute.EC_POINT].removeprefix(_OCTETS_OF_32))
        if kind == pkcs11.KeyType.EC:
            return _p256(pkcs11.util.ec.encode_ec_public_key(key))
    except (FormatError, ValueError):
        pass
    raise SigningError(f"{uri.name} is neither an Ed25519 nor an ECDSA P-256 key")


def _p256(der: bytes) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    public = load_der_public_key(der)
    if not isinstance(public, EllipticCurvePublicKey):
        raise FormatError("not an elliptic curve")
    return from_cryptography(public)


def refusal(error: Exception, uri: Pkcs11Uri) -> SigningError:
    """What python-pkcs11 or securesystemslib raised, in words that a person can act on."""
    kind = type(error).__name__
    if kind in _WRONG_PIN:
        return SigningError(
            f"{uri.place} does not open with this PIN",
            hint="a token locks itself after a few wrong PINs: look twice before you try again",
        )
    if kind == "PinLocked":
        return SigningError(f"{uri.place} is locked after too many wrong PINs", hint="its own tool unlocks it")
    if kind in _GONE:
        return SigningError(f"{uri.place} is gone", hint="put it back, and start again")
    if kind == "MechanismInvalid":
        return SigningError(f"{uri.place} does not know this kind of key", hint="most know ecdsa, few ed25519")
    return SigningError(f"{uri.place} does not work: {kind}{f' ({error})' if str(error) else ''}")
