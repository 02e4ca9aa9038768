"""Which fields of a draft the paragraphs of a review speak of, and what else is in it."""

from __future__ import annotations

from carnet.claims.holders import ClaimFacts
from carnet.tuf.tree import roles_of
from carnet_signer import fields
from carnet_signer.proposals.proposal import Proposal

_CUSTOM = ("least_level", "separate_duties", "people", "generated", "releases")
_SIGNERS = ("name", "keyids", "threshold", "paths", "terminating")


def unsaid(proposal: Proposal) -> tuple[str, ...]:
    """Whatever of the drafts no paragraph of a review speaks of, a line each."""
    shard, owner, crate = roles_of(proposal.crate)
    # The teams of before and after are shown key by key, and so are their keys in the delegations.
    both = [
        ClaimFacts.of(one.signed) for one in (proposal.base.get(owner), proposal.drafts.get(owner)) if one is not None
    ]
    keys = {
        shard: [key for facts in both for key in facts.owners.signers.keys],
        owner: [key for facts in both for key in facts.releasers.signers.keys],
    }
    said: dict[str, list[fields.Path]] = {
        shard: [
            ("carnet", "least", fields.REST),  # as demanding as what there is, or an alarm: `review`
            ("carnet", "shards", fields.REST),  # demanded: the draft of a shard speaks for itself alone
            *(("delegations", "roles", owner, part, fields.REST) for part in _SIGNERS),
        ],
        owner: [
            ("carnet", "role"),  # demanded, as of the crate role
            ("carnet", "owners", "threshold"),
            ("carnet", "owners", "keys", fields.ANY),
            ("carnet", "owners", "people", fields.ANY),
            ("carnet", "releasers", "people", fields.ANY),
            ("carnet", "registry"),
            ("carnet", "takeover"),
            ("carnet", "adopted", fields.REST),
            *(("delegations", "roles", crate, part, fields.REST) for part in _SIGNERS),
            ("targets", fields.ANY, "length"),
            ("targets", fields.ANY, "hashes", "sha256"),
            *(("targets", fields.ANY, "custom", part, fields.REST) for part in _CUSTOM),
        ],
        crate: [
            ("carnet", "role"),
            ("carnet", "history", fields.REST),
            ("targets", fields.ANY, "length"),
            ("targets", fields.ANY, "hashes", "sha256"),
            *(("targets", fields.ANY, "custom", part) for part in ("index", "yanked", "registry", "bundle")),
        ],
    }
    lines: list[str] = []
    for role, draft in sorted(proposal.drafts.items()):
        shown = [("delegations", "keys", key.keyid) for key in keys.get(role, ())]
        before = proposal.base.get(role)
        found = fields.unsaid(
            None if before is None else before.body, draft.body, [*fields.EVERY_ROLE, *said[role], *shown]
        )
        lines += [f"{role}: {line}" for line in found]
    return tuple(lines)
