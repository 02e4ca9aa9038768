"""Every path of the trust model, built and checked in one place.

A *target path* is what TUF metadata names (`index/se/rd/serde`); a *metadata file name* is `<N>.<role>.json`; a *URL
path* is where a mirror serves it. Nothing else in carnet joins strings to paths that leave the process.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from carnet.cargo.names import CrateId, CrateName
from carnet.errors import FormatError

MAX_PATH = 512
"""Characters in a target path."""

# --- role names (trust model, "What is signed by whom") ---

ROOT, TIMESTAMP, SNAPSHOT, TARGETS, CLAIMS, INDEX = (
    "root",
    "timestamp",
    "snapshot",
    "targets",
    "claims",
    "index",
)
INDEX_BIN_PREFIX = "index"
"""TAP 15 appends `-<hex>`: the bins are `index-0`, `index-00` and so on, by their number."""
SHARDS = tuple(f"{byte:02x}" for byte in range(256))

# --- the paths that the delegations name ---

INDEX_PATTERNS = ("index/*/*", "index/*/*/*")
_HISTORIES = "index/history/"
CLAIMS_PATTERNS = ("crates/*/*/*", "layouts/*/*/*")


def claims_shard_role(shard: str) -> str:
    """The role that lists the owners of every claimed crate of one shard."""
    return f"claims-{shard}"


def shard_patterns(shard: str) -> tuple[str, str]:
    """The paths that `claims-<shard>` may sign for."""
    return (f"crates/{shard}/*/*", f"layouts/{shard}/*/*")


def owner_role(name: CrateName) -> str:
    """The role that the owners of a crate sign."""
    return f"owner.{name.canonical}"


def owner_patterns(name: CrateName) -> tuple[str, str]:
    """The paths that `owner.<name>` may sign for."""
    return (f"crates/{name.shard}/{name.canonical}/*", f"layouts/{name.shard}/{name.canonical}/*")


def crate_role(name: CrateName) -> str:
    """The role that the release keys of a crate sign."""
    return f"crate.{name.canonical}"


def crate_patterns(name: CrateName) -> tuple[str]:
    """The paths that `crate.<name>` may sign for."""
    return (f"crates/{name.shard}/{name.canonical}/*",)


# --- target paths ---


def index_prefix(name: CrateName) -> str:
    """Where cargo looks for a crate in a sparse index: `1`, `2`, `3/a`, `se/rd`; lower case."""
    text = name.text.lower()
    if len(text) <= 2:
        return str(len(text))
    return f"3/{text[0]}" if len(text) == 3 else f"{text[:2]}/{text[2:4]}"


def index_path(name: CrateName) -> str:
    """The target path of a crate's sparse-index file, such as `index/se/rd/serde`."""
    return f"index/{index_prefix(name)}/{name.text.lower()}"


def history_path(name: CrateName) -> str:
    """The target path of what an upstream lists of a crate: no sparse-index file has its folder."""
    return f"{_HISTORIES}{name.canonical}"


def is_history(path: str) -> bool:
    """Whether a target path of the index is that of a history, and of no index file."""
    return path.startswith(_HISTORIES)


def crate_path(crate: CrateId) -> str:
    """The target path of a claimed crate's tarball: the folder is canonical, the file keeps the spelling."""
    return f"crates/{crate.name.shard}/{crate.name.canonical}/{crate.stem}.crate"


def bundle_path(crate: CrateId) -> str:
    """The target path of a release's bundle of evidence (layout, links, statements)."""
    return f"crates/{crate.name.shard}/{crate.name.canonical}/{crate.stem}.bundle.json"


def layout_path(name: CrateName, version: int) -> str:
    """The target path of the layout that the owners signed, by the version of the owner role that brought it."""
    return f"layouts/{name.shard}/{name.canonical}/{version}.layout.json"


# White space, control characters and backslashes; parts that are empty, `.` or `..`.
_UNSAFE_CHARACTERS = frozenset(map(chr, (*range(0x21), 0x7F, ord("\\"))))
_UNSAFE_PARTS = frozenset(("", ".", ".."))


def check_target_path(path: str) -> str:
    """Refuse a target path that could lead out of the folder it is stored in.

    Returns:
        The same path.

    Raises:
        FormatError: Empty, too long, absolute, with `..`, `.` or an empty part, a backslash, white space or a control
            character. python-tuf takes all of these.
    """
    if not 0 < len(path) <= MAX_PATH:
        raise FormatError(f"a target path must have 1 to {MAX_PATH} characters")
    if not _UNSAFE_CHARACTERS.isdisjoint(path) or not _UNSAFE_PARTS.isdisjoint(path.split("/")):
        raise FormatError(f"target path {path[:80]!a} is unsafe")
    return path


def matches(pattern: str, path: str) -> bool:
    """Whether a delegation's pattern covers a path: `*` and `?` do not cross `/` (TUF 4.5)."""
    return matches_any((pattern,), path)


def matches_any(patterns: tuple[str, ...], path: str) -> bool:
    """Whether one of a delegation's patterns covers a path."""
    compiled = _GLOBS.get(patterns)
    if compiled is None:
        parts = {"*": "[^/]*", "?": "[^/]"}
        globs = ("".join(parts.get(char) or re.escape(char) for char in pattern) for pattern in patterns)
        compiled = re.compile(f"(?:{'|'.join(globs)})\\Z" if patterns else r"(?!)", re.DOTALL)
        if len(_GLOBS) < 4096:
            _GLOBS[patterns] = compiled
    return compiled.match(path) is not None


_GLOBS: dict[tuple[str, ...], re.Pattern[str]] = {}


# --- files and URL paths of a repository ---

METADATA_PREFIX = "metadata/"
TARGETS_PREFIX = "targets/"
SPARSE_INDEX_PREFIX = "index/"
DOWNLOAD_PREFIX = "api/v1/crates/"


def role_file(role: str) -> str:
    """A role's name as part of a file name: quoted whole, so that no name of a foreign repository leads anywhere."""
    return quote(role, safe="")


def metadata_name(role: str, version: int | None) -> str:
    """`<N>.<role>.json`, or `timestamp.json`, which alone has no number (TUF consistent snapshots, 6.2)."""
    return f"{role_file(role)}.json" if version is None else f"{version}.{role_file(role)}.json"


def hashed_path(path: str, sha256: str) -> str:
    """Where consistent snapshots keep a target: `<dir>/<sha256>.<file>`."""
    folder, slash, file = path.rpartition("/")
    return f"{folder}{slash}{sha256}.{file}"


def url_path(path: str) -> str:
    """A path, quoted for a URL; `/` stays."""
    return quote(path, safe="/")


def download_path(crate: CrateId) -> str:
    """Where cargo downloads a crate: the `dl` template that our `config.json` announces, filled in."""
    return f"{DOWNLOAD_PREFIX}{crate.name}/{url_path(str(crate.version))}/download"
