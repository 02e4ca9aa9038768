"""Admissions made in the test, for what comes after the straight line: what stands in them was checked by nobody."""

from __future__ import annotations

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import IndexFile, line_from_crate
from carnet.level import Level
from carnet.tuf import paths
from carnet_verifier.admit import Admission, Attributed, Proven, Vouched, Wanted
from carnet_verifier.policy.policy import Verdict
from carnet_verifier.tuf.repository import TrustedTarget


def admission_of(tarball: bytes) -> Admission:
    """As if an unclaimed crate with this tarball had come through the line."""
    crate = read_crate(tarball)
    line = line_from_crate(crate, pubtime="2026-01-01T00:00:00Z")
    index = IndexFile(crate.id.name, (line,))
    data = index.to_bytes()
    target = TrustedTarget(paths.index_path(crate.id.name), len(data), {"sha256": "00" * 32}, {}, "index-0", 1)
    vouched = Vouched(Wanted(crate.id, crate.sha256), target, index, line)
    proven = Proven(Attributed(vouched, None, None), Level.REGISTRY)
    return Admission(crate.id, Level.REGISTRY, crate.sha256, line, Verdict(crate.id, Level.REGISTRY, ()), proven)
