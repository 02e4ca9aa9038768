"""What is asked of one crate, who decided it, and what each rule found, as `carnet policy explain` shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from carnet.errors import CarnetError, PolicyRefused
from carnet_cli.report import as_json
from carnet_cli.terminal import output
from carnet_verifier.policy import rules

if TYPE_CHECKING:
    from carnet.cargo.names import CrateId
    from carnet_verifier.explain import Chain
    from carnet_verifier.policy.policy import Excuse, Policy
    from carnet_verifier.policy.rule import Rule
    from carnet_verifier.policy.verdict import Finding

_DEFAULT = "carnet's default"


@dataclass(frozen=True)
class PolicyReport:
    """What is asked of a crate, and what came of it.

    Attributes:
        crate: Which one; its version is not meant when there is no chain.
        policy: What holds.
        now: When it was judged.
        chain: From the root to the verdict; None when only the policy was asked for.
    """

    crate: CrateId
    policy: Policy
    now: datetime
    chain: Chain | None

    @property
    def name(self) -> str:
        """What was asked about: a crate, or one version of it."""
        return str(self.crate.name) if self.chain is None else str(self.crate)

    @property
    def failure(self) -> CarnetError | None:
        """Why the version is not let in."""
        failed = None if self.chain is None else self.chain.failure
        return None if failed is None else failed.error

    def findings(self, rule: Rule) -> list[Finding]:
        """What a rule found."""
        verdict = None if self.chain is None else self.chain.verdict
        return [] if verdict is None else [finding for finding in verdict.findings if finding.rule is rule]

    def excuses(self) -> list[tuple[Excuse, bool]]:
        """The exceptions in force for the crate, and whether each holds where the floor denies."""
        of_all = self.chain is None
        kept = [(excuse, True) for excuse in self.policy.excuses]
        kept += [(excuse, False) for excuse in self.policy.projects_excuses]
        return [
            (excuse, holds)
            for excuse, holds in kept
            if self.now < excuse.expires and (of_all or excuse.pattern.names(self.crate))
        ]


def policy_as_text(report: PolicyReport) -> None:
    """For people: what came of it, then each rule, setting and exception with who decided it."""
    output.echo(f"{report.name}: {_outcome(report)}")
    policy = report.policy
    rows = [(rule.name, str(policy.action(rule)), policy.who_says(rule) or _DEFAULT) for rule in rules.ALL]
    rows += [
        (setting.name, str(setting.written(policy.asks(setting, report.crate))), source or _DEFAULT)
        for setting in rules.settings()
        for source in [policy.who_asks(setting, report.crate)]
    ]
    width, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    named = {rule.name: rule for rule in rules.ALL}
    for name, said, source in rows:
        output.echo(f"  {name:<{width}}  {said:<{second}}  {output.plain(source)}")
        for finding in report.findings(named[name]) if name in named else []:
            output.echo(f"    {output.plain(str(finding))}")
    for excuse, holds in report.excuses():
        where = "" if holds else ", only where nobody else denies it"
        output.echo(
            f"  exception for {excuse.pattern} from {excuse.rule.name} until {excuse.expires.date()}"
            f"  {output.plain(excuse.source or _DEFAULT)}{where}: {output.plain(excuse.reason)}"
        )
    if report.failure is not None:
        output.report(report.failure)


def _outcome(report: PolicyReport) -> str:
    if report.chain is None:
        return "what is asked of it"
    if report.failure is None:
        return "allowed"
    if not isinstance(report.failure, PolicyRefused):
        return "refused, and not by the policy"
    return f"refused, says {report.failure.decided_by or _DEFAULT}"


def policy_as_json(report: PolicyReport) -> Iterator[Any]:
    """For machines: one object."""
    policy, verdict = report.policy, None if report.chain is None else report.chain.verdict
    found = [] if verdict is None else as_json.verdict_findings(verdict)
    yield {
        "reason": "policy",
        "name": str(report.crate.name),
        "version": None if report.chain is None else str(report.crate.version),
        "allowed": None if report.chain is None else report.failure is None,
        "rules": [
            {
                "rule": rule.name,
                "action": str(policy.action(rule)),
                "decided_by": policy.who_says(rule) or None,
                "findings": [finding for finding in found if finding["rule"] == rule.name],
            }
            for rule in rules.ALL
        ],
        "settings": [
            {
                "setting": setting.name,
                "asked": setting.written(policy.asks(setting, report.crate)),
                "decided_by": policy.who_asks(setting, report.crate) or None,
            }
            for setting in rules.settings()
        ],
        "exceptions": [
            {
                "crates": str(excuse.pattern),
                "rule": excuse.rule.name,
                "reason": excuse.reason,
                "expires": as_json.time(excuse.expires),
                "decided_by": excuse.source or None,
                "of_floor": holds,
            }
            for excuse, holds in report.excuses()
        ],
        "error": None if report.failure is None else as_json.error_object(report.failure),
    }
