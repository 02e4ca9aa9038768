"""`carnet record`: carry out one step of a release, and sign what was done."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from carnet.errors import ConfigError
from carnet_cli.commands.maintain import proposal_folders
from carnet_cli.config import home
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options

if TYPE_CHECKING:
    from carnet.cargo.names import CrateId
    from carnet.intoto.values import Link
    from carnet_signer.steps.packaging import Toolchain
    from carnet_signer.steps.record import Recorded

_Command = TypeVar("_Command", bound=Callable[..., Any])


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


@dataclass(frozen=True)
class _Options:
    """What every step needs to know."""

    source: Path
    links: Path
    key: str
    insecure_example_keys: bool
    passphrase: PassphraseSource
    message_format: output.MessageFormat


def _common(command: _Command) -> _Command:
    import functools

    @functools.wraps(command)
    def wrapped(
        *args: Any,
        source: Path,
        links: Path,
        key: str,
        insecure_example_keys: bool,
        passphrase: PassphraseSource,
        message_format: output.MessageFormat,
        **kwargs: Any,
    ) -> Any:
        options = _Options(source, links, key, insecure_example_keys, passphrase, message_format)
        return command(*args, options=options, **kwargs)

    for option in (
        click.option(
            "--source",
            type=click.Path(path_type=Path, file_okay=False),
            default=".",
            help="The git repository; only its commits are looked at.  [default: this folder]",
        ),
        click.option(
            "-o",
            "--links",
            metavar="DIR",
            type=click.Path(path_type=Path, file_okay=False),
            default="links",
            show_default=True,
            help="The folder where the links of this release gather.",
        ),
        click.option("--key", required=True, help="Your private key."),
        proposal_folders.insecure_option,
        output.message_format,
    ):
        wrapped = option(wrapped)
    return passphrase_options(wrapped)  # type: ignore[return-value]


_tag_option = click.option(
    "--tag",
    "tag_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The tag's link.  [default: the one in the folder of links]",
)
_cargo_option = click.option(
    "--cargo", type=click.Path(path_type=Path, dir_okay=False), help="The cargo program itself, not rustup's stand-in."
)


def _registry_options(command: _Command) -> _Command:
    index = click.option(
        "--index",
        metavar="URL",
        help="A verifying registry that stands for crates.io, such as sparse+http://127.0.0.1:8790/index/ of "
        "`carnet proxy`.  [default: one is opened for the mirror that you trust]",
    )
    offline = click.option("--offline", is_flag=True, help="Ask no registry; enough for a crate without dependencies.")
    return index(offline(proposal_folders.repository_option(command)))


@command.command()
@_common
@click.option("--revision", default="HEAD", show_default=True, help="The tag or commit to release.")
@click.option("--package-dir", default="", help="The package's folder in the repository.  [default: its top]")
@_cargo_option
@click.option("--toolchain", help="The cargo version that everybody will package with, such as 1.95.0.")
@_registry_options
def tag(  # noqa: PLR0913  -- one parameter for each flag
    options: _Options,
    *,
    revision: str,
    package_dir: str,
    cargo: Path | None,
    toolchain: str | None,
    index: str | None,
    offline: bool,
    repository: str | None,
) -> None:
    """Say what the release is: every file of the commit, what cargo would package, the lock, cargo's version.

    Files are read from git's objects, never from the work tree. Nothing of the repository runs.

    \b
    Example:
      carnet record tag --revision v1.2.0 --key alice
    """
    from carnet_signer.steps.packaging import find_toolchain
    from carnet_signer.steps.record import record_tag

    with _crates_io(index, offline, repository) as url:
        recorded = record_tag(options.source, revision, package_dir, find_toolchain(toolchain, cargo), index=url)
    for note in recorded.link.byproducts["notes"]:
        output.warn(note)
    _sign(recorded, options)


@command.command()
@_common
@_tag_option
def review(options: _Options, tag_file: Path | None) -> None:
    """Say that you read everything that was tagged, after comparing it with your own clone.

    \b
    Example:
      git fetch --tags && git diff v1.1.0 v1.2.0     # read it
      carnet record review --key carol
    """
    from carnet_signer.steps.record import record_review

    link, crate = _tag(options, tag_file)
    _sign(record_review(options.source, link, crate), options)


@command.command()
@_common
@_tag_option
@click.option(
    "--cargo-home",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A cargo home with the dependencies in it, for the command to use.  [default: an empty one]",
)
@click.argument("run", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def test(options: _Options, tag_file: Path | None, cargo_home: Path | None, run: tuple[str, ...]) -> int:
    """Run a test command on what was tagged, and say how it ended.

    It runs the crate's own code: with a clean environment, without a network and without sight of the key's folder
    where bwrap or unshare work, and before the key is opened. A failure is recorded too, and counts for nothing.

    \b
    Example:
      carnet record test --key ci -- cargo test --locked
    """
    from carnet_signer.steps import sandbox
    from carnet_signer.steps.record import record_test

    link, crate = _tag(options, tag_file)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup")),
        "LC_ALL": "C.UTF-8",
    }
    if cargo_home is not None:
        environment["CARGO_HOME"] = str(cargo_home.resolve())
    hide = [Path(options.key).resolve().parent]
    with tempfile.TemporaryDirectory(prefix="carnet-") as folder:
        scratch = Path(folder).resolve()
        recorded = record_test(options.source, link, crate, run, environment, scratch=scratch, hide=hide)
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
@_common
@_tag_option
@_cargo_option
@_registry_options
def package(
    options: _Options,
    tag_file: Path | None,
    cargo: Path | None,
    index: str | None,
    offline: bool,
    repository: str | None,
) -> None:
    """Make the tarball from what was tagged, running no code of the crate.

    It is made by the cargo that the tag names, from an export of the commit, in an empty folder with an empty home;
    then it is compared with the tag, file by file, before anything is signed.

    \b
    Example:
      carnet record package --key packager
    """
    _package(options, tag_file, cargo, (index, offline, repository), rebuild=False)


@command.command()
@_common
@_tag_option
@_cargo_option
@_registry_options
def rebuild(
    options: _Options,
    tag_file: Path | None,
    cargo: Path | None,
    index: str | None,
    offline: bool,
    repository: str | None,
) -> None:
    """Make the tarball again, independently of whoever packaged it.

    \b
    Example:
      carnet record rebuild --key rebuilder1
    """
    _package(options, tag_file, cargo, (index, offline, repository), rebuild=True)


def _package(
    options: _Options,
    tag_file: Path | None,
    cargo: Path | None,
    registry: tuple[str | None, bool, str | None],
    *,
    rebuild: bool,
) -> None:
    from carnet.cargo.crate import read_crate
    from carnet.intoto.steps import TagRecord
    from carnet_signer.steps.packaging import find_toolchain
    from carnet_signer.steps.record import record_package, record_rebuild
    from carnet_verifier.provenance.unpack import unpack

    link, crate = _tag(options, tag_file)
    record = TagRecord.from_link(link, crate)
    toolchain: Toolchain = find_toolchain(record.toolchain, cargo)
    with _crates_io(*registry) as url:
        make = record_rebuild if rebuild else record_package
        recorded = make(options.source, link, crate, toolchain, index=url)
    # A repository can make cargo pack what no commit has, such as a readme from the packager's own home.
    for text in unpack(read_crate(recorded.files[f"{crate.stem}.crate"], crate), record):
        output.note(f"note: {text}")
    _sign(recorded, options)


# --- the parts ---


def _tag(options: _Options, tag_file: Path | None) -> tuple[Link, CrateId]:
    """The tag's link, and the release that it is about."""
    from carnet.cargo.names import CrateId
    from carnet.intoto.dsse import Envelope
    from carnet.intoto.steps import TAG, TagRecord
    from carnet.intoto.values import Link

    place = tag_file or _only_tag(options.links)
    link = Link.from_payload(Envelope.from_bytes(proposal_folders.read(place, "link"), str(place)).payload)
    if link.name != TAG:
        raise ConfigError(f"{place} is the link of the step {link.name}, not of a tag")
    prefix = next(iter(link.products), "").partition("/")[0]
    name, _, version = _split(prefix)
    crate = CrateId.of(name, version)
    record = TagRecord.from_link(link, crate)
    output.note(f"{crate} at commit {record.commit[:12]}, tagged in {place}")
    return link, crate


def _split(prefix: str) -> tuple[str, str, str]:
    """P = `<name>-<version>`: a name has no dots, so the version starts after the last `-` before the first one."""
    head, dot, rest = prefix.partition(".")
    name, dash, major = head.rpartition("-")
    return name, dash, f"{major}{dot}{rest}"


def _only_tag(folder: Path) -> Path:
    found = sorted(folder.glob("*.tag.*.link")) if folder.is_dir() else []
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(f"there is no tag's link in {folder}", hint="a maintainer runs `carnet record tag` first")
    raise ConfigError(f"there are {len(found)} tag links in {folder}", hint="say which one with --tag FILE")


@contextmanager
def _crates_io(index: str | None, offline: bool, repository: str | None) -> Iterator[str | None]:
    """A verifying registry that stands for crates.io, for as long as the block lasts; None works offline."""
    if index is not None and offline:
        raise ConfigError("give either --index or --offline, not both")
    if index is not None or offline:
        yield index
        return
    if repository is None and not home.trusted_ids():
        output.note("no mirror is trusted (`carnet trust add`), so cargo works offline")
        yield None
        return
    from carnet_cli.gate.loopback import serve
    from carnet_verifier.cargo.proxy import Gatekeeper
    from carnet_verifier.policy.policy import Policy

    with proposal_folders.looking(repository) as look:
        keeper = Gatekeeper(lambda: look.repository, look.fetcher, Policy(), None, home.now)
        with serve(keeper) as url:
            yield f"sparse+{url}/index/"


def _sign(recorded: Recorded, options: _Options) -> None:
    """Open the key, sign, and write everything into the folder of links."""
    from carnet import durable
    from carnet_signer.keys.keyring import load_signer
    from carnet_signer.steps.record import sign_link

    signer = load_signer(options.key, options.passphrase.ask, insecure_example_keys=options.insecure_example_keys)
    envelope = sign_link(recorded.link, signer)
    name = f"{recorded.crate.stem}.{recorded.link.name}.{signer.public_key.keyid[:16]}.link"
    durable.make_folder(options.links)
    durable.write_files(options.links, {name: envelope.to_bytes(), **recorded.files})
    facts = {
        "crate": str(recorded.crate),
        "step": recorded.link.name,
        "keyid": signer.public_key.keyid,
        "link": str(options.links / name),
        "files": {file: str(options.links / file) for file in recorded.files},
        "return_value": recorded.link.return_value,
        "sandbox": recorded.sandbox or None,
    }
    if options.message_format == "json":
        output.emit_json(facts)
        return
    output.echo(output.plain(f"signed step {recorded.link.name} of {recorded.crate}: {options.links / name}"))
    for file in recorded.files:
        output.echo(output.plain(f"made {options.links / file}"))
