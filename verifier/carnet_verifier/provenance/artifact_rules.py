"""in-toto's artifact rules, evaluated on sets of paths (in-toto specification, 4.3.3).

The meaning is in-toto's, and a property test holds the two together; the code is ours because in-toto's evaluator keeps
its trace in a process-wide global, and a verifier that checks several crates at once cannot share that.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from carnet.errors import RuleViolation
from carnet.intoto.values import ArtifactRule, Artifacts


@dataclass(frozen=True, slots=True)
class StepArtifacts:
    """What went into a step and what came out, as its links agree.

    Attributes:
        materials: Path -> sha256.
        products: Path -> sha256.
    """

    materials: Artifacts
    products: Artifacts

    def of(self, kind: str) -> Artifacts:
        """`materials` or `products`."""
        return self.materials if kind == "materials" else self.products


def check_rules(
    rules: Sequence[ArtifactRule], kind: str, step: StepArtifacts, others: Mapping[str, StepArtifacts]
) -> None:
    """Apply one rule list of one step, like a firewall: each rule takes what it accepts off a queue.

    Args:
        rules: In order, with their parameters filled in.
        kind: `materials` or `products`: which artifacts the rules are about.
        step: The step's artifacts.
        others: The artifacts of the steps that a MATCH may name.

    Raises:
        RuleViolation: A REQUIRE found nothing, or a DISALLOW found something.
    """
    queue = set(step.of(kind))
    for rule in rules:
        if rule.kind == "require":
            if rule.pattern not in queue:
                raise RuleViolation(f"{kind}: {rule} finds no such artifact")
        elif rule.kind == "disallow":
            found = _matching(rule.pattern, queue)
            if found:
                raise RuleViolation(f"{kind}: {rule} forbids {_some(found)}")
        else:
            queue -= _CONSUMERS[rule.kind](rule, queue, kind, step, others)


def _match(
    rule: ArtifactRule, queue: set[str], kind: str, step: StepArtifacts, others: Mapping[str, StepArtifacts]
) -> set[str]:
    other = others.get(rule.dest_name)
    if other is None:
        return set()  # in-toto says nothing here; the layout linter refuses such a rule
    mine, theirs = step.of(kind), other.of(rule.dest_type)
    source, dest = _folder(rule.source_prefix), _folder(rule.dest_prefix)
    offered = {path[len(source) :] for path in queue if path.startswith(source)} if source else queue
    return {
        source + path
        for path in _matching(rule.pattern, offered)
        if dest + path in theirs and mine[source + path] == theirs[dest + path]
    }


def _create(rule: ArtifactRule, queue: set[str], kind: str, step: StepArtifacts, others: object) -> set[str]:
    return {path for path in _matching(rule.pattern, queue) if path in step.products and path not in step.materials}


def _delete(rule: ArtifactRule, queue: set[str], kind: str, step: StepArtifacts, others: object) -> set[str]:
    return {path for path in _matching(rule.pattern, queue) if path in step.materials and path not in step.products}


def _modify(rule: ArtifactRule, queue: set[str], kind: str, step: StepArtifacts, others: object) -> set[str]:
    return {
        path
        for path in _matching(rule.pattern, queue)
        if path in step.materials and path in step.products and step.materials[path] != step.products[path]
    }


def _allow(rule: ArtifactRule, queue: set[str], kind: str, step: StepArtifacts, others: object) -> set[str]:
    return _matching(rule.pattern, queue)


_CONSUMERS: dict[str, Callable[[ArtifactRule, set[str], str, StepArtifacts, Mapping[str, StepArtifacts]], set[str]]] = {
    "match": _match,
    "create": _create,
    "delete": _delete,
    "modify": _modify,
    "allow": _allow,
}


def _folder(prefix: str) -> str:
    return prefix if not prefix or prefix.endswith("/") else prefix + "/"


def _matching(pattern: str, paths: Iterable[str]) -> set[str]:
    """The paths that a glob covers; its `*` crosses `/`, unlike that of a TUF delegation."""
    if pattern == "*":
        return set(paths)
    glob = re.compile(fnmatch.translate(pattern))
    return {path for path in paths if glob.match(path)}


def _some(paths: Iterable[str]) -> str:
    listed = sorted(paths)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
