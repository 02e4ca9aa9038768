"""The layout linter: the same judgement when a layout is signed and whenever a release is checked against it.

in-toto's rules fail open. What no rule consumed is allowed; a MATCH against an unknown step says nothing; an empty
list of materials satisfies every MATCH. So a layout is only accepted in the form that leaves no such gap: each rule
list ends in DISALLOW `*`, requires something by name before it matches, and matches only what an earlier step made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from carnet.cargo.names import CrateId
from carnet.errors import FormatError, LayoutRefused
from carnet.intoto.duties import Terms, assign, is_optional
from carnet.intoto.steps import PACKAGE, REBUILD, TAG, ArtifactNames
from carnet.intoto.values import ArtifactRule, Layout, Step, check_artifact_path
from carnet.level import Level

PREFIX = "{name}-{version}"
"""How a layout writes P; in-toto's own parameter syntax."""

MAX_THRESHOLD = 16

_BRACES = re.compile(r"\{(?:name|version)\}")
_EXAMPLE = CrateId.of("example", "1.0.0")
_LAST = ArtifactRule("disallow", "*")


def substitute(text: str, crate: CrateId) -> str:
    """Fill in the parameters `{name}` and `{version}` of a rule; nothing else in braces has a meaning."""
    return text.replace("{name}", str(crate.name)).replace("{version}", str(crate.version))


def lint_layout(layout: Layout, terms: Terms) -> tuple[str, ...]:
    """Everything that is wrong with a layout, in words; empty when it may be signed and used."""
    problems = [*_whole(layout, terms)]
    earlier: list[str] = []
    for step in layout.steps:
        problems += [f"step {step.name}: {problem}" for problem in _step(step, layout, terms, earlier)]
        earlier.append(step.name)
    if not problems:
        problems += _reachable(layout, terms)
    return tuple(problems)


def check_layout(layout: Layout, terms: Terms) -> None:
    """Refuse a layout that the linter objects to.

    Raises:
        LayoutRefused: Naming the first objection.
    """
    problems = lint_layout(layout, terms)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise LayoutRefused(
            f"the layout is unsafe: {problems[0]}{more}", hint="`carnet layout lint` lists all of it for the owners"
        )


def _whole(layout: Layout, terms: Terms) -> Iterator[str]:
    names = [step.name for step in layout.steps]
    if layout.inspections:
        yield f"inspection {layout.inspections[0][:60]!a}: inspections run commands; `unpack` is built in"
    if names[:1] != [TAG]:
        yield "the first step must be `tag`: every other step is bound to what it says"
    if PACKAGE not in names:
        yield "there must be a step `package`"
    for pair in terms.separate:
        for name in sorted(pair - set(names)):
            yield f"separate duties name the step {name}, which there is not"
    for keyid in terms.people.keys() - layout.keys.keys():
        yield f"people name the key {keyid[:12]}..., which is not in the layout"
    materials = [key.material for key in layout.keys.values()]
    if len(set(materials)) != len(materials):
        yield "one key is listed under two ids"
    if terms.least_level is Level.REPRODUCED and layout.step(REBUILD) is None:
        yield "least level `reproduced` needs a step `rebuild`"


def _step(step: Step, layout: Layout, terms: Terms, earlier: Sequence[str]) -> Iterator[str]:
    unknown = [keyid for keyid in step.keyids if keyid not in layout.keys]
    if unknown:
        yield f"key {unknown[0][:12]}... is not among the layout's keys"
    people = {terms.person(layout.keys[keyid]) for keyid in step.keyids if keyid in layout.keys}
    if not 1 <= step.threshold <= MAX_THRESHOLD:
        yield f"the threshold must be 1 to {MAX_THRESHOLD}"
    elif step.threshold > len(people):
        yield f"the threshold {step.threshold} cannot be reached by {len(people)} distinct people"
    if step.name == REBUILD and step.threshold < 2:
        yield "`rebuild` needs a threshold of at least 2: one rebuilder proves little"
    if step.expected_command:
        yield "expected_command must be empty: commands of metadata are neither run nor compared"
    for kind, rules in (("materials", step.materials), ("products", step.products)):
        yield from (f"{kind}: {problem}" for problem in _rules(rules, earlier))
    yield from _role_of(step)


def _rules(rules: Sequence[ArtifactRule], earlier: Sequence[str]) -> Iterator[str]:
    if not rules or rules[-1] != _LAST:
        yield "the rules must end in DISALLOW *, or what no rule names is let through"
    if list(rules) != [_LAST] and not any(rule.kind == "require" for rule in rules):
        yield "the rules have no REQUIRE, so an empty link would satisfy them"
    matched = False
    for rule in rules:
        if rule.kind == "match":
            matched = True
            if rule.source_prefix or rule.dest_prefix:
                yield f"{rule}: IN is not allowed, it lets one path stand for another"
            if rule.dest_type != "products":
                yield f"{rule}: only products may be matched"
            if rule.dest_name not in earlier:
                yield f"{rule}: {rule.dest_name[:64]!a} is not an earlier step, so the rule says nothing"
        elif rule.kind in ("allow", "modify", "delete"):
            yield f"{rule}: {rule.kind.upper()} is not allowed, it lets artifacts through that nothing vouches for"
        elif rule.kind == "require" and matched:
            yield f"{rule}: REQUIRE must come before MATCH, which takes away what it asks for"
        yield from _pattern(rule)


def _pattern(rule: ArtifactRule) -> Iterator[str]:
    pattern = rule.pattern
    if any(char in pattern for char in "?[]") or any(char in _BRACES.sub("", pattern) for char in "{}"):
        yield f"{rule}: only `*`, {{name}} and {{version}} have a meaning in patterns"
        return
    if rule.kind == "disallow":
        return
    start, rest = pattern[: len(PREFIX)], pattern[len(PREFIX) :]
    if start != PREFIX or rest[:1] not in ("/", "."):
        yield f"{rule}: the pattern must start with {PREFIX}, or a link of another version would fit"
    if rule.kind == "require" and "*" in pattern:
        yield f"{rule}: REQUIRE takes a plain path"
    try:
        check_artifact_path(substitute(pattern, _EXAMPLE))
    except FormatError as error:
        yield f"{rule}: {error}"


def _role_of(step: Step) -> Iterator[str]:
    """What makes each step the step that it is called."""
    names = ArtifactNames(_EXAMPLE)
    materials = [_filled(rule) for rule in step.materials]
    products = [_filled(rule) for rule in step.products]
    if step.name == TAG:
        if step.materials != (_LAST,):
            yield "materials: a tag starts from nothing, its only rule is DISALLOW *"
        for path in (names.tree, names.commit, names.listing, names.lock, names.toolchain):
            if ArtifactRule("require", path) not in products:
                yield f"products: REQUIRE {path.replace(names.prefix, PREFIX)} is missing"
        return
    bind = (
        ArtifactRule("require", names.tree),
        ArtifactRule("require", names.commit),
        ArtifactRule("match", f"{names.prefix}/*", "", "products", "", TAG),
    )
    for rule in bind:
        if rule not in materials:
            yield f"materials: {str(rule).replace(names.prefix, PREFIX)} is missing, which binds the step to the tag"
    if step.name in (PACKAGE, REBUILD) and ArtifactRule("require", names.tarball) not in products:
        yield f"products: REQUIRE {PREFIX}.crate is missing"
    if step.name == REBUILD and ArtifactRule("match", names.tarball, "", "products", "", PACKAGE) not in products:
        yield f"products: MATCH {PREFIX}.crate WITH PRODUCTS FROM package is missing"


def _filled(rule: ArtifactRule) -> ArtifactRule:
    return ArtifactRule(
        rule.kind,
        substitute(rule.pattern, _EXAMPLE),
        rule.source_prefix,
        rule.dest_type,
        rule.dest_prefix,
        rule.dest_name,
    )


def _reachable(layout: Layout, terms: Terms) -> Iterator[str]:
    needs = {step.name: step.threshold for step in layout.steps if not is_optional(step.name)}
    who = {step.name: {terms.person(layout.keys[keyid]) for keyid in step.keyids} for step in layout.steps}
    if assign(needs, who, terms.separate) is None:
        yield "separate duties leave too few people: no release could ever satisfy it"
