"""`carnet doctor`: what protects builds on this machine, and what does not."""

from __future__ import annotations

import os
from pathlib import Path

import click

from carnet_cli.commands.build.locked_project import LockedProject
from carnet_cli.config import home
from carnet_cli.doctor import own_home, read_only_home
from carnet_cli.doctor.check import Check, Health, Patient
from carnet_cli.report.doctor import as_json, as_text
from carnet_cli.terminal import output
from carnet_cli.terminal.output import MessageFormat

CHECKS: tuple[Check, ...] = (read_only_home.CHECK, own_home.CHECK)
"""What is looked at, in this order."""


@click.command()
@output.message_format
@click.option("--json", "message_format", flag_value="json", help="The same as `--message-format json`.")
def command(message_format: MessageFormat) -> int:
    """Say what protects builds on this machine, and what does not.

    Nothing is changed. Exit status 1 means that something is not as the policy of this project asks, or that others can
    write to carnet's home. For example:

    \b
        carnet doctor
        carnet doctor --json
    """
    settings = LockedProject.around(Path()).settings()
    patient = Patient(home.home(), settings.policy, os.environ)
    diagnoses = [check.look(patient) for check in CHECKS]
    output.show(diagnoses, message_format, as_text, as_json)
    return int(any(diagnosis.health is Health.FAILURE for diagnosis in diagnoses))
