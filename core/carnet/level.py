"""How much stands behind a crate: the four levels of the trust model, and nowhere a second list of them."""

from __future__ import annotations

from enum import IntEnum

from carnet.errors import FormatError


class Level(IntEnum):
    """How much stands behind a crate, weakest first (trust model, "Levels"). Levels are compared, never their names.

    `str` gives the name as it stands in policies, in what owners sign, and in JSON.
    """

    REGISTRY = 1
    """The mirror vouches for these bytes, fresh, in one consistent view."""
    MAINTAINER = 2
    """The release threshold, appointed by the owners, signed this version."""
    PROVENANCE = 3
    """The owners' layout was carried out, and the tarball is what was tagged."""
    REPRODUCED = 4
    """Independent rebuilders got the same tarball."""

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def parse(cls, text: str) -> Level:
        """Read a level as people write it.

        Raises:
            FormatError: There is no such level.
        """
        for level in cls:
            if text == str(level):
                return level
        raise FormatError(f"{text[:40]!a} is not a level", hint=f"the levels are {', '.join(map(str, cls))}")
