"""Times as metadata writes them: UTC, whole seconds, `2030-01-01T00:00:00Z`, and no other form."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from carnet.errors import FormatError

_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")


@lru_cache(maxsize=256)  # roles are signed together, and expire together
def read_moment(text: str, what: str) -> datetime:
    """Read a time.

    Args:
        text: As it was written.
        what: What it is, for the message.

    Raises:
        FormatError: It is in another form, or no time.
    """
    if _FORM.match(text) is not None:
        try:
            return datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC)
        except ValueError:
            pass  # a 13th month, a 61st second
    raise FormatError(f"{what} {text[:40]!a} is not a time like 2030-01-01T00:00:00Z")


def write_moment(moment: datetime) -> str:
    """Write a time; what is below a second is dropped."""
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
