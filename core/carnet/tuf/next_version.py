"""What the next version of a role must be: one rule for whoever drafts, signs, takes, publishes or looks ahead at one.

::

    version      exactly one above the version before                             (TUF 5.3.5, for every role)
    expiry       not over yet
    structure    what its place in the tree lets it say                            (`carnet.tuf.structure`)
    what stays   the number of hash bins; in a shard, the owners of every crate that the change is not about, every name
                 that was ever claimed, and the least versions of its roles  (`carnet.tuf.least`)
    root         signed by the threshold before it, and by its own                 (TUF 5.3.4)

Who must have signed any other role is said by the role above it, which may have a next version of its own: that is
checked where both are at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from carnet.cargo.names import CrateName
from carnet.errors import ExpiredMetadata, MetadataMismatch, RollbackDetected
from carnet.tuf import least, paths
from carnet.tuf.roles import DelegatedRole, RoleFile, Root, Signed, Targets
from carnet.tuf.structure import check_structure

_ANEW = (
    "make it anew from what is published now (`carnet release assemble`, `carnet claim new`, `carnet root update`), "
    "and let it be signed again"
)


def check_version(role: str, version: int, before: int) -> None:
    """Demand that a version follows the one before.

    Args:
        role: The role.
        version: Of the version that is to follow.
        before: The published version; 0 when there is none.

    Raises:
        RollbackDetected: It is published already, or older: somebody else was faster.
        MetadataMismatch: It leaves versions out.
    """
    if version <= before:
        raise RollbackDetected(
            f"{role} is of version {version}, and {before + 1} is next: someone else published meanwhile", hint=_ANEW
        )
    if version > before + 1:
        raise MetadataMismatch(f"{role} is of version {version}, and {before + 1} is next", hint=_ANEW)


def check_role(role: str, before: Targets | None, after: Targets, *, now: datetime) -> None:
    """Demand that a targets role is what may follow: version, expiry, structure, and what is fixed.

    Args:
        role: Its name.
        before: The published version; None when there is none.
        after: The version that is to follow.
        now: The time.

    Raises:
        RollbackDetected: See `check_version`.
        MetadataMismatch: It leaves versions out, says more than its place lets it, or changes the number of bins.
        ExpiredMetadata: Its time is over.
    """
    check_version(role, after.version, 0 if before is None else before.version)
    check_unexpired(role, after, now)
    check_structure(role, after)
    if before is not None and _bits(before) != _bits(after):
        raise MetadataMismatch(
            f"{role} has 2^{_bits(before)} bins and would get 2^{_bits(after)}: their number is fixed"
        )


def check_root(before: Root | None, after: RoleFile[Root]) -> None:
    """Demand that a root follows the one before: version + 1, signed by both thresholds (TUF 5.3.4, 5.3.5).

    Expiry does not matter on the way to a newer root (TUF 5.3.10); `check_unexpired` demands it of the last one.

    Args:
        before: The root before it; None for the first.
        after: The root that is to follow.

    Raises:
        RollbackDetected: See `check_version`.
        MetadataMismatch: It leaves versions out.
        ThresholdNotMet: Too few distinct keys of one of the two signed.
    """
    version = after.signed.version
    check_version(paths.ROOT, version, 0 if before is None else before.version)
    if before is not None:
        before.roles[paths.ROOT].check(after, f"root {version}, by the holders before it,", "5.3.4")
    after.signed.roles[paths.ROOT].check(after, f"root {version}", "5.3.4")


def check_unexpired(role: str, signed: Signed, now: datetime) -> None:
    """Demand that a role's time is not over before it is published.

    Raises:
        ExpiredMetadata: It is.
    """
    if signed.expired(now):
        raise ExpiredMetadata(
            f"{role} expired on {signed.expires:%Y-%m-%dT%H:%M:%SZ}", hint="its holders must sign a new version"
        )


def check_shard(
    shard: str,
    before: Targets | None,
    after: Targets,
    *,
    about: CrateName | None,
    version: Callable[[str], int | None],
) -> None:
    """Demand that a shard's next version is about one crate at most, and lets no claim be shown older than it could be.

    Args:
        shard: The shard's role.
        before: The published version; None when there is none.
        after: The version that is to follow.
        about: See `check_owners_kept`.
        version: See `carnet.tuf.least.check_next`.

    Raises:
        MetadataMismatch: Another crate would lose its owners, or get others; a name would be dropped; or a least
            version is above what there is.
        RollbackDetected: A least version would be lower.
    """
    check_owners_kept(shard, before, after, about=about)
    least.check_next(shard, before, after, version)


def check_owners_kept(shard: str, before: Targets | None, after: Targets, *, about: CrateName | None) -> None:
    """Demand that a shard's next version changes nobody's owners but those of the crate that it is about.

    Args:
        shard: The shard's role.
        before: The published version; None when there is none, and nobody has owners to lose.
        after: The version that is to follow.
        about: The crate whose owners may change; None when nobody's may, as when holders sign the shards again.

    Raises:
        MetadataMismatch: Another crate would lose its owners, or get others.
    """
    if before is None:
        return
    old, new = _entries(before), _entries(after)
    for role in sorted(old.keys() | new.keys()):
        if about is not None and role == paths.owner_role(about):
            continue
        if role not in new:
            raise MetadataMismatch(
                f"the next {shard} changes {role}, which it is not about: its crate would lose its owners",
                hint="start from the published shards: `carnet root update` brings them into a ceremony",
            )
        if role not in old or old[role].signers.fingerprint != new[role].signers.fingerprint:
            raise MetadataMismatch(f"the next {shard} changes {role}, which it is not about", hint=_ANEW)


def _entries(shard: Targets) -> dict[str, DelegatedRole]:
    return {} if shard.delegations is None else dict(shard.delegations.roles)


def _bits(signed: Targets) -> int | None:
    succinct = None if signed.delegations is None else signed.delegations.succinct
    return None if succinct is None else succinct.bit_length
