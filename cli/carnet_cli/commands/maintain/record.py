"""`carnet record`: carry out one step of a release, and sign what was done."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet_cli.commands.maintain.record_options import (
    Options,
    RegistryChoice,
    cargo_option,
    common,
    crates_io,
    destination,
    registry_options,
    tag_option,
)
from carnet_cli.report.steps import SignedStepReport, step_as_json, step_as_text
from carnet_cli.terminal import output
from carnet_cli.terminal.signing_key import open_key

if TYPE_CHECKING:
    from carnet_signer.steps.links import Tagged
    from carnet_signer.steps.packaging import Toolchain
    from carnet_signer.steps.record import Recorded


@click.group()
def command() -> None:
    """Carry out one step of a release, and sign what was done.

    Each person runs one of these on a repository of their own; nobody needs another's key. The signed links gather in
    one folder, from which the release is assembled:

    \b
      tag       a maintainer says what the release is: commit, files, listing, lock, cargo's version
      review    others say that they read all of it
      test      CI runs the tests, in a sandbox where there is one
      package   somebody else makes the tarball, running no code of the crate
      rebuild   independent people make it again and get the same bytes

    A key is opened only after everything that was run has ended.

    \b
    Example:
      carnet record tag --revision v1.2.0 --key alice -o links
      carnet record package --key packager -o links
    """


@command.command()
@common
@click.option("--revision", default="HEAD", show_default=True, help="The tag or commit to release.")
@click.option("--package-dir", default="", help="The package's folder in the repository.  [default: its top]")
@cargo_option
@click.option("--toolchain", help="The cargo version that everybody will package with, such as 1.95.0.")
@registry_options
def tag(
    options: Options,
    *,
    revision: str,
    package_dir: str,
    cargo: Path | None,
    toolchain: str | None,
    registry: RegistryChoice,
) -> None:
    """Say what the release is: every file of the commit, what cargo would package, the lock, cargo's version.

    Files are read from git's objects, never from the work tree. Nothing of the repository runs.

    \b
    Example:
      carnet record tag --revision v1.2.0 --key alice
    """
    from carnet_signer.steps.packaging import find_toolchain
    from carnet_signer.steps.record import record_tag

    found, where = find_toolchain(toolchain, cargo), partial(destination, registry)
    with crates_io(registry) as url:
        recorded = record_tag(options.source, revision, package_dir, found, index=url, destination=where)
    for note in recorded.link.byproducts["notes"]:
        output.warn(note)
    _sign(recorded, options)


@command.command()
@common
@tag_option
def review(options: Options, tag_file: Path | None) -> None:
    """Say that you read everything that was tagged, after comparing it with your own clone.

    \b
    Example:
      git fetch --tags && git diff v1.1.0 v1.2.0     # read it
      carnet record review --key carol
    """
    from carnet_signer.steps.record import record_review

    tagged = _tag(options, tag_file)
    _sign(record_review(options.source, tagged.link, tagged.crate), options)


@command.command()
@common
@tag_option
@click.option(
    "--cargo-home",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A cargo home with the dependencies in it, for the command to use.  [default: an empty one]",
)
@click.argument("run", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def test(options: Options, tag_file: Path | None, cargo_home: Path | None, run: tuple[str, ...]) -> int:
    """Run a test command on what was tagged, and say how it ended.

    It runs the crate's own code: with a clean environment, without a network and without sight of the key's folder
    where bwrap or unshare work, and before the key is opened. A failure is recorded too, and counts for nothing.

    \b
    Example:
      carnet record test --key ci -- cargo test --locked
    """
    from carnet.scratch import temporary_folder
    from carnet_signer.keys.uri import key_file
    from carnet_signer.steps import sandbox
    from carnet_signer.steps.record import record_test

    tagged = _tag(options, tag_file)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C.UTF-8",
    }
    with contextlib.suppress(RuntimeError):  # nobody has a home here, and rustup looks nowhere else
        environment["RUSTUP_HOME"] = os.environ.get("RUSTUP_HOME") or str(Path.home() / ".rustup")
    if cargo_home is not None:
        environment["CARGO_HOME"] = str(cargo_home.resolve())
    key = key_file(options.key)  # of one in a token there is nothing to see
    hide = [] if key is None else [key.resolve().parent]
    with temporary_folder() as scratch:
        recorded = record_test(options.source, tagged.link, tagged.crate, run, environment, scratch=scratch, hide=hide)
    status = recorded.link.return_value or 0
    if status:
        output.note(str(recorded.link.byproducts["output"]).rstrip())
    output.note(f"{run[0]} ended with exit status {status} ({_SANDBOXES[recorded.sandbox]})")
    if recorded.sandbox == "none":
        reasons = "; ".join(sandbox.why_not(kind) for kind in sandbox.SANDBOXES)
        output.warn(f"the tests ran without a sandbox: {reasons}", _WHY_A_SANDBOX)
    _sign(recorded, options)
    return 1 if status else 0


_WHY_A_SANDBOX = "install bubblewrap where user namespaces are allowed, so that tests see neither keys nor network"
_SANDBOXES = {"bwrap": "sandbox: bwrap", "unshare": "sandbox: unshare", "none": "no sandbox"}


@command.command()
@common
@tag_option
@cargo_option
@registry_options
def package(
    options: Options,
    tag_file: Path | None,
    cargo: Path | None,
    registry: RegistryChoice,
) -> None:
    """Make the tarball from what was tagged, running no code of the crate.

    It is made by the cargo that the tag names, from an export of the commit, in an empty folder with an empty home;
    then it is compared with the tag, file by file, before anything is signed.

    \b
    Example:
      carnet record package --key packager
    """
    _package(options, tag_file, cargo, registry, rebuild=False)


@command.command()
@common
@tag_option
@cargo_option
@registry_options
def rebuild(
    options: Options,
    tag_file: Path | None,
    cargo: Path | None,
    registry: RegistryChoice,
) -> None:
    """Make the tarball again, independently of whoever packaged it.

    \b
    Example:
      carnet record rebuild --key rebuilder1
    """
    _package(options, tag_file, cargo, registry, rebuild=True)


def _package(
    options: Options,
    tag_file: Path | None,
    cargo: Path | None,
    registry: RegistryChoice,
    *,
    rebuild: bool,
) -> None:
    from carnet_signer.steps.packaging import find_toolchain
    from carnet_signer.steps.record import record_package, record_rebuild
    from carnet_verifier.provenance.unpack import unpack

    tagged = _tag(options, tag_file)
    crate = tagged.crate
    toolchain: Toolchain = find_toolchain(tagged.record.toolchain, cargo)
    with crates_io(registry) as url:
        if rebuild:
            recorded = record_rebuild(options.source, tagged.link, crate, toolchain, index=url)
        else:
            where = partial(destination, registry)
            recorded = record_package(options.source, tagged.link, crate, toolchain, index=url, destination=where)
    # A repository can make cargo pack what no commit has, such as a readme from the packager's own home.
    for text in unpack(recorded.tarball, tagged.record) if recorded.tarball is not None else ():
        output.note(f"note: {text}")
    _sign(recorded, options)


# --- the parts ---


def _tag(options: Options, tag_file: Path | None) -> Tagged:
    """The tag that the step is about, told to whoever carries it out."""
    from carnet_signer.steps.links import find_tag, read_tag

    tagged = read_tag(tag_file or find_tag(options.links))
    output.note(f"{tagged.crate} at commit {tagged.record.commit}, tagged in {tagged.place}")
    return tagged


def _sign(recorded: Recorded, options: Options) -> None:
    """Open the key, sign, and write everything into the folder of links."""
    from carnet import durable
    from carnet_signer.steps.record import record_step

    for remark in recorded.remarks:
        output.warn(remark)
    signer = open_key(options.key, options.passphrase, insecure_example_keys=options.insecure_example_keys)
    signed = record_step(recorded, signer)
    name = f"{recorded.crate.stem}.{recorded.link.name}.{signer.public_key.keyid[:16]}.link"
    durable.make_folder(options.links)
    durable.write_files(options.links, {name: signed.to_bytes(), **recorded.files})
    report = SignedStepReport(recorded, signer.public_key.keyid, options.links, name)
    output.show(report, options.message_format, step_as_text, step_as_json)
