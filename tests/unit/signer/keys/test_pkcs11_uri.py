"""PKCS#11 URIs: what RFC 7512 writes is read, a PIN in one is refused, and nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from carnet.errors import ConfigError
from carnet_signer.keys.pkcs11_uri import Pkcs11Uri


def test_what_p11tool_prints_is_read() -> None:
    read = Pkcs11Uri.parse(
        "model=SoftHSM%20v2;manufacturer=SoftHSM%20project;serial=235cd7acdff410d1;token=my%20desk;"
        "id=%01%ff;object=alice%3b;type=private?module-path=/usr/lib/softhsm/libsofthsm2.so"
    )
    assert read.token == {
        "model": "SoftHSM v2",
        "manufacturer": "SoftHSM project",
        "serial": "235cd7acdff410d1",
        "token": "my desk",
    }
    assert read.id == b"\x01\xff"
    assert read.label == "alice;"
    assert read.module == Path("/usr/lib/softhsm/libsofthsm2.so")
    assert read.name == "key alice; in token my desk"


def test_the_least_is_a_token_and_a_key() -> None:
    assert Pkcs11Uri.parse("token=desk;object=alice") == Pkcs11Uri({"token": "desk"}, "alice", None, None)
    assert Pkcs11Uri.parse("serial=1;id=%02") == Pkcs11Uri({"serial": "1"}, None, b"\x02", None)
    assert Pkcs11Uri.parse("serial=1;id=%02").name == "key id 02 in token 1"


@pytest.mark.parametrize("rest", ["", "token=desk", "object=alice", "model=X;object=alice", "?module-path=/x.so"])
def test_a_uri_that_leaves_token_or_key_open_is_refused(rest: str) -> None:
    with pytest.raises(ConfigError, match=r"names a token .* and a key"):
        Pkcs11Uri.parse(rest)


@pytest.mark.parametrize("secret", ["pin-value=1234", "pin-source=file:/tmp/pin", "pin-source=|cat%20pin"])
@pytest.mark.parametrize("separator", ["?", "?module-path=/x.so&", ";"])
def test_a_pin_is_not_taken_from_a_uri(secret: str, separator: str) -> None:
    with pytest.raises(ConfigError, match="which others can read") as refused:
        Pkcs11Uri.parse(f"token=desk;object=alice{separator}{secret}")
    assert "1234" not in str(refused.value) + refused.value.hint
    assert "--passphrase-file" in refused.value.hint


@pytest.mark.parametrize(
    "rest",
    [
        "token=desk;object=alice;slot-id=1",  # slots are numbered anew when something is plugged in
        "token=desk;object=alice;x-mine=1",
        "token=desk;object=alice;module-path=/x.so",
        "token=desk;object=alice?object=bob",
        "token=desk;object=alice?module-name=softhsm2",
        "token=desk;object=alice;",
        "token=desk;;object=alice",
        "token=desk;object",
        "token=desk;object=",
        "token=desk;token=desk;object=alice",
        "token=desk;object=%4",
        "token=desk;object=%zz",
        "token=desk;object=%ff",
        "token=desk;object=a\nb",
        "token=desk;object=alice;type=cert",
        "token=desk;object=alice?module-path=/x.so?module-path=/y.so&",
    ],
)
def test_what_is_written_wrong_or_not_known_is_refused(rest: str) -> None:
    with pytest.raises(ConfigError):
        Pkcs11Uri.parse(rest)


def test_names_cannot_move_the_cursor() -> None:
    assert "\x1b" not in Pkcs11Uri.parse("token=%1b%5b2J;object=%1b").name
