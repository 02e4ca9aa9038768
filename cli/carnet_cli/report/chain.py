"""The chain behind one crate, as `carnet explain` shows it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carnet.errors import CarnetError
from carnet_cli.report import as_json
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet_verifier.explain import Chain, ChainLink

_MARKS = {"ok": "✓", "failed": "✗", "not reached": "·"}

_SOURCES = {"crates-io": "crates-io", "git": "foreign", "registry": "foreign", "path": "path"}
"""Where a lock takes a package from, as results say it."""


@dataclass(frozen=True)
class ChainReport:
    """What stands behind a crate.

    Attributes:
        chain: From the root to the verdict.
        url: The repository that was asked.
    """

    chain: Chain
    url: str


def chain_as_text(report: ChainReport) -> None:
    """For people: a line for each link, what was established below it, and why the chain ends where it does."""
    chain = report.chain
    said = _outcome(chain)
    output.echo(f"{chain.wanted.id}: {said} ({report.url})")
    for link in chain.links:
        indent = "  " * link.depth
        output.echo(f"{indent}{_mark(link)} {output.plain(link.what)}")
        for fact in link.facts:
            output.echo(f"{indent}    {output.plain(fact)}")
        if link.error is not None:
            _failure(link.error, link.mended_by, indent)


def _outcome(chain: Chain) -> str:
    if chain.failure is not None:
        return "refused"
    if chain.admission is not None:
        return f"allowed at level {chain.admission.level}"
    return "your own" if chain.verdict is None else "allowed by the policy, not vouched for"


def _failure(error: CarnetError, mended_by: str, indent: str) -> None:
    output.echo(f"{indent}    {output.plain(str(error))}")
    if error.hint:
        output.echo(f"{indent}    hint: {output.plain(error.hint)}")
    output.echo(f"{indent}    who can mend it: {mended_by}")


def _mark(link: ChainLink) -> str:
    mark = _MARKS[link.state.value]
    return mark if _can_print(mark) else f"[{link.state.value}]"


def _can_print(mark: str) -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        mark.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def chain_as_json(report: ChainReport) -> Iterator[Any]:
    """For machines: the chain as one object."""
    chain = report.chain
    yield {
        "reason": "chain",
        "name": str(chain.wanted.id.name),
        "version": str(chain.wanted.id.version),
        "source": _SOURCES[chain.origin.value],
        "allowed": chain.failure is None,
        "level": None if chain.admission is None else str(chain.admission.level),
        "sha256": None if chain.admission is None else chain.admission.sha256,
        "links": [
            {
                "depth": link.depth,
                "what": link.what,
                "state": link.state.value,
                "facts": list(link.facts),
                "error": None if link.error is None else as_json.error_object(link.error),
                "mended_by": link.mended_by or None,
            }
            for link in chain.links
        ],
    }
