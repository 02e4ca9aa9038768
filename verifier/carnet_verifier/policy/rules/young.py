"""`young`: a version was published too recently for anybody to have looked at it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from carnet.errors import FormatError
from carnet_evidence.history import PUBLISHED
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule, Setting

MOST_DAYS = 3650


def _read(days: int) -> timedelta:
    if not 0 <= days <= MOST_DAYS:  # which may have more digits than can be shown
        raise FormatError(
            f"it is not a number of days from 0 to {MOST_DAYS}", hint="write how many, such as 7; 0 asks for no age"
        )
    return timedelta(days=days)


def _written(age: timedelta) -> int:
    return age.days


LEAST_AGE: Setting[timedelta] = Setting(
    "least-age-days",
    timedelta(0),
    int,
    _read,
    max,
    "For how many days a version must have been public.",
    _written,
)


def _in_force(policy: Policy) -> bool:
    return max(policy.asked(LEAST_AGE)) > timedelta(0)


def _judge(facts: Facts, policy: Policy, now: datetime) -> Iterator[Breach]:
    least, published = policy.asks(LEAST_AGE, facts.crate), facts.of(PUBLISHED)
    if not least:
        return
    asks = policy.who_asks(LEAST_AGE, facts.crate)
    if published is None:
        yield Breach(f"the registry does not say when {facts.crate} was published", source=asks)
    elif now < published:
        yield Breach(
            f"{facts.crate} was published on {published.date()}, says the registry, which is yet to come",
            "its time or this machine's clock is wrong",
            asks,
        )
    elif now - published < least:  # so that adding the two stays near the present
        yield Breach(
            f"{facts.crate} was published on {published.date()}, less than {least.days} days ago",
            f"wait until {(published + least).date()}, or use an older version",
            asks,
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
