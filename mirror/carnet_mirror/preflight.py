"""Preflight: what a submission must show before anything in it is read at length, and before anybody else waits for it.

Whoever has no key can send anything, so all that stands here costs little and needs no lock:

    0. there is a role in it: until then nothing is looked up either
    1. each role has a size that its kind and its published version allow
    2. it is the next version, or the published one once more
    3. those whom the role above names have signed it: the published role, or the submitted one when that passed
    4. only then is it read

The files of a submission are looked at from the top of the tree down, and the first of them is signed by keys that are
published. So nothing is read of a submission that nobody with a key has signed.
"""

from __future__ import annotations

from collections.abc import Mapping

from carnet.claims.submission import Submission
from carnet.errors import FormatError, MetadataMismatch, VerificationError
from carnet.tuf.next_version import check_version
from carnet.tuf.read import open_envelope, read_envelope
from carnet.tuf.roles import RoleFile, RoleKeys, SignedFile, Targets
from carnet.tuf.tree import RoleKind, parent_of, place_of, roles_of
from carnet_verifier.tuf.repository import TrustedRepository

GROWTH: Mapping[str, int] = {
    RoleKind.SHARD: 256 * 1024,
    RoleKind.OWNER: 256 * 1024,
    RoleKind.CRATE: 2 * 1024 * 1024,
}
"""Bytes that a role's next version may have beyond the published one: 256 owners with P-256 keys, 4,000 versions that a
first claim adopts."""


def check_holds_a_role(submission: Submission) -> None:
    """Demand that there is something in a submission that somebody may have signed.

    Raises:
        VerificationError: There is no role in it.
    """
    if not submission.roles:
        raise VerificationError("the submission holds no role", hint="`carnet release submit` makes one")


def check_signed(current: TrustedRepository, submission: Submission) -> dict[str, RoleFile[Targets]]:
    """Demand that every role of a submission is signed as the role above it demands, and read it.

    Args:
        current: The verified view of what is published.
        submission: Taken apart.

    Returns:
        Role name to the file, parsed.

    Raises:
        VerificationError: There is no role in it.
        FormatError: A role is larger than its next version can be, or does not parse.
        RollbackDetected: Somebody else published this version first.
        ThresholdNotMet: A role is not signed as the role above it demands.
        MetadataMismatch: Nobody delegates to a role.
    """
    check_holds_a_role(submission)
    passed: dict[str, RoleFile[Targets]] = {}
    for role in roles_of(submission.crate):
        data = submission.roles.get(role)
        if data is None:
            continue
        signers = _signers(current, passed, role)
        envelope = read_envelope(data, role, max_bytes=_allowed(current, role))
        _check_version(current, role, envelope)
        signers.check(envelope, role, "5.6.3")
        passed[role] = open_envelope(envelope, Targets, what=role)
    return passed


def _signers(current: TrustedRepository, passed: Mapping[str, RoleFile[Targets]], role: str) -> RoleKeys:
    above = parent_of(role)
    signers = None
    if above in passed or current.version(above) is not None:
        delegations = (passed.get(above) or current.role(above)).signed.delegations
        signers = None if delegations is None else delegations.signers_of(role)
    if signers is None:
        raise MetadataMismatch(
            f"{above} does not delegate to {role}",
            hint="a first claim comes with the shard, signed by the registry's holders",
        )
    return signers


def _allowed(current: TrustedRepository, role: str) -> int:
    published = len(current.role(role).raw) if current.version(role) is not None else 0
    return min(published + GROWTH[place_of(role).kind], Targets.MAX_BYTES)


def _check_version(current: TrustedRepository, role: str, envelope: SignedFile) -> None:
    version = envelope.body.get("version")
    if type(version) is not int:
        raise FormatError(f"{role}: version is not an integer of 1 or more")
    published = current.version(role)
    if version != published:
        check_version(role, version, published or 0)
