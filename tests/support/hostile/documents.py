"""JSON, role files, links and index files that cost as much as they can."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.hostile.measure import Hostile

from carnet import strictjson, stricttoml
from carnet.cargo.index_file import IndexFile
from carnet.cargo.names import CrateName, Version
from carnet.claims.submission import Submission
from carnet.digests import sha256_hex
from carnet.errors import CarnetError
from carnet.intoto.bundle import Bundle
from carnet.intoto.values import Link
from carnet.tuf.read import parse_role, read_envelope
from carnet.tuf.roles import Targets

_ANY = 10**12


def _said(read: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """What a reader says, refusals included; any other error ends the measurement."""

    def outcome(data: bytes) -> object:
        try:
            read(data)
        except CarnetError as error:
            return f"{type(error).__name__}: {error}"
        return "read"

    return outcome


def _json(name: str, make: Callable[[int], bytes]) -> Hostile:
    return Hostile(f"JSON: {name}", make, _said(lambda data: strictjson.parse(data, "it", max_bytes=_ANY)))


def _many(item: bytes) -> Callable[[int], bytes]:
    return lambda size: b"[" + item * (size // len(item)) + b"0]"


def _pairs(form: str) -> Callable[[int], bytes]:
    def make(size: int) -> bytes:
        return b"{" + b",".join((form % number).encode() for number in range(size // (len(form) + 4))) + b"}"

    return make


JSON = (
    _json("empty objects", _many(b"{},")),
    _json("empty lists", _many(b"[],")),
    _json("objects in objects", _many(b'{"":{}},')),
    _json("objects with blanks", _many(b'{"": {}},')),
    _json("lists in lists", _many(b"[[]],")),
    _json("keys", _pairs('"%d":0')),
    _json("escaped keys", _pairs('"\\u0061%d":0')),
    _json("one key again and again", _many(b'{"a":0,"a":1},')),
    _json("small integers", _many(b"7,")),
    _json("large integers", _many(b"18446744073709551615,")),
    _json("an endless integer", lambda size: b"[" + b"9" * size + b"]"),
    _json("floats", _many(b"0.5,")),
    _json("a float at the end", lambda size: b"[" + b"0," * (size // 2) + b"0.5]"),
    _json("empty strings", _many(b'"",')),
    _json("strings", _many(b'"abc",')),
    _json("strings with blanks", _many(b'"abc", ')),
    _json("wide strings", _many('"\U0001f600a",'.encode())),
    _json("a wide string", lambda size: b'["' + "\U0001f600".encode() + b"a" * size + b'"]'),
    _json("controls", lambda size: b'["' + b"\\u0000" * (size // 6) + b'"]'),
    _json("line breaks", lambda size: b'["' + b"\\n" * (size // 2) + b'"]'),
    _json("surrogates", lambda size: b'["' + b"\\ud83d\\ude00" * (size // 12) + b'"]'),
    _json("lone surrogates", lambda size: b'["' + b"\\ud83d" * (size // 6) + b'"]'),
    _json("depth", lambda size: b"[" * size),
    _json("depth that is allowed", _many(b"[" * 50 + b"]" * 50 + b",")),
    _json("white space", lambda size: b"[" + b" " * size + b"]"),
    _json("blank objects", _many(b"{ },")),
    _json("bytes that are no UTF-8", lambda size: b'["' + b"a" * size + b'\xff"]'),
)


def _toml(name: str, make: Callable[[int], bytes]) -> Hostile:
    return Hostile(f"TOML: {name}", make, _said(lambda data: stricttoml.parse(data, "it", max_bytes=_ANY)))


def _lines(form: str) -> Callable[[int], bytes]:
    """Lines of a form, each with a number; as dense as is read, where its syntax weighs a quarter of its bytes."""
    return lambda size: b"".join((form % number).encode() for number in range(size // len(form % 1_000_000)))


def _array(item: bytes) -> Callable[[int], bytes]:
    return lambda size: b"a = [" + item * (size // len(item)) + b"0]\n"


TOML = (
    _toml("keys, as many as are read", _lines("a%07d=123456789012345678                \n")),
    _toml("keys", _lines("a%07d=1\n")),
    _toml("tables, as many as are read", _lines("[t%07d_____________________________]\n")),
    _toml("tables", _lines("[t%07d]\n")),
    _toml(
        "arrays of tables, as many as are read",
        lambda size: b"[[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]]\n" * (size // 54),
    ),
    _toml("dotted keys, as many as are read", _lines("a.b.c.d%07d.e.f" + "_" * 116 + "=1\n")),
    _toml("dotted keys without end", lambda size: b"a." * (size // 2) + b"a=1\n"),
    _toml("inline tables, as many as are read", _lines('a%07d={k="______________________________________________"}\n')),
    _toml("integers, as many as are read", _array(b"1234567890123456789                    ,")),
    _toml("floats, as many as are read", _array(b"0.1234567890123                             ,\n")),
    _toml("an endless integer", lambda size: b"a = " + b"9" * size + b"\n"),
    _toml("times, as many as are read", _array(b"2026-11-27T00:00:00Z                                    ,")),
    _toml("strings, as many as are read", _array(b'"abcdefghi",')),
    _toml("one string", lambda size: b'a = "' + b"x" * size + b'"\n'),
    _toml("escapes, as many as are read", lambda size: b'a = "' + b"\\u00e9xxxxxx" * (size // 12) + b'"\n'),
    _toml("a string of lines", lambda size: b'a = """' + b"x\n" * (size // 2) + b'"""\n'),
    _toml("comments, as many as are read", lambda size: b"#xxxxxx\n" * (size // 8)),
    _toml("line breaks", lambda size: b"\n" * size),
    _toml("blanks", lambda size: b"a =" + b" " * size + b"1\n"),
    _toml("depth", lambda size: b"a = " + b"[" * size),
    _toml("bytes that are no UTF-8", lambda size: b'a = "' + b"x" * size + b'\xff"\n'),
)


@cache
def _key(number: int) -> tuple[str, object]:
    """One P-256 key, under as many ids as one likes."""
    key: object = {
        "keytype": "ecdsa",
        "scheme": "ecdsa-sha2-nistp256",
        "keyval": {"public": _pem()},
        "n": number,
    }
    return sha256_hex(strictjson.canonical(key)), key


@cache
def _pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _role(targets: object, keys: object, signatures: object = ()) -> bytes:
    delegation = {
        "name": "crate.demo",
        "keyids": list(keys)[:1] if isinstance(keys, dict) else [],
        "threshold": 1,
        "terminating": True,
        "paths": [],
    }
    signed = {
        "_type": "targets",
        "spec_version": "1.0.31",
        "version": 2,
        "expires": "2030-01-01T00:00:00Z",
        "targets": targets,
        "delegations": {"keys": keys, "roles": [delegation]},
    }
    return json.dumps({"signatures": signatures, "signed": signed}, separators=(",", ":"), sort_keys=True).encode()


def role_of_keys(size: int) -> bytes:
    """A role with as many keys as fit."""
    return _role({}, dict(_key(number) for number in range(size // 330)))


def role_of_targets(size: int) -> bytes:
    """A role with as many targets as fit."""
    entry = {"length": 1, "hashes": {"sha256": "0" * 64}, "custom": {"index": "0" * 64, "yanked": False}}
    return _role({f"crates/00/demo/demo-9.{number}.0.crate": entry for number in range(size // 220)}, {})


def role_of_signatures(size: int) -> bytes:
    """A role with as many signatures as fit."""
    return _role({}, {}, [{"keyid": f"{number:064x}", "sig": "00" * 64} for number in range(size // 210)])


def _submission_of_lengths(size: int) -> bytes:
    listed = b",".join(b'{"name":"targets/%d","length":0}' % number for number in range(256))
    header = b'{"crate":"demo","files":[' + listed + b"]}"
    return b"carnet-submission 1\n" + len(header).to_bytes(4, "little") + header + bytes(size)


def _link(size: int) -> bytes:
    products = ",".join(f'"src/{number}":{{"sha256":"{"0" * 64}"}}' for number in range(size // 85))
    text = '{"_type":"link","name":"tag","materials":{},"byproducts":{},"environment":{},"command":[],"products":{'
    return f"{text}{products}}}}}".encode()


def _bundle(size: int) -> bytes:
    envelope = {"payloadType": "x", "payload": "A" * 1000, "signatures": [{"keyid": "0" * 64, "sig": "AAAA"}]}
    return json.dumps({"layout": envelope, "links": {"tag": [envelope] * (size // 1200)}, "statements": []}).encode()


def _index(data: bytes) -> object:
    return IndexFile.from_bytes(data, CrateName("demo")).line(Version("1.0.0"))


def _index_lines(size: int) -> bytes:
    line = '{"name":"demo","vers":"1.0.%d","deps":[],"cksum":"%064d","features":{},"yanked":false}\n'
    return "".join(line % (number, number) for number in range(size // 140)).encode()


def _index_features(size: int) -> bytes:
    features = ",".join(f'"f{number}":["g{number}"]' for number in range(size // 20))
    line = f'"name":"demo","vers":"1.0.0","deps":[],"cksum":"{0:064}","features":{{{features}}},"yanked":false'
    return f"{{{line}}}\n".encode()


def _index_dependencies(size: int) -> bytes:
    dep = '{"name":"a","req":"^1","features":[],"optional":false,"default_features":true,"target":null,"kind":"normal"}'
    deps = ",".join([dep] * (size // 110))
    return (
        f'{{"name":"demo","vers":"1.0.0","deps":[{deps}],"cksum":"{0:064}","features":{{}},"yanked":false}}\n'.encode()
    )


_parse = _said(lambda data: parse_role(data, Targets, max_bytes=_ANY))
_unsigned = _said(lambda data: read_envelope(data, "a role", max_bytes=_ANY))

INPUTS = (
    *JSON,
    *TOML,
    Hostile("role: keys", role_of_keys, _parse),
    Hostile("role: targets", role_of_targets, _parse),
    Hostile("role: targets, before its signatures", role_of_targets, _unsigned),
    Hostile("role: signatures", role_of_signatures, _parse),
    Hostile("link: artifacts", _link, _said(Link.from_payload)),
    Hostile("bundle: links", _bundle, _said(Bundle.from_bytes)),
    Hostile("index: lines", _index_lines, _said(_index)),
    Hostile("index: line breaks", lambda size: b"\n" * size, _said(_index)),
    Hostile("index: short lines", lambda size: b"{}\n" * (size // 3), _said(_index)),
    Hostile("index: features", _index_features, _said(_index)),
    Hostile("index: dependencies", _index_dependencies, _said(_index)),
    Hostile("submission: files", _submission_of_lengths, _said(Submission.from_bytes)),
    Hostile("submission: noise", lambda size: b"carnet-submission 1\n" + b"\xff" * size, _said(Submission.from_bytes)),
)
