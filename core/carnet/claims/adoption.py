"""What a claim adopts: versions that the registry has published, and those that its upstream lists, by checksum.

Nobody looks at the tarball of an adopted version, and no layout asks for its evidence. So a first claim is nothing but
the index and the history (`carnet.claims.history`): signers hold it against those that they verified, and the mirror
against its own. What appears upstream afterwards is adopted in the same way, by the crate's owners or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from carnet.cargo.index_line import IndexLine
from carnet.cargo.names import CrateId
from carnet.claims.history import ListedVersion
from carnet.claims.releases import Releases, SignedRelease
from carnet.errors import MetadataMismatch
from carnet.made import made_by, maker
from carnet.tuf.roles import Targets

_ANEW = "ask whoever drafted it, and make the claim again with `carnet claim new`"


@made_by("check_adopted")
@dataclass(frozen=True)
class Adopted:
    """The versions that a claim adopts, each of which the index or the history lists.

    Attributes:
        yanked: Those that the claim calls yanked, and the registry does not.
        unyanked: Those that the registry calls yanked, and the claim does not.
        left_out: Those that the history lists, and the claim does not adopt.
    """

    yanked: tuple[SignedRelease, ...]
    unyanked: tuple[SignedRelease, ...]
    left_out: tuple[CrateId, ...] = ()


_adopted = maker(Adopted)


def check_nothing_comes(crate: Targets, files: Iterable[str], lines: Iterable[str]) -> None:
    """Demand that no version comes with a first claim: whoever signs it looks at none.

    Args:
        crate: The first crate role.
        files: Target paths of what comes with it.
        lines: The index lines that come with it, by `<name>-<version>`.

    Raises:
        MetadataMismatch: A tarball, evidence or an index line comes.
    """
    brought = [*sorted(lines), *sorted(path for path in files if path in crate.targets)]
    if brought:
        raise MetadataMismatch(
            f"a first claim brings {brought[0]}: it adopts what is published already, and nothing comes with it",
            hint="claim the crate first, then make the release with `carnet release assemble`",
        )


def check_adopted(
    releases: Releases,
    index: Mapping[CrateId, IndexLine],
    history: Mapping[CrateId, ListedVersion] = MappingProxyType({}),
) -> Adopted:
    """Demand that a first claim adopts what is published, all of it and nothing else (docs/formats.md, "A claim").

    Args:
        releases: The versions of the first crate role.
        index: The lines of the crate's index file, by version; none when the registry lists no such crate.
        history: What the upstream lists; none when the registry says nothing of that. A claim that leaves some of it
            out can adopt it later.

    Raises:
        MetadataMismatch: A version is in neither, or is another one there, or the claim leaves out one that the index
            lists.
    """
    listed = {one.id: _check_one(one, index.get(one.id), history.get(one.id)) for one in releases}
    left_out = sorted(set(index) - listed.keys(), key=lambda crate: crate.version)
    if left_out:
        raise MetadataMismatch(
            f"the index lists {left_out[0]}, which the claim does not adopt: clients would refuse it",
            hint="adopt every version that is published: make the claim again with `carnet claim new`",
        )
    return _compared(releases, listed, history)


def check_adopted_later(
    before: Releases, after: Releases, index: Mapping[CrateId, IndexLine], history: Mapping[CrateId, ListedVersion]
) -> Adopted:
    """Demand that what a claimed crate's next role adopts by checksum is what the upstream lists.

    Args:
        before: The versions that are signed.
        after: Those that would be. What comes with a tarball is looked at elsewhere.
        index: As for `check_adopted`.
        history: As for `check_adopted`.

    Raises:
        MetadataMismatch: One is not listed, or is another one there.
    """
    added = [one for one in after if one.by_checksum and one.id.version not in before.versions]
    listed = {one.id: _check_one(one, index.get(one.id), history.get(one.id)) for one in added}
    return _compared(added, listed, {})


def _check_one(
    release: SignedRelease, line: IndexLine | None, listed: ListedVersion | None
) -> IndexLine | ListedVersion:
    """Demand that one version is as it is published, or listed; returns as what."""
    found: IndexLine | ListedVersion
    if line is not None:
        found, said = line, (line.cksum, line.identity())
    elif listed is not None and release.by_checksum:
        found, said = listed, (listed.cksum, listed.index)
    else:
        raise MetadataMismatch(
            f"the claim adopts {release.id}, which is not published: "
            + ("the index does not list it" if listed is None else "its tarball is not here, and it has a length"),
            hint=f"{_ANEW}; a new version is released once the crate is claimed",
        )
    if said != (release.tarball.sha256, release.index):
        raise MetadataMismatch(
            f"the claim adopts {release.id} otherwise than the {'history' if line is None else 'index'} lists it: its "
            "tarball or its index line is another one",
            hint=_ANEW,
        )
    if release.bundle is not None:
        raise MetadataMismatch(f"the claim adopts {release.id} with evidence, which came with none", hint=_ANEW)
    return found


def _compared(
    releases: Iterable[SignedRelease],
    listed: Mapping[CrateId, IndexLine | ListedVersion],
    history: Mapping[CrateId, ListedVersion],
) -> Adopted:
    """How what is adopted differs from what is listed."""
    releases = tuple(releases)
    return _adopted(
        tuple(one for one in releases if one.yanked and not listed[one.id].yanked),
        tuple(one for one in releases if listed[one.id].yanked and not one.yanked),
        tuple(sorted((crate for crate in history if crate not in listed), key=lambda crate: crate.version)),
    )
