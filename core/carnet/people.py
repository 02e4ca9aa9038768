"""Ids of people and machines: one spelling each, and no two in one place that a reader would take for one another.

Thresholds and separate duties count people by these ids, so whoever adds a second spelling of somebody adds a person
who is not there. One rule for owners, releasers and the people of a layout.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from carnet.errors import FormatError

MAX_PERSON = 100
"""Characters of an id."""

# Letters and marks that are drawn as nothing, and pass for printable (Unicode, Default_Ignorable_Code_Point).
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# ruff: noqa: RUF001  -- letters that are taken for others are the subject
_DRAWN_LIKE = {
    "A": "АΑ", "B": "ВΒ", "C": "СϹ", "E": "ЕΕ", "H": "НΗ", "I": "ІΙӀ", "J": "Ј", "K": "КΚ", "M": "МΜ", "N": "Ν",
    "O": "ОΟՕ", "P": "РΡ", "Q": "Ԛ", "S": "ЅՏ", "T": "ТΤ", "U": "Ս", "V": "Ѵ", "W": "Ԝ", "X": "ХΧ", "Y": "УΥ", "Z": "Ζ",
    "a": "аαɑ", "b": "ьвβ", "c": "сϲ", "d": "ԁđ", "e": "еεєɛ", "g": "ɡց", "h": "һнհ", "i": "іιıɩ", "j": "јϳ", "k": "кκ",
    "l": "ӏł1|", "m": "м", "n": "пηո", "o": "оοօσø0", "p": "рρ", "q": "ԛ", "r": "г", "s": "ѕ", "t": "тτ", "u": "υս",
    "v": "νѵ", "w": "ѡԝω", "x": "хχ", "y": "уγ", "z": "ʐ",
}  # fmt: skip
"""Latin letter -> what is drawn like it, or nearly: Cyrillic, Greek, Armenian, digits."""
_LATIN = str.maketrans({other: letter for letter, others in _DRAWN_LIKE.items() for other in others})
_PAIRS = (("i", "l"), ("rn", "m"), ("vv", "w"))
"""Of what is left, in small letters."""


def check_person(person: str, what: str = "a person's id") -> str:
    """Demand that an id is spelled the one way: composed, without odd spaces, with nothing that cannot be seen.

    Args:
        person: The id.
        what: What to call it in messages.

    Returns:
        The id.

    Raises:
        FormatError: It is another spelling of something, empty, or longer than `MAX_PERSON` characters.
    """
    # The length first: to normalize takes time that grows with its square.
    if (
        not 0 < len(person) <= MAX_PERSON
        or not person.isprintable()
        or person != _plain(person)
        or INVISIBLE.search(person)
    ):
        raise FormatError(f"{person[:MAX_PERSON]!a} is not {what}", hint="letters, digits, marks that can be seen")
    return person


def check_people(people: Iterable[str]) -> None:
    """Demand that ids are well spelled, and that no two different ones look alike.

    Args:
        people: The ids of one place: of a role's holders, of a layout. The same id may come several times.

    Raises:
        FormatError: One is not an id, or two differ only in case, in marks, or in letters that are drawn alike.
    """
    drawn: dict[str, str] = {}
    for person in people:
        other = drawn.setdefault(_drawn(check_person(person)), person)
        if other != person:
            raise FormatError(
                f"{other!a} and {person!a} look alike and would count as two people",
                hint="spell one person one way; give two people ids that nobody confuses",
            )


def _plain(person: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", person).split())


def _drawn(person: str) -> str:
    """What is left of an id when everything that readers overlook is taken away."""
    letters = "".join(
        "-" if unicodedata.category(char) == "Pd" else char
        for char in unicodedata.normalize("NFD", person)
        if not unicodedata.combining(char)
    )
    drawn = letters.translate(_LATIN).casefold()
    for pair, letter in _PAIRS:
        drawn = drawn.replace(pair, letter)
    return drawn
