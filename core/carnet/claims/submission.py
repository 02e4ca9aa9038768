"""What a maintainer hands to a mirror: signed role files, the files that they name, and index lines, as one body.

::

    carnet-submission 1 LF | u32le: length of the header | header: JSON | the files, one after another
    header: {"crate": "serde", "files": [{"name": "roles/crate.serde", "length": 1234}, ...]}

A name is `roles/<role>`, `targets/<target path>` or `lines/<name>-<version>`. Who sent it does not matter: the
signatures are the credential, and the mirror believes nothing else in it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from carnet import strictjson
from carnet.cargo.names import CrateId, CrateName
from carnet.errors import FormatError
from carnet.strictjson import Json
from carnet.tuf import paths
from carnet.tuf.roles import RoleFile, Targets
from carnet.tuf.tree import roles_of

MAX_SUBMISSION = 160 * 1024 * 1024
"""Bytes of a body: a tarball, its bundle, and the roles."""
MAX_SUBMITTED_LINE = 1024 * 1024
"""Bytes of one index line."""
MEDIA_TYPE = "application/vnd.carnet.submission"
URL_PATH = "api/v1/carnet/submissions"
PROPOSALS_PATH = "api/v1/carnet/proposals"
"""Where the drafts of a claim or a takeover are posted, in the same form, before anybody signs."""
PENDING_PATH = "api/v1/carnet/pending"
"""Where everybody sees what waits."""
PENDING_PAGE = "pending"
"""The same as a page."""

_MAGIC = b"carnet-submission 1\n"
_MAX_HEADER = 256 * 1024
_MAX_FILES = 256


@dataclass(frozen=True)
class Submission:
    """One submission, taken apart; nothing in it is trusted yet.

    Attributes:
        crate: The crate that all of it is about.
        roles: Role name to its signed file: out of the crate's shard, its owner role and its crate role.
        targets: Target path to bytes, below the crate's own folders.
        lines: Index lines of new versions, by `<name>-<version>`.
    """

    crate: CrateName
    roles: Mapping[str, bytes] = field(default_factory=dict)
    targets: Mapping[str, bytes] = field(default_factory=dict)
    lines: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for role in self.roles:
            if role not in roles_of(self.crate):
                raise FormatError(f"the role {role[:80]!a} has no place in a submission for {self.crate}")
        for path in self.targets:
            paths.check_target_path(path)
            if not any(paths.matches(pattern, path) for pattern in paths.owner_patterns(self.crate)):
                raise FormatError(f"the target {path[:120]!a} has no place in a submission for {self.crate}")
        for stem, line in self.lines.items():
            crate = crate_of_stem(self.crate, stem)
            if len(line) > MAX_SUBMITTED_LINE:
                raise FormatError(f"the index line of {crate} is larger than {MAX_SUBMITTED_LINE} bytes")

    def to_bytes(self) -> bytes:
        """As a body; equal submissions give equal bytes."""
        files = {
            **{f"roles/{name}": self.roles[name] for name in sorted(self.roles)},
            **{f"targets/{name}": self.targets[name] for name in sorted(self.targets)},
            **{f"lines/{name}": self.lines[name] for name in sorted(self.lines)},
        }
        listed: list[Json] = [{"name": name, "length": len(data)} for name, data in files.items()]
        header = strictjson.encode({"crate": str(self.crate), "files": listed})
        return b"".join((_MAGIC, struct.pack("<I", len(header)), header, *files.values()))

    @classmethod
    def from_bytes(cls, body: bytes) -> Submission:
        """Take a body apart.

        Raises:
            FormatError: Too large, cut off, with bytes to spare, or with something that has no place in it.
        """
        if len(body) > MAX_SUBMISSION:
            raise FormatError(f"a submission is larger than {MAX_SUBMISSION} bytes")
        start = len(_MAGIC) + 4
        if not body.startswith(_MAGIC) or len(body) < start:
            raise FormatError(
                "this is not a submission", hint="`carnet release submit` and `carnet claim submit` make one"
            )
        (size,) = struct.unpack_from("<I", body, len(_MAGIC))
        if size > _MAX_HEADER or len(body) < start + size:
            raise FormatError("the header of a submission is too large or cut off")
        header = strictjson.parse_object(
            body[start : start + size], "the header of a submission", max_bytes=_MAX_HEADER
        )
        match header:
            case {"crate": str(crate), "files": list(files)} if len(files) <= _MAX_FILES:
                pass
            case _:
                raise FormatError(f"the header of a submission needs crate and at most {_MAX_FILES} files")
        groups: dict[str, dict[str, bytes]] = {"roles": {}, "targets": {}, "lines": {}}
        offset = start + size
        for entry in files:
            kind, name, length = _entry(entry)
            if kind not in groups or name in groups[kind]:
                raise FormatError(f"a submission holds {kind[:20]}/{name[:120]!a} twice, or it has no place there")
            groups[kind][name] = body[offset : offset + length]
            offset += length
        if offset != len(body):
            raise FormatError("a submission is cut off, or has bytes to spare")
        return cls(CrateName(crate), groups["roles"], groups["targets"], groups["lines"])


@dataclass(frozen=True)
class ParsedSubmission:
    """A submission whose roles are well-formed, each parsed once.

    Targets and lines are bytes still: a tarball is unpacked, evidence and a line read, only once the roles that name it
    are verified, and are not published already.

    Attributes:
        crate: The crate that all of it is about.
        roles: Role name to its file: out of the crate's shard, its owner role and its crate role.
        targets: Target path to bytes, below the crate's own folders.
        lines: Index lines of new versions, by `<name>-<version>`.
    """

    crate: CrateName
    roles: Mapping[str, RoleFile[Targets]]
    targets: Mapping[str, bytes]
    lines: Mapping[str, bytes]

    @classmethod
    def of(cls, submission: Submission, roles: Mapping[str, RoleFile[Targets]]) -> ParsedSubmission:
        """The same submission, with its roles read.

        Args:
            submission: Taken apart.
            roles: Its roles, read by whoever saw that they are signed.
        """
        return cls(submission.crate, roles, submission.targets, submission.lines)


def crate_of_stem(name: CrateName, stem: str) -> CrateId:
    """Read `<name>-<version>`, knowing which crate it is about.

    Raises:
        FormatError: It is about another crate.
    """
    size = len(name.canonical)
    spelled, dash, version = stem[:size], stem[size : size + 1], stem[size + 1 :]
    if dash == "-" and spelled.lower().replace("-", "_") == name.canonical:
        return CrateId.of(spelled, version)
    raise FormatError(f"{stem[:120]!a} is not a version of {name}")


def _entry(entry: Json) -> tuple[str, str, int]:
    match entry:
        case {"name": str(name), "length": int(length)} if type(length) is int and length >= 0:
            kind, _, rest = name.partition("/")
            return kind, rest, length
        case _:
            raise FormatError("each file of a submission needs a name and a length")
