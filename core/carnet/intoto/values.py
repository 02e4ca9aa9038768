"""in-toto links, layouts and artifact rules as strict frozen values.

A payload is the *classic* in-toto link or layout (`_type` is `link` or `layout`), because in-toto 3.1 loads no other,
in a DSSE envelope. Reading caps the size first, refuses duplicate keys, and accepts only what has one meaning:
artifacts are normalised relative paths with one sha256 each, key ids are recomputed.

These values say what was written, not whether it may be trusted: `carnet.intoto.layout_lint` judges layouts, and
`carnet_verifier.provenance.provenance` checks signatures and rules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from carnet import strictjson, times
from carnet.errors import FormatError
from carnet.intoto.dsse import MAX_ENVELOPE, Envelope
from carnet.tuf.keys import PublicKey, is_keyid

MAX_LAYOUT = 512 * 1024
MAX_ARTIFACTS = 50_000
MAX_ARTIFACT_PATH = 1024

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
_NO_PART = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)")
STEP_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")


def check_artifact_path(path: str) -> str:
    """Refuse an artifact path that two readers could take for two different files.

    Returns:
        The same path.

    Raises:
        FormatError: Empty, too long, absolute, with an empty, `.` or `..` part, a backslash or a control character.
            in-toto's patterns take `x/../evil.rs` as a path below `x`.
    """
    if not 0 < len(path) <= MAX_ARTIFACT_PATH:
        raise FormatError(f"an artifact path must have 1 to {MAX_ARTIFACT_PATH} characters")
    if _UNSAFE.search(path) or _NO_PART.search(path):
        raise FormatError(f"artifact path {path[:120]!a} is not a normalised relative path")
    return path


# --- links ---

Artifacts = Mapping[str, str]
"""Path -> sha256 in hex."""


@dataclass(frozen=True, slots=True)
class Link:
    """What one functionary says about one step (in-toto specification, 4.4).

    Attributes:
        name: The step that was carried out.
        materials: What went in, path -> sha256.
        products: What came out, path -> sha256.
        byproducts: `return-value` and what else the step leaves; its meaning is in `carnet.intoto.steps`.
        command: What was run; shown to people, never run again.
        environment: Where it was run; shown to people.
    """

    name: str
    materials: Artifacts
    products: Artifacts
    byproducts: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_payload(cls, payload: bytes) -> Link:
        """Read the payload of an envelope.

        Raises:
            FormatError: Not a link; a *sublayout* (a layout where a link belongs) is one of those.
        """
        value = strictjson.parse_object(payload, "a link", max_bytes=MAX_ENVELOPE)
        if value.get("_type") == "layout":
            raise FormatError(
                "a layout stands where a link belongs: sublayouts are not accepted",
                hint="a sublayout brings commands of its own; record the step itself instead",
            )
        match value:
            case {
                "_type": "link",
                "name": str(name),
                "materials": dict(materials),
                "products": dict(products),
                "byproducts": dict(byproducts),
                "command": list(command),
                "environment": dict(environment),
            }:
                pass
            case _:
                raise FormatError("a link needs name, materials, products, byproducts, command and environment")
        if STEP_NAME.match(name) is None:
            raise FormatError(f"{name[:64]!a} is not a step name")
        if not all(isinstance(part, str) for part in command):
            raise FormatError("the command of a link must be a list of strings")
        return cls(
            name,
            _artifacts(materials),
            _artifacts(products),
            byproducts,
            tuple(str(part) for part in command),
            environment,
        )

    def to_payload(self) -> bytes:
        """The bytes to sign.

        Raises:
            FormatError: Something in it is no text, such as a word of the command that is not UTF-8.
        """
        return strictjson.encode(
            {
                "_type": "link",
                "name": self.name,
                "materials": {path: {"sha256": digest} for path, digest in self.materials.items()},
                "products": {path: {"sha256": digest} for path, digest in self.products.items()},
                "byproducts": dict(self.byproducts),
                "command": list(self.command),
                "environment": dict(self.environment),
            },
            f"the link of step {self.name}",
        )

    @property
    def return_value(self) -> int | None:
        """The exit status of the command; None when the link does not say, or says something odd."""
        value = self.byproducts.get("return-value")
        return value if type(value) is int else None


def _artifacts(value: Mapping[str, Any]) -> Artifacts:
    if len(value) > MAX_ARTIFACTS:
        raise FormatError(f"a link names more than {MAX_ARTIFACTS} artifacts")
    found: dict[str, str] = {}
    for path, digests in value.items():
        match digests:
            case {"sha256": str(digest)} if len(digests) == 1 and _SHA256.match(digest):
                found[check_artifact_path(path)] = digest
            case _:
                raise FormatError(f"artifact {path[:120]!a} needs exactly one digest, a sha256")
    return found


# --- layouts ---


@dataclass(frozen=True, slots=True)
class ArtifactRule:
    """One artifact rule (in-toto specification, 4.3.3).

    Attributes:
        kind: `match`, `create`, `delete`, `modify`, `allow`, `disallow` or `require`.
        pattern: A glob whose `*` crosses `/`; for `require` a plain path.
        source_prefix: `MATCH ... IN <this>`, or empty.
        dest_type: `materials` or `products`, for `match`.
        dest_prefix: `WITH ... IN <this>`, or empty.
        dest_name: The step that `match` compares with.
    """

    kind: str
    pattern: str
    source_prefix: str = ""
    dest_type: str = ""
    dest_prefix: str = ""
    dest_name: str = ""

    @classmethod
    def from_words(cls, words: Any) -> ArtifactRule:
        """Read a rule as a layout writes it, a list of words.

        Raises:
            FormatError: Not one of in-toto's rules.
        """
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or len(words) > 10:
            raise FormatError("an artifact rule must be a list of at most 10 words")
        texts: list[str] = words
        lower = [word.lower() for word in texts]
        if len(texts) == 2 and lower[0] in _SIMPLE_RULES:
            return cls(lower[0], texts[1])
        if lower[:1] == ["match"] and len(texts) >= 6:
            rest, source, dest = texts[2:], "", ""
            if rest[0].lower() == "in":
                source, rest = rest[1], rest[2:]
            if len(rest) == 6 and rest[2].lower() == "in":
                dest, rest = rest[3], [*rest[:2], *rest[4:]]
            if len(rest) == 4 and (rest[0].lower(), rest[2].lower()) == ("with", "from"):
                dest_type = rest[1].lower()
                if dest_type in ("materials", "products"):
                    return cls("match", texts[1], source, dest_type, dest, rest[3])
        raise FormatError(f"{' '.join(texts)[:160]!a} is not an artifact rule")

    def to_words(self) -> list[str]:
        """The list of words."""
        if self.kind != "match":
            return [self.kind.upper(), self.pattern]
        source = ["IN", self.source_prefix] if self.source_prefix else []
        dest = ["IN", self.dest_prefix] if self.dest_prefix else []
        return ["MATCH", self.pattern, *source, "WITH", self.dest_type.upper(), *dest, "FROM", self.dest_name]

    def __str__(self) -> str:
        return " ".join(self.to_words())


_SIMPLE_RULES = ("create", "delete", "modify", "allow", "disallow", "require")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a layout (in-toto specification, 4.3.1).

    Attributes:
        name: Lower-case letters, digits, `-` and `_`.
        keyids: The keys that may carry it out.
        threshold: How many distinct people must have.
        materials: Rules about what goes in.
        products: Rules about what comes out.
        expected_command: Must be empty; kept so that the linter can say so.
    """

    name: str
    keyids: tuple[str, ...]
    threshold: int
    materials: tuple[ArtifactRule, ...]
    products: tuple[ArtifactRule, ...]
    expected_command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """Which steps a release goes through, who may carry them out, and how they hang together (in-toto 4.3).

    Attributes:
        steps: In order.
        keys: Every functionary's key, by its recomputed id.
        expires: When releases are no longer accepted under it.
        readme: For people.
        inspections: Names of inspections; must be empty, because in-toto's would run a command on the verifier.
    """

    steps: tuple[Step, ...]
    keys: Mapping[str, PublicKey]
    expires: datetime
    readme: str = ""
    inspections: tuple[str, ...] = ()

    @classmethod
    def from_payload(cls, payload: bytes) -> Layout:
        """Read the payload of an envelope.

        Raises:
            FormatError: Not a layout, a key id that is not its key's digest, a key type that is not allowed.
        """
        value = strictjson.parse_object(payload, "a layout", max_bytes=MAX_LAYOUT)
        match value:
            case {
                "_type": "layout",
                "steps": list(steps),
                "inspect": list(inspect),
                "keys": dict(keys),
                "expires": str(expires),
                "readme": str(readme),
            }:
                pass
            case _:
                raise FormatError("a layout needs steps, inspect, keys, expires and readme")
        if len(steps) > 32 or len(keys) > 256:
            raise FormatError("a layout has at most 32 steps and 256 keys")
        read = tuple(_step(step) for step in steps)
        if len({step.name for step in read}) != len(read):
            raise FormatError("a layout has two steps of one name")
        inspections = tuple(str(item.get("name", "")) if isinstance(item, dict) else "(malformed)" for item in inspect)
        return cls(
            read, {keyid: _layout_key(keyid, key) for keyid, key in keys.items()}, _date(expires), readme, inspections
        )

    @classmethod
    def from_envelope(cls, data: bytes) -> Layout:
        """Read a layout file: an envelope whose payload is a layout.

        Raises:
            FormatError: As `Envelope.from_bytes` and `from_payload`.
        """
        return cls.from_payload(Envelope.from_bytes(data, "the layout file").payload)

    def to_payload(self) -> bytes:
        """The bytes to sign, in the form that stock in-toto reads."""
        keys = {keyid: {**key.to_object(), "keyid": keyid} for keyid, key in self.keys.items()}
        steps = [
            {
                "_type": "step",
                "name": step.name,
                "pubkeys": list(step.keyids),
                "threshold": step.threshold,
                "expected_materials": [rule.to_words() for rule in step.materials],
                "expected_products": [rule.to_words() for rule in step.products],
                "expected_command": list(step.expected_command),
            }
            for step in self.steps
        ]
        return strictjson.encode(
            {
                "_type": "layout",
                "steps": steps,
                "inspect": [],
                "keys": keys,
                "expires": times.written(self.expires),
                "readme": self.readme,
            },
            "the layout",
        )

    def step(self, name: str) -> Step | None:
        """The step of that name, or None."""
        return next((step for step in self.steps if step.name == name), None)


def _step(value: Any) -> Step:
    match value:
        case {
            "_type": "step",
            "name": str(name),
            "pubkeys": list(pubkeys),
            "threshold": int(threshold),
            "expected_materials": list(materials),
            "expected_products": list(products),
            "expected_command": list(command),
        } if type(threshold) is int and STEP_NAME.match(name):
            pass
        case _:
            raise FormatError("a layout's step needs name, pubkeys, threshold and its rules, each of its type")
    if len(materials) > 256 or len(products) > 256 or len(pubkeys) > 256:
        raise FormatError(f"step {name} has more than 256 rules or keys")
    if not all(isinstance(keyid, str) and is_keyid(keyid) for keyid in pubkeys):
        raise FormatError(f"step {name} lists something that is not a key id")
    return Step(
        name,
        tuple(str(keyid) for keyid in pubkeys),
        threshold,
        tuple(ArtifactRule.from_words(rule) for rule in materials),
        tuple(ArtifactRule.from_words(rule) for rule in products),
        tuple(str(part) for part in command),
    )


def _layout_key(keyid: str, value: Any) -> PublicKey:
    # in-toto wants the id inside the key object too; it is no part of what the id is the digest of.
    if not isinstance(value, dict) or value.get("keyid", keyid) != keyid:
        raise FormatError(f"layout key {keyid[:64]!a} goes by another id inside")
    return PublicKey.from_object({name: part for name, part in value.items() if name != "keyid"}, keyid=keyid)


def _date(text: str) -> datetime:
    return times.read(text, "expires")
