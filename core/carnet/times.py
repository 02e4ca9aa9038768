"""The one door for times: read strictly, moved without overflow, and written in the one form that metadata has.

TUF roles, layouts, index lines and requests all write `2030-01-31T23:59:59Z`. What others wrote may lie at either end
of the calendar, where adding a day to it is an error of the language's own.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from carnet.errors import FormatError

# Hour 24 is a time to newer Pythons only, and `strptime` takes digits of any script.
_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}Z\Z")
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def read(text: str, what: str) -> datetime:
    """Read a time that someone else wrote.

    Args:
        text: As written.
        what: What is at that time, for the message.

    Returns:
        The moment, in UTC, to the second; from year 1 to year 9999, so move it with `moved` only.

    Raises:
        FormatError: Not of the form, or no day of the calendar.
    """
    if _FORM.match(text) is not None:
        try:
            return datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC)
        except ValueError:
            pass  # a 13th month, a 61st second
    raise FormatError(f"{what} {text[:40]!a} is not a time such as 2030-01-31T00:00:00Z")


_FRACTION = re.compile(r"\.[0-9]{1,9}(?=Z\Z)")


def read_foreign(text: str, what: str) -> datetime:
    """As `read`, of a time in metadata of repositories that others run: some write fractions of a second, down to 1e-9.

    Returns:
        The moment, in UTC, cut to the second: whatever ends then ends no later than its writer said.

    Raises:
        FormatError: As `read`.
    """
    return read(_FRACTION.sub("", text) if len(text) <= 40 else text, what)


def written(moment: datetime) -> str:
    """A moment of any zone in the form that `read` takes, cut to the second; past all times it is the last of them."""
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        utc = _LAST if moment.year > 1 else _FIRST
    return f"{utc.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def moved(moment: datetime, by: timedelta) -> datetime:
    """A moment so much later, or earlier; where the calendar ends, the last or first moment that it has."""
    try:
        return moment + by
    except OverflowError:
        return _LAST if by > timedelta(0) else _FIRST
