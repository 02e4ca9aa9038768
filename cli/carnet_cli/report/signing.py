"""A folder that passes from one signer to the next, as `carnet claim` and `carnet release` show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet.errors import CarnetError
    from carnet_signer.proposals.proposal import Proposal
    from carnet_signer.proposals.review import Words
    from carnet_signer.proposals.state_before import Compared
    from carnet_signer.quorum import Quorum


SCREEN = 24
"""Lines that are in sight at once: of more, what nobody should overlook is said again at the end."""

# --- what would be signed ---


@dataclass(frozen=True)
class ReviewReport:
    """What a folder's signers would sign.

    Attributes:
        compared: What it was read from, and with what it was compared.
        words: It, in words.
        problem: What is wrong with it.
    """

    compared: Compared
    words: Sequence[Words]
    problem: CarnetError | None


def review_as_text(report: ReviewReport) -> None:
    """For people."""
    output.echo(words_as_text(report.words), end="")


def review_as_json(report: ReviewReport) -> Iterator[Any]:
    """For machines."""
    proposal = report.compared.proposal
    yield {
        "reason": "review",
        "crate": str(proposal.crate),
        "kind": proposal.request.kind,
        "problem": None if report.problem is None else str(report.problem),
        "base-verified": report.compared.view is not None,
        "review": [{"title": one.title, "lines": list(one.lines), "alarm": one.alarm} for one in report.words],
    }


def words_as_text(words: Sequence[Words]) -> str:
    """What would be signed, for a terminal: what is alarming stands out."""
    lines: list[str] = []
    for one in words:
        lines.append(f"{'!!! ' if one.alarm else ''}{one.title}")
        lines += [f"    {line}" for line in one.lines]
    alarms = [one.title for one in words if one.alarm]
    if alarms and len(lines) > SCREEN:
        lines.append(f"!!! LOOK AGAIN ABOVE: {'; '.join(alarms)}")
    return output.plain("\n".join(lines)) + "\n"


# --- who has signed ---


@dataclass(frozen=True)
class SigningReport:
    """Who has signed a folder and who has not.

    Attributes:
        proposal: What is signed.
        folder: Where it is.
        group: `claim` or `release`: whose commands it passes through.
        problem: What is wrong with it.
    """

    proposal: Proposal
    folder: Path
    group: str
    problem: CarnetError | None


def signing_as_text(report: SigningReport) -> None:
    """For people: a checklist, and the next command."""
    for quorum in report.proposal.quorums():
        output.echo(_checklist(report.proposal, quorum), end="")
    for line in next_steps(report.proposal, report.folder, report.group):
        output.echo(f"next: {line}")


def signing_as_json(report: SigningReport) -> Iterator[Any]:
    """For machines."""
    proposal = report.proposal
    yield {
        "reason": "signing-status",
        "crate": str(proposal.crate),
        "kind": proposal.request.kind,
        "final": proposal.final and report.problem is None,
        "problem": None if report.problem is None else str(report.problem),
        "signatures": [_quorum_object(quorum) for quorum in proposal.quorums()],
        "next": next_steps(proposal, report.folder, report.group),
    }


def next_steps(proposal: Proposal, folder: Path, group: str) -> list[str]:
    """What people have to do next, a sentence each."""
    if proposal.final:
        return [f"`carnet {group} submit {folder}`: everything is signed"]
    found = _wait(proposal, folder) if group == "claim" else []
    for quorum in proposal.quorums():
        if not quorum.met and not quorum.waived:
            missing = quorum.signers.threshold - len(quorum.signed)
            people = ", ".join(quorum.name(key) for key in quorum.missing)
            found.append(
                f"{missing} of {people} ({quorum.who}): `carnet {group} sign {folder} --key THEIR-KEY` on a copy "
                f"of their own, then `carnet {group} merge {folder} COPY`"
            )
    return found


def _wait(proposal: Proposal, folder: Path) -> list[str]:
    """What has to be public first, as long as it is not."""
    from carnet_signer.proposals import waiting

    wanted = waiting.proposed(proposal)
    if wanted is None or waiting.read_own_receipt(folder, proposal) is not None:
        return []
    return [f"anybody: `carnet claim propose {folder}`, so that this {wanted.kind} can be seen before it counts"]


def _checklist(proposal: Proposal, quorum: Quorum) -> str:
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


# --- what a mirror answered ---


def submitted_as_text(answer: Mapping[str, Any]) -> None:
    """For people: what the mirror said."""
    output.echo(output.plain(str(answer.get("detail", "accepted"))))
    _tell_takeover(answer)


def submitted_as_json(answer: Mapping[str, Any]) -> Iterator[Any]:
    """For machines: the mirror's answer."""
    yield {"reason": "submitted", **answer}
    _tell_takeover(answer)


def _tell_takeover(answer: Mapping[str, Any]) -> None:
    receipt = answer.get("receipt")
    if isinstance(receipt, dict) and receipt.get("takeover") is True:
        output.warn("this replaced owners without their signatures: clients that saw them refuse the crate")
