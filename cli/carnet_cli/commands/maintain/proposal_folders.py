"""What `carnet claim` and `carnet release` have in common: folders that pass from one signer to the next."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from carnet.cargo.names import CrateName
from carnet.durable import read_file
from carnet.errors import CarnetError, ConfigError, FormatError, SigningError, TransportError, VerificationError
from carnet_cli.config import home
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource
from carnet_cli.terminal.signing_key import open_key

if TYPE_CHECKING:
    from carnet_signer.proposals.ownership import Published
    from carnet_signer.proposals.proposal import Proposal
    from carnet_signer.proposals.review import Words
    from carnet_signer.quorum import Quorum
    from carnet_verifier.net.fetch import HttpFetcher
    from carnet_verifier.tuf.repository import TrustedRepository

MAX_FILE = 160 * 1024 * 1024
_MAX_ANSWER = 1024 * 1024
_SUBMIT_WITHIN = 600.0

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
insecure_option = click.option("--insecure-example-keys", is_flag=True, help="Also accept the keys in keys-example/.")


@dataclass(frozen=True)
class Looking:
    """A verified view, and how to fetch what is no target of it."""

    repository: TrustedRepository
    fetcher: HttpFetcher
    url: str

    def published(self, name: CrateName) -> Published:
        """The verified roles that a proposal for a crate starts from."""
        from carnet_signer.proposals.ownership import read_published

        return read_published(self.repository, name)


@contextmanager
def looking(repository: str | None) -> Iterator[Looking]:
    """Refresh what is trusted, and look at it."""
    from carnet_verifier.net.fetch import HttpFetcher
    from carnet_verifier.tuf.refresh import refresh

    trusted = home.choose(repository)
    with HttpFetcher(trusted.directory.url) as fetcher:
        yield Looking(refresh(trusted.directory, fetcher, now=home.now()), fetcher, trusted.directory.url)


def read(path: Path, what: str) -> bytes:
    """Read a file that the user names.

    Raises:
        ConfigError: There is none.
    """
    try:
        return read_file(path, what, max_bytes=MAX_FILE)
    except FileNotFoundError:
        raise ConfigError(f"there is no {what} {path}") from None


def made(proposal: Proposal, folder: Path, group: str, *, insecure_example_keys: bool = False) -> None:
    """Check a new proposal, write it, and say what comes next."""
    from carnet_signer.proposals import review
    from carnet_signer.proposals.proposal import save

    review.lint(proposal, now=home.now(), example_keys=insecure_example_keys)
    save(proposal, folder)
    output.note(f"{folder} is ready: read it with `carnet {group} review {folder}`")
    say_status(proposal, folder, group)


def show_review(folder: Path, group: str, root: Path | None, message_format: output.MessageFormat) -> None:
    """Say in words what a folder's signers would sign."""
    from carnet_signer.proposals import review
    from carnet_signer.proposals.proposal import load

    proposal = load(folder)
    problem = review.problem(proposal, now=home.now(), example_keys=True)
    words = review.describe(proposal, now=home.now())
    if root is not None:
        check_base(proposal, root)
    if message_format == "json":
        output.emit_json(
            {
                "reason": "review",
                "crate": str(proposal.crate),
                "kind": proposal.request.kind,
                "problem": None if problem is None else str(problem),
                "base-verified": root is not None,
                "review": [{"title": one.title, "lines": list(one.lines), "alarm": one.alarm} for one in words],
            }
        )
    else:
        output.echo(_as_text(words), end="")
        if root is None:
            output.note("what is published now was taken from the folder; --root checks that it was signed")
    if problem is not None:
        raise problem


def check_base(proposal: Proposal, root: Path) -> None:
    """Hold the folder's copies of what is published against a root that the user has.

    Raises:
        VerificationError: They were not signed by those whom the root appoints.
    """
    from carnet.tuf.read import parse_role
    from carnet.tuf.roles import Root

    envelope = parse_role(read(root, "root file"), Root, max_bytes=MAX_FILE)
    envelope.signed.roles["root"].check(envelope, f"{root}", "5.3.4")
    proposal.check_base(envelope.signed)
    output.note(f"what is published now was signed by those whom root {envelope.signed.version} appoints")


def sign_folder(
    folder: Path,
    group: str,
    key: str,
    passphrase: PassphraseSource,
    *,
    root: Path | None,
    yes: bool,
    insecure_example_keys: bool,
) -> None:
    """Show what would be signed, ask, and sign whichever roles the key belongs to."""
    from carnet_signer.proposals import review
    from carnet_signer.proposals.proposal import load, save_signatures

    proposal = load(folder)
    review.lint(proposal, now=home.now(), example_keys=insecure_example_keys)
    if root is not None:
        check_base(proposal, root)
    output.note(_as_text(review.describe(proposal, now=home.now())).rstrip())
    signer = open_key(key, passphrase, insecure_example_keys=insecure_example_keys)
    signed, quorums = proposal.sign(signer)
    if not yes and not _confirmed([f"{quorum.role} ({quorum.who})" for quorum in quorums]):
        raise SigningError("nothing was signed", hint="answer y, or give --yes")
    save_signatures(signed, folder)
    for quorum in quorums:
        name = next(quorum.name(one) for one in quorum.signers.keys if one.material == signer.public_key.material)
        output.note(f"signed {quorum.role} as {name}")
    say_status(signed, folder, group)


def _confirmed(what: Sequence[str]) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise SigningError("there is nobody to ask whether to sign", hint="give --yes when you have read `review`")
    return click.confirm(f"sign {', '.join(what)}?", err=True)


def merge_folders(folder: Path, others: Sequence[Path], group: str) -> None:
    """Take the valid signatures of copies of a folder."""
    from carnet_signer.proposals.proposal import load, save_signatures

    proposal = load(folder)
    for other in others:
        proposal = proposal.merge(load(other))
    save_signatures(proposal, folder)
    say_status(proposal, folder, group)


# --- status ---


def show_status(folder: Path, group: str, message_format: output.MessageFormat) -> int:
    """A checklist: who has signed, who has not, and the next command; exit status 1 until everything is signed."""
    from carnet_signer.proposals import review
    from carnet_signer.proposals.proposal import load

    proposal = load(folder)
    problem = review.problem(proposal, now=home.now(), example_keys=True)
    quorums = proposal.quorums()
    if message_format == "json":
        output.emit_json(
            {
                "reason": "signing-status",
                "crate": str(proposal.crate),
                "kind": proposal.request.kind,
                "final": proposal.final and problem is None,
                "problem": None if problem is None else str(problem),
                "signatures": [_quorum_object(quorum) for quorum in quorums],
                "next": _next(proposal, folder, group),
            }
        )
    else:
        for quorum in quorums:
            output.echo(_quorum_text(proposal, quorum), end="")
        for line in _next(proposal, folder, group):
            output.echo(f"next: {line}")
    if problem is not None:
        raise problem
    return 0 if proposal.final else 1


def say_status(proposal: Proposal, folder: Path, group: str) -> None:
    """What comes next, for people."""
    for line in _next(proposal, folder, group):
        output.note(f"next: {line}")


def _next(proposal: Proposal, folder: Path, group: str) -> list[str]:
    if proposal.final:
        return [f"`carnet {group} submit {folder}`: everything is signed"]
    found = []
    for quorum in proposal.quorums():
        if not quorum.met and not quorum.waived:
            missing = quorum.signers.threshold - len(quorum.signed)
            people = ", ".join(quorum.name(key) for key in quorum.missing)
            found.append(
                f"{missing} of {people} ({quorum.who}): `carnet {group} sign {folder} --key THEIR-KEY` on a copy "
                f"of their own, then `carnet {group} merge {folder} COPY`"
            )
    return found


def _quorum_text(proposal: Proposal, quorum: Quorum) -> str:
    version = proposal.drafts[quorum.role].signed.version
    state = "complete" if quorum.met else "waived: a takeover" if quorum.waived else "open"
    done = {key.material for key in quorum.signed}
    lines = [
        f"[{'x' if quorum.met else ' '}] {quorum.role} version {version}: {len(quorum.signed)} of "
        f"{quorum.signers.threshold} {quorum.who} ({state})"
    ]
    for key in quorum.signers.keys:
        lines.append(f"    [{'x' if key.material in done else ' '}] {quorum.name(key)}")
    return output.plain("\n".join(lines)) + "\n"


def _quorum_object(quorum: Quorum) -> dict[str, Any]:
    return {
        "role": quorum.role,
        "who": quorum.who,
        "threshold": quorum.signers.threshold,
        "signed": [quorum.name(key) for key in quorum.signed],
        "missing": [quorum.name(key) for key in quorum.missing],
        "met": quorum.met,
        "waived": quorum.waived,
    }


def _as_text(words: Sequence[Words]) -> str:
    lines: list[str] = []
    for one in words:
        lines.append(f"{'!!! ' if one.alarm else ''}{one.title}")
        lines += [f"    {line}" for line in one.lines]
    return output.plain("\n".join(lines)) + "\n"


# --- submitting ---


def submit_folder(
    folder: Path, mirror: str | None, repository: str | None, message_format: output.MessageFormat
) -> None:
    """Post a finished folder to the mirror, and say what became of it."""
    from carnet_signer.proposals import review
    from carnet_signer.proposals.proposal import load

    proposal = load(folder)
    review.lint(proposal, now=home.now(), example_keys=True)
    body = proposal.submission().to_bytes()
    url = mirror or home.choose(repository).directory.url
    answer = post(url, body)
    if message_format == "json":
        output.emit_json({"reason": "submitted", **answer})
    else:
        output.echo(output.plain(str(answer.get("detail", "accepted"))))
    receipt = answer.get("receipt")
    if isinstance(receipt, dict) and receipt.get("takeover") is True:
        output.warn("this replaced owners without their signatures: clients that saw them refuse the crate")


def post(url: str, body: bytes) -> dict[str, Any]:
    """Send a submission to a mirror.

    Raises:
        VerificationError: The mirror refused it; nothing was changed.
        TransportError: The mirror could not be reached, or could not decide.
    """
    import urllib3

    from carnet import strictjson
    from carnet.claims.submission import MEDIA_TYPE, URL_PATH

    target = f"{url.rstrip('/')}/{URL_PATH}"
    timeout = urllib3.Timeout(connect=15.0, total=_SUBMIT_WITHIN)
    with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
        try:
            response = pool.request(
                "POST",
                target,
                body=body,
                headers={"content-type": MEDIA_TYPE, "accept": "application/json"},
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            data = response.read(_MAX_ANSWER + 1)
            status = response.status
            response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise TransportError(
                f"the mirror at {url} cannot be reached: {str(error)[:200]}",
                hint="nothing is known about what became of it; submitting again is safe",
            ) from None
    try:
        answer = strictjson.parse_object(data, "the mirror's answer", max_bytes=_MAX_ANSWER)
    except FormatError:
        answer = {}
    if status == 200 and answer.get("ok") is True:
        return dict(answer)
    raise _refusal(status, answer, url)


def _refusal(status: int, answer: Any, url: str) -> CarnetError:
    match answer:
        case {"errors": [{"detail": str(detail), **more}, *_]}:
            hint = more.get("hint")
        case _:
            detail, hint = f"it answered with status {status}", None
    text = f"the mirror at {url} did not take it: {detail[:500]}"
    hint = hint[:500] if isinstance(hint, str) else ""
    if status in (400, 409, 413, 422):
        return VerificationError(text, hint=hint)
    return TransportError(text, hint=hint or "submitting again is safe", status=status)
