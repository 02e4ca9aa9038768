"""in-toto's opinion on a release: its models, thresholds and rules, over exactly the links that carnet counted.

`in_toto_verify` is never called: it runs inspections and sublayouts, which are commands that metadata brings. What is
called here only computes. A layout with an inspection, and a payload that is not a link, are refused before any of it;
expiry, exit statuses and people are carnet's own questions, which in-toto does not ask.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from in_toto.models.layout import Layout as InTotoLayout
from in_toto.models.link import Link as InTotoLink
from in_toto.models.metadata import Metadata
from in_toto.rulelib import unpack_rule
from in_toto.verifylib import (
    reduce_chain_links,
    substitute_parameters,
    verify_all_item_rules,
    verify_link_signature_thresholds,
    verify_threshold_constraints,
)

from carnet import times
from carnet.errors import OpinionsDiffer
from carnet.intoto.duties import is_optional
from carnet.intoto.values import ArtifactRule, Layout, Link
from carnet.tuf import paths
from carnet_mirror.second_opinion.agreement import agreeing, demand_same
from carnet_verifier.provenance.provenance import Provenance, StepEvidence

LIBRARY = "in-toto"
_ONE_AT_A_TIME = threading.Lock()
"""in-toto keeps the trace of its rules in a global of the process, and a mirror judges in threads."""


def judge_release(provenance: Provenance) -> None:
    """Let in-toto judge the evidence behind one release.

    Args:
        provenance: What carnet established, with the links that it counted.

    Raises:
        OpinionsDiffer: in-toto reads something else in the layout or a link, counts other signatures, or finds that a
            threshold is not met or a rule broken.
    """
    file = paths.bundle_path(provenance.crate)
    with _ONE_AT_A_TIME:
        layout = _layout(file, provenance)
        envelopes = {step.name: _envelopes(file, step) for step in provenance.steps}
        links = {
            step.name: {keyid: _link(file, step.name, keyid, envelopes[step.name][keyid]) for keyid in step.keyids}
            for step in provenance.steps
        }
        for step in provenance.steps:
            for keyid, link in zip(step.keyids, step.read, strict=True):
                ours = _as_we_read(link)
                theirs = _as_read(links[step.name][keyid])
                demand_same(file, ours, theirs, library=LIBRARY, field=f"links.{step.name}.{keyid}")
        with agreeing(file, "thresholds", ours="enough people signed each step", library=LIBRARY):
            counted = verify_link_signature_thresholds(layout, envelopes)
        for step in provenance.steps:
            good = sorted(counted[step.name])
            demand_same(file, sorted(step.keyids), good, library=LIBRARY, field=f"signatures of step {step.name}")
        with agreeing(file, "agreement", ours="the links of each step agree", library=LIBRARY):
            verify_threshold_constraints(layout, links)
        with agreeing(file, "rules", ours="no artifact rule is broken", library=LIBRARY):
            crate = provenance.crate
            substitute_parameters(layout, {"name": str(crate.name), "version": str(crate.version)})
            verify_all_item_rules(layout.steps, reduce_chain_links(links))


def _layout(file: str, provenance: Provenance) -> Any:
    """The layout as in-toto reads it, held against carnet's, with the steps that counted."""
    with agreeing(file, "layout", ours="it is well-formed", library=LIBRARY):
        layout: Any = Metadata.from_dict(json.loads(provenance.layout_file)).get_payload()
        if not isinstance(layout, InTotoLayout):
            raise OpinionsDiffer(file, "layout", ours="a layout", theirs=layout.type_, library=LIBRARY)
        theirs = _layout_as_read(layout)
    demand_same(file, _layout_as_we_read(provenance.layout), theirs, library=LIBRARY, field="layout")
    counted = {step.name for step in provenance.steps}
    for step in layout.steps:
        if step.name not in counted and not is_optional(step.name):
            needed = f"{step.threshold} people are"
            field = f"layout.steps.{step.name}"
            raise OpinionsDiffer(file, field, ours="nobody is needed for it", theirs=needed, library=LIBRARY)
    layout.steps = [step for step in layout.steps if step.name in counted]
    return layout


def _envelopes(file: str, step: StepEvidence) -> dict[str, Any]:
    with agreeing(file, f"links.{step.name}", ours="they are well-formed", library=LIBRARY):
        return {
            keyid: Metadata.from_dict(envelope.to_object())
            for keyid, envelope in zip(step.keyids, step.envelopes, strict=True)
        }


def _link(file: str, step: str, keyid: str, envelope: Any) -> Any:
    field = f"links.{step}.{keyid}"
    with agreeing(file, field, ours="a link", library=LIBRARY):
        link = envelope.get_payload()
    if not isinstance(link, InTotoLink):
        raise OpinionsDiffer(file, field, ours="a link", theirs=f"a {link.type_}", library=LIBRARY)
    if link.name != step:
        theirs = f"a link of step {link.name}"
        raise OpinionsDiffer(file, field, ours=f"a link of step {step}", theirs=theirs, library=LIBRARY)
    return link


# --- both readings, in one shape ---


def _as_we_read(link: Link) -> dict[str, Any]:
    return {
        "name": link.name,
        "materials": {path: {"sha256": digest} for path, digest in link.materials.items()},
        "products": {path: {"sha256": digest} for path, digest in link.products.items()},
        "byproducts": dict(link.byproducts),
        "command": list(link.command),
        "environment": dict(link.environment),
    }


def _as_read(link: Any) -> dict[str, Any]:
    fields = ("name", "materials", "products", "byproducts", "command", "environment")
    return {name: getattr(link, name) for name in fields}


def _layout_as_we_read(layout: Layout) -> dict[str, Any]:
    return {
        "steps": [
            {
                "name": step.name,
                "pubkeys": list(step.keyids),
                "threshold": step.threshold,
                "expected_command": list(step.expected_command),
                "expected_materials": [_rule_as_we_read(rule) for rule in step.materials],
                "expected_products": [_rule_as_we_read(rule) for rule in step.products],
            }
            for step in layout.steps
        ],
        "inspect": [],
        "keys": {keyid: _key(key.to_object()) for keyid, key in layout.keys.items()},
        "expires": times.written(layout.expires),
    }


def _layout_as_read(layout: Any) -> dict[str, Any]:
    return {
        "steps": [
            {
                "name": step.name,
                "pubkeys": list(step.pubkeys),
                "threshold": step.threshold,
                "expected_command": list(step.expected_command),
                "expected_materials": [unpack_rule(rule) for rule in step.expected_materials],
                "expected_products": [unpack_rule(rule) for rule in step.expected_products],
            }
            for step in layout.steps
        ],
        "inspect": [inspection.name for inspection in layout.inspect],
        "keys": {keyid: _key(key) for keyid, key in layout.keys.items()},
        "expires": layout.expires,
    }


def _rule_as_we_read(rule: ArtifactRule) -> dict[str, Any]:
    found = {"rule_type": rule.kind, "pattern": rule.pattern}
    if rule.kind == "match":
        found |= {
            "source_prefix": rule.source_prefix,
            "dest_prefix": rule.dest_prefix,
            "dest_type": rule.dest_type,
            "dest_name": rule.dest_name,
        }
    return found


def _key(key: Mapping[str, Any]) -> dict[str, Any]:
    return {name: key.get(name) for name in ("keytype", "scheme", "keyval")}
