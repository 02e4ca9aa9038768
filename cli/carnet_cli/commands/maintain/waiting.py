"""The waiting period on the command line: handing a claim in for everybody to see, and what a holder must see of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from carnet_cli.commands.maintain import proposal_folders
from carnet_cli.commands.network import network_for
from carnet_cli.config import home
from carnet_cli.report.waiting import ProposedReport, proposed_as_json, proposed_as_text
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet.tuf.roles import Root
    from carnet_cli.commands.own_view import BaseSource
    from carnet_signer.proposals.state_before import Compared
    from carnet_signer.proposals.waiting import Waited


def propose_folder(
    folder: Path, mirror: str | None, repository: str | None, message_format: output.MessageFormat
) -> None:
    """Hand a folder's drafts to the mirror, check its receipt, and put that into the folder."""
    from carnet.claims.receipt import SignedReceipt, check_belongs
    from carnet.claims.waiting import Waiting
    from carnet.errors import FormatError
    from carnet_mirror.web.client import propose
    from carnet_signer.proposals import review, waiting
    from carnet_signer.proposals.proposal import load

    proposal = load(folder)
    review.lint(proposal, now=home.now(), example_keys=True)
    body = waiting.body(proposal)
    with proposal_folders.looking(repository) as view:
        root, url = view.repository.trusted.root.signed, mirror or view.url
    answer = propose(url, body, network=network_for())
    signed = SignedReceipt.from_object(answer.get("receipt"))
    said, wanted = signed.verified(root), waiting.proposed(proposal)
    if wanted is None:
        raise FormatError("the folder changed while it was handed in")
    check_belongs(said, wanted)
    waiting.save_receipt(folder, signed)
    report = ProposedReport(wanted, said.time, said.ends(Waiting.of(root)), folder)
    output.show(report, message_format, proposed_as_text, proposed_as_json)


def renew_folder(folder: Path, repository: str | None) -> None:
    """Draft a folder anew on what is published now; what is decided in it stays as it is."""
    from carnet_signer.proposals import ownership, review, waiting
    from carnet_signer.proposals.proposal import load, save_again
    from carnet_verifier.releases.published_versions import read_published_versions

    proposal, now = load(folder), home.now()
    name = proposal.crate
    with proposal_folders.looking(repository) as view:
        published = ownership.read_published(view.repository, name, neighbours=True)
        found = None if published.owner is not None else read_published_versions(view, name, output.counting)
        registry = waiting.registry_of(proposal)
        adopted = None if found is None else ownership.adopt(found.index, found.lengths, registry, found.history)
    renewed = waiting.renew(proposal, published, adopted=adopted, now=now)
    review.lint(renewed, now=now, example_keys=True)
    save_again(renewed, folder)
    proposal_folders.say_status(renewed, folder, "claim")


def look_at_period(compared: Compared, folder: Path, source: BaseSource) -> Waited | None:
    """Say how the waiting period of a folder stands, by the root that the user has; None when nothing in it waits.

    Raises:
        ConfigError: The user trusts no repository, and names no root.
        VerificationError: The trusted repository cannot be verified, or the named root is none.
    """
    from carnet_signer.proposals import waiting

    proposal = compared.proposal
    if waiting.proposed(proposal) is None:
        return None
    root = _newest_root(source) if compared.view is None else compared.view.root.signed
    return waiting.look(proposal, waiting.read_receipt(folder), root, now=home.now())


def _newest_root(source: BaseSource) -> Root:
    """The root that the user names; otherwise the newest one of the trusted repository."""
    if source.root is None:
        with proposal_folders.looking(source.repository) as view:
            return view.repository.trusted.root.signed
    return proposal_folders.read_root(source.root)
