"""What `carnet claim` is told about people and layouts: its flags, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet.errors import ConfigError

if TYPE_CHECKING:
    from carnet.claims.holders import Holders
    from carnet_signer.proposals.ownership import NewLayout

owners_option = click.option(
    "--owner",
    "owners",
    metavar="PERSON=KEY.pub",
    multiple=True,
    help="An owner and their public key; once for each. Owners choose the layout and the release keys.",
)
owners_threshold_option = click.option(
    "--owners-threshold", type=click.IntRange(min=1), help="How many owners must sign."
)
releasers_option = click.option(
    "--release-key",
    "releasers",
    metavar="PERSON=KEY.pub",
    multiple=True,
    help="Someone who releases and their public key; once for each.",
)
release_threshold_option = click.option(
    "--release-threshold", type=click.IntRange(min=1), help="How many of them must sign each release."
)
layout_option = click.option(
    "--layout",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The layout of releases, as `carnet layout sign` wrote it; its terms lie beside it.",
)


def _bounded(_context: click.Context, _option: click.Parameter, lines: tuple[str, ...]) -> tuple[str, ...]:
    from carnet_signer.proposals.proposal import MAX_EVIDENCE, MAX_EVIDENCE_LINE

    if len(lines) > MAX_EVIDENCE or any(len(line) > MAX_EVIDENCE_LINE for line in lines):
        raise ConfigError(
            f"--evidence is given more than {MAX_EVIDENCE} times, or one has more than {MAX_EVIDENCE_LINE} characters",
            hint="it stands beside what people sign: put the rest behind a link",
        )
    return lines


evidence_option = click.option(
    "--evidence",
    multiple=True,
    callback=_bounded,
    help="Why the registry should agree, in a line; once for each. It is shown to those who sign.",
)


def team(members: Sequence[str], threshold: int | None, flag: str, threshold_flag: str) -> Holders:
    """The people whom a flag names, each with the key that they gave.

    Args:
        members: `PERSON=KEY.pub`, once for each.
        threshold: How many of them must sign.
        flag: What named them, for messages.
        threshold_flag: What named the threshold.

    Raises:
        ConfigError: Nobody or no threshold is named, or not in this form.
        FormatError: A key does not parse.
    """
    from carnet_signer.keys.public import read_public_key
    from carnet_signer.proposals import ownership

    if not members or threshold is None:
        raise ConfigError(
            f"name at least one {flag} PERSON=KEY.pub, and {threshold_flag}", hint=f"as in `{flag} alice=alice.pub`"
        )
    found = [(person, read_public_key(path)) for person, path in _named(members, flag)]
    return ownership.team(found, threshold)


def origins(members: Sequence[str], layout: NewLayout | None) -> dict[str, str]:
    """Where the keys of those come from whom flags and a layout name, by key id, for those who sign.

    Args:
        members: `PERSON=KEY.pub`, as `team` took them.
        layout: The layout that is to be in force, which says so of its own people.
    """
    from carnet_signer.keys.public import origin, read_public_key

    named = {read_public_key(path).keyid: origin(path) for _, path in _named(members, "--owner")}
    return {**(layout.origins if layout is not None else {}), **named}


def _named(members: Sequence[str], flag: str) -> Iterator[tuple[str, Path]]:
    for member in members:
        person, equals, path = member.partition("=")
        if not person or not equals or not path:
            raise ConfigError(f"{flag} {member!a} is not PERSON=KEY.pub", hint=f"as in `{flag} alice=alice.pub`")
        yield person, Path(path)


def read_layout(path: Path | None) -> NewLayout | None:
    """A signed layout, and the terms that `carnet layout sign` wrote beside it; None when no layout is named.

    Raises:
        ConfigError: One of the two files is not there.
        FormatError: The terms do not parse.
    """
    if path is None:
        return None
    from carnet_signer.proposals.ownership import NewLayout
    from carnet_signer.steps.layout_files import read_signed_layout

    return NewLayout(*read_signed_layout(path))
