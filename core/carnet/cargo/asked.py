"""Versions that are asked for by a name and a requirement, as people and programs write them: `serde@^1.0`."""

from __future__ import annotations

from carnet.cargo.names import CrateName
from carnet.errors import FormatError
from carnet.value import value


@value(order=True)
class AskedFor:
    """What is asked for: the newest version of a crate that a requirement admits.

    Attributes:
        name: The crate.
        requirement: As cargo publishes it: `^1.0`, `>=1, <2`, or `*` for any.
    """

    name: CrateName
    requirement: str = "*"

    @classmethod
    def parse(cls, text: str) -> AskedFor:
        """Read `NAME` or `NAME@REQUIREMENT`, where `1.2` means `^1.2`, as in a manifest.

        Raises:
            FormatError: Neither.
        """
        name, at, wanted = text.partition("@")
        if at and not wanted:
            raise FormatError(f"{text[:80]!a} has no requirement", hint="write NAME, or NAME@1.2, or 'NAME@>=1, <2'")
        return cls.of(name, wanted or "*")

    @classmethod
    def of(cls, name: str, wanted: str) -> AskedFor:
        """Build from two texts.

        Raises:
            FormatError: Not a crate name, or not a requirement that cargo reads.
        """
        from carnet.cargo.requirement import requirement  # start-up time counts, and hardly any run asks for something

        return cls(CrateName(name), requirement(wanted))

    def __str__(self) -> str:
        return f"{self.name}@{self.requirement}"

    @property
    def typed(self) -> str:
        """As it is typed in a shell: in quotes where a shell, or a person, would stumble."""
        text = str(self) if self.requirement != "*" else str(self.name)
        return text if all(char.isalnum() or char in "@.-_=" for char in text) else f"'{text}'"
