"""`young`: a version was published too recently for anybody to have looked at it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from carnet.errors import FormatError
from carnet_evidence.history import PUBLISHED
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule, Setting


def _read(days: int) -> timedelta:
    if not 0 <= days <= 3650:
        raise FormatError(f"{days} is not a number of days from 0 to 3650")
    return timedelta(days=days)


LEAST_AGE: Setting[timedelta] = Setting(
    "least-age-days", timedelta(0), int, _read, max, "For how many days a version must have been public."
)


def _in_force(policy: Policy) -> bool:
    return max(policy.asked(LEAST_AGE)) > timedelta(0)


def _judge(facts: Facts, policy: Policy, now: datetime) -> Iterator[Breach]:
    least, published = policy.asks(LEAST_AGE, facts.crate), facts.of(PUBLISHED)
    if not least:
        return
    if published is None:
        yield Breach(f"the registry does not say when {facts.crate} was published")
    elif now - published < least:
        day = published.astimezone(UTC).date()
        yield Breach(
            f"{facts.crate} was published on {day}, less than {least.days} days ago",
            f"wait until {day + least}, or use an older version",
        )


RULE = Rule(
    "young",
    Action.DENY,
    "It was published more recently than the least age, or the registry does not say when.",
    _judge,
    needs=(PUBLISHED,),
    settings=(LEAST_AGE,),
    of_version=True,
    in_force=_in_force,
)
