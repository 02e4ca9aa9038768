"""The two opinions on a publication: what is new of the offline roles, and the evidence of its releases.

python-tuf judges roles and in-toto judges evidence, both imported with the first publication that has any: the
timestamp's upkeep and a sync of unclaimed crates need neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from carnet.claims.releases import Differences, Releases, SignedRelease
from carnet.errors import OpinionsDiffer
from carnet.level import Level
from carnet.tuf import paths
from carnet.tuf.tree import RoleKind, place_of
from carnet_signer.metadata.new_roles import Accepted
from carnet_verifier.releases.established import Established


def judge(accepted: Accepted, evidence: Sequence[Established], *, now: datetime) -> None:
    """Demand that python-tuf and in-toto agree with what carnet has accepted; nothing is signed before.

    Args:
        accepted: The published state with the checked new files on top.
        evidence: What carnet established for each release that is new, or that is judged anew.
        now: The time.

    Raises:
        OpinionsDiffer: They do not, or evidence that will be published was not handed over.
    """
    if accepted.new_root is None and not accepted.new:
        return
    from carnet_mirror.second_opinion.python_tuf import judge_roles  # 60 ms, and `mirror refresh` needs none of it

    judge_roles(accepted, now)
    established = {found.release: found for found in evidence}
    for release in _to_be_judged(accepted):
        if release not in established:
            file = paths.bundle_path(release.id)
            ours = "nothing was established about it"
            raise OpinionsDiffer(file, "evidence", ours=ours, theirs="it is to be published", library="the crate role")
    for found in established.values():
        judge_evidence(found)


def judge_evidence(found: Established) -> None:
    """Demand that in-toto agrees with what carnet established for one release.

    Raises:
        OpinionsDiffer: It does not.
    """
    file = paths.bundle_path(found.release.id)
    if found.provenance is None:
        if found.level is Level.MAINTAINER:
            return  # nothing is said of any step
        ours = f"the level is {found.level}"
        raise OpinionsDiffer(file, "evidence", ours=ours, theirs="nothing: it got no evidence", library="in-toto")
    from carnet_mirror.second_opinion.in_toto_steps import judge_release  # 70 ms more, and few releases have evidence

    if found.provenance.sha256 != found.release.tarball.sha256:
        ours, theirs = found.provenance.sha256, found.release.tarball.sha256
        raise OpinionsDiffer(file, "tarball", ours=ours, theirs=theirs, library="the crate role")
    judge_release(found.provenance)


def _to_be_judged(accepted: Accepted) -> Iterator[SignedRelease]:
    """The releases with evidence that is new, or whose owners may ask for something else now."""
    for role, envelope in accepted.new.items():
        place = place_of(role)
        name = place.crate
        if name is None or place.kind != RoleKind.CRATE:
            continue
        published = accepted.current.role(role)
        before = Releases(name, {}) if published is None else Releases.of(name, published.signed)
        after = Releases.of(name, envelope.signed)
        changes = Differences.between(before, after)
        judged = after if paths.owner_role(name) in accepted.new else (*changes.added, *changes.evidence)
        yield from (release for release in judged if release.bundle is not None)
