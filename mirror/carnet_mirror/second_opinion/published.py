"""Everything that a mirror has published, judged by python-tuf and in-toto beside carnet: `fsck --second-opinion`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from carnet.errors import CarnetError, MetadataMismatch, NotFound, OpinionsDiffer
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import RoleFile, RoleT, Root, Snapshot, Targets, Timestamp
from carnet.tuf.tree import parent_of
from carnet_mirror.second_opinion import python_tuf
from carnet_mirror.second_opinion.opinion import judge_evidence
from carnet_mirror.second_opinion.role_readings import Reading
from carnet_mirror.state.store import Store
from carnet_signer.metadata.published_state import metadata_path
from carnet_verifier.claims.owners import Claim
from carnet_verifier.releases.established import establish
from carnet_verifier.releases.signed_releases import read_signed_releases
from carnet_verifier.tuf.repository import TrustedRepository

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
Report = Callable[[str, str | Exception], None]
"""Gets where something is wrong, and what."""


def judge_published_roles(store: Store, targets: Mapping[str, Targets], report: Report, progress: Progress) -> None:
    """Let python-tuf judge the chain of roots, timestamp, snapshot, and every role that is trusted in the view.

    Args:
        store: The mirror.
        targets: carnet's reading of the roles that somebody delegates to.
        report: Gets each disagreement, and each file that cannot be read.
        progress: Makes the progress bars.
    """
    try:
        view = _View(store)
    except CarnetError as error:
        report(_where(error, "metadata"), error)
        return
    with progress("asking python-tuf", len(view.snapshot.signed.meta)) as count:
        for role in view.snapshot.signed.meta:
            count(1)
            try:
                view.judge(role, trusted=role in targets)
            except CarnetError as error:
                report(_where(error, role), error)


def judge_published_evidence(
    repository: TrustedRepository, claims: list[Claim], report: Report, progress: Progress
) -> None:
    """Let carnet and in-toto judge the evidence of every release of these crates again.

    Args:
        repository: The verified view.
        claims: The claimed crates.
        report: Gets each disagreement, and each release whose evidence does not hold.
        progress: Makes the progress bars.
    """
    with progress("asking in-toto", len(claims)) as count:
        for claim in claims:
            count(1)
            try:
                signed = read_signed_releases(claim)
            except CarnetError as error:
                report(str(claim.name), error)
                continue
            for release in signed.releases:
                try:
                    judge_evidence(establish(repository, signed, release))
                except CarnetError as error:
                    report(_where(error, str(release.id)), error)


class _View:
    """The published view as both read it: roots, timestamp and snapshot judged, roles on demand."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._readings: dict[str, Reading] = {}
        self._root = self._walk_roots()
        timestamp, path = self._read(paths.TIMESTAMP, None, Timestamp)
        reading = python_tuf.read(path, timestamp)
        python_tuf.delegated(self._root, paths.TIMESTAMP, path, reading)
        self.snapshot, path = self._read(paths.SNAPSHOT, timestamp.signed.snapshot.version, Snapshot)
        python_tuf.names_file(reading, paths.SNAPSHOT, path, self.snapshot.raw)
        self._named = python_tuf.read(path, self.snapshot)
        python_tuf.delegated(self._root, paths.SNAPSHOT, path, self._named)

    def judge(self, role: str, *, trusted: bool) -> None:
        """Judge a role; of one that nobody delegates to any more only what it says is compared."""
        reading, path, data = self._role(role)
        python_tuf.names_file(self._named, role, path, data)
        if trusted:
            python_tuf.delegated(self._delegator(role), role, path, reading)

    def _walk_roots(self) -> Reading:
        before: Reading | None = None
        while self._store.served(metadata_path(paths.ROOT, 1 if before is None else before.signed.version + 1)):
            envelope, path = self._read(paths.ROOT, 1 if before is None else before.signed.version + 1, Root)
            reading = python_tuf.read(path, envelope)
            for delegator in (reading,) if before is None else (before, reading):
                python_tuf.delegated(delegator, paths.ROOT, path, reading)
            before = reading
        if before is None:
            raise NotFound("this mirror has no root")
        return before

    def _delegator(self, role: str) -> Reading:
        delegator = parent_of(role)
        if delegator == paths.ROOT:
            return self._root
        if delegator not in self._readings:
            self._readings[delegator] = self._role(delegator)[0]
        return self._readings[delegator]

    def _role(self, role: str) -> tuple[Reading, str, bytes]:
        version = self.snapshot.signed.meta[role].version
        envelope, path = self._read(role, version, Targets)
        if envelope.signed.version != version:
            raise MetadataMismatch(f"{path} says that it is version {envelope.signed.version}")
        return python_tuf.read(path, envelope), path, envelope.raw

    def _read(self, role: str, version: int | None, kind: type[RoleT]) -> tuple[RoleFile[RoleT], str]:
        path = metadata_path(role, version)
        data = self._store.served(path)
        if data is None:
            raise NotFound(f"{path} is not published")
        return parse_role(data, kind, what=path), path


def _where(error: CarnetError, otherwise: str) -> str:
    return error.file if isinstance(error, OpinionsDiffer) else otherwise
