"""Every error that carnet raises on purpose.

::

    CarnetError
      ConfigError             your file or flag is wrong                   exit 2
        MalformedFile         your file does not parse (a FormatError too)
        MalformedKey          your key file holds no key (a SigningError too)
      FormatError             received bytes do not parse                  exit 1
      TransportError          could not fetch; nothing was decided         exit 3
      StorageError            this machine's disk or database failed       exit 3
        UnfitFile             a folder, a device, or more than is read
        NoRoom                what comes in would need the room that is kept for upkeep
      SigningError            key missing, locked, or wrong for the role   exit 3
      VerificationError       understood, and not trusted                  exit 1
        MetadataError         a TUF role
          ExpiredMetadata     its time is over
          RollbackDetected    older than what was seen before
          ThresholdNotMet     too few distinct people signed
          MetadataMismatch    not the bytes, version or name that was promised
          NotFound            signed metadata says that it does not exist
        Unpublishable         `cargo publish`, or the registry, would refuse it   exit 2
        ArchiveRefused        a .crate breaks a rule that keeps bytes in their place
        ProvenanceError       an in-toto step
          MissingLink         a step lacks the signed links that its threshold demands
          RuleViolation       an artifact rule, or a rule of ours about links, was broken
          LayoutRefused       the layout itself is unsafe, or was out of date at acceptance
        PolicyRefused         verified, and below what the policy asks for
        LockRefused           packages of a lock were refused, each for a reason of its own
      OpinionsDiffer          two implementations disagree; nothing was decided   exit 3

Exit status 0 means allowed or done, and nothing else does. The command line maps errors to exit statuses once, in
``carnet_cli.terminal.exits``. Bytes that others wrote never surface as ``ValueError``, ``KeyError`` or a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


_LONGEST = 2_000
"""Characters of an error; a list of twenty packages, each with its reason, stays whole."""


class CarnetError(Exception):
    """The root of the tree: a one-line reason, and a hint about what to do.

    Args:
        message: What was refused or went wrong, in one lower-case line, naming the thing itself.
        hint: What the reader can do about it; empty when there is nothing to add.

    Attributes:
        hint: As given.
        exit_code: The exit status of a command that ends with this error.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(_cut(message))
        self.hint = _cut(hint)

    @property
    def kind(self) -> str:
        """The name of its class as machines are told it: `policy-refused`."""
        return "".join(f"-{char.lower()}" if char.isupper() else char for char in type(self).__name__).removeprefix("-")


def _cut(text: str) -> str:
    """What input is quoted in an error does not make it a page long, wherever that is forgotten."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 200]} [...] {text[-150:]}"


class ConfigError(CarnetError):
    """A file or flag of the user's own is wrong."""

    exit_code: ClassVar[int] = 2


class FormatError(CarnetError):
    """Received bytes do not parse as what they claim to be."""


class MalformedFile(ConfigError, FormatError):  # noqa: N818  -- named for what it is
    """A file that the user wrote or named does not parse; the same bytes from a mirror are a `FormatError` alone."""


class TransportError(CarnetError):
    """Something could not be fetched; nothing was decided about it.

    Attributes:
        status: The HTTP status that was answered, or None when there was no answer.
        passing: Whether it may pass by itself, so that asking again makes sense: a server that is busy, a connection
            that broke off.
        retry_after: Seconds that the server asks to be left alone for, or None.
    """

    exit_code: ClassVar[int] = 3

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int | None = None,
        passing: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.passing = passing
        self.retry_after = retry_after

    @property
    def absent(self) -> bool:
        """Whether the answer was that there is no such file."""
        return self.status in (404, 410)


class StorageError(CarnetError):
    """This machine's disk or database failed; nothing was acknowledged."""

    exit_code: ClassVar[int] = 3


class UnfitFile(StorageError):  # noqa: N818  -- named for what it is
    """What stands in a file's place is no regular file, or is larger than anything that belongs there."""


class NoRoom(StorageError):  # noqa: N818  -- named for what it is
    """The disk has room left, which is kept for what has to go on; nothing was taken in."""


class SigningError(CarnetError):
    """A key is missing, locked, readable by others, or not one that may sign this."""

    exit_code: ClassVar[int] = 3


class MalformedKey(ConfigError, SigningError):  # noqa: N818
    """A private key file of the user's does not hold a key that carnet can read."""


class VerificationError(CarnetError):
    """Understood, and not trusted."""


class MetadataError(VerificationError):
    """A TUF role failed a check of the client workflow (TUF specification, section 5)."""


class ExpiredMetadata(MetadataError):  # noqa: N818  -- named for the fact, as in the specification
    """A role's expiry has passed (TUF 5.3.10, 5.4.4, 5.5.6, 5.6.5)."""


class RollbackDetected(MetadataError):  # noqa: N818
    """A version is lower than one that was trusted before (TUF 5.3.5, 5.4.3, 5.5.5)."""


class ThresholdNotMet(MetadataError):  # noqa: N818
    """Fewer distinct keys signed than the role demands (TUF 5.3.4, 5.4.2, 5.5.3, 5.6.3)."""


class MetadataMismatch(MetadataError):  # noqa: N818
    """Bytes, version, length or role name differ from what was promised (TUF 5.5.2, 5.5.4, 5.6.2, 5.6.4, 5.7.3)."""


class NotFound(MetadataError):  # noqa: N818
    """Verified metadata says that there is no such target (TUF 5.6.7)."""


class ArchiveRefused(VerificationError):  # noqa: N818
    """A ``.crate`` breaks one of the rules that keep every byte in its place."""


class Unpublishable(VerificationError):  # noqa: N818
    """What `cargo publish` or the registry would refuse: the maintainer's own manifest or files are to be changed."""

    exit_code: ClassVar[int] = 2


class ProvenanceError(VerificationError):
    """A release step of in-toto failed a check."""


class MissingLink(ProvenanceError):  # noqa: N818
    """A step lacks the links, by distinct people, that its threshold demands (in-toto 5.3.1)."""


class RuleViolation(ProvenanceError):  # noqa: N818
    """An artifact rule, or a rule of carnet's about links, was broken."""


class LayoutRefused(ProvenanceError):  # noqa: N818
    """A layout is unsafe (see the linter), or had expired when the release was accepted."""


class PolicyRefused(VerificationError):  # noqa: N818
    """Verified, and below what the policy asks for.

    Attributes:
        decided_by: Who asked for it, such as a file; empty when it is carnet's default, or not known.
    """

    def __init__(self, message: str, *, hint: str = "", decided_by: str = "") -> None:
        super().__init__(message, hint=hint)
        self.decided_by = decided_by


class LockRefused(VerificationError):  # noqa: N818
    """Packages of a lock were refused, each for a reason of its own.

    Args:
        refusals: Each refused package, a `carnet.cargo.names.CrateId`, and why; at least one.
        of: How many packages were judged.

    Attributes:
        refusals: As given.
    """

    def __init__(self, refusals: Sequence[tuple[Any, CarnetError]], *, of: int) -> None:
        package, why = refusals[0]
        more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
        super().__init__(f"{len(refusals)} of {of} packages refused: {package}: {why}{more}", hint=why.hint)
        self.refusals = tuple(refusals)


class OpinionsDiffer(CarnetError):  # noqa: N818
    """Two independent implementations read or judge one file differently, so neither is believed.

    Args:
        file: The file, as it is named below the repository's base URL.
        field: What of it they disagree about.
        ours: What carnet says.
        theirs: What the other one says.
        library: The other one.

    Attributes:
        file: As given.
        field: As given.
        ours: As given.
        theirs: As given.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, file: str, field: str, *, ours: str, theirs: str, library: str) -> None:
        super().__init__(
            f"{file}: {field}: carnet says {ours}; {library} says {theirs}",
            hint="one of the two has a bug, or somebody looks for one: publish nothing of it, keep the file, report it",
        )
        self.file = file
        self.field = field
        self.ours = ours
        self.theirs = theirs
