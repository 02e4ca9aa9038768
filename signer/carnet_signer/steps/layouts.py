"""From the layout that people write (TOML) to the in-toto layout that owners sign, and the terms beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import PurePath
from typing import Any

from carnet import strictjson, stricttoml
from carnet.errors import ConfigError, FormatError
from carnet.intoto.dsse import Envelope
from carnet.intoto.duties import Terms
from carnet.intoto.layout_lint import PREFIX, check_layout
from carnet.intoto.steps import TAG
from carnet.intoto.values import ArtifactRule, Layout, Step
from carnet.level import Level
from carnet.tuf.keys import PublicKey
from carnet_layouts import template
from carnet_signer.keys.public import origin_of
from carnet_signer.keys.signer import Signer

_BIND = ("REQUIRE P/tree", "REQUIRE P/commit", f"MATCH P/* WITH PRODUCTS FROM {TAG}")
_TOP = frozenset(("readme", "valid-days", "expires", "least-level", "separate-duties", "generated", "people", "step"))
_STEP = frozenset(("name", "by", "threshold", "materials", "products"))
_MAX_DAYS = 3 * 366
_MAX_KEY = 16 * 1024
_MAX_LAYOUT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CompiledLayout:
    """A layout, ready to be signed into an owner role.

    Attributes:
        layout: The in-toto layout.
        terms: What goes into the `custom` of its target.
        origins: Where its people's keys come from, by key id, as whoever wrote the layout says.
    """

    layout: Layout
    terms: Terms
    origins: Mapping[str, str] = field(default_factory=dict)

    def unsigned(self) -> Envelope:
        """The layout file without signatures yet."""
        return Envelope(self.layout.to_payload())


def compile_layout(data: bytes, read_key: Callable[[str], bytes], *, now: datetime, what: str) -> CompiledLayout:
    """Compile a layout as people write it.

    Args:
        data: TOML, such as a filled-in template.
        read_key: Reads a public key file by the path that the layout names it with.
        now: What `valid-days` counts from.
        what: The file's name, for messages.

    Raises:
        ConfigError: Not TOML, an unknown key, a person without keys, a rule that is none. It is not linted here.
    """
    try:
        document = stricttoml.parse(data, what, max_bytes=_MAX_LAYOUT)
    except FormatError as error:
        raise ConfigError(str(error), hint=error.hint) from None
    try:
        return _compile(document, read_key, now)
    except FormatError as error:
        raise ConfigError(f"{what}: {error}", hint=error.hint) from None


def sign_layout(compiled: CompiledLayout, envelope: Envelope, signer: Signer) -> Envelope:
    """Sign a layout that the linter is content with.

    Raises:
        LayoutRefused: The linter objects.
        ConfigError: The envelope holds another layout.
    """
    check_layout(compiled.layout, compiled.terms)
    if envelope.payload != compiled.layout.to_payload():
        raise ConfigError(
            "the layout to sign and the layout file are not the same",
            hint="name the file that the layout was made from, or make the layout anew from it",
        )
    return envelope.with_signature(signer.sign(envelope.message))


def fill_template(name: str, people: Mapping[str, tuple[str, ...]], steps: Mapping[str, tuple[str, ...]]) -> str:
    """A template with its people filled in, for somebody to read and edit.

    Args:
        name: `minimal` or `release`.
        people: Person -> paths of public key files.
        steps: Step -> who may carry it out.
    """
    lines: list[str] = []
    step = ""
    for line in template(name).splitlines():
        if line.startswith("name = "):
            step = line.split('"')[1]
        if line.startswith("by = []") and step in steps:
            lines.append(f"by = {_array(steps[step])}")
        elif line.startswith("# ") and line.endswith('.pub"]') and people:
            continue
        else:
            lines.append(line)
        if line == "[people]":
            lines += [f"{person} = {_array(keys)}" for person, keys in people.items()]
    return "\n".join(lines) + "\n"


def _array(values: tuple[str, ...]) -> str:
    return "[" + ", ".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values) + "]"


def _compile(document: dict[str, Any], read_key: Callable[[str], bytes], now: datetime) -> CompiledLayout:
    _only(document, _TOP, "the layout")
    keys: dict[str, PublicKey] = {}
    people: dict[str, str] = {}
    origins: dict[str, str] = {}
    by_person: dict[str, list[str]] = {}
    for person, paths in _typed(document, "people", dict, {}).items():
        for path in _texts(paths, f"people.{person}"):
            file = read_key(path)
            key = PublicKey.from_object(strictjson.parse(file, path, max_bytes=_MAX_KEY))
            if key.keyid in people:
                raise ConfigError(
                    f"the key {path} belongs to both {people[key.keyid]} and {person}",
                    hint="a key is one person's: give each a key of their own",
                )
            keys[key.keyid] = key
            people[key.keyid] = person
            origins[key.keyid] = origin_of(PurePath(path).name, file)
            by_person.setdefault(person, []).append(key.keyid)
    steps = tuple(_step(step, by_person) for step in _typed(document, "step", list, []))
    used = {keyid for step in steps for keyid in step.keyids}
    layout = Layout(
        steps,
        {keyid: key for keyid, key in keys.items() if keyid in used},
        _expiry(document, now),
        _typed(document, "readme", str, ""),
    )
    terms = Terms.from_custom(
        {
            "least_level": _typed(document, "least-level", str, str(Level.PROVENANCE)),
            "separate_duties": _typed(document, "separate-duties", list, []),
            "people": {keyid: person for keyid, person in people.items() if keyid in used},
            "generated": _typed(document, "generated", list, []),
        }
    )
    return CompiledLayout(
        Layout.from_payload(layout.to_payload()),
        terms,
        {keyid: said for keyid, said in origins.items() if keyid in used},
    )


def _step(value: Any, by_person: Mapping[str, list[str]]) -> Step:
    if not isinstance(value, dict):
        raise ConfigError("each [[step]] is a table", hint="write each step below [[step]], with two brackets")
    _only(value, _STEP, "a step")
    name = _typed(value, "name", str, "")
    where = f"step {name[:64]}"
    keyids: list[str] = []
    for person in _texts(value.get("by", []), f"{where}: by"):
        if person not in by_person:
            raise ConfigError(
                f"{where} names {person[:64]!a}, who is not under [people]",
                hint="write that person and the key below [people], or correct the spelling",
            )
        keyids += by_person[person]
    return Step(
        name,
        tuple(dict.fromkeys(keyids)),
        _typed(value, "threshold", int, 1),
        _rules(value, "materials", where),
        _rules(value, "products", where),
    )


def _rules(value: Mapping[str, Any], key: str, where: str) -> tuple[ArtifactRule, ...]:
    rules: list[ArtifactRule] = []
    for text in _texts(value.get(key, []), f"{where}: {key}"):
        for rule in _BIND if text == "BIND" else (text,):
            words = [
                PREFIX + word[1:] if word[:2] in ("P/", "P.") else word for word in rule.split()
            ]  # step names are lower case, so no other word starts like that
            rules.append(ArtifactRule.from_words(words))
    return tuple(rules)


def _expiry(document: Mapping[str, Any], now: datetime) -> datetime:
    expires = document.get("expires")
    if isinstance(expires, date) and not isinstance(expires, datetime):
        return datetime.combine(expires, time(), UTC)
    if expires is not None:
        raise ConfigError("expires is a date, such as 2030-01-31", hint="write it with quotes or without, year first")
    days = _typed(document, "valid-days", int, 730)
    if not 1 <= days <= _MAX_DAYS:
        raise ConfigError(
            f"valid-days must be 1 to {_MAX_DAYS}",
            hint=f"write a whole number of days, such as valid-days = {min(365, _MAX_DAYS)}",
        )
    return (now + timedelta(days=days)).replace(microsecond=0)


def _only(value: Mapping[str, Any], known: frozenset[str], what: str) -> None:
    unknown = sorted(value.keys() - known)
    if unknown:
        raise ConfigError(
            f"{what} has the unknown key {unknown[0][:64]!a}", hint=f"keys are {', '.join(sorted(known))}"
        )


def _typed(value: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    found = value.get(key, default)
    if type(found) is not kind:
        raise ConfigError(f"{key} must be {kind.__name__}", hint="layouts/release.toml shows every key of a layout")
    return found


def _texts(value: Any, what: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{what} must be a list of strings", hint="layouts/release.toml shows every key of a layout")
    return value
