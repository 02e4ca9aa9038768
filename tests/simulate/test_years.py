"""A mirror runs by itself for as long as its holders meet: nobody is refused, and everybody was told ahead.

`make simulate` lets three years pass, in more ways.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.simulate.years import DAY, Life, Simulation

from carnet_signer.metadata.due import MISSED

BUSY = Life("a publish every eleven hours", 4, lambda chance: timedelta(hours=11), years=0.27, reads_every=5 * DAY)
LATE = Life("holders are five days late", 4, holders=-5 * DAY, years=0.27, reads_every=3 * DAY, begins=55 * DAY)


def test_no_client_is_ever_refused(tmp_path: Path) -> None:
    outcome = Simulation(BUSY, tmp_path).run()
    assert outcome.looks > 100
    assert outcome.refused == []
    assert outcome.youngest > MISSED - DAY


def test_where_holders_are_late_clients_are_refused_until_they_meet_and_everybody_was_told(tmp_path: Path) -> None:
    """The control: what the other one does not see would be seen."""
    outcome = Simulation(LATE, tmp_path).run()
    assert outcome.refused
    assert outcome.unexplained() == []
    month, fortnight, week, end = [days for role, days in outcome.told if role == "targets"]
    assert 30 >= month > 14 >= fortnight > 7 >= week > 0 >= end
