"""Next versions of a crate's roles, in a folder that passes from one signer to the next.

::

    DIR/request.json      what is asked, in words
    DIR/roles/<role>.json what is to be signed; every signer adds a signature
    DIR/base/<role>.json  what is published now, to compare with
    DIR/targets/...       layouts, tarballs and bundles, by target path
    DIR/lines/<stem>.json index lines of new versions

Copies may be signed at the same time by several people: merging takes the union of the signatures that are valid, over
the same content. Nobody needs all the keys in one place, and nothing in the folder is secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from carnet import durable, strictjson
from carnet.cargo.crate import CrateFile
from carnet.cargo.index_line import IndexLine
from carnet.cargo.names import CrateName
from carnet.claims.adoption import Adopted
from carnet.claims.holders import ClaimFacts
from carnet.claims.submission import Submission, crate_of_stem
from carnet.durable import users_file
from carnet.errors import ConfigError, FormatError, MetadataMismatch, SigningError, ThresholdNotMet
from carnet.folder import read_folder
from carnet.strictjson import Json, JsonObject
from carnet.tuf import paths
from carnet.tuf.keys import PublicKey, Signature
from carnet.tuf.read import parse_role
from carnet.tuf.roles import RoleFile, RoleKeys, Root, Targets
from carnet.tuf.tree import place_of, roles_of
from carnet_signer.keys.public import read_origins
from carnet_signer.keys.signer import Signer
from carnet_signer.metadata import role_files
from carnet_signer.quorum import Quorum

MAX_FILE = 160 * 1024 * 1024
_MAX_REQUEST = 1024 * 1024
MAX_EVIDENCE, MAX_EVIDENCE_LINE = 20, 500
"""Lines of evidence, and characters of each: people read them beside what they sign."""
PREVIOUS_OWNERS = "previous owners"
"""Those whom a new owner role replaces, as a quorum."""
REGISTRY = "the registry's holders"
"""Who signs the shard, as checklists call them."""
_KINDS = ("claim", "owners", "release", "give-up")


@dataclass(frozen=True)
class Request:
    """What is asked, for people; nothing is decided by it but whether a takeover is meant.

    Attributes:
        kind: `claim`, `owners` (who owns, who releases, by which layout), `release`, or `give-up`.
        crate: Which crate.
        asked: When, as metadata writes times.
        evidence: Why the registry should agree, one line each.
        takeover: Whether the previous owners are known not to sign.
        origins: The file, and the comment in it, that a key was read from, by key id (owners', releasers' and those of
            a new layout's people): the word of whoever drafted, for those who sign to hold against what they know.
    """

    kind: str
    crate: CrateName
    asked: str
    evidence: tuple[str, ...] = ()
    takeover: bool = False
    origins: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.evidence) > MAX_EVIDENCE or any(len(line) > MAX_EVIDENCE_LINE for line in self.evidence):
            raise FormatError(
                f"a request has more than {MAX_EVIDENCE} lines of evidence, or one of more than {MAX_EVIDENCE_LINE} "
                "characters",
                hint="what signers have to decide about would be out of sight: put the rest behind a link",
            )
        read_origins(dict(self.origins), "a request")

    @classmethod
    def from_bytes(cls, data: bytes) -> Request:
        """Read `request.json`.

        Raises:
            FormatError: Not a request.
        """
        value = strictjson.parse_object(data, "request.json", max_bytes=_MAX_REQUEST)
        match value:
            case {
                "_type": "carnet-request",
                "version": 1,
                "kind": str(kind),
                "crate": str(crate),
                "asked": str(asked),
                "evidence": list(evidence),
                "takeover": bool(takeover),
            } if kind in _KINDS and all(isinstance(line, str) for line in evidence):
                found = read_origins(value.get("origins", {}), "request.json")
                return cls(kind, CrateName(crate), asked, tuple(map(str, evidence)), takeover, found)
            case _:
                raise FormatError("request.json is not a request of `carnet claim` or `carnet release`")

    def to_bytes(self) -> bytes:
        """As a file."""
        document: JsonObject = {
            "_type": "carnet-request",
            "version": 1,
            "kind": self.kind,
            "crate": str(self.crate),
            "asked": self.asked,
            "evidence": list[Json](self.evidence),
            "takeover": self.takeover,
        }
        return strictjson.encode(document | ({"origins": dict(self.origins)} if self.origins else {}))


@dataclass(frozen=True)
class Proposal:
    """Everything in the folder.

    Attributes:
        request: What is asked.
        drafts: Role name to its next version, with the signatures so far.
        base: Role name to what is published now: top-level targets, claims, and the crate's own roles; with a draft of
            the shard, also the owner and crate roles of every other crate in it.
        targets: Target path to bytes.
        lines: Index lines of new versions, by `<name>-<version>`.
        crates: Target path to those of the tarballs that were read when the proposal was made.
        holders: What the registry's holders are called, by key id; from the signer's own view, never from the folder.
        adopted: How the versions of a first claim were held against the index of the signer's own view; None while
            nobody did.
    """

    request: Request
    drafts: Mapping[str, RoleFile[Targets]]
    base: Mapping[str, RoleFile[Targets]]
    targets: Mapping[str, bytes] = field(default_factory=dict)
    lines: Mapping[str, bytes] = field(default_factory=dict)
    crates: Mapping[str, CrateFile] = field(default_factory=dict, repr=False, compare=False)
    holders: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    adopted: Adopted | None = field(default=None, repr=False, compare=False)

    @cached_property
    def index_lines(self) -> Mapping[str, IndexLine]:
        """`lines`, read.

        Raises:
            FormatError: One is no index line.
        """
        return {stem: IndexLine.from_bytes(line) for stem, line in self.lines.items()}

    @property
    def crate(self) -> CrateName:
        """Which crate it is about."""
        return self.request.crate

    def after(self, role: str) -> RoleFile[Targets] | None:
        """A role as it will be: the draft, or what is published."""
        return self.drafts.get(role) or self.base.get(role)

    # --- who signs ---

    def quorums(self) -> tuple[Quorum, ...]:
        """Everybody whose signature is needed, in the order in which they look at it.

        Raises:
            FormatError: The folder lacks the role that says who signs another one.
        """
        return tuple(self._quorums())

    def _quorums(self) -> Iterator[Quorum]:
        shard, owner, crate = roles_of(self.crate)
        if owner in self.drafts:
            facts = self._facts(self.drafts[owner])
            if owner in self.base:
                before = self._facts(self.base[owner]).owners
                if not before.signers.same_as(facts.owners.signers):
                    waived = self.request.takeover
                    yield self._quorum(owner, PREVIOUS_OWNERS, before.signers, before.people, waived=waived)
            yield self._quorum(owner, "owners", self._signers_of(shard, owner), facts.owners.people)
        if crate in self.drafts:
            facts = self._facts(self.after(owner))
            yield self._quorum(crate, "release keys", self._signers_of(owner, crate), facts.releasers.people)
        if shard in self.drafts:
            yield self._quorum(shard, REGISTRY, self._signers_of(paths.CLAIMS, shard), self.holders)

    def _facts(self, owner: RoleFile[Targets] | None) -> ClaimFacts:
        if owner is None:
            raise FormatError(f"the folder lacks the role {paths.owner_role(self.crate)}")
        return ClaimFacts.of(owner.signed)

    def _signers_of(self, delegator: str, role: str) -> RoleKeys:
        envelope = self.after(delegator)
        delegations = None if envelope is None else envelope.signed.delegations
        found = None if delegations is None else delegations.signers_of(role)
        if found is None:
            raise FormatError(f"the folder's {delegator} does not say who signs {role}")
        return found

    def _quorum(
        self, role: str, who: str, keys: RoleKeys, people: Mapping[str, str], *, waived: bool = False
    ) -> Quorum:
        return Quorum.of(self.drafts[role], keys, role=role, who=who, people=people, waived=waived)

    @property
    def final(self) -> bool:
        """Whether enough people have signed everything."""
        return all(quorum.met or quorum.waived for quorum in self.quorums())

    def to_sign(self, key: PublicKey) -> tuple[Quorum, ...]:
        """The quorums that a key belongs to, in the order in which they look at the proposal.

        Raises:
            SigningError: None of the roles is this key's to sign.
        """
        mine = tuple(
            quorum for quorum in self.quorums() if any(one.material == key.material for one in quorum.signers.keys)
        )
        if not mine:
            raise SigningError(
                f"key {key.keyid[:12]} signs none of {', '.join(sorted(self.drafts))}",
                hint="`carnet claim status` and `carnet release status` say whose signatures are missing",
            )
        return mine

    def sign(self, signer: Signer) -> tuple[Proposal, tuple[Quorum, ...]]:
        """Sign whichever of the roles the key belongs to.

        Returns:
            The proposal with the signatures, and what they count for.

        Raises:
            SigningError: None of the roles is this key's to sign.
        """
        material = signer.public_key.material
        mine = self.to_sign(signer.public_key)
        drafts = dict(self.drafts)
        for quorum in mine:
            key = next(one for one in quorum.signers.keys if one.material == material)
            draft = drafts[quorum.role]
            made = Signature(key.keyid, signer.sign(draft.message).sig)
            drafts[quorum.role] = _with_signatures(draft, [made])
        return replace(self, drafts=drafts), mine

    def merge(self, other: Proposal) -> Proposal:
        """Take the valid signatures of another copy.

        Raises:
            ConfigError: The copy is not of the same proposal.
        """
        if {role: draft.message for role, draft in self.drafts.items()} != {
            role: draft.message for role, draft in other.drafts.items()
        }:
            raise ConfigError(
                "the two copies do not say the same: their signatures cannot be put together",
                hint="start from one folder and hand out copies of it",
            )
        theirs = replace(other, base=self.base, request=self.request)
        drafts = dict(self.drafts)
        for quorum in theirs.quorums():
            draft = other.drafts[quorum.role]
            good = {key.keyid for key in quorum.signed}
            drafts[quorum.role] = _with_signatures(
                drafts[quorum.role], [one for one in draft.signatures if one.keyid in good]
            )
        return replace(self, drafts=drafts)

    def check_base(self, root: Root) -> None:
        """Demand that what the folder says is published was signed by the root's holders, their delegates and so on.

        How new it is cannot be told without the network: the mirror refuses what is not the next version.

        Raises:
            ThresholdNotMet: It was not.
            FormatError: A role is missing.
        """
        shard, owner, crate = roles_of(self.crate)
        checked = [(paths.TARGETS, root.roles[paths.TARGETS])]
        for delegator, role in ((paths.TARGETS, paths.CLAIMS), (paths.CLAIMS, shard), (shard, owner), (owner, crate)):
            if role in (owner, crate) and role not in self.base:
                continue
            envelope = self.base.get(delegator)
            delegations = None if envelope is None else envelope.signed.delegations
            keys = None if delegations is None else delegations.signers_of(role)
            if keys is None:
                raise FormatError(f"the folder's base lacks {delegator}, or it does not delegate to {role}")
            checked.append((role, keys))
        for role, keys in checked:
            if role not in self.base:
                raise FormatError(f"the folder's base lacks {role}")
            keys.check(self.base[role], f"the folder's copy of {role}", "5.6.3")

    def submission(self) -> Submission:
        """What the mirror gets.

        Raises:
            ThresholdNotMet: Signatures are missing.
        """
        for quorum in self.quorums():
            if not quorum.met and not quorum.waived:
                raise ThresholdNotMet(
                    f"{quorum.role} has {len(quorum.signed)} of the {quorum.signers.threshold} signatures "
                    f"that it needs from {quorum.who}",
                    hint="`carnet release status` or `carnet claim status` says who signs next",
                )
        files = {role: draft.raw for role, draft in self.drafts.items()}
        return Submission(self.crate, files, self.targets, self.lines)


def draft(role: str, signed: JsonObject) -> RoleFile[Targets]:
    """The next version of a role, without signatures, read back by the strict parser: what it refuses is not written.

    Raises:
        FormatError: It is not a role that clients would read.
    """
    data = role_files.file_bytes(strictjson.canonical(signed, role), [])
    return parse_role(data, Targets, what=role)


def read_role(data: bytes, role: str) -> RoleFile[Targets]:
    """Read a targets role's file.

    Raises:
        FormatError: It is not one.
    """
    return parse_role(data, Targets, what=role)


def _with_signatures(draft: RoleFile[Targets], new: Iterable[Signature]) -> RoleFile[Targets]:
    by_id = {one.keyid: one for one in draft.signatures} | {one.keyid: one for one in new}
    ordered = [by_id[keyid] for keyid in sorted(by_id)]
    return replace(draft, raw=role_files.file_bytes(draft.message, ordered), signatures=tuple(ordered))


# --- the folder ---


def save(proposal: Proposal, folder: Path) -> None:
    """Write a proposal into a new or empty folder.

    Raises:
        ConfigError: There is something in the folder.
        StorageError: The disk failed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already", hint="name a folder that does not exist yet")
    files = {
        **{f"roles/{paths.role_file(role)}.json": draft.raw for role, draft in proposal.drafts.items()},
        **{f"base/{paths.role_file(role)}.json": role_file.raw for role, role_file in proposal.base.items()},
        **{f"targets/{path}": data for path, data in proposal.targets.items()},
        **{f"lines/{stem}.json": data for stem, data in proposal.lines.items()},
        "request.json": proposal.request.to_bytes(),
    }
    for name, data in files.items():
        place = folder / name
        durable.make_folder(place.parent)
        durable.write_file(place, data)


def save_signatures(proposal: Proposal, folder: Path) -> None:
    """Write the role files again, with the signatures that were added.

    Raises:
        StorageError: The disk failed.
    """
    files = {f"{paths.role_file(role)}.json": draft.raw for role, draft in proposal.drafts.items()}
    durable.write_files(folder / "roles", files)


def save_again(proposal: Proposal, folder: Path) -> None:
    """Write a proposal into the folder that `save` wrote, after it was made anew: what it lacks now is gone there too.

    Raises:
        StorageError: The disk failed.
    """
    parts = {
        "targets": dict(proposal.targets),
        "base": {f"{paths.role_file(role)}.json": role_file.raw for role, role_file in proposal.base.items()},
        "roles": {f"{paths.role_file(role)}.json": draft.raw for role, draft in proposal.drafts.items()},
    }
    for part, files in parts.items():
        for place, data in files.items():
            durable.make_folder((folder / part / place).parent)
            durable.write_file(folder / part / place, data)
        with durable.as_storage_error(folder / part):
            for path in _below(read_folder(folder, max_bytes=MAX_FILE, wanted=_has_a_place), part):
                if path not in files:
                    (folder / part / path).unlink()


def load(folder: Path) -> Proposal:
    """Read a folder that `save` wrote, perhaps by way of many people.

    Raises:
        ConfigError: It is no such folder, holds something that has no place there, or a file that does not parse.
        StorageError: A file cannot be read.
    """
    with users_file(folder, "folder"):
        files = read_folder(folder, max_bytes=MAX_FILE, wanted=_has_a_place)
        if "request.json" not in files:
            raise ConfigError(
                f"{folder} is not a folder of `carnet claim new` or `carnet release assemble`",
                hint="name the folder that holds request.json",
            )
        request = Request.from_bytes(files["request.json"])
        own = roles_of(request.crate)
        drafts = _roles(_below(files, "roles"), folder / "roles", own)
        if not drafts:
            raise ConfigError(
                f"{folder} holds nothing to sign",
                hint="name the folder that a draft was written to, such as `-o DIR` of `carnet claim new`",
            )
        base = _roles(
            _below(files, "base"),
            folder / "base",
            (paths.TARGETS, paths.CLAIMS, *own),
            neighbours=request.crate.shard,
        )
        targets = _below(files, "targets")
        lines = {}
        for name, data in _below(files, "lines").items():
            stem = name.removesuffix(".json")
            crate_of_stem(request.crate, stem)
            lines[stem] = data
        return Proposal(request, drafts, base, targets, lines)


def _has_a_place(path: str) -> bool:
    return path == "request.json" or path.startswith(("roles/", "base/", "targets/", "lines/"))


def _below(files: Mapping[str, bytes], folder: str) -> dict[str, bytes]:
    return {path.removeprefix(f"{folder}/"): data for path, data in files.items() if path.startswith(f"{folder}/")}


def _roles(
    files: Mapping[str, bytes], folder: Path, known: Iterable[str], neighbours: str | None = None
) -> dict[str, RoleFile[Targets]]:
    """The roles in a folder: these, and those of the other crates of a shard."""
    expected = {f"{paths.role_file(role)}.json": role for role in known}
    found = {}
    for name, data in files.items():
        role = expected.get(name) or _neighbour(name, neighbours)
        if role is None:
            raise ConfigError(
                f"{folder / name} has no place in this folder",
                hint="move it elsewhere, and look again: what is signed is all of the folder",
            )
        found[role] = read_role(data, role)
    return found


def _neighbour(name: str, shard: str | None) -> str | None:
    """The owner or crate role of a shard that a file is named after."""
    role = name.removesuffix(".json")
    try:
        place = place_of(role)
    except MetadataMismatch:
        return None
    return role if place.crate is not None and place.crate.shard == shard and name != role else None
