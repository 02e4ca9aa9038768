"""Envelopes, bundles, terms and tag records as they are read: every part has its type, its size and one meaning."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, FormatError, RuleViolation
from carnet.intoto.bundle import MAX_LINKS, Bundle
from carnet.intoto.dsse import MAX_SIGNATURES, PAYLOAD_TYPE, Envelope
from carnet.intoto.duties import Terms
from carnet.intoto.steps import TagRecord
from carnet.level import Level
from carnet.tuf.keys import Signature

KEYID = "ab" * 32
ENVELOPE = Envelope(b"{}", (Signature(KEYID, b"signature"),))
OBJECT = ENVELOPE.to_object()
SIG = {"keyid": KEYID, "sig": "eA=="}

WRONG_ENVELOPES: dict[str, tuple[Any, str]] = {
    "a list": ([], "needs payload, payloadType and signatures"),
    "nothing": (None, "needs payload, payloadType and signatures"),
    "no payload": ({name: OBJECT[name] for name in ("payloadType", "signatures")}, "needs payload"),
    "a payload that is an object": (OBJECT | {"payload": {}}, "needs payload"),
    "no signatures": (OBJECT | {"signatures": None}, "needs payload"),
    "another payload": (OBJECT | {"payloadType": "text/plain"}, f"holds 'text/plain', not {PAYLOAD_TYPE}"),
    "a payload type with more": (OBJECT | {"payloadType": PAYLOAD_TYPE + "+x"}, f"not {PAYLOAD_TYPE}"),
    "signatures without end": (OBJECT | {"signatures": [SIG] * (MAX_SIGNATURES + 1)}, "has more than"),
    "one key twice": (OBJECT | {"signatures": [SIG, SIG | {"sig": "eQ=="}]}, "two signatures of one key id"),
    "a signature that is a text": (OBJECT | {"signatures": ["eA=="]}, "each signature needs keyid"),
    "a signature of nobody": (OBJECT | {"signatures": [{"sig": "eA=="}]}, "each signature needs keyid"),
    "a key id that is none": (OBJECT | {"signatures": [SIG | {"keyid": "ann"}]}, "each signature needs keyid"),
    "a key id in capitals": (OBJECT | {"signatures": [SIG | {"keyid": "AB" * 32}]}, "each signature needs keyid"),
    "a long signature": (OBJECT | {"signatures": [SIG | {"sig": "A" * 8196}]}, "each signature needs keyid"),
    "a signature that is not base64": (OBJECT | {"signatures": [SIG | {"sig": "e"}]}, "is not base64"),
    "a payload that is not base64": (OBJECT | {"payload": "e30=\n"}, "the payload of it is not base64"),
    "a payload in the URL's base64": (OBJECT | {"payload": "-_-_"}, "the payload of it is not base64"),
    "a payload of other letters": (OBJECT | {"payload": "\u00e4"}, "the payload of it is not base64"),
}


@pytest.mark.parametrize("name", WRONG_ENVELOPES)
def test_what_is_no_envelope_is_refused(name: str) -> None:
    assert Envelope.from_object(OBJECT, "it") == ENVELOPE
    value, why = WRONG_ENVELOPES[name]
    with pytest.raises(FormatError, match=why.replace("+", r"\+").replace(".", r"\.")):
        Envelope.from_object(value, "it")


BUNDLE = Bundle(b"layout", {"test": (ENVELOPE,)}, (ENVELOPE,))

WRONG_BUNDLES: dict[str, tuple[dict[str, Any], str]] = {
    "another type": ({"_type": "bundle"}, "a bundle needs"),
    "another version": ({"version": 2}, "a bundle needs"),
    "no layout": ({"layout": None}, "a bundle needs"),
    "links in a list": ({"links": [OBJECT]}, "a bundle needs"),
    "no statements": ({"statements": None}, "a bundle needs"),
    "a step that leads elsewhere": ({"links": {"../test": [OBJECT]}}, "'../test' is not one"),
    "a step without name": ({"links": {"": [OBJECT]}}, "'' is not one"),
    "a step that is a link": ({"links": {"test": OBJECT}}, "'test' is not one"),
    "a link that is none": ({"links": {"test": [1]}}, "a link of step test needs payload"),
    "a statement that is none": ({"statements": [1]}, "a statement needs payload"),
    "a layout that is not base64": ({"layout": "!"}, "the layout of a bundle is not base64"),
    "links without end": (
        {"links": {"test": [OBJECT] * (MAX_LINKS + 1)}},
        f"more than {MAX_LINKS} links or statements",
    ),
    "links of many steps": (
        {"links": {"test": [OBJECT] * MAX_LINKS, "review": [OBJECT]}},
        f"more than {MAX_LINKS} links or statements",
    ),
    "statements without end": (
        {"statements": [OBJECT] * (MAX_LINKS + 1)},
        f"more than {MAX_LINKS} links or statements",
    ),
}


@pytest.mark.parametrize("name", WRONG_BUNDLES)
def test_what_is_no_bundle_is_refused(name: str) -> None:
    assert Bundle.from_bytes(BUNDLE.to_bytes()) == BUNDLE
    fields, why = WRONG_BUNDLES[name]
    with pytest.raises(FormatError, match=why):
        Bundle.from_bytes(json.dumps(json.loads(BUNDLE.to_bytes()) | fields).encode())


WRONG_TERMS: dict[str, tuple[dict[str, Any], str]] = {
    "a level that is a number": ({"least_level": 1}, "by type"),
    "duties that are a text": ({"separate_duties": "tag"}, "by type"),
    "people in a list": ({"people": []}, "by type"),
    "generated files as an object": ({"generated": {}}, "by type"),
    "a duty that is a text": ({"separate_duties": ["tag"]}, "must be lists of step names"),
    "a duty that is no step": ({"separate_duties": [["tag", "Test"]]}, "must be lists of step names"),
    "a duty that is a number": ({"separate_duties": [["tag", 1]]}, "must be lists of step names"),
    "a person by name": ({"people": {"ann": "ann"}}, "a person for each key id"),
    "a person who is a number": ({"people": {KEYID: 1}}, "a person for each key id"),
    "nobody": ({"people": {KEYID: ""}}, "is not a person's id"),
    "a person of many words": ({"people": {KEYID: "a" * 101}}, "is not a person's id"),
    "a generated file that is a number": ({"generated": [1]}, "must be a list of paths"),
    "a generated file elsewhere": ({"generated": ["../evil.rs"]}, "not a normalised relative path"),
    "no such level": ({"least_level": "high"}, "high"),
}


@pytest.mark.parametrize("name", WRONG_TERMS)
def test_what_are_no_terms_is_refused(name: str) -> None:
    assert Terms.from_custom({"people": {KEYID: "a" * 100}}).least_level == Level.PROVENANCE
    fields, why = WRONG_TERMS[name]
    with pytest.raises(CarnetError, match=why):
        Terms.from_custom(fields)


def test_who_tags_never_packages() -> None:
    with pytest.raises(FormatError, match="the steps tag and package must be kept apart"):
        Terms(separate=frozenset())


# --- the tag's record ---

CRATE = CrateId.of("demo", "1.0.0")
FILES = {"Cargo.toml": sha256_hex(b"[workspace]"), "run.sh": sha256_hex(b"#!")}
TAG = TagRecord(
    FILES,
    frozenset({"run.sh"}),
    "0" * 40,
    ("Cargo.toml",),
    "lock",
    "cargo 1.95.0",
    manifests={"Cargo.toml": "[workspace]"},
)

WRONG_TAGS: dict[str, tuple[dict[str, Any], type[CarnetError], str]] = {
    "no commit": ({"commit": None}, FormatError, "lack the commit"),
    "notes that are a text": ({"notes": "none"}, FormatError, "lack the commit"),
    "a branch": ({"commit": "main"}, FormatError, "'main' is not a commit id"),
    "a short commit": ({"commit": "0" * 39}, FormatError, "is not a commit id"),
    "another commit": ({"commit": "1" * 40}, RuleViolation, "does not add up"),
    "a folder elsewhere": ({"path-in-vcs": "../demo"}, FormatError, "not a normalised relative path"),
    "another listing": ({"list": "Cargo.toml\nevil.rs\n"}, RuleViolation, "does not add up"),
    "another lock": ({"lock": "another"}, RuleViolation, "does not add up"),
    "another toolchain": ({"toolchain": "cargo 1.0.0"}, RuleViolation, "does not add up"),
    "another file executable": ({"executable": ["Cargo.toml"]}, RuleViolation, "does not add up"),
    "an executable that is not there": ({"executable": ["evil.sh"]}, RuleViolation, "not in its source"),
    "an executable that is a number": ({"executable": [1]}, RuleViolation, "not in its source"),
    "another manifest": ({"manifests": {"Cargo.toml": "[package]"}}, RuleViolation, "is not the tagged file"),
    "a manifest that is not there": ({"manifests": {"evil.toml": ""}}, RuleViolation, "is not the tagged file"),
    "a manifest that is a number": ({"manifests": {"Cargo.toml": 1}}, RuleViolation, "is not the tagged file"),
}


@pytest.mark.parametrize("name", WRONG_TAGS)
def test_a_tag_that_does_not_add_up_is_refused(name: str) -> None:
    link = TAG.link(CRATE)
    assert TagRecord.from_link(link, CRATE) == TAG
    fields, error, why = WRONG_TAGS[name]
    with pytest.raises(error, match=why):
        TagRecord.from_link(replace(link, byproducts=dict(link.byproducts) | fields), CRATE)


@pytest.mark.parametrize("change", [{"demo-1.0.0/src/evil.rs": "0" * 64}, {"demo-1.0.0/src/run.sh": "0" * 64}])
def test_a_tag_of_other_files_is_refused(change: dict[str, str]) -> None:
    link = TAG.link(CRATE)
    with pytest.raises(CarnetError):
        TagRecord.from_link(replace(link, products=dict(link.products) | change), CRATE)


def test_base64_is_what_was_encoded() -> None:
    assert base64.b64decode(str(OBJECT["payload"])) == ENVELOPE.payload
