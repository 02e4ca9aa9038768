"""Laws of the provenance check, over generated rules, links and bytes."""

from __future__ import annotations

import itertools
import json
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.worlds.release import CRATE, HonestRelease, key, synthetic

from carnet.digests import sha256_hex
from carnet.errors import CarnetError, FormatError, RuleViolation
from carnet.intoto.bundle import Bundle
from carnet.intoto.dsse import Envelope, pae
from carnet.intoto.duties import assign
from carnet.intoto.steps import ArtifactNames, tree_digest
from carnet.intoto.values import ArtifactRule, Layout, Link
from carnet.level import Level
from carnet_signer.steps.record import sign_link
from carnet_verifier.provenance.artifact_rules import StepArtifacts, check_rules
from carnet_verifier.provenance.provenance import check_provenance

# --- rule evaluation against in-toto's own ---

_PATHS = st.sampled_from(["a", "b", "p/a", "p/b", "p/q/a", "q/a", "p.crate", "pa", "p/q"])
_DIGESTS = st.sampled_from(["00" * 32, "11" * 32])
_ARTIFACTS = st.dictionaries(_PATHS, _DIGESTS, max_size=6)
_PATTERNS = st.sampled_from(["*", "p/*", "p*", "a", "p/a", "*a", "?", "[ab]", "p/[!a]", "q/*", "*/q/*", "p.crate"])
_PREFIXES = st.sampled_from(["", "", "p", "p/", "q", "p/q"])
_STEPS = st.sampled_from(["one", "two", "none"])


@st.composite
def _rules(draw: st.DrawFn) -> ArtifactRule:
    kind = draw(st.sampled_from(["match", "create", "delete", "modify", "allow", "disallow", "require"]))
    if kind == "match":
        dest_type = draw(st.sampled_from(["materials", "products"]))
        return ArtifactRule(kind, draw(_PATTERNS), draw(_PREFIXES), dest_type, draw(_PREFIXES), draw(_STEPS))
    return ArtifactRule(kind, draw(_PATHS if kind == "require" else _PATTERNS))


_STEP_ARTIFACTS = st.builds(StepArtifacts, _ARTIFACTS, _ARTIFACTS)


def _in_toto_says(rules: list[ArtifactRule], kind: str, links: dict[str, StepArtifacts]) -> bool:
    from in_toto.exceptions import RuleVerificationError
    from in_toto.models.link import Link as TheirLink
    from in_toto.verifylib import verify_item_rules

    theirs = {
        name: TheirLink(
            name=name,
            materials={path: {"sha256": value} for path, value in step.materials.items()},
            products={path: {"sha256": value} for path, value in step.products.items()},
        )
        for name, step in links.items()
    }
    try:
        verify_item_rules("mine", kind, [rule.to_words() for rule in rules], theirs)
    except RuleVerificationError:
        return False
    return True


def _we_say(rules: list[ArtifactRule], kind: str, links: dict[str, StepArtifacts]) -> bool:
    try:
        check_rules(rules, kind, links["mine"], {name: links[name] for name in links if name != "none"})
    except RuleViolation:
        return False
    return True


@settings(max_examples=500)
@given(
    st.lists(_rules(), max_size=6),
    st.sampled_from(["materials", "products"]),
    _STEP_ARTIFACTS,
    _STEP_ARTIFACTS,
    _STEP_ARTIFACTS,
)
def test_rules_are_judged_as_in_toto_judges_them(
    rules: list[ArtifactRule], kind: str, mine: StepArtifacts, one: StepArtifacts, two: StepArtifacts
) -> None:
    links = {"mine": mine, "one": one, "two": two}
    rules = [*rules, ArtifactRule("disallow", "*")]
    for end in range(1, len(rules) + 1):  # every prefix, so that agreement is not only about the end
        assert _we_say(rules[:end], kind, links) == _in_toto_says(rules[:end], kind, links)


@given(_rules())
def test_a_rule_survives_its_words_and_in_toto_reads_it_the_same(rule: ArtifactRule) -> None:
    from in_toto.rulelib import unpack_rule

    assert ArtifactRule.from_words(rule.to_words()) == rule
    theirs = unpack_rule(rule.to_words())
    assert (theirs["rule_type"], theirs["pattern"]) == (rule.kind, rule.pattern)
    if rule.kind == "match":
        assert theirs["source_prefix"] == rule.source_prefix
        assert (theirs["dest_type"], theirs["dest_prefix"], theirs["dest_name"]) == (
            rule.dest_type,
            rule.dest_prefix,
            rule.dest_name,
        )


@given(
    st.lists(
        st.sampled_from(["MATCH", "match", "p/*", "IN", "WITH", "PRODUCTS", "FROM", "tag", "CREATE", ""]), max_size=11
    )
)
def test_what_in_toto_reads_as_a_rule_is_what_we_read(words: list[str]) -> None:
    from in_toto.rulelib import unpack_rule
    from securesystemslib.exceptions import FormatError as TheirFormatError

    try:
        ours: ArtifactRule | None = ArtifactRule.from_words(words)
    except FormatError:
        ours = None
    try:
        theirs = unpack_rule(words)
    except TheirFormatError:
        theirs = None
    assert (ours is None) == (theirs is None)


# --- formats against the libraries ---


@given(st.binary(max_size=200))
def test_pae_is_securesystemslibs(payload: bytes) -> None:
    from securesystemslib.dsse import Envelope as TheirEnvelope

    kind = "application/vnd.in-toto+json"
    assert pae(kind, payload) == TheirEnvelope(payload, kind, {}).pae()


def test_stock_in_toto_reads_and_verifies_what_we_write() -> None:
    from in_toto.models.layout import Layout as TheirLayout
    from in_toto.models.link import Link as TheirLink
    from in_toto.models.metadata import Metadata

    release = _honest()
    theirs = Metadata.from_dict(json.loads(release.layout_file))
    layout = theirs.get_payload()
    assert isinstance(layout, TheirLayout)
    assert [step.name for step in layout.steps] == [step.name for step in release.layout.steps]
    link = Metadata.from_dict(sign_link(release.link("package"), key("packager")).to_object())
    assert isinstance(link.get_payload(), TheirLink)
    link.verify_signature(layout.keys[key("packager").public_key.keyid])


def test_stock_in_toto_accepts_the_rules_of_an_honest_release() -> None:
    """`in_toto_verify` itself is never called; its functions that only compute are the oracle here."""
    from in_toto.models.link import Link as TheirLink
    from in_toto.models.metadata import Metadata
    from in_toto.verifylib import substitute_parameters, verify_all_item_rules

    release = _honest()
    layout = Metadata.from_dict(json.loads(release.layout_file)).get_payload()
    substitute_parameters(layout, {"name": str(CRATE.name), "version": str(CRATE.version)})
    links = {step.name: TheirLink.read(json.loads(release.link(step.name).to_payload())) for step in layout.steps}
    verify_all_item_rules(layout.steps, links)


# --- parsers ---


@cache
def _honest() -> HonestRelease:
    return synthetic()


@cache
def _bundle() -> bytes:
    return _honest().bundle().to_bytes()


@settings(max_examples=400)
@given(st.data())
def test_a_mutated_bundle_is_our_error_or_the_same_verdict(data: st.DataObject) -> None:
    release, raw = _honest(), bytearray(_bundle())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    try:
        found = check_provenance(release.crate, [release.owned], Bundle.from_bytes(bytes(raw)))
    except CarnetError:
        return
    # What was taken out of a rebuild lowers the level; nothing raises it, and nothing changes who counts.
    assert found.level in (Level.PROVENANCE, Level.REPRODUCED)
    assert {step.name for step in found.steps} >= {"tag", "review", "test", "package"}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in items:
        found += _paths(part, (*path, name))
    return found


def _put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _put(value[path[0]], path[1:], new)
    return copy


@settings(max_examples=200)
@given(st.data(), _JSON)
def test_a_link_or_layout_with_any_value_replaced_is_read_or_our_error(data: st.DataObject, new: Any) -> None:
    release = _honest()
    payload = data.draw(st.sampled_from([release.layout.to_payload(), release.link("tag").to_payload()]))
    value = json.loads(payload)
    path = data.draw(st.sampled_from(_paths(value)))
    try:
        changed = json.dumps(_put(value, path, new)).encode("utf-8", "surrogatepass")
    except ValueError:
        return
    for read in (Layout.from_payload, Link.from_payload):
        try:
            read(changed)
        except CarnetError:
            continue
    forged = replace(release, links={**release.links, "tag": ()})
    envelope = Envelope(changed)
    with suppress(CarnetError):
        forged.with_extra("tag", envelope.with_signature(key("alice").sign(envelope.message))).check()


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_our_error(data: bytes) -> None:
    for read in (Bundle.from_bytes, Envelope.from_bytes, Link.from_payload, Layout.from_payload, Layout.from_envelope):
        try:
            read(data)
        except FormatError:
            continue


# --- less evidence never admits more ---


def _evil(release: HonestRelease, step: str) -> Link:
    honest = release.link(step)
    products = {path: sha256_hex(b"evil") for path in honest.products}
    return replace(honest, products=products, byproducts={**honest.byproducts, "return-value": 0})


_PEOPLE = ("alice", "bob", "carol", "dave", "ci", "packager", "rebuilder1", "rebuilder2")


def _rank(release: HonestRelease, bundle: Bundle) -> int:
    try:
        return check_provenance(release.crate, [release.owned], bundle).level
    except CarnetError:
        return 0


@settings(max_examples=80)
@given(st.data())
def test_removing_a_link_never_admits_more(data: st.DataObject) -> None:
    release = _honest()
    links: dict[str, tuple[Envelope, ...]] = {}
    for step in release.links:
        choice = st.tuples(st.sampled_from(_PEOPLE), st.booleans())
        signed = [] if data.draw(st.booleans()) else [(who, True) for who, _ in release.links[step]]
        signed += data.draw(st.lists(choice, max_size=3))
        links[step] = tuple(
            sign_link(release.link(step) if honest else _evil(release, step), key(who)) for who, honest in signed
        )
    whole = Bundle(release.layout_file, links)
    rank = _rank(release, whole)
    for step, envelopes in links.items():
        for index in range(len(envelopes)):
            fewer = {**links, step: (*envelopes[:index], *envelopes[index + 1 :])}
            assert _rank(release, replace(whole, links=fewer)) <= rank


@settings(max_examples=60)
@given(st.data())
def test_removing_a_signature_never_admits_more(data: st.DataObject) -> None:
    release = _honest()
    people = data.draw(st.lists(st.sampled_from(_PEOPLE), min_size=1, max_size=4, unique=True))
    step = data.draw(st.sampled_from(sorted(release.links)))
    envelope = sign_link(release.link(step), key(people[0]))
    for who in people[1:]:
        envelope = envelope.with_signature(key(who).sign(envelope.message))
    whole = replace(release.bundle(), links={**release.bundle().links, step: (envelope,)})
    rank = _rank(release, whole)
    for index in range(len(envelope.signatures)):
        fewer = replace(envelope, signatures=(*envelope.signatures[:index], *envelope.signatures[index + 1 :]))
        assert _rank(release, replace(whole, links={**whole.links, step: (fewer,)})) <= rank


# --- separate duties ---


@settings(max_examples=400)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3), min_size=1),
    st.dictionaries(st.sampled_from("abcd"), st.frozensets(st.sampled_from("ABCDE"))),
    st.frozensets(st.sampled_from([frozenset(pair) for pair in itertools.combinations("abcd", 2)])),
)
def test_duties_are_assigned_when_there_is_a_way(
    needs: dict[str, int], who: dict[str, frozenset[str]], separate: frozenset[frozenset[str]]
) -> None:
    found = assign(needs, who, separate)
    choices = [list(itertools.combinations(sorted(who.get(step, ())), count)) for step, count in needs.items()]
    possible = any(
        all(
            not set(chosen[i]) & set(chosen[j])
            for i, one in enumerate(needs)
            for j, other in enumerate(needs)
            if frozenset((one, other)) in separate and i != j
        )
        for chosen in itertools.product(*choices)
    )
    assert (found is not None) == possible
    if found is not None:
        for step, count in needs.items():
            assert len(set(found[step])) == len(found[step]) >= count
            assert set(found[step]) <= who[step]
        for pair in separate:
            one, other = sorted(pair)
            assert not set(found.get(one, ())) & set(found.get(other, ()))


# --- the tree digest ---


@given(st.dictionaries(st.text(min_size=1, max_size=5), _DIGESTS, max_size=5), st.data())
def test_the_tree_digest_tells_every_difference(files: dict[str, str], data: st.DataObject) -> None:
    executable = data.draw(st.frozensets(st.sampled_from(sorted(files)))) if files else frozenset[str]()
    mine = tree_digest(files, executable)
    assert mine == tree_digest(dict(reversed(files.items())), executable)
    for path in files:
        assert tree_digest({**files, path: "22" * 32}, executable) != mine
        assert tree_digest({name: value for name, value in files.items() if name != path}, executable) != mine
        assert tree_digest(files, executable ^ {path}) != mine


def test_the_tree_digest_is_the_documented_one() -> None:
    files = {"b": "11" * 32, "a": "22" * 32}
    text = f"100644 {'11' * 32} b\n100755 {'22' * 32} a\n"
    assert tree_digest(files, ["a"]) == sha256_hex(text.encode())
    assert ArtifactNames(CRATE).source("a") == "demo-lib-0.1.0/src/a"
