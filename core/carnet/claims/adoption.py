"""What a first claim adopts: the versions that the registry has published already, exactly as its index lists them.

Nobody looks at the tarball of an adopted version, and no layout asks for its evidence. So a first claim is nothing but
the index: signers hold it against the index that they verified, and the mirror against its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from carnet.cargo.index_line import IndexLine
from carnet.cargo.names import CrateId
from carnet.claims.releases import Releases, SignedRelease
from carnet.errors import MetadataMismatch
from carnet.made import made_by, maker
from carnet.tuf.roles import Targets

_ANEW = "ask whoever drafted it, and make the claim again with `carnet claim new`"


@made_by("check_adopted")
@dataclass(frozen=True)
class Adopted:
    """A first claim's versions, each of which the index lists.

    Attributes:
        yanked: Those that the claim calls yanked, and the index does not.
        unyanked: Those that the index calls yanked, and the claim does not.
    """

    yanked: tuple[SignedRelease, ...]
    unyanked: tuple[SignedRelease, ...]


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


def check_adopted(releases: Releases, index: Mapping[CrateId, IndexLine]) -> Adopted:
    """Demand that a first claim adopts what is published, all of it and nothing else (docs/formats.md, "A claim").

    Args:
        releases: The versions of the first crate role.
        index: The lines of the crate's index file, by version; none when the registry lists no such crate.

    Raises:
        MetadataMismatch: A version is not in the index, or is another one there, or the claim leaves one out.
    """
    for release in releases:
        line = index.get(release.id)
        if line is None:
            raise MetadataMismatch(
                f"the claim adopts {release.id}, which is not published: the index does not list it",
                hint=f"{_ANEW}; a new version is released once the crate is claimed",
            )
        if (line.cksum, line.identity()) != (release.tarball.sha256, release.index):
            raise MetadataMismatch(
                f"the claim adopts {release.id} otherwise than the index lists it: its tarball or its index line is "
                "another one",
                hint=_ANEW,
            )
        if release.bundle is not None:
            raise MetadataMismatch(f"the claim adopts {release.id} with evidence, which came with none", hint=_ANEW)
    left_out = sorted(set(index) - {release.id for release in releases}, key=lambda crate: crate.version)
    if left_out:
        raise MetadataMismatch(
            f"the index lists {left_out[0]}, which the claim does not adopt: clients would refuse it",
            hint="adopt every version that is published: make the claim again with `carnet claim new`",
        )
    return _adopted(
        tuple(one for one in releases if one.yanked and not index[one.id].yanked),
        tuple(one for one in releases if index[one.id].yanked and not one.yanked),
    )
