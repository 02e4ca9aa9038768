"""Layouts as they are read: each step names keys by their ids, and every part has its type and its size."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.worlds.simulator import key

from carnet.errors import FormatError
from carnet.intoto.values import ArtifactRule, Layout, Step
from carnet.tuf.keys import PublicKey

ANN = PublicKey.from_object(key("ann").public_key.to_dict())
LAYOUT = Layout(
    (Step("test", (ANN.keyid,), 1, (ArtifactRule("disallow", "*"),), (ArtifactRule("disallow", "*"),)),),
    {ANN.keyid: ANN},
    datetime(2030, 1, 1, tzinfo=UTC),
    "how demo is released",
)


def read(change: Callable[[dict[str, Any]], object]) -> Layout:
    document = json.loads(LAYOUT.to_payload())
    change(document)
    return Layout.from_payload(json.dumps(document).encode())


def step(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda layout: layout["steps"][0].update(fields)


def test_a_layout_is_read_as_it_was_written() -> None:
    assert read(lambda layout: None) == LAYOUT


@pytest.mark.parametrize(
    "keyid",
    [
        "",
        "ann",
        "*",
        ANN.keyid[:8],
        ANN.keyid[:-1],
        ANN.keyid + "0",
        ANN.keyid + "\n",
        ANN.keyid.upper(),
        " " + ANN.keyid[1:],
        1,
        None,
        [ANN.keyid],
        {"keyid": ANN.keyid},
    ],
    ids=str,
)
def test_a_step_lists_key_ids_and_nothing_else(keyid: Any) -> None:
    """In-toto takes prefixes, which collide (trap 19); a list here would count as somebody."""
    for pubkeys in ([keyid], [ANN.keyid, keyid], [keyid, ANN.keyid]):
        with pytest.raises(FormatError, match="step test lists something that is not a key id"):
            read(step(pubkeys=pubkeys))


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no step": (lambda layout: layout.update(steps=[1]), "a layout's step needs"),
    "a step that is an inspection": (step(_type="inspection"), "a layout's step needs"),
    "a step without name": (lambda layout: layout["steps"][0].pop("name"), "a layout's step needs"),
    "a step's name that leads elsewhere": (step(name="../test"), "a layout's step needs"),
    "a threshold true": (step(threshold=True), "a layout's step needs"),
    "a threshold that is a text": (step(threshold="1"), "a layout's step needs"),
    "more keys than people": (step(pubkeys=[ANN.keyid] * 257), "more than 256 rules or keys"),
    "more rules than anybody reads": (step(expected_materials=[["ALLOW", "*"]] * 257), "more than 256 rules or keys"),
    "more products' rules": (step(expected_products=[["ALLOW", "*"]] * 257), "more than 256 rules or keys"),
    "a rule that is none": (step(expected_products=[["PERMIT", "*"]]), "is not an artifact rule"),
    "a rule that is a text": (step(expected_products=["DISALLOW *"]), "at most 10 words"),
    "a rule with a number": (step(expected_products=[["DISALLOW", 1]]), "at most 10 words"),
    "a long rule": (step(expected_products=[["MATCH", *["x"] * 10]]), "at most 10 words"),
    "two steps of one name": (lambda layout: layout["steps"].append(layout["steps"][0]), "two steps of one name"),
    "many steps": (lambda layout: layout.update(steps=layout["steps"] * 33), "at most 32 steps and 256 keys"),
    "no type": (lambda layout: layout.pop("_type"), "a layout needs steps"),
    "another type": (lambda layout: layout.update(_type="link"), "a layout needs steps"),
    "a key under another id": (lambda layout: layout["keys"].update({"0" * 64: ANN.to_object()}), "not the digest"),
    "a key that says another id": (
        lambda layout: layout["keys"][ANN.keyid].update(keyid="0" * 64),
        "another id inside",
    ),
    "a key that is none": (lambda layout: layout["keys"].update({ANN.keyid: "ann"}), "another id inside"),
    "a day that is none": (lambda layout: layout.update(expires="2030-02-30T00:00:00Z"), "is not a time"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_layout_is_refused(name: str) -> None:
    change, why = WRONG[name]
    with pytest.raises(FormatError, match=why):
        read(change)
