"""The line of the architecture is in the code: each name on it is one function or one type of ours."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from carnet.cargo.crate import CrateFile
from carnet_evidence.kind import Evidence
from carnet_signer.proposals.release import Release
from carnet_signer.steps.record import Recorded, SignedLink
from carnet_verifier.outcomes import Admission, Attributed, Indexed, Judged, VerifiedCrate, Vouched
from carnet_verifier.policy.verdict import Verdict
from carnet_verifier.provenance.provenance import Provenance
from carnet_verifier.tuf.repository import TrustedTarget

PROJECT = Path(__file__).parent.parent
ROOMS = ("core", "evidence", "signer", "verifier", "gate", "mirror", "cli", "layouts")


def the_line() -> tuple[list[str], list[str]]:
    """The functions and the types on the line, in its order."""
    text = (PROJECT / "docs/architecture.md").read_text()
    block = re.search(r"^```\n(read_crate ->.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert block is not None, "docs/architecture.md shows no line"
    names = [name for name in re.findall(r"\(?\w+\)?", block[1]) if not name.startswith("(")]
    functions = [name for name in names if name[0].islower()]
    types = [name for name in names if name[0].isupper()]
    assert len(functions) > 10
    assert len(types) > 6
    return functions, types


def definitions() -> dict[str, list[str]]:
    """Name to where it is defined, for all that stands at the top of a module of ours but commands of click."""
    found: dict[str, list[str]] = {}
    for room in ROOMS:
        for path in sorted((PROJECT / room).rglob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and not is_command(node):
                    kind = "type" if isinstance(node, ast.ClassDef) else "function"
                    found.setdefault(f"{kind} {node.name}", []).append(str(path.relative_to(PROJECT)))
    return found


def is_command(node: ast.FunctionDef | ast.ClassDef) -> bool:
    return any(
        isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in ("command", "group")
        for call in node.decorator_list
    )


def test_each_name_on_the_line_is_one_definition() -> None:
    functions, types = the_line()
    there = definitions()
    places = {
        name: there.get(f"{kind} {name}", [])
        for kind, names in (("function", functions), ("type", types))
        for name in names
    }
    assert {name: found for name, found in places.items() if len(found) != 1} == {}


MADE: list[type[Any]] = [CrateFile, Recorded, SignedLink, Release, Provenance]
MADE += [TrustedTarget, Indexed, Vouched, Attributed, VerifiedCrate, Evidence, Verdict, Judged, Admission]


@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.__name__)
def test_what_only_one_step_makes_nobody_else_builds(kind: Any) -> None:
    values = dict.fromkeys(kind.__dataclass_fields__)
    with pytest.raises(TypeError, match=f"^only .* makes a {kind.__name__}$"):
        kind(**values)
