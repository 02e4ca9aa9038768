"""What cargo could not choose: versions that are kept from it, and crates that the mirror lacks.

cargo says only that it found nothing, or nothing newer. Who is told why can wait, ask, or take another crate.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from carnet.cargo.admitted import admitted
from carnet.cargo.asked import AskedFor
from carnet.cargo.index_line import IndexLine
from carnet.cargo.lockfile import Lockfile
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.errors import FormatError
from carnet_gate.args import Invocation
from carnet_gate.project import Project
from carnet_gate.reporter import Lacking, Skipped

_MOST_COMPARED = 200_000
"""Versions that are held against a requirement, at most; with all, a crate of many versions and requirements, made for
that, would keep everybody waiting. A lock of two thousand crates stays far below."""


class Choices:
    """Is told what a registry answers while cargo chooses (`carnet_verifier.cargo.proxy.Witness`)."""

    def __init__(self) -> None:
        self._offered: dict[CrateName, Sequence[IndexLine]] = {}
        self._hidden: dict[CrateName, Mapping[CrateId, str]] = {}
        self._unknown: set[CrateName] = set()

    def offered(self, name: CrateName, lines: Sequence[IndexLine], hidden: Mapping[CrateId, str]) -> None:
        """Take what cargo was shown of a crate, and what was kept from it."""
        self._offered[name], self._hidden[name] = lines, hidden

    def lacks(self, name: CrateName) -> None:
        """Take that the registry signed that it has no such crate."""
        self._unknown.add(name)

    def skipped(self, chosen: Iterable[CrateId]) -> list[Skipped]:
        """Versions that cargo would rather have had than those it chose, at most one for each crate.

        Args:
            chosen: What it chose; of a crate of which nothing is there, every hidden version counts.
        """
        versions: dict[CrateName, list[Version]] = {}
        for crate in chosen:
            versions.setdefault(crate.name, []).append(crate.version)
        found = []
        for name, hidden in sorted(self._hidden.items()):
            better = [crate for crate in hidden if _is_better(crate.version, versions.get(name, ()))]
            if better:
                newest = max(better, key=lambda crate: crate.version)
                found.append(Skipped(newest, len(better) - 1, hidden[newest]))
        return found

    def lacking(self, asked: Iterable[AskedFor]) -> list[Lacking]:
        """What the mirror has not of all that is needed, as far as can be told from what cargo asked for.

        What is looked at is bounded: whoever publishes decides how much there is.

        Args:
            asked: What the project asks for itself.
        """
        newest_first = {
            name: sorted((line for line in lines if not line.yanked), key=lambda line: line.id.version, reverse=True)
            for name, lines in self._offered.items()
        }
        left = _MOST_COMPARED
        found: dict[AskedFor, Lacking] = {}
        seen: set[AskedFor] = set()
        queue: deque[tuple[AskedFor, CrateId | None]] = deque((one, None) for one in asked)
        while queue and left > 0:
            wanted, by = queue.popleft()
            if wanted in seen:
                continue
            seen.add(wanted)
            if wanted.name in self._unknown:
                found[wanted] = Lacking(wanted, by)
            elif wanted.name in self._offered:
                versions, lines = admitted(wanted.requirement), newest_first[wanted.name]
                place = next((at for at, line in enumerate(lines) if versions.admits(line.id.version)), None)
                left -= 1 + (len(lines) if place is None else place)
                if place is not None:
                    line = lines[place]
                    queue.extend((one, line.id) for one in _needed(line))
                    continue
                left -= len(self._hidden[wanted.name])
                if not any(versions.admits(crate.version) for crate in self._hidden[wanted.name]):
                    found[wanted] = Lacking(wanted, by)
        return [*found.values(), *self._otherwise_unknown(one.asked.name for one in found.values())]

    def _otherwise_unknown(self, told: Iterable[CrateName]) -> list[Lacking]:
        """Names that only features lead to; cargo also tries other spellings of a name that it does not find."""
        known = {name.canonical for name in (*told, *self._offered)}
        return [Lacking(AskedFor(name)) for name in sorted(self._unknown) if name.canonical not in known]


def asked_by(project: Project) -> list[AskedFor]:
    """What a project asks the public registry for: in its manifests, and on the command line of `add` and `update`."""
    found: dict[AskedFor, None] = {}
    typed = project.invocation
    if typed.subcommand == "add" and typed.value("--path", "--git") is None:
        for word in typed.words:
            found |= dict.fromkeys(_read(word))
    if typed.subcommand == "update" and (precise := typed.value("--precise")) is not None:
        for name in sorted(named_by(typed)):
            found |= dict.fromkeys(_read(f"{name}@={precise}"))
    for name, wanted in project.dependencies:
        found |= dict.fromkeys(_read(f"{name}@{wanted}"))
    return list(found)


def updates_of(project: Project, pinned: Lockfile | None) -> list[AskedFor]:
    """What `update` would have the newest of: all that a project asks for, or what fits in the place of what is named.

    Args:
        project: Whose command it is.
        pinned: The lock as it is; None when there is none.
    """
    typed, named = project.invocation, named_by(project.invocation)
    if not named or typed.value("--precise") is not None:
        return asked_by(project)
    packages = pinned.registry_packages if pinned is not None else ()
    return [
        one
        for package in packages
        if str(package.id.name) in named
        for one in _read(f"{package.id.name}@^{package.id.version}")
    ]


def named_by(typed: Invocation) -> frozenset[str]:
    """The crates that `update` names."""
    specs = (*typed.words, *typed.values("-p", "--package"))
    return frozenset(re.split("[@:]", text.rpartition("#")[2])[0] for text in specs)


def _read(text: str) -> Iterator[AskedFor]:
    """What cargo takes and we cannot read is no statement: these are hints for people."""
    try:
        yield AskedFor.parse(text)
    except FormatError:
        return


def _needed(line: IndexLine) -> Iterator[AskedFor]:
    for one in line.deps:
        if one.kind != "dev" and not one.optional and one.registry is None:
            yield from _read(f"{one.crate}@{one.req}")


def _is_better(version: Version, chosen: Sequence[Version]) -> bool:
    """Whether cargo could have taken a version in the place of one that it took."""
    if not chosen:
        return True
    is_final = "-" not in version.text.partition("+")[0]
    return any(
        version > one and admitted(f"^{one.text.partition('+')[0]}").admits(version) and is_final for one in chosen
    )
