"""What became of the copies of crates that lie on a machine, as `carnet verify --cargo-home` and `--vendor` show it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from carnet.value import value
from carnet_cli.report import as_json
from carnet_cli.terminal import output
from carnet_verifier.cargo.compared import ComparedCopy
from carnet_verifier.cargo.differences import MOST

_KINDS = (
    ("tarball", True, "tarballs in cargo's cache"),
    ("tarball", False, "tarballs in a local registry"),
    ("sources", True, "unpacked crates"),
    ("checkout", True, "checkouts from git"),
    ("vendored", False, "vendored crates"),
)
"""Kinds of copies, whether they lie in a CARGO_HOME, and what they are called."""


@value
class CopiesReport:
    """What became of all of them.

    Attributes:
        compared: Each copy.
        strays: Paths among them that cargo takes for no crate.
        apart: How many were not looked at, because the lock does not name them; None without a lock.
        url: The repository that was asked.
        snapshot: Which version of it.
        looked_in: The folders.
    """

    compared: tuple[ComparedCopy, ...]
    strays: tuple[str, ...]
    apart: int | None
    url: str
    snapshot: int
    looked_in: tuple[str, ...]

    def count(self, state: str) -> int:
        """How many copies are in a state."""
        return sum(one.state == state for one in self.compared)

    @property
    def exit_code(self) -> int:
        """1 when one was changed, 3 when nobody vouches for one, else 0."""
        return 1 if self.count("changed") else 3 if self.count("undecided") else 0


def copies_as_text(report: CopiesReport) -> None:
    """For people: what is wrong on stderr, a sum for each kind on stdout."""
    for compared in report.compared:
        _tell(compared)
    for kind, at_home, named in _KINDS:
        of_kind = [one.state for one in report.compared if (one.copy.kind, bool(one.copy.place)) == (kind, at_home)]
        if of_kind:
            states = (
                ("good", "as signed"),
                ("unfinished", "unfinished"),
                ("changed", "changed"),
                ("undecided", "undecided"),
            )
            counted = [f"{of_kind.count(state)} {words}" for state, words in states if of_kind.count(state)]
            output.echo(f"{len(of_kind)} {named}: {', '.join(counted)}")
    if not report.compared:
        output.echo(f"no crate lies in {' or '.join(report.looked_in)}")
    if report.apart:
        output.echo(f"{report.apart} more are not in the lock, and were not looked at")
    if report.strays:
        others = f"{len(report.strays)} more files and folders are no crate"
        output.echo(f"{others if report.strays[1:] else f'{report.strays[0]} is no crate'} for cargo")
    output.echo(f"compared with snapshot {report.snapshot} of {report.url}")


def _tell(compared: ComparedCopy) -> None:
    for difference in compared.differences:
        output.error(difference.said)
    if len(compared.differences) == MOST:
        output.error(f"{compared.copy.path}: there may be more; {MOST} are shown")
    path = compared.copy.path
    if compared.differences and (compared.copy.kind, compared.copy.place) == ("tarball", ""):
        again = f"`carnet vendor --local-registry {path.parent}`"
        output.hint(f"find out who writes there; {again} writes anew what is its own, and else remove it: {path}")
    elif compared.differences:
        output.hint(f"find out who writes there, then remove it: {path}")
    if compared.error is not None and compared.state == "changed":
        output.report(compared.error)
    elif compared.error is not None:
        output.warn(f"undecided: {compared.error}", compared.error.hint)


def copies_as_json(report: CopiesReport) -> Iterator[Any]:
    """For machines: an object for each copy, and one for all of them (docs/cli-json.md)."""
    for one in report.compared:
        crate = one.copy.crate
        yield {
            "reason": "copy",
            "kind": one.copy.kind,
            "path": str(one.copy.path),
            "name": None if crate is None else str(crate.name),
            "version": None if crate is None else str(crate.version),
            "state": one.state,
            "differences": [
                {"path": difference.path, "change": difference.change, "message": difference.said}
                for difference in one.differences
            ],
            "error": None if one.error is None else as_json.error_object(one.error),
        }
    yield {
        "reason": "copies",
        "good": report.count("good"),
        "changed": report.count("changed"),
        "undecided": report.count("undecided"),
        "unfinished": report.count("unfinished"),
        "not_in_lock": report.apart,
        "strays": list(report.strays),
        "repository": report.url,
        "snapshot": report.snapshot,
    }
