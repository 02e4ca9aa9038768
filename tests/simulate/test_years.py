"""A mirror runs by itself for as long as its holders meet: nobody is refused, and everybody was told ahead.

`make simulate` lets three years pass, in more ways.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.simulate.years import DAY, Life, Simulation

from carnet_signer.metadata.due import MISSED

ELEVEN_HOURS = timedelta(hours=11)
LATE = Life("holders are five days late", 4, holders=-5 * DAY, years=0.27, reads_every=3 * DAY)


@pytest.mark.parametrize(
    "life",
    [
        Life(
            "something is published every eleven hours", 4, lambda chance: ELEVEN_HOURS, years=0.27, reads_every=5 * DAY
        ),
        Life("off for a hundred days", 4, away=(10 * DAY, 100 * DAY), years=0.4, reads_every=5 * DAY),
    ],
    ids=lambda life: life.name,
)
def test_no_client_is_ever_refused(life: Life, tmp_path: Path) -> None:
    outcome = Simulation(life, tmp_path).run()
    assert outcome.looks > 50
    assert outcome.refused == []
    assert outcome.youngest > MISSED - DAY


def test_where_holders_are_late_clients_are_refused_until_they_meet_and_everybody_was_told(tmp_path: Path) -> None:
    """The control: what the others do not see would be seen."""
    outcome = Simulation(
        Life("holders are five days late", 4, holders=-5 * DAY, years=0.27, reads_every=3 * DAY), tmp_path
    ).run()
    assert outcome.refused
    assert outcome.unexplained() == []
    told = [days for role, days in outcome.told if role == "targets"]
    month, fortnight, week, end = told
    assert 30 >= month > 14 >= fortnight > 7 >= week > 0 >= end
