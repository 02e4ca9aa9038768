"""What an operator says of pulling, as values; the file that says it is `carnet_cli.config.pull_file`'s."""

from __future__ import annotations

from dataclasses import dataclass, field

from carnet_mirror.pull.quotas import PullQuotas
from carnet_mirror.pull.rules import PullRules


@dataclass(frozen=True, slots=True)
class PullSettings:
    """What a mirror brings because somebody asked for it, from where, and how much of it.

    Attributes:
        upstream: `cargo` for the operator's own cargo, or the URL of a sparse index.
        rules: What may be brought.
        quotas: How much.
    """

    upstream: str
    rules: PullRules
    quotas: PullQuotas = field(default_factory=PullQuotas)
