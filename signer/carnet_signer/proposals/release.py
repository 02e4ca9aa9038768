"""A release: from a tarball and the links of its steps to the next version of `crate.<name>`.

The plan:

    1. `gather`: the owners' layout and the signed links of the steps, in one bundle         -> Bundle
       `assemble_release`:
    2. the tarball, read strictly, is of this crate                                          -> CrateFile
    3. what cargo will resolve with is built from the manifest inside                        -> IndexLine
    4. the version takes its place among those that are signed already                       -> Releases, in a Release
    5. `propose`: the next version of the crate's role, for the release keys to sign         -> Proposal

`carnet_signer.proposals.proposal` then passes from one release holder to the next; what the mirror gets is its
`submission`, which ends in `carnet_signer.metadata.new_roles.add_release`. The mirror and every client check all of it
again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from carnet.cargo.crate import CrateFile
from carnet.cargo.index_line import IndexLine, line_from_crate
from carnet.cargo.names import CrateName, Version
from carnet.claims.holders import ClaimFacts
from carnet.claims.releases import Demands, Digest, Releases, SignedRelease
from carnet.digests import sha256_hex
from carnet.errors import ArchiveRefused, ConfigError
from carnet.intoto.bundle import Bundle
from carnet.intoto.dsse import Envelope
from carnet.made import made_by, maker
from carnet.tuf import paths
from carnet_signer.metadata import role_files
from carnet_signer.proposals.ownership import PublishedClaim, crate_draft
from carnet_signer.proposals.proposal import Proposal, Request
from carnet_signer.steps.record import SignedLink


@made_by("assemble_release")
@dataclass(frozen=True)
class Release:
    """A version with everything that stands behind it, ready to be proposed.

    Attributes:
        crate: Its tarball, as it was read.
        line: What cargo will resolve with.
        evidence: The layout and the links; None for a crate whose owners ask for no steps.
        releases: All versions of the crate, this one among them.
    """

    crate: CrateFile
    line: IndexLine
    evidence: Bundle | None
    releases: Releases


_release = maker(Release)


def gather(
    published: PublishedClaim, name: CrateName, layout: bytes | None, links: Iterable[SignedLink]
) -> Bundle | None:
    """1. Put the layout in force and the links of the steps into one bundle.

    Args:
        published: The verified current roles.
        name: The crate.
        layout: The layout file that the owners put in force.
        links: Of every step, from `record_step` or read from their files.

    Returns:
        The bundle; None when the owners ask for no steps and there are no links.

    Raises:
        ConfigError: The layout is not the one in force, or the owners ask for steps and there are no links.
        FormatError: There are more links than a bundle may have.
    """
    if published.owner is None:
        raise ConfigError(f"{name} is not claimed", hint="claim it with `carnet claim new`")
    in_force = Demands.of(name, published.owner.signed).in_force
    links = list(links)
    if in_force is None:
        if links or layout is not None:
            raise ConfigError(
                f"the owners of {name} put no layout in force: there is nothing to hold the links against",
                hint="leave the links out, or put a layout in force with `carnet claim handover --layout`",
            )
        return None
    if layout is None or sha256_hex(layout) != in_force.file.sha256:
        raise ConfigError(
            f"the layout is not the one that the owners of {name} put in force ({in_force.path})",
            hint="the mirror serves it; leave --layout out to fetch it",
        )
    if not links:
        raise ConfigError(
            f"the owners of {name} ask for the steps of a layout, and there are no links",
            hint="record the steps with `carnet record`, then name the folder with --bundle-from",
        )
    by_step: dict[str, tuple[Envelope, ...]] = {}
    for signed in links:
        by_step[signed.link.name] = (*by_step.get(signed.link.name, ()), signed.envelope)
    return Bundle(layout, by_step)


def assemble_release(published: PublishedClaim, name: CrateName, crate: CrateFile, evidence: Bundle | None) -> Release:
    """Put a release together.

    Args:
        published: The verified current roles.
        name: The crate, as its claim is called.
        crate: The tarball, read once and strictly: nobody has published it yet.
        evidence: From `gather`; None for a crate whose owners ask for no steps.

    Raises:
        ConfigError: The crate is unclaimed, or another one.
        FormatError: The version was released already.
        ArchiveRefused: The tarball was not read strictly.
    """
    # 2. the tarball
    _check_tarball(name, crate)
    # 3. the index line
    line = line_from_crate(crate, pubtime=None)
    # 4. among the versions
    facts, releases = _signed(published, name)
    bundle = None if evidence is None else evidence.to_bytes()
    listed = SignedRelease(
        crate.id,
        Digest(crate.length, crate.sha256),
        line.identity(),
        False,
        facts.registry,
        None if bundle is None else Digest(len(bundle), sha256_hex(bundle)),
    )
    return _release(crate, line, evidence, releases.with_release(listed))


def propose(published: PublishedClaim, release: Release, *, now: datetime) -> Proposal:
    """5. Make a release ready to be signed by the release keys.

    Args:
        published: The verified current roles, from which it was assembled.
        release: From `assemble_release`.
        now: The time.
    """
    crate = release.crate.id
    targets = {paths.crate_path(crate): release.crate.raw}
    if release.evidence is not None:
        targets[paths.bundle_path(crate)] = release.evidence.to_bytes()
    lines = {crate.stem: release.line.to_bytes()}
    proposal = _proposal(published, crate.name, release.releases, targets, lines, now)
    return replace(proposal, crates={paths.crate_path(crate): release.crate})


def yank(
    published: PublishedClaim, name: CrateName, versions: Iterable[Version], *, yanked: bool, now: datetime
) -> Proposal:
    """Take versions back, or give them again: the next version of the crate role.

    Raises:
        ConfigError: The crate is unclaimed.
        FormatError: There is no such version, or it is in that state already.
    """
    _, releases = _signed(published, name)
    for version in versions:
        releases = releases.with_yank(version, yanked=yanked)
    return _proposal(published, name, releases, {}, {}, now)


def _check_tarball(name: CrateName, crate: CrateFile) -> None:
    """Demand a tarball that must be of one crate, and that was read as strictly as what is new is read.

    Raises:
        ConfigError: It is of another crate.
        ArchiveRefused: It was read less strictly.
    """
    if crate.id.name.canonical != name.canonical:
        raise ConfigError(
            f"the tarball is {crate.id}, not a version of {name}",
            hint="name the crate that the tarball is of, or its own tarball",
        )
    if not crate.strict:
        raise ArchiveRefused(f"the tarball of {crate.id} was not read strictly", hint="read it with strict=True")


def _signed(published: PublishedClaim, name: CrateName) -> tuple[ClaimFacts, Releases]:
    if published.owner is None or published.crate is None:
        raise ConfigError(f"{name} is not claimed", hint="claim it with `carnet claim new`")
    return ClaimFacts.of(published.owner.signed), Releases.of(name, published.crate.signed)


def _proposal(
    published: PublishedClaim,
    name: CrateName,
    releases: Releases,
    targets: dict[str, bytes],
    lines: dict[str, bytes],
    now: datetime,
) -> Proposal:
    version = 1 if published.crate is None else published.crate.signed.version + 1
    return Proposal(
        Request("release", name, role_files.at(now)),
        {paths.crate_role(name): crate_draft(name, version, releases, now)},
        published.by_role(name),
        targets,
        lines,
    )
