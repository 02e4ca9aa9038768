"""How a ceremony stands, as `carnet root` shows it: who has signed what, who is missing, and what comes next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet_signer.ceremony.ceremony import Ceremony
    from carnet_signer.ceremony.lint import CeremonyFinding


@dataclass(frozen=True)
class CeremonyReport:
    """How a ceremony stands.

    Attributes:
        folder: Where it is.
        ceremony: Its files.
        findings: What is wrong with it.
    """

    folder: Path
    ceremony: Ceremony
    findings: tuple[CeremonyFinding, ...]

    def rows(self) -> list[list[str]]:
        """The roles in their order; shards of claims that stand alike together."""
        from carnet_signer.ceremony.ceremony import OFFLINE_ROLES
        from carnet_signer.ceremony.words import groups

        rows: list[list[str]] = []
        for group in groups(role for role in OFFLINE_ROLES if role in self.ceremony.files):
            alike: dict[str, list[str]] = {}
            for role in group:
                facts = {name: value for name, value in role_facts(self.ceremony, role).items() if name != "role"}
                alike.setdefault(repr(facts), []).append(role)
            rows += alike.values()
        return rows


def ceremony_as_text(report: CeremonyReport) -> None:
    """For people: a line for each file that is done, and for the others who has signed and who has not."""
    from carnet_signer.ceremony.words import group_name

    ceremony, rows = report.ceremony, report.rows()
    width = max((len(group_name(names)) for names in rows), default=0)
    for names in rows:
        facts = role_facts(ceremony, names[0])
        mark = "done" if facts["final"] else "    "
        output.echo(f"{mark}  {group_name(names):{width}}  version {facts['version']}, until {facts['expires']}")
        if facts["final"]:
            continue
        for quorum in ceremony.quorums(names[0]):
            signed = ", ".join(ceremony.name(key) for key in quorum.signed) or "nobody"
            line = f"      {quorum.who}: {len(quorum.signed)} of {quorum.signers.threshold}, {signed}"
            if not quorum.met:
                line += f"; missing: {', '.join(ceremony.name(key) for key in quorum.missing)}"
            output.echo(line)
    say_next(report.folder, ceremony)


def ceremony_as_json(report: CeremonyReport) -> Iterator[Any]:
    """For machines."""
    yield {
        "final": not report.ceremony.pending(),
        "problems": [finding.text for finding in report.findings if finding.stops],
        "roles": [role_facts(report.ceremony, role) for names in report.rows() for role in names],
        "next": next_command(report.folder, report.ceremony),
    }


def role_facts(ceremony: Ceremony, role: str) -> dict[str, object]:
    """How one role stands, as machines are told."""
    from carnet_signer.metadata import role_files

    signed = ceremony.latest(role).signed
    quorums = ceremony.quorums(role)
    return {
        "role": role,
        "version": signed.version,
        "expires": role_files.at(signed.expires),
        "final": all(quorum.met for quorum in quorums),
        "signed": sorted({ceremony.name(key) for quorum in quorums for key in quorum.signed}),
        "missing": sorted({ceremony.name(key) for quorum in quorums if not quorum.met for key in quorum.missing}),
    }


def next_command(folder: Path, ceremony: Ceremony) -> str:
    """What somebody has to type next."""
    from carnet_signer.ceremony.ceremony import OFFLINE_ROLES, to_sign

    place = shlex.quote(str(folder))
    pending = ceremony.pending()
    if not pending:
        first = all(ceremony.latest(role).signed.version == 1 for role in OFFLINE_ROLES)
        if first:
            return f"carnet mirror init MIRROR --ceremony {place} --online-key ONLINE"
        return f"carnet mirror refresh MIRROR --ceremony {place}"
    missing = {
        key.keyid: key
        for role in pending
        for quorum in ceremony.quorums(role)
        if not quorum.met
        for key in quorum.missing
    }
    # Whoever is asked for most comes first: after a change of holders, one who is old and new at once.
    key = max(missing.values(), key=lambda one: len(to_sign(ceremony, one)))
    return f"carnet root sign {place} --key {ceremony.name(key)}"


def say_next(folder: Path, ceremony: Ceremony) -> None:
    """Tell people what comes next."""
    if not ceremony.pending():
        output.note("every signature is there")
    output.note(f"next: {next_command(folder, ceremony)}")
