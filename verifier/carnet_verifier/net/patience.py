"""Patience with a server that is busy or breaks off: whom asking again may help, how often, and after how long.

What asks again decides nothing: an answer that comes late is judged like one that came at once, and none that came
stays a `TransportError`.
"""

from __future__ import annotations

import os
import time

from carnet.errors import TransportError
from carnet.value import value

PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
"""Statuses by which a server says "not now", or what stands before it that it is not there (RFC 9110, 15.5, 15.6)."""
_LONGEST_HEADER = 64


@value
class Patience:
    """How often a file is asked for, and how long is waited in between.

    Attributes:
        tries: How often altogether.
        pause: Seconds before the second time; each further pause is twice as long.
        longest: The longest pause in seconds. A server that asks for a longer one is not waited for.
    """

    tries: int = 5
    pause: float = 0.5
    longest: float = 60.0

    def pause_after(self, error: TransportError, tried: int) -> float | None:
        """Seconds until it makes sense to ask again, or None: it does not.

        Args:
            error: What came of it last.
            tried: How often it was asked for so far.
        """
        if not error.passing or tried >= self.tries:
            return None
        asked = error.retry_after or 0.0
        if asked > self.longest:
            return None
        # Not all in the same moment: whoever else was sent away comes back as well.
        pause = min(self.pause * float(1 << (tried - 1)), self.longest)
        return max(asked, pause) * (1 + os.urandom(1)[0] / 1024)


def retry_after(header: bytes) -> float | None:
    """Seconds that a `Retry-After` asks for (RFC 9110, 10.2.3); None when it says nothing that can be read."""
    text = header.decode("latin-1").strip()
    if not text or len(text) > _LONGEST_HEADER:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    from email.utils import parsedate_to_datetime  # rarely needed, and slow to load

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
