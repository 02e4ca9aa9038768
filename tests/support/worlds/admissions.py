"""Values of the line made in the test, for what comes after it: what stands in them was checked by nobody.

The constructors are closed to all but the step that makes a value. This is the one other door to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import IndexFile, IndexLine, line_from_crate
from carnet.cargo.names import CrateId
from carnet.level import Level
from carnet.tuf import paths
from carnet_evidence import kind
from carnet_evidence.history import MASS_YANK, PUBLISHED
from carnet_evidence.kind import Evidence, Kind
from carnet_verifier import line
from carnet_verifier.admit import Admission, Wanted
from carnet_verifier.outcomes import Attributed
from carnet_verifier.policy import evaluate
from carnet_verifier.policy.rule import Facts
from carnet_verifier.policy.verdict import Verdict
from carnet_verifier.provenance.kind import PROVENANCE
from carnet_verifier.tuf import repository

unchecked_target = repository._target
unchecked_verdict = evaluate._verdict


def unchecked_evidence(found: Mapping[Kind[Any], Any], sha256: str = "00" * 32) -> Evidence:
    """As if this had been found."""
    return kind._evidence(sha256, found)


def facts_of(  # noqa: PLR0917  -- as `Facts`
    crate: CrateId,
    level: Level,
    owner_least_level: Level | None = None,
    highest_seen: Level | None = None,
    takeover: bool = False,
    released: bool = False,
    yanked: str | None = None,
    published: datetime | None = None,
    mass_yank: str | None = None,
) -> Facts:
    """As if all of this had been established, and everything that a rule of ours needs."""
    evidence = unchecked_evidence({PROVENANCE: None, PUBLISHED: published, MASS_YANK: mass_yank})
    return Facts(crate, level, owner_least_level, highest_seen, takeover, released, yanked, evidence)


def attributed_of(tarball: bytes, edit: Callable[[IndexLine], IndexLine] = lambda said: said) -> Attributed:
    """As if the registry had vouched for an unclaimed crate with this tarball, by an index line that may differ."""
    crate = read_crate(tarball)
    found = edit(line_from_crate(crate, pubtime="2026-01-01T00:00:00Z"))
    index = IndexFile(crate.id.name, (found,))
    data = index.to_bytes()
    target = unchecked_target(paths.index_path(crate.id.name), len(data), {"sha256": "00" * 32}, {}, "index-0", 1)
    return line._attributed(line._vouched(Wanted(crate.id, crate.sha256), target, index, found), None, None)


def admission_of(tarball: bytes, edit: Callable[[IndexLine], IndexLine] = lambda said: said) -> Admission:
    """As if an unclaimed crate with this tarball had come through the line."""
    attributed = attributed_of(tarball, edit)
    verdict: Verdict = unchecked_verdict(attributed.crate, Level.REGISTRY, ())
    evidence = unchecked_evidence({PROVENANCE: None}, attributed.sha256)
    return line._admission(
        attributed.crate, Level.REGISTRY, attributed.sha256, attributed.line, verdict, attributed, evidence
    )
