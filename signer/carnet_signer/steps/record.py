"""Record the steps of a release, and sign what was recorded.

    record_tag, record_review, record_test, record_package, record_rebuild    carry out one step     -> Recorded
    record_step                                                               signs what came of it  -> SignedLink

These are two calls on purpose: a key is opened only after everything that was run has ended. Artifacts are hashed here,
from git's blobs and from what cargo made; in-toto's own recorder skips files such as `evil.link.rs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from carnet import strictjson
from carnet.cargo.crate import CrateFile, read_crate
from carnet.cargo.names import CrateId, CrateName
from carnet.digests import sha256_hex
from carnet.errors import SigningError
from carnet.intoto.dsse import Envelope
from carnet.intoto.steps import PACKAGE, REBUILD, REVIEW, TEST, ArtifactNames, TagRecord
from carnet.intoto.values import Link
from carnet.made import made_by, maker
from carnet.publishable.checks import Destination, check_tarball, nobody_asked
from carnet.strictjson import JsonObject
from carnet_signer.keys.signer import Signer
from carnet_signer.steps import sandbox
from carnet_signer.steps.gitsource import SourceTree, read_commit
from carnet_signer.steps.packaging import Toolchain, export, open_workspace
from carnet_signer.steps.publishing import check_listing, check_source
from carnet_signer.steps.worktree import left_out


@made_by("what carries out a step, such as record_tag,")
@dataclass(frozen=True, slots=True)
class Recorded:
    """A step that was carried out and is not signed yet.

    Attributes:
        crate: Of which release.
        link: What to sign.
        files: What it made, by file name: the tarball, the test report.
        sandbox: What a command ran in; empty when nothing of the crate's was run.
        tarball: The tarball that it made, as the reader of archives has it; None for a step that makes none.
        remarks: What whoever signs should know, and nobody after: it refuses nothing.
    """

    crate: CrateId
    link: Link
    files: Mapping[str, bytes] = field(default_factory=dict)
    sandbox: str = ""
    tarball: CrateFile | None = None
    remarks: tuple[str, ...] = ()


@made_by("record_step, or the reader of a link's file,")
@dataclass(frozen=True, slots=True)
class SignedLink:
    """What somebody recorded of a step, and signed.

    Attributes:
        link: What it says, read once from the bytes that were signed.
        envelope: Those bytes, and the signatures; they are verified with the whole release, by whoever relies on it.
    """

    link: Link
    envelope: Envelope

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> SignedLink:
        """Read what an envelope holds.

        Raises:
            FormatError: It holds no link.
        """
        return _signed_link(Link.from_payload(envelope.payload), envelope)

    @classmethod
    def from_bytes(cls, data: bytes, what: str = "a link") -> SignedLink:
        """Read a link's file.

        Raises:
            FormatError: Not an envelope, or not of a link.
        """
        return cls.from_envelope(Envelope.from_bytes(data, what))

    def to_bytes(self) -> bytes:
        """As a file."""
        return self.envelope.to_bytes()


_recorded, _signed_link = maker(Recorded), maker(SignedLink)


def record_step(recorded: Recorded, signer: Signer) -> SignedLink:
    """Sign what a step came to, once it was carried out.

    Args:
        recorded: From `record_tag`, `record_review`, `record_test`, `record_package` or `record_rebuild`.
        signer: The key of whoever carried it out, opened after that.

    Raises:
        FormatError: The link holds what no file can say, such as a word of the command that is not UTF-8.
    """
    return _signed_link(recorded.link, sign_link(recorded.link, signer))


def sign_link(link: Link, signer: Signer) -> Envelope:
    """Sign a link (DSSE over a classic link payload)."""
    envelope = Envelope(link.to_payload())
    return envelope.with_signature(signer.sign(envelope.message))


def record_tag(
    repository: Path,
    revision: str,
    folder: str,
    toolchain: Toolchain,
    *,
    index: str | None = None,
    destination: Callable[[CrateName], Destination] = nobody_asked,
) -> Recorded:
    """Record what a maintainer tags: the source, the package's listing, the lock, the toolchain.

    Args:
        repository: The git repository; nothing of its work tree is taken.
        revision: The tag or commit.
        folder: The package's folder in the repository; empty at its top.
        toolchain: The cargo that everybody will package with.
        index: A verifying proxy that stands for crates.io, needed when no Cargo.lock is committed.
        destination: Says where a crate is to be published, and what is there.

    Raises:
        ConfigError: No such repository, revision or package.
        Unpublishable: cargo or the registry would not publish it.
        SigningError: git or cargo failed.
        FormatError: The commit or its manifest cannot be released.
    """
    with open_workspace(repository, revision, folder, toolchain, index) as workspace:
        remarks = check_source(workspace, destination) + left_out(repository, workspace.folder, workspace.tree)
        crate = workspace.crate()
        lock = workspace.lock()
        workspace.put_lock(lock)
        listing = workspace.listing()
        remarks += check_listing(workspace, listing)
        files, executable = workspace.tree.digests()
        record = TagRecord(
            files=files,
            executable=executable,
            commit=workspace.tree.commit,
            listing=listing,
            lock=lock,
            toolchain=toolchain.version,
            path_in_vcs=workspace.folder,
            manifests=workspace.inherited_manifests(),
            notes=workspace.tree.notes,
        )
    link = record.link(crate)
    TagRecord.from_link(link, crate)  # what a verifier will do; better to hear of it now
    return _recorded(crate, link, remarks=remarks)


def record_review(repository: Path, tag: Link, crate: CrateId) -> Recorded:
    """Record that somebody reviewed exactly what was tagged, all of it.

    Raises:
        SigningError: The repository at hand holds something else at the tagged commit.
        RuleViolation: The tag does not add up.
    """
    _same_source(repository, tag, crate)
    return _recorded(crate, Link(REVIEW, tag.products, {}, {"return-value": 0}, ("carnet", "record", "review")))


def record_test(
    repository: Path,
    tag: Link,
    crate: CrateId,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    scratch: Path,
    hide: Sequence[Path] = (),
) -> Recorded:
    """Run a test command on the tagged source, in a sandbox where there is one. No key may be open.

    Args:
        repository: A git repository that holds the tagged commit.
        tag: The `tag` link.
        crate: Of which release.
        command: What to run, in the package's folder; no shell.
        environment: All that the command gets, beside a HOME of its own.
        scratch: An empty folder, which the command may write to: the source comes into it, and that HOME.
        hide: Folders that the command must not see, such as where keys lie.

    Raises:
        SigningError: The repository holds something else, or the command did not end in time.
        ConfigError: There is no such program.
        FormatError: A word of the command is not UTF-8.
    """
    strictjson.encode(list(command), "the test command")  # before it runs, which may take an hour
    record, tree = _same_source(repository, tag, crate)
    source, home = scratch / "source", scratch / "home"
    for folder in (source, home):
        folder.mkdir()
    export(tree, source)
    root = next((Path(path).parent for path in record.manifests), Path(record.path_in_vcs))
    lock = source / root / "Cargo.lock"
    if not lock.exists():
        lock.write_text(record.lock, encoding="utf-8")
    given = {"HOME": str(home), **environment}
    outcome = sandbox.run(command, source / record.path_in_vcs, given, scratch=scratch, hide=hide)
    said: JsonObject = {
        "crate": str(crate),
        "commit": record.commit,
        "command": list(command),
        "return-value": outcome.status,
    }
    report = strictjson.encode(said, "the test report") + b"\n"
    byproducts = {
        "return-value": outcome.status,
        "report": report.decode(),
        "output": outcome.output,
        "sandbox": outcome.sandbox,
    }
    products = {ArtifactNames(crate).test_report: sha256_hex(report)}
    link = Link(TEST, tag.products, products, byproducts, tuple(command))
    return _recorded(crate, link, {"test-report.json": report}, outcome.sandbox)


def record_package(
    repository: Path,
    tag: Link,
    crate: CrateId,
    toolchain: Toolchain,
    *,
    index: str | None = None,
    destination: Callable[[CrateName], Destination] = nobody_asked,
) -> Recorded:
    """Make the tarball from what was tagged, running no code of the crate.

    Args:
        repository: A git repository that holds the tagged commit.
        tag: The `tag` link.
        crate: Of which release.
        toolchain: The cargo that the tag names.
        index: A verifying proxy that stands for crates.io.
        destination: Says where a crate is to be published, and what is there.

    Raises:
        Unpublishable: cargo or the registry would not publish it, whatever the tagger was told.
        SigningError: The repository holds something else, the toolchain is another, or cargo failed.
        ArchiveRefused: What cargo made is a tarball that no build would take.
    """
    return _package(repository, tag, crate, toolchain, index, destination)


def record_rebuild(
    repository: Path, tag: Link, crate: CrateId, toolchain: Toolchain, *, index: str | None = None
) -> Recorded:
    """Make the tarball again, independently of whoever packaged it.

    Raises:
        SigningError: As `record_package`.
        ArchiveRefused: As `record_package`.
    """
    return _package(repository, tag, crate, toolchain, index, None)  # it may be published long since


def _package(
    repository: Path,
    tag: Link,
    crate: CrateId,
    toolchain: Toolchain,
    index: str | None,
    destination: Callable[[CrateName], Destination] | None,
) -> Recorded:
    """The step `package`, of what goes to a destination, or `rebuild`."""
    record, _ = _same_source(repository, tag, crate)
    if toolchain.version != record.toolchain:
        raise SigningError(
            f"the tag was made with {record.toolchain.strip()}, and this is {toolchain.version.strip()}",
            hint="cargo's version shows in the tarball: use the one of the tag",
        )
    with open_workspace(repository, record.commit, record.path_in_vcs, toolchain, index) as workspace:
        workspace.put_lock(record.lock)
        listing = workspace.listing()
        if listing != record.listing:
            odd = sorted(set(listing) ^ set(record.listing))
            raise SigningError(
                f"cargo lists other files than the tag: {', '.join(odd[:3])}", hint="the tag's listing was not cargo's"
            )
        tarball = workspace.package(crate)
    file = read_crate(tarball, crate, strict=True)  # nobody published it yet: as every signer will
    names = ArtifactNames(crate)
    command = ("cargo", "package", "--no-verify", "--locked")
    step, remarks = REBUILD, tuple[str, ...]()
    if destination is not None:
        step, remarks = PACKAGE, check_tarball(file, destination(crate.name))
    link = Link(step, tag.products, {names.tarball: sha256_hex(tarball)}, {"return-value": 0}, command)
    return _recorded(crate, link, {names.tarball: tarball}, tarball=file, remarks=remarks)


def _same_source(repository: Path, tag: Link, crate: CrateId) -> tuple[TagRecord, SourceTree]:
    """What was tagged, after comparing it with the repository at hand."""
    record = TagRecord.from_link(tag, crate)
    tree = read_commit(repository, record.commit)
    files, executable = tree.digests()
    if files != dict(record.files) or executable != record.executable:
        odd = sorted(set(files.items()) ^ set(record.files.items())) or [("an executable bit", "")]
        raise SigningError(
            f"the tag is not what commit {record.commit[:12]} holds here: {odd[0][0]} differs",
            hint="fetch the submodules that were recorded; otherwise the tag is not honest, and nothing may be signed",
        )
    return record, tree
