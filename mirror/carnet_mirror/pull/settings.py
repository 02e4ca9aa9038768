"""What an operator says of bringing and of the disk, as values; the file is `carnet_cli.config.mirror_file`'s."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from carnet.cargo.asked import AskedFor
from carnet_mirror.pull.quotas import PullQuotas
from carnet_mirror.pull.rules import PullRules
from carnet_mirror.state.disk import DiskRules
from carnet_verifier.policy.policy import Pattern


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """One upstream, as an operator names it.

    Attributes:
        place: `cargo` for the operator's own cargo, the URL of a sparse index, a folder, or the address of a mirror.
        root: The root file of that mirror; None where it is none.
        label: How the file calls it.
        crates: Crates that come from there, and from nowhere else.
        registry: With `cargo`, one of the registries of the operator's configuration; None for crates-io.
    """

    place: str
    root: Path | None = None
    label: str = ""
    crates: tuple[Pattern, ...] = ()
    registry: str | None = None


@dataclass(frozen=True, slots=True)
class PullSettings:
    """What a mirror brings because somebody asked for it, from where, and how much of it.

    Attributes:
        upstream: `cargo` for the operator's own cargo, the URL of a sparse index, or the label of an upstream.
        rules: What may be brought.
        quotas: How much.
    """

    upstream: str
    rules: PullRules
    quotas: PullQuotas = field(default_factory=PullQuotas)


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """What a mirror syncs by the clock.

    Attributes:
        upstream: As for pulling.
        every: From one turn to the next.
        crates: By name and requirement; each comes with what it depends on.
        lockfiles: Locks, read anew at each turn; they come as they are.
        yanks: Whether the upstream is asked about everything that the mirror has, so that yanks are followed.
        rules: How old a version has to be that no lock names.
    """

    upstream: str
    every: timedelta
    crates: tuple[AskedFor, ...]
    lockfiles: tuple[Path, ...]
    yanks: bool
    rules: PullRules


@dataclass(frozen=True, slots=True)
class MirrorSettings:
    """All that the file says.

    Attributes:
        pull: What is brought when a client asks; None for nothing.
        sync: What is brought by the clock; None for nothing.
        disk: What is kept for how long, and what is kept free.
        upstreams: Where crates come from, beside what the two say themselves.
    """

    pull: PullSettings | None = None
    sync: SyncSettings | None = None
    disk: DiskRules = field(default_factory=DiskRules)
    upstreams: tuple[UpstreamSettings, ...] = ()
