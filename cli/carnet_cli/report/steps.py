"""A layout and the steps that were signed under it, as `carnet layout` and `carnet record` show them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carnet.errors import LayoutRefused
from carnet_cli.terminal import output
from carnet_signer.keys.public import said_origin

if TYPE_CHECKING:
    from carnet_signer.steps.layouts import CompiledLayout
    from carnet_signer.steps.record import Recorded


# --- a layout ---


@dataclass(frozen=True)
class LayoutReport:
    """Which steps, by whom, how many, under which rules.

    Attributes:
        compiled: The layout, what its owners ask beside it, and where its people's keys come from.
    """

    compiled: CompiledLayout

    def people(self, keyids: tuple[str, ...]) -> list[str]:
        """Who holds these keys; whoever has two is one person."""
        people = self.compiled.terms.people
        names = (people.get(keyid) or f"key {keyid}" for keyid in keyids if keyid in self.compiled.layout.keys)
        return list(dict.fromkeys(names))

    def words(self) -> Iterator[str]:
        """All of it, a line each."""
        layout, terms = self.compiled.layout, self.compiled.terms
        yield f"{layout.readme or 'a layout'}; accepts releases until {layout.expires:%Y-%m-%d}"
        for step in layout.steps:
            people = self.people(step.keyids)
            yield ""
            yield f"{step.name:10} {step.threshold} of {len(people)}: {', '.join(people)}"
            for kind, rules in (("takes", step.materials), ("makes", step.products)):
                yield f"  {kind}    {'; '.join(map(str, rules))}"
        yield ""
        for keyid, key in layout.keys.items():
            said = said_origin(keyid, self.compiled.origins)
            yield f"{terms.people.get(keyid, 'nobody by name')}: {key.keytype} key {keyid}{said}"
        pairs = ", ".join(sorted("/".join(sorted(pair)) for pair in terms.separate))
        yield f"least level {terms.least_level}; never one person for both of {pairs}"
        yield from (f"generated while packaging: {path}" for path in sorted(terms.generated))


def layout_as_text(report: LayoutReport) -> None:
    """For people: a table."""
    for line in report.words():
        output.echo(output.plain(line))


def layout_as_json(report: LayoutReport) -> Iterator[Any]:
    """For machines."""
    layout = report.compiled.layout
    yield {
        "expires": layout.expires.isoformat(),
        "readme": layout.readme,
        "steps": [
            {
                "name": step.name,
                "threshold": step.threshold,
                "people": report.people(step.keyids),
                "materials": [str(rule) for rule in step.materials],
                "products": [str(rule) for rule in step.products],
            }
            for step in layout.steps
        ],
        "terms": report.compiled.terms.to_custom(),
        "origins": dict(report.compiled.origins),
    }


# --- what makes it unsafe ---


@dataclass(frozen=True)
class LintReport:
    """What makes a layout unsafe.

    Attributes:
        file: The layout.
        problems: In words.
    """

    file: Path
    problems: tuple[str, ...]


def lint_as_text(report: LintReport) -> None:
    """For people, on stderr."""
    for problem in report.problems:
        output.report(LayoutRefused(problem))
    if not report.problems:
        output.note(f"{report.file}: nothing to object to")


def lint_as_json(report: LintReport) -> Iterator[Any]:
    """For machines; the same stands on stderr."""
    yield {"file": str(report.file), "problems": list(report.problems)}
    lint_as_text(report)


# --- a step that was signed ---


@dataclass(frozen=True)
class SignedStepReport:
    """A step that was carried out and signed.

    Attributes:
        recorded: What was done.
        keyid: Whose key signed it.
        folder: Where the links gather.
        name: The link's file.
    """

    recorded: Recorded
    keyid: str
    folder: Path
    name: str


def step_as_text(report: SignedStepReport) -> None:
    """For people."""
    recorded, place = report.recorded, report.folder / report.name
    output.echo(output.plain(f"signed step {recorded.link.name} of {recorded.crate}: {place}"))
    for file in recorded.files:
        output.echo(output.plain(f"made {report.folder / file}"))


def step_as_json(report: SignedStepReport) -> Iterator[Any]:
    """For machines."""
    recorded = report.recorded
    yield {
        "crate": str(recorded.crate),
        "step": recorded.link.name,
        "keyid": report.keyid,
        "link": str(report.folder / report.name),
        "files": {file: str(report.folder / file) for file in recorded.files},
        "return_value": recorded.link.return_value,
        "sandbox": recorded.sandbox or None,
    }
