"""What a signer has verified for themselves: the published roles that drafts are compared with, and from where.

A folder that passes through many hands brings a copy of what is published. Whoever made the folder may have made that
copy up, and then a comparison with it shows what they want to be seen. So the state before is always the signer's own:
roles as the verifier gave them out, from a repository that the signer trusts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from carnet.cargo.index_line import IndexFile
from carnet.cargo.names import CrateName
from carnet.claims.history import History
from carnet.errors import TransportError
from carnet.tuf import paths
from carnet.tuf.roles import RoleFile, Root, Targets


class VerifiedView(Protocol):
    """A verified view of a repository, as `carnet_verifier.tuf.repository.TrustedRepository` is one."""

    def version(self, role: str) -> int | None:
        """The version of a role in this view, or None."""

    def role(self, role: str) -> RoleFile[Targets]:
        """A verified role."""

    def claimed_files(self, shards: Iterable[str]) -> dict[str, RoleFile[Targets]]:
        """The owner and crate roles of every crate that these shards delegate to their owners, expired or not."""

    def for_renewal(self) -> VerifiedView:
        """The same view, with owner and crate roles in it whose time is over."""

    def find_targets(self, paths: Iterable[str]) -> Mapping[str, Any]:
        """Verified targets by path, each to be downloaded; None is the signed proof that there is none."""

    def download(self, target: Any) -> bytes:
        """The bytes of one of them, which are those that were signed."""


@dataclass(frozen=True)
class OwnView:
    """A verified view of the repository whose next versions are to be signed. It is a `VerifiedView` itself.

    Attributes:
        root: The newest root, verified.
        said: Where the view is from and how old it is, for the first line of what a signer reads.
        aged: Whether its age is such that nobody should overlook it.
        repository: Which repository: the beginning of the fingerprint of the root that the signer pinned.
    """

    root: RoleFile[Root]
    said: str
    repository: str
    _view: VerifiedView = field(repr=False)
    aged: bool = False

    def version(self, role: str) -> int | None:
        """The published version of a role, root's too; None when it was never published.

        Raises:
            VerificationError: The view cannot be verified so far.
        """
        return self.root.signed.version if role == paths.ROOT else self._view.version(role)

    def role(self, role: str) -> RoleFile[Targets]:
        """A published targets role, verified.

        Raises:
            VerificationError: It failed a check, or nobody delegates to it.
            TransportError: It could not be fetched.
        """
        return self._view.role(role)

    def claimed_files(self, shards: Iterable[str]) -> dict[str, RoleFile[Targets]]:
        """The owner and crate roles of every crate that these shards delegate to their owners, expired or not.

        Raises:
            VerificationError: One failed a check.
            TransportError: One could not be fetched.
        """
        return self._view.claimed_files(shards)

    def for_renewal(self) -> VerifiedView:
        """The published targets roles, with owner and crate roles among them whose time is over: others follow them."""
        return self._view.for_renewal()

    def index_file(self, name: CrateName) -> IndexFile | None:
        """What the registry lists of a crate; None is the signed proof that it lists no such crate.

        Raises:
            VerificationError: It, or a role on the way to it, failed a check.
            FormatError: It does not parse.
            TransportError: It could not be fetched, or the saved view was written without it.
        """
        data = self._listed(paths.index_path(name), name)
        return None if data is None else IndexFile.from_bytes(data, name)

    def history(self, name: CrateName) -> History | None:
        """What the registry says that its upstream lists of a crate; None is the signed proof that it says nothing.

        Raises:
            VerificationError: As `index_file`, and so on.
        """
        data = self._listed(paths.history_path(name), name)
        return None if data is None else History.from_bytes(data, name)

    def _listed(self, path: str, name: CrateName) -> bytes | None:
        try:
            target = self.find_targets([path])[path]
            return None if target is None else self.download(target)
        except TransportError as error:
            raise TransportError(
                f"the versions that a claim of {name} adopts cannot be compared with the registry's index: {error}",
                hint=f"a saved view has the index of the crates that it was written for: `carnet trust export -o FILE "
                f"{name}`",
                status=error.status,
            ) from error

    def find_targets(self, paths: Iterable[str]) -> Mapping[str, Any]:
        """Verified targets by path, for `download`; None is the signed proof that there is none.

        Raises:
            VerificationError: A role on the way failed a check.
            TransportError: One could not be fetched.
        """
        return self._view.find_targets(paths)

    def download(self, target: Any) -> bytes:
        """The bytes of a target that `find_targets` found.

        Raises:
            VerificationError: They are not the ones that were signed.
            TransportError: They could not be fetched.
        """
        return self._view.download(target)

    @property
    def holders(self) -> Mapping[str, str]:
        """What the registry's holders are called, by key id, as the root has it."""
        return holder_names(self.root.signed)


def holder_names(root: Root) -> dict[str, str]:
    """What a root calls the holders of its keys, by key id."""
    carnet = root.extra.get("carnet")
    people = carnet.get("people") if isinstance(carnet, dict) else None
    return {keyid: name for keyid, name in people.items() if isinstance(name, str)} if isinstance(people, dict) else {}
