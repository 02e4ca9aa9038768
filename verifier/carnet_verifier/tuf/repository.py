"""One consistent, verified view of a repository: looking up targets, downloading them, and reading claims."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, cast

from carnet.cargo.names import CrateName
from carnet.errors import FormatError, MetadataError, MetadataMismatch, NotFound, TransportError
from carnet.made import made_by, maker
from carnet.strictjson import JsonObject
from carnet.tuf import least, paths
from carnet.tuf.keys import Profile
from carnet.tuf.roles import MetaFile, RoleFile, Targets
from carnet.tuf.tree import way_to, way_to_claim
from carnet.value import value
from carnet_verifier.memory.lookup_memory import LookupMemory
from carnet_verifier.memory.metadata_store import MemoryStore, MetadataStore
from carnet_verifier.net.fetch import Fetcher
from carnet_verifier.tuf.roletree import RoleTree
from carnet_verifier.tuf.workflow import TrustedRoles, check_target

if TYPE_CHECKING:
    # What only claimed crates need is imported when there is one: start-up time counts.
    from carnet_verifier.claims.owners import Claim, OwnerMemory

__all__ = ["TrustedRepository", "TrustedTarget"]

MAX_DELEGATIONS = 32
"""Roles that one look-up visits at most, as in python-tuf; carnet's own tree needs four."""

MAX_TARGET = 128 * 1024 * 1024
"""Bytes of one target in carnet's own repositories: a tarball may have as many, everything else has less."""


@made_by("find_target")
@value
class TrustedTarget:
    """What verified metadata says of one target.

    Attributes:
        path: Its target path.
        length: In bytes.
        hashes: Algorithm to hex digest; `sha256` among them in the product profile.
        custom: The signer's own words.
        role: The role that lists it.
        role_version: That role's version.
    """

    path: str
    length: int
    hashes: Mapping[str, str]
    custom: JsonObject
    role: str
    role_version: int

    @property
    def sha256(self) -> str:
        """The sha256 in hex.

        Raises:
            MetadataMismatch: A foreign repository lists it under other hashes only.
        """
        digest = self.hashes.get("sha256")
        if digest is None:
            raise MetadataMismatch(f"target {self.path[:120]} is listed without sha256")
        return digest


_target = maker(TrustedTarget)


class TrustedRepository:
    """A verified view: root, timestamp, snapshot and targets are checked; the rest is checked when it is looked at.

    Made by `carnet_verifier.tuf.refresh` only. Threads may share it.

    Args:
        trusted: The top-level roles, accepted.
        store: Where verified roles are kept and looked for first.
        fetcher: The repository.
        memory: Remembers owners, or None.
        answers: What look-ups of earlier runs found, or None.
    """

    def __init__(
        self,
        trusted: TrustedRoles,
        store: MetadataStore,
        fetcher: Fetcher,
        memory: OwnerMemory | None = None,
        answers: LookupMemory | None = None,
    ) -> None:
        self._trusted = trusted
        self._answers = answers
        self._tree = RoleTree(trusted, store, fetcher)
        self._fetcher = fetcher
        self._memory = memory
        self._laid_on_top: dict[str, bytes] = {}

    @property
    def expires(self) -> datetime:
        """When this view ends: the earliest expiry among root, timestamp, snapshot and targets."""
        top = self._trusted
        online = min(top.timestamp.signed.expires, top.snapshot.signed.expires)
        return min(top.root.signed.expires, self.targets.expires, online)

    @property
    def now(self) -> datetime:
        """The time that this view was verified at."""
        return self._trusted.now

    @property
    def trusted(self) -> TrustedRoles:
        """The top-level roles."""
        return self._trusted

    @property
    def targets(self) -> Targets:
        """The top-level targets role.

        Raises:
            MetadataError: It failed a check.
            TransportError: It could not be fetched.
        """
        return self.role(paths.TARGETS).signed

    def version(self, role: str) -> int | None:
        """The version of a targets role in this view, or None when it has none."""
        return self._trusted.version(role)

    def role(self, role: str) -> RoleFile[Targets]:
        """A role of the product's tree, verified: what a holder needs to see to sign the next version.

        Raises:
            MetadataError: It failed a check, or nobody delegates to it.
            TransportError: It could not be fetched.
        """
        chain = way_to(role)

        def walk() -> RoleFile[Targets]:
            delegator: str | None = None
            for step in chain:
                self._tree.role(step, delegator, chain)
                delegator = step
            return self._tree.file(role)

        return self._tree.run({role: walk})[role]

    # --- targets ---

    def find_target(self, path: str) -> TrustedTarget:
        """Look a target up, in preorder over the delegations (TUF 5.6.7).

        Raises:
            NotFound: Verified metadata says that there is no such target.
            MetadataError: A role on the way failed a check, or the search reached its limit.
            TransportError: A role on the way could not be fetched: nothing was decided.
        """
        found = self.find_targets([path])[path]
        if found is None:
            raise NotFound(f"signed metadata lists no target {path[:120]!a}")
        return found

    def find_targets(self, paths: Iterable[str]) -> dict[str, TrustedTarget | None]:
        """Look several targets up, fetching what is needed concurrently; None is signed proof of absence.

        Raises:
            MetadataError: As `find_target`.
            TransportError: As `find_target`.
        """
        return self.look_up(paths, ())[0]

    def look_up(
        self, paths: Iterable[str], names: Iterable[CrateName]
    ) -> tuple[dict[str, TrustedTarget | None], dict[CrateName, Claim | None]]:
        """Look targets up and read claims, fetching together what any of them needs; see `find_targets` and `claims`.

        Raises:
            MetadataError: As `find_target`.
            TransportError: As `find_target`.
        """
        targets: dict[str, TrustedTarget | None] = {path: self._kept_target(path) for path in paths}
        claims: dict[CrateName, Claim | None] = dict.fromkeys(names)
        if claims and self._trusted.profile is not Profile.PRODUCT:
            raise MetadataMismatch("claims are read in carnet's own repositories only")
        walks: dict[str | CrateName, Callable[[], TrustedTarget | Claim | None]] = {
            path: self._search_for(path) for path, kept in targets.items() if kept is None
        }
        walks |= {name: self._claim_of(name) for name in claims if not self._is_kept_unclaimed(name)}
        for key, found in self._tree.run(walks, self._keep, _on_the_way(walks)).items():
            if isinstance(key, CrateName):
                claims[key] = cast("Claim | None", found)
            else:
                targets[key] = cast("TrustedTarget | None", found)
        if self._answers is not None and len(walks) > 1:  # all answers are written at once: not for a single one
            self._answers.flush()
        return targets, claims | self._followed(claims)

    def _kept_target(self, path: str) -> TrustedTarget | None:
        kept = None if self._answers is None else self._answers.target(path)
        if kept is None:
            return None
        version = self._trusted.meta(kept.role).version
        return _target(path, kept.length, {"sha256": kept.sha256}, {}, kept.role, version)

    def _is_kept_unclaimed(self, name: CrateName) -> bool:
        """Whether an earlier run found that nobody ever claimed a name, and nothing speaks against it."""
        return (
            self._answers is not None
            and self._answers.is_unclaimed(name)
            and self._trusted.version(paths.owner_role(name)) is None
        )

    def _keep(self, key: str | CrateName, found: TrustedTarget | Claim | None, walked: Mapping[str, Targets]) -> None:
        """Keep what a walk found: a target that has nothing but a sha256, and that a name is nobody's."""
        if self._answers is None:
            return
        if isinstance(key, CrateName):
            if found is None and not least.given_up(walked[paths.claims_shard_role(key.shard)], key):
                self._answers.keep_unclaimed(key, walked)
        elif isinstance(found, TrustedTarget) and not found.custom and [*found.hashes] == ["sha256"]:
            self._answers.keep_target(key, found.length, found.sha256, walked)

    def _search_for(self, path: str) -> Callable[[], TrustedTarget | None]:
        self._check_path(path)
        return lambda: self._search(path)

    def _check_path(self, path: str) -> None:
        if self._trusted.profile is Profile.PRODUCT:
            paths.check_target_path(path)
        # Other repositories may have spaces in target paths; what could lead out of a folder is refused all the same.
        elif not path or "\0" in path or "\\" in path or any(part in ("", ".", "..") for part in path.split("/")):
            raise FormatError(f"target path {path[:80]!a} is unsafe")

    def _search(self, path: str) -> TrustedTarget | None:
        to_visit: list[tuple[str, str | None]] = [(paths.TARGETS, None)]
        visited: set[str] = set()
        while to_visit:
            name, delegator = to_visit.pop()
            if name in visited:  # 5.6.7.1: a cycle, or another way to a role that was searched already
                continue
            if len(visited) > MAX_DELEGATIONS:
                raise MetadataError(
                    f"the search for {path[:120]!a} has visited {MAX_DELEGATIONS} delegated roles: nothing was decided"
                )
            signed = self._tree.role(name, delegator)
            visited.add(name)
            found = signed.targets.get(path)
            if found is not None:
                return _target(path, found.length, found.hashes, found.custom, name, signed.version)
            children: list[tuple[str, str | None]] = []
            if signed.delegations is not None and signed.delegations.succinct is not None:
                children.append((signed.delegations.succinct.bin_of(path), name))
                to_visit.clear()  # TAP 15: the bin is the only role that may list it
            elif signed.delegations is not None:
                for child in signed.delegations.roles.values():
                    if child.covers(path):
                        children.append((child.name, name))
                        if child.terminating:  # 5.6.7.2.1
                            to_visit.clear()
                            break
            to_visit.extend(reversed(children))
        return None

    def download(self, target: TrustedTarget) -> bytes:
        """Fetch a target and check its length and hashes (TUF 5.7).

        Raises:
            MetadataMismatch: The bytes are not the ones that were signed.
            TransportError: They could not be fetched.
        """
        return self.download_many([target])[0]

    def download_many(self, targets: Sequence[TrustedTarget]) -> list[bytes]:
        """Fetch several targets concurrently; each as `download`.

        Raises:
            MetadataMismatch: The bytes of one are not the ones that were signed, or it is larger than any may be.
            TransportError: One could not be fetched.
        """
        return [read() for read in self._fetch(targets, large=False)]

    def download_large(self, targets: Sequence[TrustedTarget]) -> list[Callable[[], bytes]]:
        """Fetch targets that are large, as tarballs are, concurrently; they wait on the disk.

        Returns:
            What reads each, and checks it as `download` does: whoever asks for one after the other has one in memory.

        Raises:
            MetadataMismatch: One is larger than any may be. What reads one raises it for other bytes than were signed.
            TransportError: One could not be fetched.
        """
        return self._fetch(targets, large=True)

    def _fetch(self, targets: Sequence[TrustedTarget], *, large: bool) -> list[Callable[[], bytes]]:
        if self._trusted.profile is Profile.PRODUCT:
            for target in targets:
                if target.length > MAX_TARGET:  # online keys sign index files: a stolen one could ask for all memory
                    raise MetadataMismatch(
                        f"{target.role} lists {target.path[:120]} with {target.length} bytes, "
                        f"and no target is larger than {MAX_TARGET}"
                    )
        wanted = {target.path: target for target in targets if target.path not in self._laid_on_top}
        requests = [(self._target_url(target), target.length) for target in wanted.values()]
        fetched = dict(zip(wanted, self._readers(requests, large=large), strict=True))

        def read(target: TrustedTarget) -> bytes:
            data = self._laid_on_top.get(target.path)
            if data is None:
                data = fetched[target.path]()
            check_target(data, target.path, target.length, target.hashes)
            return data

        return [partial(read, target) for target in targets]

    def download_unlisted(self, paths: Sequence[str], *, max_bytes: int) -> list[Callable[[], bytes]]:
        """Fetch files that no role lists, concurrently: tarballs of unclaimed crates. Nothing about them is checked.

        Args:
            paths: Relative to the repository.
            max_bytes: What one of them may have at most.

        Returns:
            What reads each: nobody has signed how long they are, so they wait on the disk.

        Raises:
            TransportError: One could not be fetched.
        """
        return self._readers([(path, max_bytes) for path in paths], large=True)

    def _readers(self, requests: Sequence[tuple[str, int]], *, large: bool) -> list[Callable[[], bytes]]:
        """Fetch files; those that wait on the disk are read when somebody looks at them."""
        answers = self._fetcher.get_many(requests, large=large)
        for answer in answers:
            if isinstance(answer, TransportError):
                raise answer

        def read(number: int) -> bytes:
            answer = answers[number]
            if isinstance(answer, TransportError):
                raise answer
            return answer

        return [partial(read, number) for number in range(len(requests))]

    def _target_url(self, target: TrustedTarget) -> str:
        self._check_path(target.path)
        path = target.path
        if self._trusted.root.signed.consistent_snapshot:
            digest = target.hashes.get("sha256") or next(iter(target.hashes.values()))
            path = paths.hashed_path(path, digest)
        return paths.TARGETS_PREFIX + paths.url_path(path)

    # --- claims (product profile) ---

    def claim(self, name: CrateName) -> Claim | None:
        """Who owns a crate, from the signed claims; None is the signed proof that nobody does.

        Raises:
            MetadataError: A role on the way failed a check, or a delegation is not exactly the trust model's.
            TransportError: A role on the way could not be fetched: nothing was decided.
        """
        return self.claims([name])[name]

    def claims(self, names: Iterable[CrateName]) -> dict[CrateName, Claim | None]:
        """Several claims, fetching what is needed concurrently; each as `claim`.

        Raises:
            MetadataError: As `claim`.
            TransportError: As `claim`.
        """
        return self.look_up((), names)[1]

    def _followed(self, found: Mapping[CrateName, Claim | None]) -> dict[CrateName, Claim]:
        """The claims among them, with how their owners follow those that were seen before."""
        claimed = {name: claim for name, claim in found.items() if claim is not None}
        if not claimed or self._memory is None:
            return claimed
        from carnet_verifier.claims.owners import followed

        return followed(claimed, self._memory, self._tree.file, self._earlier)

    def released(self, name: CrateName) -> bool:
        """Whether a crate was claimed once and is nobody's now: its shard keeps the name for ever, as a tombstone.

        Raises:
            MetadataError: A role on the way failed a check.
            TransportError: A role on the way could not be fetched: nothing was decided.
        """
        if self._is_kept_unclaimed(name):
            return False
        chain = way_to(paths.claims_shard_role(name.shard))
        return self._tree.run({name: lambda: least.given_up(self._read_shard(chain, name), name)})[name]

    def _claim_of(self, name: CrateName) -> Callable[[], Claim | None]:
        chain = way_to_claim(name)
        return lambda: self._read_claim(name, chain)

    def _read_claim(self, name: CrateName, chain: Sequence[str]) -> Claim | None:
        _, _, shard_role, owner_role, crate_role = chain
        shard = self._read_shard(chain, name)
        entry = shard.delegations.roles.get(owner_role) if shard.delegations is not None else None
        if entry is None:
            least.check_listed(shard_role, shard, name, self._trusted.version)
            return None
        from carnet_verifier.claims.owners import Claim, Handover, read_facts

        owner = self._tree.role(owner_role, shard_role, chain)
        facts = read_facts(owner_role, owner, entry)
        crate = self._tree.role(crate_role, owner_role, chain)
        release = owner.delegations.roles.get(crate_role) if owner.delegations is not None else None
        if release is None:
            raise MetadataMismatch(f"{owner_role} does not delegate to its crate role")
        return Claim(name, owner, entry, crate, release, facts, Handover.FIRST_SEEN)

    def claimed_files(self, shards: Iterable[str]) -> dict[str, RoleFile[Targets]]:
        """The owner and crate roles of every crate that these shards delegate to their owners: for whoever drafts one.

        They are the files that the snapshot names, expired or not; who signed them is for `carnet.claims.standing` to
        see.

        Args:
            shards: The roles of shards of claims.

        Raises:
            MetadataError: A shard failed a check, or a file is not what the snapshot promises.
            FormatError: A file does not parse.
            TransportError: One could not be fetched.
        """
        from carnet.claims.standing import claimed_roles

        return self._tree.files_of([role for shard in shards for role in claimed_roles(self.role(shard).signed)])

    def _read_shard(self, chain: Sequence[str], name: CrateName) -> Targets:
        shard_role = chain[2]
        self._tree.role(paths.TARGETS, None, chain)
        claims = self._tree.role(paths.CLAIMS, paths.TARGETS, chain)
        if claims.delegations is None or shard_role not in claims.delegations.roles:
            raise MetadataMismatch(f"claims does not delegate to {shard_role}: who owns {name} cannot be told")
        return self._tree.role(shard_role, paths.CLAIMS, chain)

    def _earlier(self, role: str, version: int) -> bytes | None:
        """The file of an earlier version of a role, unverified; None when there is none."""
        try:
            return self._fetcher.get(self._tree.url(role, version), max_bytes=Targets.MAX_BYTES)
        except TransportError as error:
            if error.absent:
                return None
            raise

    def laid_on_top(
        self,
        meta: Mapping[str, MetaFile],
        roles: Mapping[str, RoleFile[Targets]],
        targets: Mapping[str, bytes],
        memory: OwnerMemory,
    ) -> TrustedRepository:
        """This view with other roles on top; see `carnet_verifier.tuf.preview.preview`, which checks what may be laid.

        Raises:
            MetadataError: A role fails a check that does not depend on its delegator.
            FormatError: A role was parsed with another profile.
        """
        proposed = self._seen_as(self._trusted.with_meta(meta), memory)
        proposed._laid_on_top.update(targets)
        for name, parsed in roles.items():
            proposed._tree.accept_parsed(name, parsed, meta[name])
        return proposed

    def for_renewal(self) -> TrustedRepository:
        """This view, with owner and crate roles whose time is over: for whoever drafts or judges what follows them.

        What is laid on top of it is judged as any view is, and nothing else may be admitted by it.
        """
        return self._seen_as(self._trusted.for_renewal(), None)

    def _seen_as(self, trusted: TrustedRoles, memory: OwnerMemory | None) -> TrustedRepository:
        store = MemoryStore()
        store.cache(self._tree.files())
        (other := TrustedRepository(trusted, store, self._fetcher, memory))._tree.share(self._tree)
        return other


def _on_the_way(walks: Iterable[str | CrateName]) -> Iterable[str]:
    """The role that all look-ups of index files come to; those of claims know their whole way."""
    return [paths.INDEX] if any(isinstance(key, str) and key.startswith("index/") for key in walks) else []
