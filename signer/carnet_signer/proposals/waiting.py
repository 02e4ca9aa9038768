"""What holders see of the waiting period before they sign: the mirror's receipt, held against what they would sign.

The receipt lies in the folder as `receipt.json`. What it is worth is decided by the root: its online keys, its period.
The folder's own words about time count for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from carnet import durable, times
from carnet.cargo.names import CrateName
from carnet.claims.decided import check_follows
from carnet.claims.holders import ClaimFacts
from carnet.claims.receipt import MAX_RECEIPT, ClaimReceipt, Proposed, SignedReceipt, check_waited
from carnet.claims.releases import Demands, Differences, OwnedLayoutFile, Releases
from carnet.claims.submission import Submission
from carnet.claims.waiting import CLAIM, Waiting, kind_of
from carnet.errors import ConfigError, FormatError, VerificationError
from carnet.folder import read_folder
from carnet.intoto.duties import Terms
from carnet.tuf import paths
from carnet.tuf.roles import Root, Targets
from carnet.tuf.tree import roles_of
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
    _, *waits = roles_of(proposal.crate)
    drafts = {
        role: role_files.file_bytes(proposal.drafts[role].message, []) for role in waits if role in proposal.drafts
    }
    return Submission(proposal.crate, drafts).to_bytes()


def renew(proposal: Proposal, published: PublishedClaim, *, adopted: Releases | None = None, now: datetime) -> Proposal:
    """The same decision on what is published now: present owners, an upstream or a neighbour may have published.

    Its receipt stays good. A draft that still follows from what is published stays byte for byte, with its signatures,
    and so does the shard while nobody published another: who publishes often makes nobody but the new owners sign anew.

    Args:
        proposal: What waits.
        published: The crate's roles, verified.
        adopted: For a first claim, the versions that are published now; None when there are none.
        now: The time.

    Raises:
        ConfigError: Nothing in it waits, or the crate was claimed or given up meanwhile.
        VerificationError: It cannot be drafted anew without another decision.
    """
    wanted, name = proposed(proposal), proposal.crate
    if wanted is None:
        raise ConfigError("nothing in this folder waits", hint=f"make it anew: `carnet claim new {name} -o DIR`")
    owner = proposal.drafts[paths.owner_role(name)]
    facts, layout = ClaimFacts.of(owner.signed), _brought(proposal, owner.signed)
    if wanted.kind == CLAIM:
        again = ownership.new_claim(published, proposal.request, facts, adopted=adopted, layout=layout, now=now)
    else:
        again = ownership.follow(published, proposal.request, facts, layout, now=now)
    if Proposed.of(name, wanted.kind, again.drafts).digest != wanted.digest:
        raise VerificationError(
            f"the draft of {paths.owner_role(name)} decides something that `carnet claim` would not write: it cannot "
            "be drafted anew as it is",
            hint="make it anew with `carnet claim new` or `carnet claim handover`; the period begins anew",
        )
    kept = {role: proposal.drafts[role] for role in again.drafts if _still_next(role, proposal, again)}
    return replace(again, drafts={**again.drafts, **kept})


def registry_of(proposal: Proposal) -> str:
    """The registry that a folder's crate belongs to, as its owner role says.

    Raises:
        ConfigError: The folder drafts no owner role.
        FormatError: The owner role cannot be read.
    """
    owner = proposal.drafts.get(paths.owner_role(proposal.crate))
    if owner is None:
        raise ConfigError("nothing in this folder waits", hint="`carnet claim new` makes one that does")
    return ClaimFacts.of(owner.signed).registry


def _brought(proposal: Proposal, owner: Targets) -> ownership.NewLayout | None:
    """The layout that a draft of an owner role puts in force, from the folder."""
    path = paths.layout_path(proposal.crate, owner.version)
    if path not in owner.targets:
        return None
    if path not in proposal.targets:
        raise ConfigError(f"the folder lacks {path}", hint="take the folder that `carnet claim` wrote, whole")
    return ownership.NewLayout(proposal.targets[path], Terms.from_custom(owner.targets[path].custom))


def _still_next(role: str, proposal: Proposal, again: Proposal) -> bool:
    """Whether the draft of a role says what a new one would, but for the hour at which it ends."""
    before, after, name = proposal.drafts.get(role), again.drafts[role], proposal.crate
    if before is None or before.signed.version != after.signed.version:
        return False
    shard, owner, _ = roles_of(name)
    if role == shard:
        # What holders signed for a shard stands: what it says of its crates' versions is a least.
        theirs, ours = proposal.base.get(shard), again.base[shard]
        return bool(before.signatures) and theirs is not None and theirs.raw == ours.raw
    if role == owner:
        return _demanded(name, before.signed) == _demanded(name, after.signed)
    changes = Differences.between(Releases.of(name, before.signed), Releases.of(name, after.signed))
    return not (changes.added or changes.lost or changes.evidence)


def _demanded(name: CrateName, owner: Targets) -> tuple[dict[str, OwnedLayoutFile], frozenset[str]]:
    demands = Demands.of(name, owner)
    return {one.path: one for one in demands.layouts}, demands.adopted


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


def _published(proposal: Proposal) -> dict[str, Targets]:
    _, *own = roles_of(proposal.crate)
    return {role: proposal.base[role].signed for role in own if role in proposal.base}


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
            check_follows(proposal.crate, proposal.drafts, _published(proposal))
            lines.append(f"the period of {period.days} days ended on {times.written(ended)}")
    except (VerificationError, FormatError) as error:
        problem = error
        lines.append(f"NOT TO BE SIGNED YET: {error}")
    lines.append(f"a stolen online key can sign receipts for any day: look at `carnet watch {proposal.crate}` as well")
    return Waited(Words("the waiting period", tuple(lines), alarm=problem is not None), problem)
