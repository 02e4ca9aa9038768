"""What a proposal comes to: what is wrong with it, and in words what its signers would sign.

A folder that passes through many hands may have been changed on the way. Nothing in it is believed: what is shown is
read from the very bytes that would be signed, compared with what is published.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from carnet.cargo.index_line import IndexLine
from carnet.claims.adoption import check_nothing_comes
from carnet.claims.holders import ClaimFacts
from carnet.claims.releases import Demands, Differences, Releases, SignedRelease
from carnet.claims.standing import read_standing
from carnet.claims.takeover import TOLD_FOR, check_mark, told
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, FormatError, SigningError, VerificationError
from carnet.intoto.duties import Terms
from carnet.intoto.layout_lint import check_layout
from carnet.intoto.values import Layout
from carnet.publishable.checks import check_name
from carnet.tuf import paths
from carnet.tuf.example_keys import refuse_example_keys
from carnet.tuf.least import read_least
from carnet.tuf.next_version import check_role, check_shard
from carnet.tuf.roles import DelegatedRole, RoleFile, Targets
from carnet.tuf.structure import shards_of
from carnet.tuf.tree import roles_of
from carnet_signer.metadata import role_files
from carnet_signer.proposals import people_words, version_words
from carnet_signer.proposals.new_versions import check_brought
from carnet_signer.proposals.proposal import PREVIOUS_OWNERS, Proposal
from carnet_signer.proposals.said import unsaid
from carnet_signer.proposals.state_before import Compared
from carnet_signer.quorum import Quorum

_SLACK = timedelta(days=1)


def lint(proposal: Proposal, *, now: datetime, example_keys: bool = False) -> None:
    """Refuse a proposal that a mirror or a client would refuse, or that does more than its folder is about.

    Args:
        proposal: Read from its folder.
        now: The time.
        example_keys: Whether keys of `keys-example/` are let through.

    Raises:
        CarnetError: The first thing that is wrong.
    """
    shard, owner, crate = roles_of(proposal.crate)
    for role, envelope in proposal.drafts.items():
        before = proposal.base.get(role)
        check_role(role, None if before is None else before.signed, envelope.signed, now=now)
        life = role_files.OFFLINE_LIFE if role == shard else role_files.CLAIM_LIFE
        if envelope.signed.expires > now + life + _SLACK:
            raise VerificationError(
                f"the draft of {role} expires on {envelope.signed.expires:%Y-%m-%d}: that is not its life"
            )
    giving_up = proposal.request.kind == "give-up"
    if giving_up and (set(proposal.drafts) != {shard} or _entry_of(proposal.drafts[shard], owner)):
        raise VerificationError("giving a crate up takes its entry out of the shard and does nothing else")
    if shard in proposal.drafts:
        _check_shard(proposal, shard)
        if shards_of(proposal.drafts[shard].signed) != (proposal.crate.shard,):
            raise VerificationError(f"the draft of {shard} does not speak for that shard alone")
    _lint_kind(proposal)
    _lint_targets(proposal)
    _lint_lines(proposal)
    if giving_up:
        return
    facts = _facts(proposal.after(owner), owner)
    listed = _entry_of(proposal.after(shard), owner)
    if listed is None or not listed.signers.same_as(facts.owners.signers):
        raise VerificationError(f"{shard} and {owner} do not name the same owners")
    keys = (*facts.owners.signers.keys, *facts.releasers.signers.keys)
    refuse_example_keys(keys, allow=example_keys)
    old = None if owner not in proposal.base else ClaimFacts.of(proposal.base[owner].signed)
    if old is None or old.registry != facts.registry:
        check_name(proposal.crate, facts.registry)
    if owner in proposal.drafts:
        replaced = old is not None and not old.owners.signers.same_as(facts.owners.signers)
        check_mark(owner, old, facts, taken_over=replaced and proposal.request.takeover, now=now)
        _lint_layouts(proposal, owner)
    if crate in proposal.drafts:
        _lint_releases(proposal, facts, crate)


def _lint_kind(proposal: Proposal) -> None:
    """What the folder is called is what its drafts do."""
    shard, owner, crate = roles_of(proposal.crate)
    drafts, claimed = set(proposal.drafts), owner in proposal.base
    fits = {
        "claim": drafts == {shard, owner, crate} and not claimed,
        "owners": owner in drafts and claimed,
        "release": drafts == {crate},
        "give-up": True,  # judged where it is looked at: `lint`
    }
    if not fits[proposal.request.kind]:
        raise VerificationError(
            f"request.json calls this {_KIND[proposal.request.kind].format(proposal.crate)}, and the folder drafts "
            f"{', '.join(sorted(drafts))}"
        )
    if proposal.request.takeover and (proposal.request.kind != "owners" or shard not in drafts):
        raise VerificationError("request.json speaks of a takeover, and no owners would be replaced")


def _check_shard(proposal: Proposal, shard: str) -> None:
    """A shard's draft is about one crate, and demands of every crate what its published files or the drafts have."""
    published = _needed(proposal.base, shard).signed
    there = _there(proposal, shard)
    check_shard(shard, published, proposal.drafts[shard].signed, about=proposal.crate, version=there.get)


def _there(proposal: Proposal, shard: str) -> dict[str, int]:
    """The versions that there are, or will be, of the owner and crate roles of a shard: from their files."""
    standing = read_standing(_needed(proposal.base, shard).signed, proposal.base)
    there = {role: version for name, least in standing.items() for role, version in least.by_role(name)}
    return there | {role: envelope.signed.version for role, envelope in proposal.drafts.items()}


def _lint_layouts(proposal: Proposal, owner: str) -> None:
    demands = Demands.of(proposal.crate, proposal.drafts[owner].signed)
    before = proposal.base.get(owner)
    published = () if before is None else Demands.of(proposal.crate, before.signed).layouts
    for layout in demands.layouts:
        data = proposal.targets.get(layout.path)
        if data is not None:
            check_layout(Layout.from_envelope(data), Terms.from_custom(layout.custom))
        elif not any(layout.stands_as(one) for one in published):
            raise VerificationError(
                f"the folder lacks {layout.path}: nobody signs a layout, or other terms of one, that cannot be "
                "looked at",
                hint="what was in force before may stay as it is; whatever else is put in force comes with its file",
            )
    _lint_exempt(proposal, demands)


def _lint_exempt(proposal: Proposal, demands: Demands) -> None:
    """What needs no evidence, or an older layout's, is a version that is signed: no tarball that comes later."""
    crate = proposal.after(paths.crate_role(proposal.crate))
    signed = set() if crate is None else {one.tarball.sha256 for one in Releases.of(proposal.crate, crate.signed)}
    replaced = {sha256 for layout in demands.layouts for sha256 in layout.releases or ()}
    odd = sorted((demands.adopted | replaced) - signed)
    if odd:
        raise VerificationError(
            f"the draft of {paths.owner_role(proposal.crate)} exempts a tarball from the layout that is no signed "
            f"version: sha256 {odd[0][:16]}",
            hint="whoever has the release keys could publish it without any step; ask who added it",
        )


def _lint_releases(proposal: Proposal, facts: ClaimFacts, crate: str) -> None:
    after = Releases.of(proposal.crate, proposal.drafts[crate].signed)
    changes = differences(proposal)
    if changes.lost:
        raise VerificationError(
            f"{changes.lost[0]} is gone or changed: a released version stays as it is",
            hint="to take a version back, `carnet release yank`",
        )
    for release in after:
        if release.registry != facts.registry:
            raise VerificationError(f"{release.id} is for the registry {release.registry[:60]!a}, not {facts.registry}")
    shard, owner, _ = roles_of(proposal.crate)
    lines = proposal.index_lines
    if _entry_of(proposal.base.get(shard), owner) is not None:
        check_brought(proposal, after, lines, [one for one in changes.added if not one.by_checksum])
    else:  # only a first claim adopts: `state_before` holds its versions against the index
        check_nothing_comes(proposal.drafts[crate].signed, proposal.targets, proposal.lines)
    added = {release.id.stem: release for release in changes.added}
    for stem, line in lines.items():
        _same_line(added[stem], line)


def _same_line(release: SignedRelease, line: IndexLine) -> None:
    if (line.id, line.cksum, line.identity()) != (release.id, release.tarball.sha256, release.index):
        raise VerificationError(f"the index line of {release.id} is not the one that would be signed")


def _lint_targets(proposal: Proposal) -> None:
    wanted = {path: target for envelope in proposal.drafts.values() for path, target in envelope.signed.targets.items()}
    for path, data in proposal.targets.items():
        target = wanted.get(path)
        if target is None:
            raise VerificationError(f"the folder holds {path}, which no role in it names")
        if (target.length, target.sha256) != (len(data), sha256_hex(data)):
            raise VerificationError(f"{path} in the folder is not the file that would be signed")


def _lint_lines(proposal: Proposal) -> None:
    if not proposal.lines:
        return
    added = {release.id.stem for release in differences(proposal).added}
    for stem in proposal.lines:
        if stem not in added:
            raise VerificationError(f"there is an index line of {stem}, which is no new version")


def remarks(proposal: Proposal) -> tuple[str, ...]:
    """What refuses none of the new versions and should be known before they are signed; what does, `lint` says."""
    _, _, crate = roles_of(proposal.crate)
    draft = proposal.drafts.get(crate)
    if draft is None or proposal.request.kind == "claim":
        return ()
    try:
        after = Releases.of(proposal.crate, draft.signed)
        added = [one for one in differences(proposal).added if not one.by_checksum]
        return check_brought(proposal, after, proposal.index_lines, added)
    except VerificationError:
        return ()


def differences(proposal: Proposal) -> Differences:
    """What the crate role's draft changes."""
    _, _, crate = roles_of(proposal.crate)
    none = Releases(proposal.crate, {})
    before, after = proposal.base.get(crate), proposal.after(crate)
    return Differences.between(
        none if before is None else Releases.of(proposal.crate, before.signed),
        none if after is None else Releases.of(proposal.crate, after.signed),
    )


# --- in words ---


@dataclass(frozen=True, slots=True)
class Words:
    """One paragraph of a review.

    Attributes:
        title: What it is about.
        lines: What is to be known.
        alarm: Whether nobody should overlook it.
    """

    title: str
    lines: tuple[str, ...]
    alarm: bool = False


def opening(compared: Compared) -> Words:
    """With what the drafts are compared: the first thing that a signer reads."""
    return Words(compared.said, compared.notes, compared.alarm)


def check_turn(proposal: Proposal, mine: Iterable[Quorum]) -> None:
    """Demand that the registry's holders sign after the owners who are to be replaced.

    Whoever has the holders' signatures can publish the change, with the previous owners' or without: and without them
    it is a takeover, whatever the request says.

    Args:
        proposal: What is to be signed.
        mine: The quorums that the signer belongs to.

    Raises:
        SigningError: It is not the holders' turn yet.
    """
    shard, _, _ = roles_of(proposal.crate)
    waiting = [one for one in proposal.quorums() if one.who == PREVIOUS_OWNERS and not one.met and not one.waived]
    if waiting and any(quorum.role == shard for quorum in mine):
        raise SigningError(
            f"the previous owners of {proposal.crate} have not signed yet, and holders sign last: with your signature "
            "this could be published without theirs, as a takeover",
            hint="let them sign first; if they cannot, `carnet claim handover --takeover` says so to everybody",
        )


def describe(proposal: Proposal, *, now: datetime) -> tuple[Words, ...]:
    """Say what the drafts would do, in the order in which a holder should look at it.

    Raises:
        CarnetError: A draft cannot be read.
    """
    # A line break in what others wrote would let them write lines, and paragraphs, of ours.
    return tuple(
        Words(words.title, tuple(line.replace("\n", "\\n") for line in words.lines), words.alarm)
        for words in _describe(proposal, now)
    )


def _describe(proposal: Proposal, now: datetime) -> Iterator[Words]:
    shard, owner, crate = roles_of(proposal.crate)
    yield Words(*_heading(proposal))
    rest = unsaid(proposal)
    if rest:
        yield Words("ALSO IN WHAT YOU SIGN, AND NO PARAGRAPH OF THIS SPEAKS OF IT", rest, alarm=True)
    yield from _takeover(proposal)
    if proposal.request.kind == "give-up":
        yield Words(
            "AFTER THIS NOBODY VOUCHES FOR THE CRATE",
            (
                "clients that saw it claimed refuse it from then on; its roles stay as a tombstone",
                *(
                    f"{quorum.signers.threshold} of {quorum.who} sign this, and nobody else; the owners are not asked: "
                    + ", ".join(f"{quorum.name(key)} (key {key.keyid})" for key in quorum.signers.keys)
                    for quorum in proposal.quorums()
                ),
            ),
            alarm=True,
        )
        if shard in proposal.drafts:  # `lint` refuses whatever else calls itself so
            yield from _least(proposal, shard)
        return
    if owner in proposal.drafts:
        facts, before = _facts(proposal.drafts[owner], owner), proposal.base.get(owner)
        old = None if before is None else ClaimFacts.of(before.signed)
        for title, what, now_, then in (
            ("owners", "choose the layout and who may release", facts.owners, None if old is None else old.owners),
            ("release keys", "sign every version", facts.releasers, None if old is None else old.releasers),
        ):
            yield Words(title, tuple(people_words.team(what, now_, then, proposal.request.origins)))
        yield Words(*people_words.layout(proposal))
        yield from _told(facts, now)
        yield from _weak(facts)
    if crate in proposal.drafts:
        yield from _versions(proposal)
    if shard in proposal.drafts:
        draft = proposal.drafts[shard].signed
        yield Words(
            f"{shard}, version {draft.version}",
            (f"appoints the owners above for {proposal.crate} and changes nobody else's entry",),
        )
        yield from _least(proposal, shard)
    if proposal.request.kind in ("claim", "owners") and shard in proposal.drafts:
        yield _evidence(proposal)


def _least(proposal: Proposal, shard: str) -> Iterator[Words]:
    """A shard lives 90 days more: what it leaves out of what is published, nobody is protected from for so long."""
    there = _there(proposal, shard)
    behind = [
        f"version {version} of {role} is demanded, and there is {there[role]}"
        for name, least in sorted(read_least(proposal.drafts[shard].signed).items())
        for role, version in least.by_role(name)
        if version < there.get(role, 0)
    ]
    if behind:
        yield Words("OLDER FILES THAN THE NEWEST WOULD BE BELIEVED", tuple(behind), alarm=True)


_KIND = {
    "claim": "a claim of {}",
    "owners": "new owners, release keys or layout of {}",
    "release": "a change to the versions of {}",
    "give-up": "GIVING {} UP",
}


def _heading(proposal: Proposal) -> tuple[str, tuple[str, ...]]:
    name = proposal.crate
    lines = []
    for role, draft in sorted(proposal.drafts.items()):
        signed = draft.signed
        lines.append(
            f"{role}: version {signed.version}, until {role_files.at(signed.expires)}; what you sign has the sha256 "
            f"{sha256_hex(draft.message)}"
        )
    owner = proposal.after(paths.owner_role(proposal.crate))
    if owner is not None:
        registry, published = (
            _facts(owner, "the owner role").registry,
            proposal.base.get(paths.owner_role(proposal.crate)),
        )
        before = registry if published is None else _facts(published, "the owner role").registry
        lines.append(f"it belongs to the registry {registry}" + ("" if before == registry else f"; IT WAS {before}"))
    if str(name) != name.canonical:
        lines.append(f"the claim covers every spelling of {name.canonical}")
    return _KIND[proposal.request.kind].format(name), tuple(lines)


def _takeover(proposal: Proposal) -> Iterator[Words]:
    for quorum in proposal.quorums():
        if quorum.who != PREVIOUS_OWNERS or quorum.met:
            continue
        people = ", ".join(quorum.name(key) for key in quorum.signers.keys)
        if quorum.waived:
            yield Words(
                "THIS IS A TAKEOVER: THE PREVIOUS OWNERS DO NOT SIGN",
                (
                    f"the previous owners: {people}",
                    "clients that saw them say so, and refuse the crate unless their policy allows it by name",
                ),
                alarm=True,
            )
        else:
            yield Words(
                "the previous owners have to sign as well",
                (f"{quorum.signers.threshold} of: {people}", f"{len(quorum.signed)} have signed"),
            )


def _told(facts: ClaimFacts, now: datetime) -> Iterator[Words]:
    when = told(facts, now)
    if when is not None:
        yield Words(
            "SAYS THAT THE REGISTRY REPLACED OWNERS",
            (
                f"on {when:%Y-%m-%d}; clients are told of it for {TOLD_FOR.days} days, and refuse the crate until "
                "their policy allows it by name",
            ),
            alarm=True,
        )


def _weak(facts: ClaimFacts) -> Iterator[Words]:
    lines = []
    if facts.owners.signers.threshold == 1:
        lines.append("one stolen owner's key is enough to replace everybody")
    if facts.releasers.signers.threshold == 1:
        lines.append("one stolen release key is enough to publish")
    both = {key.material for key in facts.owners.signers.keys} & {key.material for key in facts.releasers.signers.keys}
    if both:
        lines.append("a key both owns and releases: whoever steals it in daily use holds an owner's key")
    if lines:
        yield Words("weak points", tuple(lines), alarm=True)


def _versions(proposal: Proposal) -> Iterator[Words]:
    changes = differences(proposal)
    yield Words("versions", tuple(version_words.changed(proposal, changes)) or ("no version changes",))
    said = remarks(proposal)
    if said:
        yield Words("worth a look before you sign", said)
    left = version_words.left_out(proposal)
    if left:
        yield Words("LISTED BY THE UPSTREAM, AND NOT ADOPTED", left, alarm=True)
    others = tuple(version_words.yanked_otherwise(proposal))
    if others:
        yield Words("YANKED OTHERWISE THAN IT IS PUBLISHED", others, alarm=True)
    if changes.added and len(changes.yanked) > 1:
        yield Words(
            "A RELEASE THAT YANKS OTHERS",
            ("pushing people to a new version by taking the good ones back is what account thieves do: ask why",),
            alarm=True,
        )


def _evidence(proposal: Proposal) -> Words:
    lines = [
        f"the folder says that it was asked on {proposal.request.asked[:40]}: nobody vouches for that; what counts is "
        "the mirror's receipt"
    ]
    # A screen's width of spaces would begin a line of theirs that looks like one of ours.
    said = [" ".join(line.split()) for line in proposal.request.evidence]
    lines += [f"they say: {line}" for line in said] or ["NO EVIDENCE WAS GIVEN"]
    return Words("before the registry signs", tuple(lines))


def problem(proposal: Proposal, *, now: datetime, example_keys: bool = False) -> CarnetError | None:
    """What `lint` refuses, as a value."""
    try:
        lint(proposal, now=now, example_keys=example_keys)
    except CarnetError as error:
        return error
    return None


def _facts(owner: RoleFile[Targets] | None, role: str) -> ClaimFacts:
    if owner is None:
        raise FormatError(f"the folder lacks {role}")
    return ClaimFacts.of(owner.signed)


def _entry_of(shard: RoleFile[Targets] | None, owner: str) -> DelegatedRole | None:
    if shard is None or shard.signed.delegations is None:
        return None
    return shard.signed.delegations.roles.get(owner)


def _needed(base: Mapping[str, RoleFile[Targets]], role: str) -> RoleFile[Targets]:
    found = base.get(role)
    if found is None:
        raise FormatError(f"the folder's base lacks {role}")
    return found
