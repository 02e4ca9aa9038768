"""What holders decide about when a claim or a takeover waits, and what follows from what is published.

A name's present owners and release keys go on working while a takeover waits, and an upstream while a claim does. So
what is named by a receipt is what they cannot change:

    decided     every field of the owner role's draft but those below: owners, release keys, thresholds, registry, mark;
                and the layout that it brings, by its content
    follows     its version, its expiry and the path of its layout; the layouts before it and the versions that they
                vouch for; the versions that need no evidence; the whole crate role

What follows is not named, and nobody chooses it: it is made from what is published now, and anything else is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from carnet import strictjson
from carnet.cargo.names import CrateName
from carnet.claims.releases import OWNER_FIELD, Demands, Releases
from carnet.digests import sha256_hex
from carnet.errors import FormatError, MetadataMismatch
from carnet.strictjson import Json, JsonObject
from carnet.tuf import paths
from carnet.tuf.roles import RoleFile, Targets

_FOLLOWS = ("version", "expires", "targets")
_ADOPTED = "adopted"
_HINT = "draft it on what is published now: `carnet claim renew`"


def decided(crate: CrateName, drafts: Mapping[str, RoleFile[Targets]]) -> str:
    """Name what is decided by the draft of an owner role: one sha256, in hex, of its canonical JSON.

    Args:
        crate: The crate.
        drafts: By role; whoever signed them so far does not matter.

    Raises:
        FormatError: There is no draft of the owner role.
    """
    owner = drafts.get(paths.owner_role(crate))
    if owner is None:
        raise FormatError(f"a claim or a takeover of {crate} drafts {paths.owner_role(crate)}")
    said: JsonObject = {key: value for key, value in owner.body.items() if key not in _FOLLOWS}
    words, targets = said.get(OWNER_FIELD), owner.body.get("targets")
    if isinstance(words, dict):
        said[OWNER_FIELD] = {key: value for key, value in words.items() if key != _ADOPTED}
    brought = paths.layout_path(crate, owner.signed.version)
    if isinstance(targets, dict) and brought in targets:
        said["layout"] = targets[brought]
    return sha256_hex(strictjson.canonical(said))


def inherited(before: Demands, releases: Releases, *, new_layout: bool) -> Demands:
    """What an owner role keeps of the one before it: releases that stand keep their level.

    A layout that is replaced goes on vouching for the tarballs that were released under it, and for no others; what
    was published before there was any layout needs none.

    Args:
        before: What the role before it demands; nothing at a first claim.
        releases: The crate's versions.
        new_layout: Whether it puts another layout in force.
    """
    if not new_layout:
        return before
    bound = {digest for one in before.layouts for digest in one.releases or ()} | before.adopted
    layouts = []
    for one in before.layouts:
        if one.releases is not None:
            layouts.append(one)
            continue
        made = {item.tarball.sha256 for item in releases if item.bundle is not None} - bound
        if made:
            custom = one.custom | {"releases": list[Json](sorted(made))}
            layouts.append(replace(one, custom=custom, releases=frozenset(made)))
    exempt = set(before.adopted)
    if not before.layouts:
        exempt |= {release.tarball.sha256 for release in releases if release.bundle is None}
    return Demands(tuple(layouts), frozenset(exempt))


def check_follows(crate: CrateName, drafts: Mapping[str, RoleFile[Targets]], published: Mapping[str, Targets]) -> None:
    """Demand that whatever a receipt does not name is what follows from what is published.

    The versions of a first claim are held against the index (`carnet.claims.adoption`).

    Args:
        crate: The crate.
        drafts: What would be signed or published, by role: the owner role among them.
        published: What is published, by role, verified; without the owner role when the name is unclaimed.

    Raises:
        MetadataMismatch: Other versions are exempted from the layout, another layout stands there, or a takeover
            changes versions.
    """
    owner, role = paths.owner_role(crate), paths.crate_role(crate)
    drafted = Releases.of(crate, drafts[role].signed) if role in drafts else Releases(crate, {})
    releases = Releases.of(crate, published[role]) if role in published else drafted
    before = Demands.of(crate, published[owner]) if owner in published else Demands((), frozenset())
    draft = drafts[owner].signed
    brought = paths.layout_path(crate, draft.version)
    after = Demands.of(crate, draft)
    kept = {one.path: one for one in after.layouts if one.path != brought}
    expected = inherited(before, releases, new_layout=brought in draft.targets)
    if kept != {one.path: one for one in expected.layouts} or after.adopted != expected.adopted:
        raise MetadataMismatch(
            f"the draft of {owner} has other layouts before its own, or exempts other versions from it, than follow "
            "from what is published: nobody was shown that while it waited",
            hint=_HINT,
        )
    if role in drafts and drafted != releases:
        raise MetadataMismatch(f"a takeover of {crate} changes none of its versions, and this one does", hint=_HINT)
