"""Which bins are signed again: none ever ends, and they do not come due together."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.worlds.ceremony import NOW

from carnet_signer.metadata.due import MISSED, ROUND, TAKEN, turns
from carnet_signer.metadata.role_files import BIN_LIFE, TIMESTAMP_LIFE

GAPS = st.one_of(
    st.timedeltas(timedelta(seconds=1), timedelta(hours=1)), st.timedeltas(timedelta(hours=1), timedelta(days=2))
)


class Bins:
    """Their ends, as publishes would set them; all were signed at once."""

    def __init__(self, count: int) -> None:
        self.ends = [NOW + BIN_LIFE] * count
        self.last = self.now = NOW

    def publish(self, after: timedelta) -> int:
        """Publish, and say how many bins were signed again."""
        self.now += after
        due = [number for number in turns(len(self.ends), self.last, self.now) if self.left(number) <= TAKEN]
        for number in due:
            self.ends[number] = self.now + BIN_LIFE
        self.last = self.now
        return len(due)

    def left(self, number: int) -> timedelta:
        return self.ends[number] - self.now


@given(st.lists(GAPS, min_size=1, max_size=60), st.sampled_from([1, 2, 16, 256]))
def test_no_bin_misses_its_turn_however_often_something_is_published(gaps: list[timedelta], count: int) -> None:
    bins = Bins(count)
    for gap in gaps * 5:
        bins.publish(gap)
        assert min(map(bins.left, range(count))) > MISSED - gap


@pytest.mark.parametrize("hours", [1, 11, 12, 24])
@pytest.mark.parametrize("count", [256, 16_384])
def test_in_three_years_no_bin_comes_near_its_end_and_no_publish_signs_many(hours: int, count: int) -> None:
    bins = Bins(count)
    most = 0
    for _ in range(3 * 365 * 24 // (hours * 8)):
        signed = [bins.publish(timedelta(hours=hours)) for _ in range(8)]
        most = max(most, *signed)
        assert min(bins.ends) > bins.now + MISSED - timedelta(hours=hours)
        assert min(bins.ends) >= bins.now + MISSED, "then `status` says that it should have been signed again"
    assert most <= count * timedelta(hours=hours) / ROUND + 1


@given(st.timedeltas(ROUND, 9 * BIN_LIFE), st.integers(1, 600))
def test_after_a_long_absence_every_bin_has_its_turn(away: timedelta, count: int) -> None:
    assert sorted(turns(count, NOW, NOW + away)) == list(range(count))


@given(st.timedeltas(timedelta(seconds=1), 9 * BIN_LIFE), st.integers(1, 600))
def test_every_bin_has_its_turn_when_the_clock_was_set_back(back: timedelta, count: int) -> None:
    assert sorted(turns(count, NOW, NOW - back)) == list(range(count))


@given(st.lists(st.timedeltas(timedelta(0), timedelta(days=2)), max_size=20), st.integers(1, 600))
def test_each_bin_has_one_turn_in_a_round(gaps: list[timedelta], count: int) -> None:
    """Nothing is looked at twice, and nothing between two publishes is passed over."""
    now = NOW
    had: list[int] = []
    for gap in gaps:
        if now + gap - NOW >= ROUND:
            break
        had += turns(count, now, now + gap)
        now += gap
    assert len(had) == len(set(had))
    assert sorted(had) == sorted(turns(count, NOW, now))


def test_the_life_of_a_timestamp_is_a_small_part_of_a_round() -> None:
    """So that a mirror that only signs timestamps looks at a few bins each time."""
    assert TIMESTAMP_LIFE < ROUND / 20
