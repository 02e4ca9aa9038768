"""The checks of the TUF client workflow: bytes and a fixed time in, verified roles out, no input or output.

::

    5.2       the pinned root is well-formed and signed by its own threshold      TrustedRoles(root)
    5.3.4-6   each next root: signed by both thresholds, version exactly + 1      next_root
    5.3.10    the last root is not expired                                        check_root
    5.3.11    what was stored under keys that were replaced is forgotten          recall
    5.4       timestamp: signatures, rollback, expiry                             accept_timestamp
    5.5       snapshot: length and hash, signatures, version, rollback, expiry    accept_snapshot
    5.6       targets roles: length and hash, signatures, version, expiry         read_targets, check_targets
    5.7       a downloaded target: length and hashes                              check_target

Each method verifies first and remembers after: a file that failed a check leaves no trace. What is stored on disk comes
through the same checks as what a mirror sends; only `recall` is different, because what it reads is not trusted as the
newest: it is the memory that newer versions are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from carnet import times
from carnet.digests import sha256_hex, sha256_raw
from carnet.errors import (
    ExpiredMetadata,
    MetadataMismatch,
    NotFound,
    RollbackDetected,
    ThresholdNotMet,
)
from carnet.tuf import paths
from carnet.tuf.keys import Profile
from carnet.tuf.listed import ListedFiles
from carnet.tuf.read import check_read_as, parse_role
from carnet.tuf.roles import MetaFile, RoleFile, RoleKeys, RoleT, Root, Signed, Snapshot, Targets, Timestamp
from carnet.tuf.tree import Signers, is_bin, place_of

_ALGORITHMS = ("sha256", "sha384", "sha512")


class TrustedRoles:
    """The roles that have passed their checks so far, in the order of the workflow.

    Args:
        root: The root file that the user pinned, or that was trusted last.
        now: The time that expiries are compared with (TUF 5.1).
        profile: Which keys and names are accepted.
        proofs: Digests of signatures that were verified before, and where new ones go. A proof is the digest of a file
            with the keys and the threshold that it met; whoever hands them in vouches for them.

    Attributes:
        root: The newest trusted root.
        now: As given.
        now_for_people: What the expiries of targets roles below the top that people sign are compared with: `now`, but
            where `now` was put back for the sake of what is signed online (`carnet_verifier.tuf.saved_view`).
        profile: As given.
        roots: The roots that were trusted on the way, by the sha256 of their files.

    Raises:
        FormatError: The root does not parse.
        ThresholdNotMet: It is not signed by its own threshold.
    """

    def __init__(
        self, root: bytes, *, now: datetime, profile: Profile = Profile.PRODUCT, proofs: set[bytes] | None = None
    ) -> None:
        self.now = self.now_for_people = now
        self.profile = profile
        self._ended_claims = False
        self._proofs = set() if proofs is None else proofs
        self.root = self._parse(root, Root)
        self._demand(self._signers(paths.ROOT), self.root, "root", "5.2")
        self.roots = {sha256_hex(self.root.raw): self.root.signed}
        self._timestamp: RoleFile[Timestamp] | None = None
        self._snapshot: RoleFile[Snapshot] | None = None
        self._old_timestamp: RoleFile[Timestamp] | None = None
        self._old_snapshot: RoleFile[Snapshot] | None = None

    @property
    def timestamp(self) -> RoleFile[Timestamp]:
        """The timestamp; there is one once it was accepted."""
        return _present(self._timestamp, paths.TIMESTAMP)

    @property
    def snapshot(self) -> RoleFile[Snapshot]:
        """The snapshot; there is one once it was accepted."""
        return _present(self._snapshot, paths.SNAPSHOT)

    # --- root ---

    def next_root(self, data: bytes) -> None:
        """Step to the next root (TUF 5.3.4 to 5.3.6).

        Raises:
            ThresholdNotMet: Not signed by the trusted root's threshold and by its own.
            MetadataMismatch: Its version is not exactly the next one.
        """
        new = self._parse(data, Root)
        what = f"root version {new.signed.version}"
        self._demand(self._signers(paths.ROOT), new, f"{what}, by the keys before it,", "5.3.4")
        self._demand(new.signed.roles[paths.ROOT], new, what, "5.3.4")
        expected = self.root.signed.version + 1
        if new.signed.version != expected:  # 5.3.5
            raise MetadataMismatch(f"root has version {new.signed.version}, not {expected} (TUF 5.3.5)")
        self.root = new
        self.roots[sha256_hex(new.raw)] = new.signed

    def check_root(self) -> None:
        """Demand that the newest root has not expired (TUF 5.3.10); roots on the way to it may have.

        Raises:
            ExpiredMetadata: It has.
        """
        self._check_fresh(self.root.signed, paths.ROOT, "5.3.10")

    def recall(self, timestamp: bytes | None, snapshot: bytes | None) -> None:
        """Take up what was trusted last, to compare newer versions with; never as fresh by itself.

        What the newest root's keys did not sign is forgotten: that is how a repository recovers from stolen online keys
        that signed absurdly high versions (TUF 5.3.11).

        Raises:
            FormatError: A stored file does not parse: the disk damaged it.
        """
        self._old_timestamp = self._recalled(timestamp, Timestamp)
        self._old_snapshot = self._recalled(snapshot, Snapshot)

    def _recalled(self, data: bytes | None, role_type: type[RoleT]) -> RoleFile[RoleT] | None:
        if data is None:
            return None
        signers = self._signers(role_type.TYPE)
        known = _proof(signers, data) in self._proofs  # which is made of nothing that was not read strictly
        envelope = parse_role(data, role_type, profile=self.profile, known=known)
        try:
            self._demand(signers, envelope, role_type.TYPE, "5.3.11")
        except ThresholdNotMet:
            return None
        return envelope

    # --- timestamp ---

    def accept_timestamp(self, data: bytes) -> bool:
        """Accept a timestamp (TUF 5.4.2 to 5.4.4).

        Returns:
            Whether it is newer than the one recalled. One of the same version changes nothing, whatever it holds: the
            one recalled stays.

        Raises:
            ThresholdNotMet: Not signed by the root's keys for it.
            RollbackDetected: It, or the snapshot it names, is older than recalled.
            ExpiredMetadata: Its time is over: the mirror may be holding back newer ones.
        """
        old = self._old_timestamp
        new = old if old is not None and old.raw == data else self._parse(data, Timestamp)
        self._demand(self._signers(paths.TIMESTAMP), new, "timestamp", "5.4.2")
        if old is not None:
            if new.signed.version < old.signed.version:  # 5.4.3.1
                raise RollbackDetected(
                    f"timestamp has version {new.signed.version};"
                    f" version {old.signed.version} was seen before (TUF 5.4.3)"
                )
            if new.signed.version == old.signed.version:
                new = old
            elif new.signed.snapshot.version < old.signed.snapshot.version:  # 5.4.3.2
                raise RollbackDetected(
                    f"timestamp names snapshot version {new.signed.snapshot.version};"
                    f" version {old.signed.snapshot.version} was seen before (TUF 5.4.3)"
                )
        self._check_fresh(new.signed, paths.TIMESTAMP, "5.4.4")
        self._timestamp = new
        return new is not old

    # --- snapshot ---

    @property
    def snapshot_meta(self) -> MetaFile:
        """What the timestamp says of the snapshot."""
        return self.timestamp.signed.snapshot

    def reuse_snapshot(self) -> bool:
        """Accept the recalled snapshot if it is still the one that the timestamp names, so that none is fetched.

        Raises:
            ExpiredMetadata: It is, and its time is over.
        """
        old = self._old_snapshot
        if old is None or not _is_promised(old.raw, self.snapshot_meta):
            return False
        if old.signed.version != self.snapshot_meta.version:
            return False
        self._check_fresh(old.signed, paths.SNAPSHOT, "5.5.6")
        self._snapshot = old
        return True

    def accept_snapshot(self, data: bytes) -> None:
        """Accept a snapshot (TUF 5.5.2 to 5.5.6).

        Raises:
            MetadataMismatch: Not the length, hash or version that the timestamp names.
            ThresholdNotMet: Not signed by the root's keys for it.
            RollbackDetected: It lists an older version of a role than recalled, or has lost one.
            ExpiredMetadata: Its time is over.
        """
        meta = self.snapshot_meta
        check_promise(data, meta, "snapshot", "5.5.2")
        new = self._parse(data, Snapshot)
        self._demand(self._signers(paths.SNAPSHOT), new, "snapshot", "5.5.3")
        if new.signed.version != meta.version:
            raise MetadataMismatch(
                f"snapshot has version {new.signed.version}, and the timestamp names {meta.version} (TUF 5.5.4)"
            )
        if self._old_snapshot is not None:
            _check_no_rollback(self._old_snapshot.signed, new.signed)
        self._check_fresh(new.signed, paths.SNAPSHOT, "5.5.6")
        self._snapshot = new

    def with_meta(self, meta: Mapping[str, MetaFile]) -> TrustedRoles:
        """A copy whose snapshot lists other versions: a view that nobody has signed yet, to look ahead with."""
        from copy import copy
        from dataclasses import replace

        other = copy(self)
        other._ended_claims = False
        other._snapshot = replace(self.snapshot, signed=replace(self.snapshot.signed, meta=meta))
        return other

    def for_renewal(self) -> TrustedRoles:
        """A copy that takes owner and crate roles whose time is over: others follow them, and nothing else is done."""
        from copy import copy

        other = copy(self)
        other._ended_claims = True
        return other

    # --- targets roles ---

    def meta(self, role: str) -> MetaFile:
        """What the snapshot says of a targets role.

        Raises:
            MetadataMismatch: It does not list it, so no version of it belongs to this view.
        """
        found = self.snapshot.signed.meta.get(role)
        if found is None:
            raise MetadataMismatch(f"the snapshot does not list the role {role[:80]!a} (TUF 5.6.1)")
        return found

    def version(self, role: str) -> int | None:
        """The version that the snapshot lists of a targets role; None when it lists none."""
        found = self.snapshot.signed.meta.get(role)
        return None if found is None else found.version

    def read_targets(self, role: str, data: bytes, meta: MetaFile) -> RoleFile[Targets]:
        """Check what does not depend on the delegator: length, hash, version, expiry (TUF 5.6.2, 5.6.4, 5.6.5).

        Raises:
            MetadataMismatch: Not the length, hash or version that the snapshot names.
            ExpiredMetadata: Its time is over.
        """
        new = self.read_promised(role, data, meta)
        self.check_unended(role, new.signed)
        return new

    def read_promised(self, role: str, data: bytes, meta: MetaFile) -> RoleFile[Targets]:
        """The same checks but for the expiry: for those who look at what there is, and trust it for nothing.

        Raises:
            MetadataMismatch: Not the length, hash or version that the snapshot names.
        """
        what = _called(role)
        check_promise(data, meta, what, "5.6.2")
        new = parse_role(data, Targets, profile=self.profile, what=what)
        _check_promised_version(new, meta, what)
        return new

    def check_parsed(self, role: str, envelope: RoleFile[Targets], meta: MetaFile) -> RoleFile[Targets]:
        """The same checks as `read_targets`, for a file that was parsed already.

        Raises:
            FormatError: It was parsed with another profile, or is larger than what is read of a targets role.
            MetadataMismatch: As there.
            ExpiredMetadata: As there.
        """
        what = _called(role)
        check_promise(envelope.raw, meta, what, "5.6.2")
        _check_promised_version(check_read_as(envelope, what, profile=self.profile), meta, what)
        self.check_unended(role, envelope.signed)
        return envelope

    def check_targets(self, role: str, envelope: RoleFile[Targets], delegator: Targets | None) -> None:
        """Check the signatures by the keys that its delegator names (TUF 5.6.3).

        Args:
            role: The role's name.
            envelope: The role.
            delegator: The role that delegates to it, or None for the top-level targets, which the root names.

        Raises:
            MetadataMismatch: The delegator does not delegate to it.
            ThresholdNotMet: Too few of those keys signed.
        """
        if delegator is None:
            signers: RoleKeys | None = self._signers(paths.TARGETS)
        else:
            signers = delegator.delegations.signers_of(role) if delegator.delegations is not None else None
        if signers is None:
            raise MetadataMismatch(f"nobody delegates to the role {role[:80]!a} (TUF 5.6.7)")
        self._demand(signers, envelope, role if delegator is None else f"role {role[:80]}", "5.6.3")

    # --- inside ---

    def _demand(self, signers: RoleKeys, envelope: RoleFile[Any], what: str, step: str) -> None:
        """Demand a threshold, and remember that this file met these keys' threshold: it always will."""
        proof = _proof(signers, envelope.raw)
        if proof not in self._proofs:
            signers.check(envelope, what, step)
            self._proofs.add(proof)

    def _signers(self, role: str) -> RoleKeys:
        return self.root.signed.roles[role]

    def _parse(self, data: bytes, role_type: type[RoleT]) -> RoleFile[RoleT]:
        return parse_role(data, role_type, profile=self.profile)

    def check_unended(self, role: str, signed: Signed) -> None:
        """Demand that a targets role's time is not over (TUF 5.6.5).

        Raises:
            ExpiredMetadata: It is.
        """
        now = self.now if is_bin(role) else self.now_for_people
        if self._ended_claims and signed.expired(now) and place_of(role).crate is not None:
            return
        self._check_fresh(signed, role, "5.6.5", now)

    def _check_fresh(self, signed: Signed, role: str, step: str, now: datetime | None = None) -> None:
        now = now or self.now
        if signed.expired(now):
            raise ExpiredMetadata(
                f"{_called(role)} version {signed.version} expired at {_text(signed.expires)},"
                f" and this machine's clock says {_text(now)} (TUF {step})",
                hint=f"if the clock is right (`date -u`), newer files are being held back, or {_renewal(role)}",
            )


def _proof(signers: RoleKeys, data: bytes) -> bytes:
    """What is remembered of a file that met its keys' threshold."""
    return sha256_raw(b"signed\0" + signers.fingerprint + sha256_raw(data))


def check_promise(data: bytes, meta: MetaFile, what: str, step: str) -> None:
    """Demand the length and hashes that were promised for a metadata file.

    Raises:
        MetadataMismatch: Other bytes.
    """
    if meta.length is not None and len(data) != meta.length:
        raise MetadataMismatch(f"{what} has {len(data)} bytes, and {meta.length} were promised (TUF {step})")
    _check_hashes(data, meta.hashes, what, step)


def _check_promised_version(new: RoleFile[Targets], meta: MetaFile, what: str) -> None:
    if new.signed.version != meta.version:
        raise MetadataMismatch(
            f"{what} has version {new.signed.version}, and the snapshot names {meta.version} (TUF 5.6.4)"
        )


OTHER_BYTES = (
    "something else answers in the mirror's place, such as a login page or a proxy, or its files are in the middle of "
    "a copy: nothing of it was used; try again in a minute, then ask its operator, who finds out with "
    "`carnet mirror fsck DIR`"
)
"""What to do about a file of a mirror's that is not the one that was promised."""


def check_target(data: bytes, path: str, length: int, hashes: Mapping[str, str]) -> None:
    """Demand that a target's bytes are the ones that were signed (TUF 5.7.2, 5.7.3).

    Raises:
        MetadataMismatch: Other bytes.
    """
    what = f"target {path[:120]}"
    if len(data) != length:
        raise MetadataMismatch(f"{what} has {len(data)} bytes, and {length} were signed (TUF 5.7.2)", hint=OTHER_BYTES)
    if not hashes:
        raise MetadataMismatch(f"{what} was signed without a hash (TUF 5.7.3)")
    _check_hashes(data, hashes, what, "5.7.3", hint=OTHER_BYTES)


def _check_hashes(data: bytes, hashes: Mapping[str, str], what: str, step: str, hint: str = "") -> None:
    for algorithm, expected in hashes.items():
        if algorithm not in _ALGORITHMS:
            raise MetadataMismatch(f"{what} is listed with the unknown hash {algorithm[:40]!a} (TUF {step})")
        found = sha256_hex(data) if algorithm == "sha256" else _other_digest(algorithm, data)
        if found != expected:
            raise MetadataMismatch(
                f"{what} has {algorithm} {found[:16]}..., and {expected[:16]}... was promised (TUF {step})", hint=hint
            )


def _other_digest(algorithm: str, data: bytes) -> str:
    """What repositories of the general profile may list files with."""
    import hashlib

    return hashlib.new(algorithm, data).hexdigest()


def _is_promised(data: bytes, meta: MetaFile) -> bool:
    try:
        check_promise(data, meta, "", "")
    except MetadataMismatch:
        return False
    return True


def _check_no_rollback(old: Snapshot, new: Snapshot) -> None:
    """TUF 5.5.5: every role that was listed still is, in no lower version; nor is the snapshot's own version lower."""
    if new.version < old.version:
        raise RollbackDetected(f"snapshot has version {new.version}; version {old.version} was seen before (TUF 5.5.5)")
    before, after = old.meta, new.meta
    for role in before.unlike(after) if isinstance(before, ListedFiles) else before:
        now = after.get(role)
        if now is None:
            raise RollbackDetected(f"the snapshot has lost the role {role[:80]!a} (TUF 5.5.5)")
        if now.version < before[role].version:
            raise RollbackDetected(
                f"the snapshot lists version {now.version} of the role {role[:80]!a};"
                f" version {before[role].version} was seen before (TUF 5.5.5)"
            )


def _called(role: str) -> str:
    return role if role in (paths.ROOT, paths.TIMESTAMP, paths.SNAPSHOT, paths.TARGETS) else f"role {role[:80]}"


def _renewal(role: str) -> str:
    """Who signs the next version of a role, and with which command."""
    try:
        place = place_of(role)
    except MetadataMismatch:  # another tree than carnet's
        return "whoever signs it has to sign the next version"
    if place.signers == Signers.ONLINE:
        return "its operator has to run `carnet mirror refresh DIR`"
    if place.signers == Signers.HOLDERS:
        return f"{place.signers} have to sign the next version (`carnet root rotate DIR`): ask the mirror's operator"
    return f"{place.signers} have to sign the next version (`carnet claim handover {place.crate} -o DIR`): ask them"


def _present(envelope: RoleFile[RoleT] | None, role: str) -> RoleFile[RoleT]:
    if envelope is None:
        raise NotFound(f"no {role} has been accepted yet")
    return envelope


def _text(moment: datetime) -> str:
    return times.written(moment)
