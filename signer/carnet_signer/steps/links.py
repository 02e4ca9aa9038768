"""The folder in which the links of a release gather: finding the tag's link in it, and reading all of them."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from carnet.cargo.names import CrateId
from carnet.durable import read_named_file, users_file
from carnet.errors import ConfigError
from carnet.folder import read_folder
from carnet.intoto.steps import TAG, TagRecord
from carnet.intoto.values import Link
from carnet_signer.steps.record import SignedLink

MAX_LINK = 160 * 1024 * 1024
_MAX_LINKS = 1000

_TAGS = "*.tag.*.link"


@dataclass(frozen=True, slots=True)
class Tagged:
    """What a maintainer tagged, as their link says; its signature is checked when the release is.

    Attributes:
        link: The tag's link.
        crate: The release that it is about.
        record: What it says of the source.
        place: The file.
    """

    link: Link
    crate: CrateId
    record: TagRecord
    place: Path


def read_tag(place: Path) -> Tagged:
    """Read the link of a tag.

    Raises:
        ConfigError: There is none, it is the link of another step, or it does not parse.
    """
    link = _read(place).link
    if link.name != TAG:
        raise ConfigError(
            f"{place} is the link of the step {link.name}, not of a tag",
            hint="name the link that `carnet record tag` wrote",
        )
    prefix = next(iter(link.products), "").partition("/")[0]
    with users_file(place, "tag's link"):
        crate = CrateId.of(*_split(prefix))
        return Tagged(link, crate, TagRecord.from_link(link, crate), place)


def find_tag(folder: Path) -> Path:
    """The one tag's link in a folder of links.

    Raises:
        ConfigError: There is none, or more than one.
    """
    found = []
    if folder.is_dir():
        files = read_folder(
            folder, max_bytes=MAX_LINK, wanted=lambda path: fnmatchcase(path, "*.tag.*.link"), deep=False
        )
        found = [folder / name for name in files]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(f"there is no tag's link in {folder}", hint="a maintainer runs `carnet record tag` first")
    raise ConfigError(f"there are {len(found)} tag links in {folder}", hint="say which one with --tag FILE")


def read_links(folder: Path) -> list[SignedLink]:
    """Every link in a folder.

    Raises:
        ConfigError: There is no such folder, no link in it, or one that does not parse.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}", hint="`carnet record` writes the links into one")
    files = read_folder(folder, max_bytes=MAX_LINK, wanted=lambda path: path.endswith(".link"))
    if not files:
        raise ConfigError(f"there is no link in {folder}", hint="their names end in .link")
    first = list(files.items())[:_MAX_LINKS]
    with users_file(folder, "folder of links"):
        return [SignedLink.from_bytes(data, str(folder / name)) for name, data in first]


def _read(place: Path) -> SignedLink:
    with users_file(place, "link"):
        return SignedLink.from_bytes(read_named_file(place, "link", max_bytes=MAX_LINK), str(place))


def _split(prefix: str) -> tuple[str, str]:
    """`<name>-<version>` in two: a name has no dots, so the version starts after the last `-` before the first one."""
    head, dot, rest = prefix.partition(".")
    name, _, major = head.rpartition("-")
    return name, f"{major}{dot}{rest}"
