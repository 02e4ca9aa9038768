"""The provenance check: was the owners' layout carried out, and is the tarball what was tagged? Executes nothing.

`in_toto_verify` is not used: it runs commands that metadata brings, takes a link of one step for another, ignores exit
statuses, and lets the first of two disagreeing links win. The plan, with the sections of the in-toto specification:

    1. the layout is one that the owners signed into their role, its linter is content, and, when a release is being
       accepted, it has not expired                                                                     (5.2.1, 5.2.2)
    2. every link is signed by a key that may carry out its step, names that step, and reports success        (5.3.1)
    3. for each step enough distinct people agree, and their artifacts satisfy the step's rules        (5.3.1, 5.3.2)
    3a. the tag adds up: tree, listing, lock, toolchain and commit are what its byproducts and files hash to
    3b. every other step worked on exactly what was tagged, all of it
    3c. whatever a step calls P.crate is this tarball
    4. one person does not count for two duties that are kept apart
    5. the built-in inspection `unpack`: the tarball is what was tagged, file by file                            (5.4)

A link that does not count never blocks those that do; it is reported. So one dissenter above a quorum stops nothing,
and taking a link or a signature away never admits more. A sublayout, or a link that does not parse, refuses the bundle.

What the caller still has to do: get `layouts` from the verified owner role, and compare the tarball's sha256 with the
verified crate role (`carnet_verifier.admit` does both).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from carnet.cargo.crate import CrateFile
from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, FormatError, LayoutRefused, MissingLink, ProvenanceError, RuleViolation
from carnet.intoto.bundle import Bundle
from carnet.intoto.dsse import Envelope
from carnet.intoto.duties import Terms, assign, is_optional
from carnet.intoto.layout_lint import check_layout, substitute
from carnet.intoto.steps import REBUILD, TAG, TEST, ArtifactNames, TagRecord
from carnet.intoto.values import ArtifactRule, Layout, Link, Step
from carnet.level import Level
from carnet.made import made_by, maker
from carnet.tuf.keys import PublicKey, signers
from carnet_verifier.provenance.artifact_rules import StepArtifacts, check_rules
from carnet_verifier.provenance.unpack import unpack

MAX_COMBINATIONS = 256
"""How many ways of combining disagreeing quorums are tried; an honest release has one."""


@dataclass(frozen=True)
class OwnedLayout:
    """A layout as the owners signed it: a target of `owner.<name>` and that target's `custom`.

    Attributes:
        data: The layout file, byte for byte, its digest checked against the role.
        terms: Read from the target's `custom`.
        role_version: The version of the owner role that lists it.
    """

    data: bytes
    terms: Terms
    role_version: int

    @cached_property
    def layout(self) -> Layout:
        """What the file says, parsed when it is asked for first.

        Raises:
            FormatError: It is not a layout.
        """
        return Layout.from_envelope(self.data)


@dataclass(frozen=True, slots=True)
class ProvenanceNote:
    """Something that refused nothing and that a person may want to know.

    Attributes:
        where: A step, or `unpack`.
        text: What was seen.
    """

    where: str
    text: str


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """Who carried a step out.

    Attributes:
        name: The step.
        threshold: How many people were needed.
        people: Who counts, at least that many.
        keyids: The keys they signed with.
        links: sha256 of each link's payload.
        envelopes: For each of `keyids`, the envelope that counted: for whoever judges the same links again.
        read: For each of `keyids`, the link that was read from it.
    """

    name: str
    threshold: int
    people: tuple[str, ...]
    keyids: tuple[str, ...]
    links: tuple[str, ...]
    envelopes: tuple[Envelope, ...] = field(repr=False)
    read: tuple[Link, ...] = field(repr=False)


@made_by("check_provenance")
@dataclass(frozen=True, slots=True)
class Provenance:
    """The evidence that a release went through its steps; only `check_provenance` makes one.

    Attributes:
        crate: Which release.
        sha256: Of its tarball.
        level: `provenance`, or `reproduced` when independent rebuilders got the same bytes.
        layout: What was carried out.
        layout_file: The layout file that it stands in.
        layout_sha256: Of the layout file.
        role_version: The version of the owner role that the layout was taken from.
        terms: What the owners demand beside the layout.
        steps: Who did what.
        tag: What was tagged.
        findings: What refused nothing.
    """

    crate: CrateId
    sha256: str
    level: Level
    layout: Layout
    layout_file: bytes = field(repr=False)
    layout_sha256: str
    role_version: int
    terms: Terms
    steps: tuple[StepEvidence, ...]
    tag: TagRecord
    findings: tuple[ProvenanceNote, ...]


_provenance = maker(Provenance)


def check_provenance(
    crate: CrateFile,
    layouts: Sequence[OwnedLayout],
    bundle: Bundle,
    *,
    accepted_at: datetime | None = None,
    late: Sequence[Envelope] = (),
) -> Provenance:
    """Check everything that stands behind one release, in the order of the module's plan.

    Args:
        crate: The tarball, as `carnet.cargo.crate.read_crate` returned it.
        layouts: What the verified owner role lists; the bundle must have been made under one of them.
        bundle: The release's bundle.
        accepted_at: When a release is being accepted (by a mirror, or before submitting): the time, against which the
            layout's expiry is checked. None for releases that were accepted already.
        late: Links of `rebuild` that arrived after the release; what is wrong with one is a finding, not a refusal.

    Raises:
        LayoutRefused: The layout is not the owners', is unsafe, or had expired when the release was accepted.
        MissingLink: A step lacks people.
        RuleViolation: A rule was broken, or the tarball is not what was tagged.
        FormatError: The bundle or a link in it does not parse, or holds a sublayout.
    """
    # 1. the layout
    owned = _owned(layouts, bundle)
    layout = owned.layout
    check_layout(layout, owned.terms)
    if accepted_at is not None and accepted_at >= layout.expires:
        raise LayoutRefused(
            f"the layout expired on {layout.expires:%Y-%m-%d}", hint="the owners sign a new one: `carnet layout sign`"
        )
    # 2. the links
    check = _Check(crate, layout, owned)
    check.read_links(bundle)
    check.read_late(late)
    # 3. to 5.
    found = check.carry_out()
    if found is None:
        raise check.refusal()
    return found


def _owned(layouts: Sequence[OwnedLayout], bundle: Bundle) -> OwnedLayout:
    for layout in layouts:
        if layout.data == bundle.layout:
            return layout
    raise LayoutRefused(
        "the release was made under a layout that the owners have not signed",
        hint="assemble the release again with the layout that the owner role names",
    )


@dataclass(frozen=True, slots=True)
class _Vouched:
    """One link that one person validly signed."""

    link: Link
    envelope: Envelope
    key: PublicKey
    person: str
    sha256: str


@dataclass(slots=True)
class _Group:
    """Links of one step that agree on every artifact."""

    links: list[_Vouched]

    @property
    def artifacts(self) -> StepArtifacts:
        return StepArtifacts(self.links[0].link.materials, self.links[0].link.products)

    @property
    def people(self) -> frozenset[str]:
        return frozenset(item.person for item in self.links)


@dataclass
class _Check:
    crate: CrateFile
    layout: Layout
    owned: OwnedLayout
    vouched: dict[str, list[_Vouched]] = field(default_factory=dict)
    findings: list[ProvenanceNote] = field(default_factory=list)
    problems: dict[str, list[CarnetError]] = field(default_factory=dict)
    agreed: dict[str, int] = field(default_factory=dict)
    furthest: int = -1
    tried: int = 0

    # --- 2. the links ---

    def read_links(self, bundle: Bundle) -> None:
        for name, envelopes in bundle.links.items():
            links = [(envelope, Link.from_payload(envelope.payload)) for envelope in envelopes]
            step = self.layout.step(name)
            if step is None:
                self.findings.append(ProvenanceNote(name, "the layout has no such step; its links count for nothing"))
                continue
            for envelope, link in links:
                self._admit(step, envelope, link)

    def read_late(self, late: Sequence[Envelope]) -> None:
        step = self.layout.step(REBUILD)
        for envelope in late:
            try:
                link = Link.from_payload(envelope.payload)
            except FormatError as error:
                self.findings.append(ProvenanceNote(REBUILD, f"late evidence is not a link: {error}"))
                continue
            if step is not None:
                self._admit(step, envelope, link)

    def _admit(self, step: Step, envelope: Envelope, link: Link) -> None:
        signed_by = signers([self.layout.keys[keyid] for keyid in step.keyids], envelope.signatures, envelope.message)
        who = ", ".join(self.owned.terms.person(key) for key in signed_by)
        if not signed_by:
            claimed = ", ".join(f"{item.keyid[:12]}..." for item in envelope.signatures) or "nobody"
            self._problem(
                step, RuleViolation(f"a link signed by {claimed} has no valid signature that may do this step")
            )
        elif link.name != step.name:
            self._problem(step, RuleViolation(f"the link by {who} is for the step {link.name}, not for this one"))
        elif link.return_value != 0:
            shown = "no exit status" if link.return_value is None else f"exit status {link.return_value}"
            self._problem(step, RuleViolation(f"the link by {who} reports {shown}, which is no success"))
        else:
            sha256 = sha256_hex(envelope.payload)
            self.vouched.setdefault(step.name, []).extend(
                _Vouched(link, envelope, key, self.owned.terms.person(key), sha256) for key in signed_by
            )

    def _problem(self, step: Step, error: CarnetError) -> None:
        known = self.problems.setdefault(step.name, [])
        if str(error) not in map(str, known):
            known.append(error)

    # --- 3. enough people, and the rules ---

    def carry_out(self) -> Provenance | None:
        return self._from_step(0, {}, None)

    def _from_step(self, index: int, chosen: dict[str, _Group], tag: TagRecord | None) -> Provenance | None:
        """Try the quorums of one step, and of all later ones behind each; the first complete combination wins."""
        self.furthest = max(self.furthest, index)
        if index == len(self.layout.steps):
            return self._finish(chosen, tag)
        step = self.layout.steps[index]
        for group in self._groups(step):
            self.tried += 1
            if self.tried > MAX_COMBINATIONS:
                return None
            try:
                record = self._judge(step, group, chosen, tag)
            except CarnetError as error:
                who = ", ".join(sorted(group.people))
                self._problem(step, _same_kind(error, f"the link by {who}: {error}"))
                continue
            self.agreed[step.name] = max(self.agreed.get(step.name, 0), len(group.people))
            if len(group.people) < step.threshold:
                continue
            found = self._from_step(index + 1, {**chosen, step.name: group}, record)
            if found is not None:
                return found
        return self._from_step(index + 1, chosen, tag) if is_optional(step.name) else None

    def _groups(self, step: Step) -> Iterator[_Group]:
        """Links that agree, the group with most people first; for a tag they must agree on the byproducts too."""
        groups: list[_Group] = []
        for item in self.vouched.get(step.name, []):
            for group in groups:
                first = group.links[0].link
                if (
                    item.link.materials == first.materials
                    and item.link.products == first.products
                    and (step.name != TAG or item.link.byproducts == first.byproducts)
                ):
                    group.links.append(item)
                    break
            else:
                groups.append(_Group([item]))
        yield from sorted(groups, key=lambda group: (-len(group.people), group.links[0].sha256))

    def _judge(
        self, step: Step, group: _Group, chosen: Mapping[str, _Group], tag: TagRecord | None
    ) -> TagRecord | None:
        names = ArtifactNames(self.crate.id)
        mine = group.artifacts
        others = {name: other.artifacts for name, other in chosen.items()}
        for kind, rules in (("materials", step.materials), ("products", step.products)):
            check_rules([_filled(rule, self.crate.id) for rule in rules], kind, mine, others)
        if step.name == TAG:  # 3a, and 5: what was tagged is one tag's word, so it is judged with that tag
            record = TagRecord.from_link(group.links[0].link, self.crate.id)
            self.findings = [finding for finding in self.findings if finding.where != "unpack"]
            self.findings += [ProvenanceNote("unpack", text) for text in self._unpack(record)]
            return record
        _bound(mine, others[TAG])  # 3b
        tarball = mine.products.get(names.tarball)
        if tarball is not None and tarball != self.crate.sha256:  # 3c
            raise RuleViolation(
                f"{names.tarball} has sha256 {tarball[:16]}... there, and {self.crate.sha256[:16]}... at hand",
                hint="the tarball is not the one that this step is about; release the packaged one",
            )
        if step.name == TEST and names.test_report in mine.products:
            for item in group.links:
                report = item.link.byproducts.get("report")
                if not isinstance(report, str) or sha256_hex(report.encode()) != mine.products[names.test_report]:
                    raise RuleViolation("the report in its byproducts is not the report that it produced")
        return tag

    def _unpack(self, record: TagRecord) -> tuple[str, ...]:
        """5. A tag may well be honest where the tarball is not: say which of the two is looked at."""
        try:
            return tuple(unpack(self.crate, record, self.owned.terms.generated))
        except CarnetError as error:
            raise RuleViolation(f"the tarball is not what was tagged: {error}", hint=error.hint) from None

    # --- 4. separate duties, and the result ---

    def _finish(self, chosen: Mapping[str, _Group], tag: TagRecord | None) -> Provenance | None:
        if tag is None:
            return None
        needs = {step.name: step.threshold for step in self.layout.steps if step.name in chosen}
        who = {name: group.people for name, group in chosen.items()}
        counted = assign(needs, who, self.owned.terms.separate)
        if counted is None and REBUILD in needs:
            return None  # tried again without the rebuilders, so that no later step leans on what they said
        if counted is None:
            self._overlaps(who)
            return None
        evidence = tuple(
            self._evidence(step, chosen[step.name], counted[step.name])
            for step in self.layout.steps
            if step.name in counted
        )
        return _provenance(
            self.crate.id,
            self.crate.sha256,
            Level.REPRODUCED if REBUILD in counted else Level.PROVENANCE,
            self.layout,
            self.owned.data,
            sha256_hex(self.owned.data),
            self.owned.role_version,
            self.owned.terms,
            evidence,
            tag,
            (*self.findings, *self._dissent(chosen, counted), *(ProvenanceNote(TAG, note) for note in tag.notes)),
        )

    def _overlaps(self, who: Mapping[str, frozenset[str]]) -> None:
        for number, later in enumerate(self.layout.steps):
            for earlier in self.layout.steps[:number]:
                both = who.get(earlier.name, frozenset()) & who.get(later.name, frozenset())
                if both and frozenset((earlier.name, later.name)) in self.owned.terms.separate:
                    text = f"{', '.join(sorted(both))} did {earlier.name} as well, and these duties are kept apart"
                    hint = f"another person must carry out {later.name}"
                    self._problem(later, RuleViolation(text, hint=hint))

    def _evidence(self, step: Step, group: _Group, people: tuple[str, ...]) -> StepEvidence:
        counted = [item for item in group.links if item.person in people]
        return StepEvidence(
            step.name,
            step.threshold,
            people,
            tuple(item.key.keyid for item in counted),
            tuple(dict.fromkeys(item.sha256 for item in counted)),
            tuple(item.envelope for item in counted),
            tuple(item.link for item in counted),
        )

    def _dissent(self, chosen: Mapping[str, _Group], counted: Mapping[str, object]) -> Iterator[ProvenanceNote]:
        for name, errors in self.problems.items():
            yield from (ProvenanceNote(name, f"does not count: {error}") for error in errors)
        for step in self.layout.steps:
            group = chosen.get(step.name)
            others = {
                item.person for item in self.vouched.get(step.name, []) if group is None or item not in group.links
            }
            if others and group is not None:
                yield ProvenanceNote(step.name, f"{', '.join(sorted(others))} disagreed with the quorum")
            if step.name not in counted:
                yield ProvenanceNote(step.name, f"{self.agreed.get(step.name, 0)} of {step.threshold} people so far")

    # --- what to say when it was not enough ---

    def refusal(self) -> ProvenanceError:
        """The error for the step that could not be satisfied, with every reason why its links did not count."""
        if self.furthest == len(self.layout.steps):
            broken = [step for step in self.layout.steps if self.problems.get(step.name)]
            step = broken[-1] if broken else self.layout.steps[-1]
        else:
            step = self.layout.steps[self.furthest]
        problems = self.problems.get(step.name, [])
        people = self.agreed.get(step.name, 0)
        if not problems:
            links = "links agree" if self.vouched.get(step.name) else "links were handed in"
            return MissingLink(
                f"step {step.name}: {people} of {step.threshold} people's {links}",
                hint=f"somebody who may do it runs `carnet record {step.name}`, and the release is assembled again",
            )
        text = "; ".join(map(str, problems[:4]))
        return RuleViolation(f"step {step.name}: {text}", hint=problems[0].hint)


def _bound(mine: StepArtifacts, tag: StepArtifacts) -> None:
    """3b: set equality. in-toto's MATCH is satisfied by any subset, so a review of half the files would pass."""
    if mine.materials == tag.products:
        return
    missing = sorted(tag.products.keys() - mine.materials.keys())
    if missing:
        raise RuleViolation(
            f"it covers {len(mine.materials)} of {len(tag.products)} tagged artifacts; {missing[0]} is missing",
            hint="a step works on everything that was tagged; record it again on the whole tag",
        )
    raise RuleViolation("its materials are not what was tagged", hint="record the step again on the tag")


def _filled(rule: ArtifactRule, crate: CrateId) -> ArtifactRule:
    return replace(rule, pattern=substitute(rule.pattern, crate))


def _same_kind(error: CarnetError, text: str) -> CarnetError:
    return RuleViolation(text, hint=error.hint)
