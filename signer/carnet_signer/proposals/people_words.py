"""Whose keys a claim stands on, in words: owners, release keys, the layout and its people, and what is new of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from types import MappingProxyType

from carnet.claims.holders import Holders
from carnet.claims.releases import Demands, OwnedLayoutFile, Releases
from carnet.intoto.duties import Terms
from carnet.intoto.values import Layout
from carnet.tuf import paths
from carnet_signer.keys.public import said_origin
from carnet_signer.proposals.proposal import Proposal


def team(what: str, now: Holders, before: Holders | None, origins: Mapping[str, str]) -> Iterator[str]:
    """The people who sign a role, each with the whole id of their key, and what changes.

    Args:
        what: What they do, after `2 of 3`.
        now: Those who would.
        before: Those who do; None when nobody does yet.
        origins: Where whoever drafted took keys from, as they say.
    """
    yield f"{now.signers.threshold} of {len(now.signers.keys)} {what}"
    if before is not None and before.signers.threshold != now.signers.threshold:
        yield f"the threshold was {before.signers.threshold}"
    old = None if before is None else before.people
    kinds = {key.keyid: key.keytype for key in now.signers.keys}
    yield from _keys({keyid: now.people[keyid] for keyid in kinds}, old, kinds, origins)


def layout(proposal: Proposal) -> tuple[str, tuple[str, ...]]:
    """The layout that releases are made under from then on: its steps, its people, and what it does not go for."""
    owner = paths.owner_role(proposal.crate)
    demands = Demands.of(proposal.crate, proposal.drafts[owner].signed)
    published = proposal.base.get(owner)
    old = None if published is None else Demands.of(proposal.crate, published.signed)
    crate = proposal.after(paths.crate_role(proposal.crate))
    releases = Releases(proposal.crate, {}) if crate is None else Releases.of(proposal.crate, crate.signed)
    rest = tuple(_exempt(demands, old, releases))
    before = None if old is None else old.in_force
    if demands.in_force is None:
        gone = () if before is None else (f"THE LAYOUT {before.path} IS NO LONGER IN FORCE",)
        no_steps = "releases need the release keys' signatures and no steps: level maintainer"
        return "no layout", (no_steps, *gone, *rest)
    return "the layout of releases", (*_in_force(demands.in_force, before, proposal), *rest)


def _in_force(listed: OwnedLayoutFile, before: OwnedLayoutFile | None, proposal: Proposal) -> Iterator[str]:
    terms, old = listed.terms, None if before is None else before.terms
    yield f"{listed.path}, {listed.file.length} bytes, sha256 {listed.file.sha256}"
    if before is not None and (before.path, before.file) != (listed.path, listed.file):
        yield f"IT REPLACES {before.path}, sha256 {before.file.sha256}"
    yield f"new releases reach at least: {terms.least_level}{_was(terms, old)}"
    data = proposal.targets.get(listed.path)
    file = None if data is None else Layout.from_envelope(data)
    people, kinds = dict(terms.people), dict[str, str]()
    if file is None:
        yield "its steps stay as they are"  # `lint` refuses any other layout without its file
    else:
        for step in file.steps:
            known = {keyid: file.keys.get(keyid) for keyid in step.keyids}  # `lint` refuses one that is no layout key
            who = ", ".join(sorted({keyid if key is None else terms.person(key) for keyid, key in known.items()}))
            yield f"step {step.name}: {step.threshold} of {who}"
        yield f"it expires on {file.expires:%Y-%m-%d}: releases are not accepted under it from then on"
        kinds = {keyid: key.keytype for keyid, key in file.keys.items()}
        people |= {keyid: _NAMELESS for keyid in kinds if keyid not in people}
    yield from _keys(people, None if old is None else old.people, kinds, proposal.request.origins)
    yield from _duties(terms, old)
    yield from (
        f"PACKAGED WITHOUT BEING IN ANY COMMIT: {path}{_new(old is not None and path not in old.generated)}"
        for path in sorted(terms.generated)
    )


_NAMELESS = "A PERSON OF ITS OWN, WITHOUT A NAME"


def _exempt(demands: Demands, old: Demands | None, releases: Releases) -> Iterator[str]:
    """The versions that the layout in force does not go for: adopted ones, and those of layouts that were replaced."""
    ids = {release.tarball.sha256: str(release.id) for release in releases}
    adopted_before = None if old is None else old.adopted
    if demands.adopted:
        yield f"{len(demands.adopted)} versions need no steps: they were published before"
        yield from _versions("no steps", demands.adopted, adopted_before, ids)
    listed_before = {one.path: one for one in old.layouts} if old is not None else {}
    for layout in demands.layouts:
        if layout.releases is not None:
            before = listed_before.get(layout.path)
            terms, then = layout.terms, layout.terms if before is None else before.terms
            yield f"an earlier layout, {layout.path}, {layout.file.length} bytes, sha256 {layout.file.sha256}"
            yield f"it asks at least for {terms.least_level}{_was(terms, then)}"
            yield from _keys(terms.people, then.people, {})
            yield from _duties(terms, then, "it kept apart")
            yield from (
                f"it let in, without being in any commit, {path}{_new(path not in then.generated)}"
                for path in sorted(terms.generated)
            )
            yield from _versions("still under it", layout.releases, None if before is None else before.releases, ids)


def _versions(what: str, now: Set[str], before: Set[str] | None, ids: Mapping[str, str]) -> Iterator[str]:
    for sha256 in sorted(now):
        mark = _new(before is not None and sha256 not in before)
        yield f"{what}: {ids.get(sha256, 'no version')}, sha256 {sha256}{mark}"


def _duties(now: Terms, before: Terms | None, what: str = "never one person:") -> Iterator[str]:
    kept = set(now.separate) if before is None else set(before.separate)
    for pair in sorted(now.separate, key=sorted):
        yield f"{what} {' and '.join(sorted(pair))}{_new(pair not in kept)}"
    for pair in sorted(kept - now.separate, key=sorted):
        yield f"ONE PERSON MAY DO BOTH FROM NOW ON: {' and '.join(sorted(pair))}"


def _was(now: Terms, before: Terms | None) -> str:
    same = before is None or before.least_level == now.least_level
    return "" if before is None or same else f"; IT WAS {before.least_level}"


def _new(is_new: bool) -> str:
    return "  (new)" if is_new else ""


def _keys(
    now: Mapping[str, str],
    before: Mapping[str, str] | None,
    kinds: Mapping[str, str],
    origins: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[str]:
    gone = {} if before is None else {keyid: person for keyid, person in before.items() if keyid not in now}
    for keyid, person in now.items():
        mark = ""
        if before is not None and keyid not in before:
            replaced = [one for one, who in gone.items() if who == person]
            mark = f"  (NEW KEY, it was {' and '.join(replaced)})" if replaced else "  (new)"
        elif before is not None and before[keyid] != person:
            mark = f"  (the key was called {before[keyid]})"
        kind = f"{kinds[keyid]} " if keyid in kinds else ""
        yield f"{person}: {kind}key {keyid}{mark}{said_origin(keyid, origins)}"
    yield from (f"{person}: no longer (key {keyid})" for keyid, person in gone.items())
