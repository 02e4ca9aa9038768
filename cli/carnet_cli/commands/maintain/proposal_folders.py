"""What `carnet claim` and `carnet release` have in common: folders that pass from one signer to the next."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet.durable import read_named_file
from carnet.errors import SigningError
from carnet_cli.commands.network import network_for
from carnet_cli.commands.own_view import BaseSource, own_view, signed_before
from carnet_cli.config import home
from carnet_cli.config.settings import run_bounds
from carnet_cli.report.signing import (
    ReviewReport,
    SigningReport,
    next_steps,
    review_as_json,
    review_as_text,
    signing_as_json,
    signing_as_text,
    submitted_as_json,
    submitted_as_text,
    words_as_text,
)
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource
from carnet_cli.terminal.signing_key import open_key

if TYPE_CHECKING:
    from carnet.tuf.roles import Root
    from carnet_signer.proposals.proposal import Proposal
    from carnet_signer.proposals.state_before import Compared
    from carnet_signer.proposals.waiting import Waited
    from carnet_verifier.tuf.view import View

    Look = Callable[[Compared], Waited | None]

MAX_FILE = 160 * 1024 * 1024

folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
output_option = click.option(
    "-o",
    "--output",
    "folder",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to make; it then passes from signer to signer.",
)
repository_option = click.option(
    "--repository", envvar="CARNET_REPOSITORY", help="Which trusted repository, by URL or fingerprint."
)
root_option = click.option(
    "--root",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A root that you have: also check that the folder's copy of what is published was signed; with --view, the "
    "root that it is checked from.",
)
insecure_option = click.option("--insecure-example-keys", is_flag=True, help="Also accept the keys in keys-example/.")


def looking(repository: str | None) -> AbstractContextManager[View]:
    """Refresh what is trusted, and look at it."""
    from carnet_verifier.tuf.view import open_view

    return open_view(
        home.choose(repository).directory, now=home.now(), bounds=run_bounds(home.now()), network=network_for()
    )


def read(path: Path, what: str) -> bytes:
    """Read a file that the user names.

    Raises:
        ConfigError: There is none.
    """
    return read_named_file(path, what, max_bytes=MAX_FILE)


def made(proposal: Proposal, folder: Path, group: str, *, insecure_example_keys: bool = False) -> None:
    """Check a new proposal, write it, and say what comes next."""
    from carnet_signer.proposals import review
    from carnet_signer.proposals.proposal import save

    review.lint(proposal, now=home.now(), example_keys=insecure_example_keys)
    save(proposal, folder)
    for remark in review.remarks(proposal):
        output.warn(remark)
    output.note(f"{folder} is ready: read it with `carnet {group} review {folder}`")
    say_status(proposal, folder, group)


def show_review(
    folder: Path, source: BaseSource, message_format: output.MessageFormat, *, period: Look | None = None
) -> None:
    """Say in words what a folder's signers would sign, compared with what the reader verified.

    `period` looks at the waiting period, where the reader has a root that says how long it is.
    """
    from carnet_signer.proposals import review

    compared = compared_folder(folder, source)
    problem = review.problem(compared.proposal, now=home.now(), example_keys=True)
    words = (review.opening(compared), *review.describe(compared.proposal, now=home.now()))
    if period is not None and (compared.view is not None or source.root is not None):
        waited = period(compared)
        words += () if waited is None else (waited.words,)
    output.show(ReviewReport(compared, words, problem), message_format, review_as_text, review_as_json)
    if problem is not None:
        raise problem


def compared_folder(folder: Path, source: BaseSource) -> Compared:
    """Read a folder, and put what the user verified in the place of what it says is published.

    Raises:
        VerificationError: It was made from another state.
        CarnetError: It cannot be read, or nothing of the user's own can be had to compare it with.
    """
    from carnet_signer.proposals import state_before
    from carnet_signer.proposals.proposal import load

    proposal = load(folder)
    if source.root is not None:
        check_base(proposal, source.root)
    with own_view(source) as view:
        return state_before.believe_folder(proposal) if view is None else state_before.compare(proposal, view)


def check_base(proposal: Proposal, root: Path) -> None:
    """Hold the folder's copies of what is published against a root that the user has.

    Raises:
        VerificationError: They were not signed by those whom the root appoints.
    """
    trusted = read_root(root)
    proposal.check_base(trusted)
    output.note(f"what is published now was signed by those whom root {trusted.version} appoints")


def read_root(path: Path) -> Root:
    """Read a root that the user names.

    Raises:
        ConfigError: There is none.
        VerificationError: Its own threshold did not sign it.
    """
    from carnet.tuf.read import parse_role
    from carnet.tuf.roles import Root

    envelope = parse_role(read(path, "root file"), Root, max_bytes=MAX_FILE)
    envelope.signed.roles["root"].check(envelope, f"{path}", "5.3.4")
    return envelope.signed


@dataclass(frozen=True)
class Consent:
    """What a signer says on the command line beside the key.

    Attributes:
        yes: Whether they are not asked: they have read what they sign.
        sign_again: Whether another content of a version that they signed before is meant.
        insecure_example_keys: Whether keys that everybody has are accepted.
    """

    yes: bool
    sign_again: bool
    insecure_example_keys: bool


def sign_folder(
    folder: Path,
    group: str,
    key: str,
    passphrase: PassphraseSource,
    source: BaseSource,
    consent: Consent,
    *,
    period: Look | None = None,
) -> None:
    """Show what would be signed, ask, and sign whichever roles the key belongs to.

    `period` looks at the waiting period, before anybody signs for the registry.
    """
    from carnet_signer.proposals import review
    from carnet_signer.proposals.proposal import REGISTRY, save_signatures

    compared = compared_folder(folder, source)
    proposal = compared.proposal
    review.lint(proposal, now=home.now(), example_keys=consent.insecure_example_keys)
    output.note(words_as_text((review.opening(compared), *review.describe(proposal, now=home.now()))).rstrip())
    signer = open_key(key, passphrase, insecure_example_keys=consent.insecure_example_keys)
    quorums = proposal.to_sign(signer.public_key)
    review.check_turn(proposal, quorums)
    if period is not None and any(quorum.who == REGISTRY for quorum in quorums):
        _demand_period(period(compared))
    memory = signed_before(source, compared.view, signer.public_key)
    drafts = {quorum.role: proposal.drafts[quorum.role] for quorum in quorums}
    memory.check(drafts, again=consent.sign_again)
    if not consent.yes:
        _require_consent([f"{quorum.role} ({quorum.who})" for quorum in quorums])
    memory.remember(drafts, again=consent.sign_again)  # durable before a signature is made
    signed, _ = proposal.sign(signer)
    save_signatures(signed, folder)
    for quorum in quorums:
        name = next(quorum.name(one) for one in quorum.signers.keys if one.material == signer.public_key.material)
        output.note(f"signed {quorum.role} as {name}")
    say_status(signed, folder, group)


def _demand_period(waited: Waited | None) -> None:
    """Show how the waiting period stands; a holder does not sign before it is over."""
    if waited is None:
        return
    output.note(words_as_text([waited.words]).rstrip())
    if waited.problem is not None:
        raise waited.problem


def _require_consent(what: Sequence[str]) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise SigningError("there is nobody to ask whether to sign", hint="give --yes when you have read `review`")
    if not click.confirm(f"sign {', '.join(what)}?", err=True):
        raise SigningError("nothing was signed", hint="answer y, or give --yes")


def merge_folders(folder: Path, others: Sequence[Path], group: str) -> None:
    """Take the valid signatures of copies of a folder, and the receipt for it, if it has none."""
    from carnet_signer.proposals import waiting
    from carnet_signer.proposals.proposal import load, save_signatures

    proposal = load(folder)
    receipt = waiting.read_own_receipt(folder, proposal)
    for other in others:
        proposal = proposal.merge(load(other))
        receipt = receipt or waiting.read_own_receipt(other, proposal)
    save_signatures(proposal, folder)
    if receipt is not None:
        waiting.save_receipt(folder, receipt)
    say_status(proposal, folder, group)


# --- status ---


def show_status(folder: Path, group: str, message_format: output.MessageFormat) -> int:
    """A checklist: who has signed, who has not, and the next command; exit status 1 until everything is signed."""
    from carnet_signer.proposals import review
    from carnet_signer.proposals.proposal import load

    proposal = load(folder)
    problem = review.problem(proposal, now=home.now(), example_keys=True)
    report = SigningReport(proposal, folder, group, problem)
    output.show(report, message_format, signing_as_text, signing_as_json)
    if problem is not None:
        raise problem
    return 0 if proposal.final else 1


def say_status(proposal: Proposal, folder: Path, group: str) -> None:
    """What comes next, for people."""
    for line in next_steps(proposal, folder, group):
        output.note(f"next: {line}")


# --- submitting ---


def submit_folder(
    folder: Path, mirror: str | None, repository: str | None, message_format: output.MessageFormat
) -> None:
    """Post a finished folder to the mirror, and say what became of it."""
    from carnet_mirror.web.client import submit
    from carnet_signer.proposals import review
    from carnet_signer.proposals.proposal import load

    proposal = load(folder)
    review.lint(proposal, now=home.now(), example_keys=True)
    body = proposal.submission().to_bytes()
    url = mirror or home.choose(repository).directory.url
    answer = submit(url, body, network=network_for())
    output.show(answer, message_format, submitted_as_text, submitted_as_json)
