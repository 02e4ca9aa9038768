"""A release's bundle of evidence: its layout, the links of its steps, statements about the tarball."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from carnet import strictjson
from carnet.errors import FormatError
from carnet.intoto.dsse import Envelope, decode_base64
from carnet.intoto.values import STEP_NAME

MAX_BUNDLE = 64 * 1024 * 1024
MAX_LINKS = 256
"""In a whole bundle; a release has about a dozen."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything that stands behind one release: `<stem>.bundle.json`.

    Attributes:
        layout: The layout file that the release was made under, byte for byte as the owners signed it into their role.
        links: For each step, the envelopes that were handed in for it.
        statements: Envelopes of in-toto Statements about the tarball (provenance, SBOM, verification summaries);
            carried, shown, and no part of any decision here.
    """

    layout: bytes
    links: Mapping[str, tuple[Envelope, ...]]
    statements: tuple[Envelope, ...] = ()

    def __post_init__(self) -> None:
        if sum(map(len, self.links.values())) > MAX_LINKS or len(self.statements) > MAX_LINKS:
            raise FormatError(f"a bundle has more than {MAX_LINKS} links or statements")

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """Read a bundle.

        Raises:
            FormatError: Too large, not strict JSON, not a bundle, or too many links.
        """
        value = strictjson.parse_object(data, "a bundle", max_bytes=MAX_BUNDLE)
        match value:
            case {
                "_type": "carnet-bundle",
                "version": 1,
                "layout": str(layout),
                "links": dict(links),
                "statements": list(statements),
            }:
                pass
            case _:
                raise FormatError("a bundle needs _type, version 1, layout, links and statements")
        read: dict[str, tuple[Envelope, ...]] = {}
        for step, envelopes in links.items():
            if STEP_NAME.match(step) is None or not isinstance(envelopes, list):
                raise FormatError(f"a bundle lists links by step; {step[:64]!a} is not one")
            read[step] = tuple(Envelope.from_object(item, f"a link of step {step}") for item in envelopes)
        return cls(
            decode_base64(layout, "the layout of a bundle"),
            read,
            tuple(Envelope.from_object(item, "a statement") for item in statements),
        )

    def to_bytes(self) -> bytes:
        """The bundle as a file; the same bundle gives the same bytes."""
        document = strictjson.encode(
            {
                "_type": "carnet-bundle",
                "version": 1,
                "layout": base64.b64encode(self.layout).decode(),
                "links": {
                    step: [envelope.to_object() for envelope in envelopes] for step, envelopes in self.links.items()
                },
                "statements": [envelope.to_object() for envelope in self.statements],
            }
        )
        return document + b"\n"
