"""The receipt that a mirror gives for a claim or a takeover: since when everybody could see it.

::

    payload      {"_type": "carnet-receipt", "version": 1, "crate": "serde", "kind": "claim",
                  "decided": "<sha256>", "time": "2026-11-23T12:00:00Z"}                    canonical JSON
    payloadType  application/vnd.carnet.receipt+json

It is a DSSE envelope, signed by the online keys that the root names for the timestamp. What such a signature covers
begins with `DSSEv1` and the payload type: it fits no TUF role, whose signed bytes begin with a brace, and no link. A
receipt names by its digest what holders decide about (`carnet.claims.decided`), so it is worth nothing for anything
else; what follows from what is published when it is signed may change meanwhile.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from carnet import strictjson, times
from carnet.cargo.names import CrateName
from carnet.claims.decided import decided
from carnet.claims.waiting import KINDS, Waiting
from carnet.digests import sha256_hex
from carnet.errors import FormatError, ThresholdNotMet, VerificationError
from carnet.intoto.dsse import decode_base64, pae
from carnet.strictjson import JsonObject
from carnet.tuf import paths
from carnet.tuf.keys import Signature, is_keyid, signers
from carnet.tuf.roles import RoleFile, Root, Targets
from carnet.value import value

PAYLOAD_TYPE = "application/vnd.carnet.receipt+json"
MAX_RECEIPT = 16 * 1024
"""Bytes of a receipt with its signatures."""
MAX_SIGNATURES = 4
CLOCKS = timedelta(minutes=5)
"""How far the clocks of those who look at a receipt may be apart."""
KEPT_FOR = timedelta(days=60)
"""How long after its period a claim is listed and can be signed: for that long its signers may take to meet."""
_TYPE = "carnet-receipt"
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@value
class Proposed:
    """What waits, named by its digest.

    Attributes:
        crate: The crate, by its canonical name: one thing has one digest.
        kind: `carnet.claims.waiting.CLAIM` or `TAKEOVER`.
        decided: What holders decide about, by its sha256 in hex (`carnet.claims.decided`).
    """

    crate: CrateName
    kind: str
    decided: str

    def __post_init__(self) -> None:
        if str(self.crate) != self.crate.canonical:
            raise FormatError(f"a receipt names a crate by its one spelling, {self.crate.canonical}")
        if self.kind not in KINDS:
            raise FormatError(f"{self.kind[:20]!a} is nothing that waits")
        if not _SHA256.match(self.decided):
            raise FormatError("a receipt names what is decided by a sha256")

    @classmethod
    def of(cls, crate: CrateName, kind: str, drafts: Mapping[str, RoleFile[Targets]]) -> Proposed:
        """Name what drafts decide; whoever signed them so far does not matter.

        Raises:
            FormatError: The owner role is not among them.
        """
        return cls(CrateName(crate.canonical), kind, decided(crate, drafts))

    @property
    def digest(self) -> str:
        """One sha256, in hex, for all of it: the name by which people and mirrors speak of it."""
        return sha256_hex(strictjson.canonical(self.to_object()))

    def to_object(self) -> JsonObject:
        """As JSON."""
        return {"crate": str(self.crate), "kind": self.kind, "decided": self.decided}


@value
class ClaimReceipt:
    """What a receipt says, before anybody looked at who signed it.

    Attributes:
        proposed: What it is for.
        time: Since when, by the mirror's clock.
    """

    proposed: Proposed
    time: datetime

    @classmethod
    def from_payload(cls, payload: bytes) -> ClaimReceipt:
        """Read what is signed.

        Raises:
            FormatError: It is not the canonical form of exactly a receipt's fields.
        """
        value = strictjson.parse_object(payload, "a receipt", max_bytes=MAX_RECEIPT)
        match value:
            case {
                "_type": "carnet-receipt", "version": 1, "crate": str(crate), "kind": str(kind), "decided": str(digest),
                "time": str(time), **more,
            } if not more:  # fmt: skip
                found = cls(Proposed(CrateName(crate), kind, digest), times.read(time, "the time of a receipt"))
            case _:
                raise FormatError("a receipt needs exactly _type, version, crate, kind, decided and time")
        if found.payload != payload:
            raise FormatError("a receipt is not written in its one form")
        return found

    @property
    def payload(self) -> bytes:
        """What is signed, inside its envelope."""
        fixed: JsonObject = {"_type": _TYPE, "version": 1, "time": times.written(self.time)}
        return strictjson.canonical(fixed | self.proposed.to_object())

    def ends(self, waiting: Waiting) -> datetime:
        """When its period is over.

        Raises:
            FormatError: That is past the end of all calendars.
        """
        try:
            return self.time + waiting.period(self.proposed.kind)
        except OverflowError:
            raise FormatError(f"a receipt of {self.time:%Y-%m-%d} never ends") from None


def message(payload: bytes) -> bytes:
    """What a signature over a receipt covers."""
    return pae(PAYLOAD_TYPE, payload)


@value
class SignedReceipt:
    """A receipt with its signatures; nothing about it is verified yet.

    Attributes:
        payload: The exact bytes that were signed.
        signatures: As offered.
    """

    payload: bytes
    signatures: tuple[Signature, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> SignedReceipt:
        """Read a receipt's file.

        Raises:
            FormatError: It is not an envelope of a receipt.
        """
        return cls.from_object(strictjson.parse_object(data, "the receipt", max_bytes=MAX_RECEIPT))

    @classmethod
    def from_object(cls, value: object) -> SignedReceipt:
        """Read an envelope that was parsed already.

        Raises:
            FormatError: It is not an envelope of a receipt.
        """
        match value:
            case {"payload": str(payload), "payloadType": str(kind), "signatures": list(listed)} if (
                kind == PAYLOAD_TYPE and len(listed) <= MAX_SIGNATURES
            ):
                found = tuple(_signature(item) for item in listed)
                return cls(decode_base64(payload, "the payload of a receipt"), found)
            case _:
                raise FormatError(
                    f"a receipt needs payload, payloadType {PAYLOAD_TYPE} and at most {MAX_SIGNATURES} signatures"
                )

    def to_object(self) -> JsonObject:
        """As JSON."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [
                {"keyid": item.keyid, "sig": base64.b64encode(item.sig).decode()} for item in self.signatures
            ],
        }

    def to_bytes(self) -> bytes:
        """As a file, one line."""
        return strictjson.encode(self.to_object()) + b"\n"

    def verified(self, root: Root) -> ClaimReceipt:
        """What the receipt says, once it is known that the registry's online key signed it.

        Args:
            root: The newest root: a key that it no longer names may be in a thief's hands, and its receipts count no
                more.

        Raises:
            FormatError: It does not parse.
            ThresholdNotMet: The online keys of this root did not sign it.
        """
        receipt = ClaimReceipt.from_payload(self.payload)
        online = root.roles[paths.TIMESTAMP]
        if len(signers(online.keys, self.signatures, message(self.payload))) < online.threshold:
            raise ThresholdNotMet(
                f"the receipt for {receipt.proposed.crate} is not signed by the online key of root {root.version}",
                hint="hand the claim to the mirror again with `carnet claim propose`; the period begins anew",
            )
        return receipt


def check_belongs(receipt: ClaimReceipt, proposed: Proposed) -> None:
    """Demand that a receipt is for exactly this.

    Raises:
        VerificationError: It is for something else.
    """
    if receipt.proposed.to_object() != proposed.to_object():
        raise VerificationError(
            f"the receipt is for another {receipt.proposed.kind} of {receipt.proposed.crate} than this {proposed.kind} "
            f"of {proposed.crate}: what was public is {receipt.proposed.digest}, this is {proposed.digest}",
            hint="what was changed since is public first: `carnet claim propose`; the period begins anew",
        )


def check_waited(receipt: ClaimReceipt, proposed: Proposed, waiting: Waiting, *, now: datetime) -> datetime:
    """Demand that exactly this has been public for as long as the registry asks.

    Args:
        receipt: From `SignedReceipt.verified`.
        proposed: What is to be signed or published.
        waiting: What the root asks.
        now: The time.

    Returns:
        When the period ended.

    Raises:
        VerificationError: The receipt is for something else, or the period is not over, or was long ago.
    """
    check_belongs(receipt, proposed)
    if receipt.time > now + CLOCKS:
        raise VerificationError(
            f"the receipt is of {times.written(receipt.time)}, and now it is {times.written(now)}",
            hint="compare this machine's clock with the mirror's",
        )
    ends = receipt.ends(waiting)
    if ends > now:
        raise VerificationError(
            f"this {proposed.kind} of {proposed.crate} is public since {times.written(receipt.time)}, "
            f"and has to be until {times.written(ends)}",
            hint="come back then; meanwhile anybody may object",
        )
    if now - ends > KEPT_FOR:
        raise VerificationError(
            f"this {proposed.kind} of {proposed.crate} was to be public until {times.written(ends)}, "
            "and nobody sees it any more",
            hint="hand it in anew with `carnet claim propose`; the period begins anew",
        )
    return ends


def _signature(item: object) -> Signature:
    match item:
        case {"keyid": str(keyid), "sig": str(sig)} if is_keyid(keyid):
            return Signature(keyid, decode_base64(sig, "a signature of a receipt"))
        case _:
            raise FormatError("each signature of a receipt needs keyid and sig")
