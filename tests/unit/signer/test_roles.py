"""What we write is what python-tuf would write: the same signed bytes, and a file that it reads."""

from __future__ import annotations

from datetime import timedelta, timezone

from securesystemslib.signer import CryptoSigner
from tests.support.worlds.ceremony import NOW, make_ceremony, make_key
from tests.support.worlds.changes import claim
from tests.support.worlds.publication import MemoryPublication
from tuf.api.metadata import Metadata
from tuf.api.serialization.json import CanonicalJSONSerializer

from carnet import strictjson
from carnet.tuf.keys import PublicKey
from carnet.tuf.read import parse_role
from carnet.tuf.roles import RoleKeys, Root
from carnet_signer.metadata import role_files
from carnet_signer.metadata.publish import Change, publish


def published() -> dict[str, bytes]:
    ceremony, publication = make_ceremony(), MemoryPublication()
    online = ceremony.signer()
    publish(publication, online, ceremony.change, now=NOW)
    publish(publication, online, claim(ceremony), now=NOW)
    publish(publication, online, Change({"index/se/rd/serde": b"line\n"}), now=NOW)
    return {path: data for path, data in publication.files.items() if path.startswith("metadata/")}


def test_every_published_file_is_what_python_tuf_would_sign() -> None:
    for path, data in published().items():
        read = Metadata.from_bytes(data)
        signed = CanonicalJSONSerializer().serialize(read.signed)
        assert b',"signed":' + signed + b"}" in data, path


def test_a_key_in_pem_stands_in_a_file_that_every_json_parser_takes() -> None:
    """Canonical JSON keeps its line breaks as they are; JSON forbids them inside a string."""
    ecdsa = PublicKey.from_object(CryptoSigner.generate_ecdsa().public_key.to_dict())
    mixed = RoleKeys((ecdsa, make_key("other").public_key), 1)
    top = dict.fromkeys(("root", "timestamp", "snapshot", "targets"), mixed)
    message = strictjson.canonical(role_files.root(1, NOW + timedelta(days=1), top))
    assert b"\n" in message
    data = role_files.file_bytes(message, [make_key("other").sign(message)])
    ours = parse_role(data, Root, max_bytes=100_000)
    assert ours.message == message
    mixed.check(ours, "root", "")
    theirs = Metadata.from_bytes(data)
    assert CanonicalJSONSerializer().serialize(theirs.signed) == message


def test_times_are_whole_seconds_in_utc() -> None:
    moment = NOW.replace(microsecond=999_999).astimezone(timezone(timedelta(hours=5)))
    assert role_files.targets(1, moment)["expires"] == "2026-11-23T12:00:00Z"
