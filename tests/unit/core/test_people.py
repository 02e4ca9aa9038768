"""Ids of people: one spelling each, for owners, releasers and the people of a layout alike."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.worlds.claims import facts, refusal
from tests.support.worlds.release import synthetic

from carnet.claims.holders import Holders
from carnet.errors import FormatError
from carnet.intoto.duties import Terms
from carnet.people import MAX_PERSON, check_people, check_person

HONEST = synthetic()
MISSPELLED = [
    " alice",
    "alice ",
    "al  ice",
    "al\u00a0ice",
    "\uff41lice",
    "alice\u200b",
    "alice\u00ad",
    "ali\u034fce",
    "alice\ufe0f",
    "alice\u3164",
    "alice\u202e",
    "alice\n",
    "zoe\u0308",
    "",
    "a" * (MAX_PERSON + 1),
]
ALIKE = [
    "Alice",
    "ALICE",
    "\u0430lice",
    "al\u0456ce",
    "alic\u0435",
    "\u0391lice",
    "a1ice",
    "aIice",
    "al\u0131ce",
    "alic\u00e9",
]


@pytest.mark.parametrize("person", MISSPELLED, ids=ascii)
def test_what_is_no_spelling_of_an_id_is_refused(person: str) -> None:
    with pytest.raises(FormatError):
        check_person(person)


@pytest.mark.parametrize("other", ALIKE, ids=ascii)
def test_two_ids_that_look_alike_are_one_too_many(other: str) -> None:
    check_person(other)
    for people in (("alice", "bob", other), (other, "bob", "alice")):
        with pytest.raises(FormatError, match="look alike"):
            check_people(people)


def test_people_who_differ_are_many_and_one_may_come_twice() -> None:
    check_people(
        [
            "alice",
            "bob",
            "alice",
            "zo\u00eb b",
            "\u041e\u043b\u044c\u0433\u0430",
            "ci-1",
            "ci-2",
            "o'hara",
            "\u5c71\u7530",
        ]
    )


@pytest.mark.parametrize("other", [*MISSPELLED, *ALIKE], ids=ascii)
def test_the_rule_is_the_same_wherever_people_are_named(other: str) -> None:
    """As an owner, as a releaser, and as somebody who carries out a step of a layout."""
    owners = facts().owners
    first, second, *rest = owners.people
    known = {first: "alice", **{keyid: owners.people[keyid] for keyid in rest}}
    assert Holders(owners.signers, {**known, second: "bob"})
    assert isinstance(refusal(lambda: Holders(owners.signers, {**known, second: other})), FormatError)
    terms = HONEST.terms
    keys = [*terms.people]
    honest = {**terms.people, keys[0]: "alice", keys[1]: "alice"}
    assert replace(terms, people=honest).people == honest
    assert isinstance(refusal(lambda: replace(terms, people={**honest, keys[1]: other})), FormatError)
    assert isinstance(
        refusal(lambda: Terms.from_custom({**terms.to_custom(), "people": {**honest, keys[1]: other}})), FormatError
    )
