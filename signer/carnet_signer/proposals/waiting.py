"""What holders see of the waiting period before they sign: the mirror's receipt, held against what they would sign.

The receipt lies in the folder as `receipt.json`. What it is worth is decided by the root: its online keys, its period.
The folder's own words about time count for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from carnet import durable, times
from carnet.claims.holders import ClaimFacts
from carnet.claims.receipt import MAX_RECEIPT, ClaimReceipt, Proposed, SignedReceipt, check_waited
from carnet.claims.submission import Submission
from carnet.claims.waiting import CLAIM, Waiting, kind_of
from carnet.errors import ConfigError, FormatError, VerificationError
from carnet.folder import read_folder
from carnet.tuf import paths
from carnet.tuf.roles import Root
from carnet_signer.metadata import role_files
from carnet_signer.proposals import ownership
from carnet_signer.proposals.ownership import PublishedClaim
from carnet_signer.proposals.proposal import Proposal
from carnet_signer.proposals.review import Words

_RECEIPT = "receipt.json"
_PROPOSE = "hand the folder to the mirror with `carnet claim propose`, and sign when its period is over"


def proposed(proposal: Proposal) -> Proposed | None:
    """What of a proposal waits; None when nothing does.

    Raises:
        FormatError: The owner role cannot be read.
    """
    owner = paths.owner_role(proposal.crate)
    if owner not in proposal.drafts:
        return None
    base = proposal.base.get(owner)
    before = None if base is None else ClaimFacts.of(base.signed)
    kind = kind_of(before, ClaimFacts.of(proposal.drafts[owner].signed))
    return None if kind is None else Proposed.of(proposal.crate, kind, proposal.drafts)


def body(proposal: Proposal) -> bytes:
    """What a mirror gets of it before anybody signs: the drafts that wait, and no signature.

    Raises:
        ConfigError: Nothing in it waits.
    """
    wanted = proposed(proposal)
    if wanted is None:
        raise ConfigError(
            "nothing in this folder waits: its owners sign it", hint="`carnet claim sign` and `carnet claim submit`"
        )
    drafts = {role: role_files.file_bytes(proposal.drafts[role].message, []) for role in wanted.roles}
    return Submission(proposal.crate, drafts).to_bytes()


def with_new_shard(proposal: Proposal, published: PublishedClaim, *, now: datetime) -> Proposal:
    """The same proposal on what is published now: another claim of its shard may have come in while it waited.

    The owner role and the crate role stay byte for byte, with their signatures and their receipt; the shard loses its.

    Args:
        proposal: What waits.
        published: The crate's roles, verified.
        now: The time.

    Raises:
        ConfigError: Nothing in it waits, or the crate was claimed meanwhile.
    """
    wanted, name = proposed(proposal), proposal.crate
    if wanted is None:
        raise ConfigError("nothing in this folder waits", hint=f"make it anew: `carnet claim new {name} -o DIR`")
    facts = ClaimFacts.of(proposal.drafts[paths.owner_role(name)].signed)
    if wanted.kind == CLAIM:
        again = ownership.new_claim(published, proposal.request, facts, adopted=None, layout=None, now=now)
    else:
        changes = ownership.OwnerChanges(facts.owners, facts.releasers)
        again = ownership.next_owner(published, proposal.request, changes, now=now)
    shard = paths.claims_shard_role(name.shard)
    return replace(proposal, drafts={**proposal.drafts, shard: again.drafts[shard]}, base=again.base)


def read_receipt(folder: Path) -> SignedReceipt | None:
    """The receipt in a folder, or None.

    Raises:
        FormatError: What lies there is none.
        ConfigError: What lies there is no plain file.
        StorageError: It cannot be read.
    """
    found = read_folder(folder, max_bytes=MAX_RECEIPT, wanted=lambda name: name == _RECEIPT, deep=False)
    return SignedReceipt.from_bytes(found[_RECEIPT]) if found else None


def read_own_receipt(folder: Path, proposal: Proposal) -> SignedReceipt | None:
    """The receipt in a folder that is for this proposal; None when there is none, or one for something else.

    Raises:
        FormatError: What lies there is no receipt.
        ConfigError: What lies there is no plain file.
        StorageError: It cannot be read.
    """
    receipt, wanted = read_receipt(folder), proposed(proposal)
    if receipt is None or wanted is None:
        return None
    same = ClaimReceipt.from_payload(receipt.payload).proposed.to_object() == wanted.to_object()
    return receipt if same else None


def save_receipt(folder: Path, receipt: SignedReceipt) -> None:
    """Put a receipt into a folder.

    Raises:
        StorageError: The disk failed.
    """
    durable.write_file(folder / _RECEIPT, receipt.to_bytes())


@dataclass(frozen=True, slots=True)
class Waited:
    """How the waiting period of a proposal stands.

    Attributes:
        words: It, for whoever is about to sign.
        problem: Why a holder must not sign yet; None when nothing stands against it.
    """

    words: Words
    problem: VerificationError | FormatError | None


def look(proposal: Proposal, receipt: SignedReceipt | None, root: Root, *, now: datetime) -> Waited | None:
    """Look at the waiting period as a holder must.

    Args:
        proposal: What would be signed.
        receipt: What lies beside it.
        root: Verified, and the newest that the holder knows.
        now: The time.

    Returns:
        How it stands; None when nothing in the proposal waits.
    """
    wanted = proposed(proposal)
    if wanted is None:
        return None
    period = Waiting.of(root).period(wanted.kind)
    lines = [f"what is proposed: sha256 {wanted.digest}"]
    problem: VerificationError | FormatError | None = None
    try:
        if not period:
            lines.append(f"the root lets a {wanted.kind} count at once")
        elif receipt is None:
            raise VerificationError(f"there is no receipt for this {wanted.kind}", hint=_PROPOSE)
        else:
            said = receipt.verified(root)
            lines.append(
                f"the mirror's receipt is of {times.written(said.time)}, signed by the online key of this root"
            )
            ended = check_waited(said, wanted, Waiting.of(root), now=now)
            lines.append(f"the period of {period.days} days ended on {times.written(ended)}")
    except (VerificationError, FormatError) as error:
        problem = error
        lines.append(f"NOT TO BE SIGNED YET: {error}")
    lines.append(f"a stolen online key can sign receipts for any day: look at `carnet watch {proposal.crate}` as well")
    return Waited(Words("the waiting period", tuple(lines), alarm=problem is not None), problem)
