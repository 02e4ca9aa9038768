"""What each Python does first while `make mutants` runs: PYTHONPATH leads here."""

import os

if os.environ.get("CARNET_MUTANTS_CODE"):
    from tests.mutants import switch

    switch.install()
