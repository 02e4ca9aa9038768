"""Whose keys a claim stands on, in words: owners, release keys, the layout and its people, and what is new of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from carnet.claims.holders import Holders
from carnet.claims.releases import Demands, Releases
from carnet.intoto.values import Layout
from carnet.tuf import paths
from carnet_signer.proposals.proposal import Proposal


def team(what: str, now: Holders, before: Holders | None) -> Iterator[str]:
    """The people who sign a role, each with the whole id of their key, and what changes.

    Args:
        what: What they do, after `2 of 3`.
        now: Those who would.
        before: Those who do; None when nobody does yet.
    """
    yield f"{now.signers.threshold} of {len(now.signers.keys)} {what}"
    if before is not None and before.signers.threshold != now.signers.threshold:
        yield f"the threshold was {before.signers.threshold}"
    old = None if before is None else before.people
    kinds = {key.keyid: key.keytype for key in now.signers.keys}
    yield from _keys({keyid: now.people[keyid] for keyid in kinds}, old, kinds)


def layout(proposal: Proposal) -> tuple[str, tuple[str, ...]]:
    """The layout that releases are made under from then on: its steps, its people, and what it does not go for."""
    owner = paths.owner_role(proposal.crate)
    demands = Demands.of(proposal.crate, proposal.drafts[owner].signed)
    crate = proposal.after(paths.crate_role(proposal.crate))
    releases = Releases(proposal.crate, {}) if crate is None else Releases.of(proposal.crate, crate.signed)
    rest = tuple(_exempt(demands, releases))
    if demands.in_force is None:
        return "no layout", ("releases need the release keys' signatures and no steps: level maintainer", *rest)
    listed = demands.in_force
    terms, path = listed.terms, listed.path
    published = proposal.base.get(owner)
    before = None if published is None else Demands.of(proposal.crate, published.signed).in_force
    lines = [
        f"{path}, {listed.file.length} bytes, sha256 {listed.file.sha256}",
        f"new releases reach at least: {terms.least_level}",
    ]
    data = proposal.targets.get(path)
    file = None if data is None else Layout.from_envelope(data)
    if file is not None:
        for step in file.steps:
            known = {keyid: file.keys.get(keyid) for keyid in step.keyids}  # `lint` refuses one that is no layout key
            people = ", ".join(sorted({keyid if key is None else terms.person(key) for keyid, key in known.items()}))
            lines.append(f"step {step.name}: {step.threshold} of {people}")
        lines.append(f"it expires on {file.expires:%Y-%m-%d}: releases are not accepted under it from then on")
    kinds = {keyid: key.keytype for keyid, key in file.keys.items()} if file is not None else {}
    lines += _keys(terms.people, None if before is None else before.terms.people, kinds)
    lines += [f"never one person: {' and '.join(sorted(pair))}" for pair in sorted(terms.separate, key=sorted)]
    lines += [f"PACKAGED WITHOUT BEING IN ANY COMMIT: {path}" for path in sorted(terms.generated)]
    return "the layout of releases", (*lines, *rest)


def _exempt(demands: Demands, releases: Releases) -> Iterator[str]:
    """The versions that the layout in force does not go for: adopted ones, and those of layouts that were replaced."""
    ids = {release.tarball.sha256: str(release.id) for release in releases}
    if demands.adopted:
        yield f"{len(demands.adopted)} versions need no steps: they were published before"
        yield from (f"no steps: {ids.get(sha256, 'no version')}, sha256 {sha256}" for sha256 in sorted(demands.adopted))
    for layout in demands.layouts:
        if layout.releases is not None:
            yield f"an earlier layout, {layout.path}, {layout.file.length} bytes, sha256 {layout.file.sha256}"
            yield f"it asks at least for {layout.terms.least_level}"
            yield from _keys(layout.terms.people, layout.terms.people, {})
            yield from (
                f"it kept apart {' and '.join(sorted(pair))}" for pair in sorted(map(sorted, layout.terms.separate))
            )
            yield from (f"it let in, without being in any commit, {path}" for path in sorted(layout.terms.generated))
            yield from (
                f"still under it: {ids.get(sha256, 'no version')}, sha256 {sha256}"
                for sha256 in sorted(layout.releases)
            )


def _keys(now: Mapping[str, str], before: Mapping[str, str] | None, kinds: Mapping[str, str]) -> Iterator[str]:
    gone = {} if before is None else {keyid: person for keyid, person in before.items() if keyid not in now}
    for keyid, person in now.items():
        mark = ""
        if before is not None and keyid not in before:
            replaced = [one for one, who in gone.items() if who == person]
            mark = f"  (NEW KEY, it was {' and '.join(replaced)})" if replaced else "  (new)"
        elif before is not None and before[keyid] != person:
            mark = f"  (the key was called {before[keyid]})"
        yield f"{person}: {kinds[keyid] + ' ' if keyid in kinds else ''}key {keyid}{mark}"
    yield from (f"{person}: no longer (key {keyid})" for keyid, person in gone.items())
