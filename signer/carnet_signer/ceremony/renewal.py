"""When a ceremony's root is renewed: with its keys, when it ends soon, or when its holders want to."""

from __future__ import annotations

from datetime import datetime, timedelta

from carnet_signer.ceremony.ceremony import Ceremony, Plan, advance, plan_of

ROOT_RENEWED_BEFORE = timedelta(days=120)
"""How long before its end a root is renewed with the other offline roles."""


def renew(
    ceremony: Ceremony, plan: Plan, now: datetime, *, new_root: bool = False, keep_shards: bool = False
) -> dict[str, bytes]:
    """The unsigned next version of the offline roles, by file name; of the root only when that is called for.

    Args:
        ceremony: Where every role is final.
        plan: Who is to decide from now on.
        now: From when the new expiries count.
        new_root: Make a next root even if nothing in it changes and it is not due.
        keep_shards: Leave the shards of claims as they are; see `advance`.

    Raises:
        CarnetError: As `advance`.
    """
    old = plan_of(ceremony)
    changed = not (plan.offline_keys.same_as(old.offline_keys) and plan.online_keys.same_as(old.online_keys))
    changed = changed or plan.waiting != old.waiting
    due = ceremony.root.expires - now < ROOT_RENEWED_BEFORE
    return advance(ceremony, plan, now, new_root=new_root or changed or due, keep_shards=keep_shards)
