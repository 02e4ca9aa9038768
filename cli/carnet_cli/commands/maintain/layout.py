"""`carnet layout`: which steps a release goes through, and who may carry them out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet.durable import users_file
from carnet.errors import ConfigError
from carnet_cli.commands.maintain import proposal_folders
from carnet_cli.config import home
from carnet_cli.report.steps import (
    LayoutReport,
    LintReport,
    layout_as_json,
    layout_as_text,
    lint_as_json,
    lint_as_text,
)
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options
from carnet_cli.terminal.signing_key import key_option, open_key

if TYPE_CHECKING:
    from carnet_signer.steps.layouts import CompiledLayout

_STEPS = ("tag", "review", "test", "package", "rebuild")
_file = click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def command() -> None:
    """Say which steps a release goes through, and who may carry them out.

    A layout is written as TOML from a template, linted, signed into layout.json with its terms beside it, and becomes
    binding when the crate's owners sign it into their claim.

    \b
    Example:
      carnet layout new --template release --may tag alice=alice.pub --may package bot=bot.pub ... -o layout.toml
      carnet layout lint layout.toml
      carnet layout sign layout.toml --key alice -o layout.json
      carnet claim new demo-lib ... --layout layout.json
    """


@command.command()
@click.option("--template", type=click.Choice(["minimal", "release"]), default="release", show_default=True)
@click.option(
    "--may",
    "may",
    nargs=2,
    multiple=True,
    metavar="STEP PERSON=KEY.pub",
    help="Who may carry out a step; again for each person, with the key named once.",
)
@click.option(
    "-o",
    "--output",
    "place",
    type=click.Path(path_type=Path, dir_okay=False),
    default="layout.toml",
    show_default=True,
    help="The file to make; an existing one is left alone.",
)
def new(template: str, may: tuple[tuple[str, str], ...], place: Path) -> None:
    """Start a layout from a template, with its comments, for you to read and edit.

    Keys are named relative to the file that is made.

    \b
    Example:
      carnet layout new --template minimal --may tag alice=alice.pub --may package bot=bot.pub
    """
    from carnet import durable
    from carnet_signer.steps.layouts import fill_template

    people: dict[str, tuple[str, ...]] = {}
    steps: dict[str, tuple[str, ...]] = {}
    for step, who in may:
        person, _, key = who.partition("=")
        if step not in _STEPS or not person.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f"--may {step} {who} is not STEP PERSON=KEY.pub", hint=f"steps are {', '.join(_STEPS)}")
        if key and key not in people.get(person, ()):
            people[person] = (*people.get(person, ()), key)
        steps[step] = (*steps.get(step, ()), person)
    for person in {person for names in steps.values() for person in names} - people.keys():
        raise ConfigError(f"{person} has no key", hint=f"write {person}=KEY.pub once")
    text = fill_template(template, people, steps)
    try:
        durable.create_file(place, text.encode())
    except FileExistsError:
        raise ConfigError(f"{place} is there already", hint="name another file with -o") from None
    output.note(f"wrote {place}; read it, then `carnet layout lint {place}`")


@command.command()
@_file
@output.message_format
def lint(file: Path, message_format: output.MessageFormat) -> int:
    """List everything that makes a layout unsafe: layout.toml, or a signed layout.json with its terms beside it.

    \b
    Example:
      carnet layout lint layout.toml
    """
    from carnet.intoto.layout_lint import lint_layout

    compiled = _read(file)
    problems = lint_layout(compiled.layout, compiled.terms)
    output.show(LintReport(file, tuple(problems)), message_format, lint_as_text, lint_as_json)
    return 1 if problems else 0


@command.command()
@_file
@output.message_format
def show(file: Path, message_format: output.MessageFormat) -> None:
    """Show a layout as a table: which steps, by whom, how many, under which rules.

    \b
    Example:
      carnet layout show layout.json
    """
    output.show(LayoutReport(_read(file)), message_format, layout_as_text, layout_as_json)


@command.command()
@_file
@key_option("Your private key: one of the owners'.")
@click.option(
    "-o",
    "--output",
    "place",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The signed layout; its terms go beside it.  [default: FILE with .json]",
)
@proposal_folders.insecure_option
@passphrase_options
def sign(file: Path, key: str, place: Path | None, insecure_example_keys: bool, passphrase: PassphraseSource) -> None:
    """Compile and sign a layout, after showing it to you: layout.json, and layout.terms.json beside it.

    Give the signed layout.json to the next owner, who signs the same file again. It becomes binding when the owners
    sign it into their claim: `carnet claim new --layout layout.json`.

    \b
    Example:
      carnet layout sign layout.toml --key alice -o layout.json
      carnet layout sign layout.json --key bob
    """
    from carnet.intoto.dsse import Envelope
    from carnet.intoto.layout_lint import check_layout
    from carnet_signer.steps.layout_files import terms_path, write_signed_layout
    from carnet_signer.steps.layouts import sign_layout

    compiled = _read(file)
    if file.suffix == ".json":
        with users_file(file, "layout"):
            envelope = Envelope.from_bytes(proposal_folders.read(file, "layout"), str(file))
    else:
        envelope = compiled.unsigned()
    check_layout(compiled.layout, compiled.terms)
    for line in LayoutReport(compiled).words():
        output.note(line)
    place = place or file.with_suffix(".json")
    signer = open_key(key, passphrase, insecure_example_keys=insecure_example_keys)
    signed = sign_layout(compiled, envelope, signer)
    write_signed_layout(place, signed, compiled)
    output.note(f"signed {place}, its terms are in {terms_path(place)}")


def _read(file: Path) -> CompiledLayout:
    """A layout as people write it, or a signed one with its terms."""
    from carnet.intoto.values import Layout
    from carnet_signer.steps.layout_files import read_signed_layout
    from carnet_signer.steps.layouts import CompiledLayout

    if file.suffix != ".json":
        return _compile(file)
    with users_file(file, "layout"):
        data, terms, origins = read_signed_layout(file)
        return CompiledLayout(Layout.from_envelope(data), terms, origins)


def _compile(file: Path) -> CompiledLayout:
    from carnet_signer.steps.layouts import compile_layout

    with users_file(file, "layout"):
        return compile_layout(
            proposal_folders.read(file, "layout"),
            lambda path: proposal_folders.read(file.parent / path, "public key"),
            now=home.now(),
            what=str(file),
        )
