"""Times that others wrote: one form, and no error at either end of the calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from carnet import times
from carnet.errors import FormatError


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2030-01-31",
        "2030-01-31T00:00:00",
        "2030-01-31T00:00:00+00:00",
        "2030-1-31T00:00:00Z",
        "2030-13-01T00:00:00Z",
        "2030-02-29T00:00:00Z",
        "2030-01-31T24:00:00Z",
        "2030-01-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "12030-01-31T00:00:00Z",
        "-203-01-31T00:00:00Z",
        "٢٠٣٠-01-31T00:00:00Z",
        "2030-01-31T00:00:00Z\n",
        "2030-01-31 00:00:00Z",
        "\x00",
        "9" * 10_000,
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match=r"^expires .* is not a time"):
        times.read(text, "expires")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "2024-02-29T12:00:01Z", "9999-12-31T23:59:59Z"])
def test_a_time_is_written_as_it_was_read(text: str) -> None:
    assert times.written(times.read(text, "expires")) == text


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    assert times.written(datetime(2030, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "2029-12-31T23:00:00Z"


def test_a_time_that_is_none_in_utc_is_an_end_of_the_calendar() -> None:
    east, west = timezone(timedelta(hours=14)), timezone(timedelta(hours=-14))
    assert times.written(datetime.min.replace(tzinfo=east)) == "0001-01-01T00:00:00Z"
    assert times.written(datetime.max.replace(tzinfo=west)) == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize("days", [1, 7, 999_999_999])
def test_where_the_calendar_ends_a_time_stays(days: int) -> None:
    first, last = (times.read(text, "x") for text in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"))
    assert times.moved(last, timedelta(days=days)) >= last
    assert times.moved(first, timedelta(days=-days)) == datetime.min.replace(tzinfo=UTC)
    assert times.moved(first, timedelta(days=1)) == datetime(1, 1, 2, tzinfo=UTC)
