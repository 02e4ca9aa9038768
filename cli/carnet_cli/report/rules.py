"""The rules in words, for help texts and documents: what each of them says of itself."""

from __future__ import annotations

from carnet_verifier.policy import rules


def rules_in_words() -> str:
    """Every rule and its default, a line each, which click leaves as they are."""
    listed = "\n".join(f"    {rule.name} ({rule.default})" for rule in rules.ALL)
    return f"What carnet.toml may set to deny, warn or allow, and the defaults:\n\n\b\n{listed}"


def rules_as_table() -> str:
    """Every rule as a row of a Markdown table: its name, its default, and its paragraph."""
    rows = [f"| `{rule.name}` | {rule.default} | {rule.about} |" for rule in rules.ALL]
    return "\n".join(("| rule | default | what breaks it |", "| --- | --- | --- |", *rows))


def settings_as_table() -> str:
    """Every setting of a rule as a row of a Markdown table: its name, its rule, and what it asks."""
    rows = [f"| `{one.name}` | `{rule.name}` | {one.about} |" for rule in rules.ALL for one in rule.settings]
    return "\n".join(("| setting | rule | what it asks |", "| --- | --- | --- |", *rows))
