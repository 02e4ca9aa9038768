"""Claims and takeovers wait in public: handed in unsigned, answered with a receipt, listed, and taken when it is time.

    1. the drafts of the owner role and the crate role, parsed; nothing else has a place in a proposal
    2. they are what may follow what is published, and are something that waits
    3. a receipt with the mirror's time, signed by the online key, durable before it is given
    4. listed for everybody (`carnet_mirror.web.pending`)
    5. the signed claim is taken when exactly it was listed for the period that the root asks (`check_waited_for`)

A mirror goes by its own record alone. A receipt that somebody brings along proves nothing here, because who has the
online key could have made it for any day.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from carnet.claims.decided import check_follows
from carnet.claims.holders import ClaimFacts, Holders
from carnet.claims.receipt import CLOCKS, KEPT_FOR, ClaimReceipt, Proposed, SignedReceipt, check_waited
from carnet.claims.releases import Demands, Releases
from carnet.claims.submission import ParsedSubmission, Submission
from carnet.claims.takeover import check_mark
from carnet.claims.waiting import CLAIM, TAKEOVER, Waiting, kind_of
from carnet.errors import ConfigError, FormatError, VerificationError
from carnet.publishable.checks import check_name
from carnet.strictjson import Json, JsonObject
from carnet.tuf import paths
from carnet.tuf.keys import Signature
from carnet.tuf.next_version import check_role
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Root, Targets
from carnet_mirror.clock import check_clock
from carnet_mirror.state.pending import PendingEntry
from carnet_mirror.state.store import Store
from carnet_verifier.claims.owners import Claim
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.refresh import read_repository
from carnet_verifier.tuf.repository import TrustedRepository

MAX_PROPOSAL = 1024 * 1024
"""Bytes of a proposal: two roles without signatures, and no files."""
MAX_OWNER_DRAFT = 128 * 1024
"""Bytes of the owner role in it; what it says is listed."""
MAX_REGISTRY = 64
"""Characters of a registry's name in it, for the same reason."""


class ReceiptSigner(Protocol):
    """What signs receipts: the online signer, as `carnet_signer.online.client.OnlineClient` reaches it."""

    def sign_receipt(self, payload: bytes) -> list[Signature]:
        """Sign one.

        Raises:
            SigningError: It is no receipt, or its time is not the signer's.
        """


@dataclass(frozen=True, slots=True)
class Public:
    """A proposal that everybody can see.

    Attributes:
        receipt: What the mirror signed.
        said: What its receipt says.
        ends: When its period is over.
    """

    receipt: SignedReceipt
    said: ClaimReceipt
    ends: datetime


def take_proposal(store: Store, online: ReceiptSigner, body: bytes, *, source: str, now: datetime) -> Public:
    """Take the drafts of a first claim or a takeover, and give a receipt. The same ones again get the same receipt.

    Args:
        store: The mirror, opened for writing.
        online: Signs the receipt.
        body: As it was received: a submission of nothing but the drafts.
        source: The network that it came from.
        now: The time.

    Raises:
        FormatError: It does not parse.
        VerificationError: It could not follow what is published, or waits for nothing.
        StorageError: There is no room, or the disk failed.
        SigningError: The online signer refused.
    """
    store.disk.require(len(body))
    proposal = _parsed(body)  # 1.
    current = current_view(store, now)
    proposed, facts = _judged(current, proposal, now)  # 2.
    root = current.trusted.root.signed
    waiting = Waiting.of(root)
    known = _good(store, proposed, root, now)
    if known is not None:
        return known
    check_clock(store, now=now)
    made = ClaimReceipt(proposed, now.replace(microsecond=0))  # 3.
    signed = SignedReceipt(made.payload, tuple(online.sign_receipt(made.payload)))
    signed.verified(root)
    entry = PendingEntry(
        proposed.digest,
        proposed.crate,
        made.time,
        made.ends(waiting) + KEPT_FOR,
        source,
        signed.to_bytes(),
        _said(proposed, proposal, facts, current.claim(proposal.crate)),
    )
    with store.change():
        known = _good(store, proposed, root, now)  # somebody may have handed in the same meanwhile
        if known is None:
            store.pending.add(entry, now=now)
    return known or Public(signed, made, made.ends(waiting))


def check_waited_for(
    store: Store, current: TrustedRepository, claim: Claim, submission: ParsedSubmission, *, now: datetime
) -> datetime | None:
    """Demand that what waits was public here for as long as the root asks, and that a takeover says that it is one.

    Args:
        store: The mirror.
        current: What is published.
        claim: What would be, verified.
        submission: What was handed in.
        now: The time.

    Returns:
        When its period ended; None when it waits for nothing.

    Raises:
        VerificationError: Exactly this was not listed here, or not for long enough.
        MetadataMismatch: It is a takeover and does not say so, or says so and is none; or it brings more than what was
            listed and what follows from what is published.
    """
    name, before = submission.crate, current.claim(submission.crate)
    owner = paths.owner_role(name)
    if owner in submission.roles:
        facts = None if before is None else before.facts
        check_mark(owner, facts, claim.facts, taken_over=claim.takeover, now=now)
    kind = CLAIM if before is None else TAKEOVER if claim.takeover else None
    root = current.trusted.root.signed
    waiting = Waiting.of(root)
    if kind is None or not waiting.period(kind):
        return None
    check_follows(name, submission.roles, _published(before))
    proposed = Proposed.of(name, kind, submission.roles)
    receipt = _standing(store, proposed)
    if receipt is None:
        raise VerificationError(
            f"this {kind} of {name} was never public here: sha256 {proposed.digest}",
            hint="hand the folder in with `carnet claim propose` and let the period pass; other owners, release keys, "
            "thresholds or layouts wait anew",
        )
    return check_waited(receipt.verified(root), proposed, waiting, now=now)


def drop_pending(store: Store, wanted: Iterable[str], reason: str, *, now: datetime) -> list[PendingEntry]:
    """Let what waits hold no place any more, as its operator says; it stays listed, and waits all the same.

    Args:
        store: The mirror, opened for writing.
        wanted: Names, each for all that waits for it, or digests.
        reason: Why, for everybody.
        now: The time.

    Returns:
        What was dropped, as it is listed now.

    Raises:
        ConfigError: Nothing waits under one of them, or the reason is no plain line; then nothing is dropped.
    """
    standing = store.pending.entries(now)
    found: dict[str, PendingEntry] = {}
    for one in wanted:
        named = [entry for entry in standing if entry.digest == one]
        if not named:
            named = [entry for entry in standing if entry.crate.canonical == one.lower().replace("-", "_")]
        if not named:
            raise ConfigError(f"nothing waits under {one[:80]!a}", hint="`carnet mirror pending DIR` lists what does")
        found |= {entry.digest: entry for entry in named}
    with store.change():
        for digest in found:
            store.pending.drop(digest, reason, now=now)
    return [entry for entry in store.pending.entries(now) if entry.digest in found]


def current_view(store: Store, now: datetime) -> TrustedRepository:
    """What a mirror has published, as a client verifies it; claims that ended are in it, for what follows them.

    Raises:
        VerificationError: It has published nothing, or a client would refuse it.
    """
    root = store.read(paths.METADATA_PREFIX + paths.metadata_name(paths.ROOT, 1))
    if root is None:
        raise VerificationError("this mirror has published nothing yet")
    return read_repository(root, ReadFetcher(store.read), now=now).for_renewal()


# --- 1., 2. what may be proposed ---


def _parsed(body: bytes) -> ParsedSubmission:
    """Nobody has signed it, so sizes are looked at first."""
    if len(body) > MAX_PROPOSAL:
        raise FormatError(f"a proposal has at most {MAX_PROPOSAL} bytes")
    proposal = Submission.from_bytes(body)
    owner, crate = paths.owner_role(proposal.crate), paths.crate_role(proposal.crate)
    if proposal.targets or proposal.lines or not {owner} <= proposal.roles.keys() <= {owner, crate}:
        raise FormatError(f"a proposal holds the drafts of {owner} and {crate}, and nothing else")
    if len(proposal.roles[owner]) > MAX_OWNER_DRAFT:
        raise FormatError(f"the draft of {owner} is larger than {MAX_OWNER_DRAFT} bytes")
    roles = {role: parse_role(data, Targets, what=role) for role, data in proposal.roles.items()}
    return ParsedSubmission.of(proposal, roles)


def _judged(current: TrustedRepository, proposal: ParsedSubmission, now: datetime) -> tuple[Proposed, ClaimFacts]:
    name, claim = proposal.crate, current.claim(proposal.crate)
    owner, crate = paths.owner_role(name), paths.crate_role(name)
    if claim is None and current.released(name):
        raise VerificationError(f"{name} was claimed and given up: such a name is never free again")
    published = _published(claim)
    for role, draft in proposal.roles.items():
        check_role(role, published.get(role), draft.signed, now=now)
    facts = ClaimFacts.of(proposal.roles[owner].signed)
    if len(facts.registry) > MAX_REGISTRY:
        raise FormatError(f"the registry that {owner} names has more than {MAX_REGISTRY} characters")
    before = None if claim is None else claim.facts
    kind = kind_of(before, facts)
    if kind is None:
        raise VerificationError(
            f"this change of {name} waits for nothing: its owners sign it", hint="`carnet claim submit` hands it in"
        )
    others = before is not None and not facts.owners.signers.same_as(before.owners.signers)
    check_mark(owner, before, facts, taken_over=others, now=now)
    if before is None or before.registry != facts.registry:
        check_name(name, facts.registry)
    if kind == CLAIM and crate not in proposal.roles:
        raise VerificationError(f"a first claim drafts {crate} as well")
    return Proposed.of(name, kind, proposal.roles), facts


def _published(claim: Claim | None) -> dict[str, Targets]:
    """What a takeover follows; nothing when the name is unclaimed."""
    if claim is None:
        return {}
    return {paths.owner_role(claim.name): claim.owner, paths.crate_role(claim.name): claim.crate}


def _good(store: Store, proposed: Proposed, root: Root, now: datetime) -> Public | None:
    """What is public already, unless its receipt is by a key that was replaced, or of a clock that was ahead."""
    signed = _standing(store, proposed)
    if signed is None:
        return None
    try:
        receipt = signed.verified(root)
    except VerificationError:
        return None
    return Public(signed, receipt, receipt.ends(Waiting.of(root))) if receipt.time <= now + CLOCKS else None


def _standing(store: Store, proposed: Proposed) -> SignedReceipt | None:
    entry = store.pending.entry(proposed.digest)
    return None if entry is None else SignedReceipt.from_bytes(entry.receipt)


# --- 4. what everybody sees ---


def _said(proposed: Proposed, proposal: ParsedSubmission, facts: ClaimFacts, before: Claim | None) -> JsonObject:
    name = proposal.crate
    layouts = Demands.of(name, proposal.roles[paths.owner_role(name)].signed).layouts
    crate = proposal.roles.get(paths.crate_role(name))
    said: JsonObject = {
        "crate": str(proposed.crate),
        "kind": proposed.kind,
        "digest": proposed.digest,
        "registry": facts.registry,
        "owners": _people(facts.owners),
        "releasers": _people(facts.releasers),
        "layouts": [layout.file.sha256 for layout in layouts],
        "versions": None if crate is None else sum(1 for _ in Releases.of(name, crate.signed)),
        "replaces": None if before is None else _people(before.facts.owners),
    }
    return said


def _people(holders: Holders) -> JsonObject:
    people: dict[str, Json] = {key.keyid: holders.people[key.keyid] for key in holders.signers.keys}
    return {"threshold": holders.signers.threshold, "people": people}
