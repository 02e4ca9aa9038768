"""Measures what tagging, packaging and the inspection `unpack` say about repositories of real crates.

    python -m tests.integration.repositories CARGO_HOME [CRATE...]

Every tarball in CARGO_HOME (such as `python -m tests.integration.compatibility CARGO_HOME` leaves) becomes a repository
again, is tagged and packaged by the real cargo, and inspected. docs/compatibility.md keeps the figures.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.support.crates.repositories import learn, rebuild, serving_index

from carnet.cargo.crate import read_crate
from carnet.errors import CarnetError
from carnet.intoto.steps import TagRecord
from carnet_signer.steps.packaging import Toolchain, find_toolchain
from carnet_signer.steps.record import record_package, record_tag
from carnet_verifier.provenance.unpack import unpack


def examine(tarball: Path, scratch: Path, home: Path, index: str, toolchain: Toolchain) -> tuple[set[str], list[str]]:
    """Traits of one crate's repository, and what the inspection found; raises what refused it."""
    published = read_crate(tarball.read_bytes())
    repository = rebuild(published, scratch / published.id.stem)
    learn(repository, home, os.environ)
    tagged = record_tag(repository.path, "v1", repository.folder, toolchain, index=index)
    packaged = record_package(repository.path, tagged.link, tagged.crate, toolchain, index=index)
    crate = read_crate(packaged.files[f"{tagged.crate.stem}.crate"])
    findings = unpack(crate, TagRecord.from_link(tagged.link, tagged.crate))
    theirs = {entry.path: entry.data for entry in published.entries}
    ours = {entry.path: entry.data for entry in crate.entries}
    if theirs.get("Cargo.toml") == ours["Cargo.toml"]:
        repository.traits.add("Cargo.toml is byte for byte the published one")
    return repository.traits, list(findings)


def main() -> None:
    """Examine, print."""
    home, chosen = Path(sys.argv[1]).absolute(), set(sys.argv[2:])
    toolchain = find_toolchain()
    traits: Counter[str] = Counter()
    good = 0
    refused: list[str] = []
    with tempfile.TemporaryDirectory() as scratch, serving_index(home) as index:
        for tarball in sorted((home / "registry/cache").glob("*/*.crate")):
            if chosen and tarball.stem not in chosen:
                continue
            try:
                found, findings = examine(tarball, Path(scratch), home, index, toolchain)
            except CarnetError as error:
                refused.append(f"{tarball.stem}: {error}")
                print("refused", refused[-1], flush=True)
                continue
            good += 1
            traits.update(found)
            print(tarball.stem, ", ".join(sorted(found)), *findings, sep="\n    ", flush=True)
    print(good, "admitted,", len(refused), "refused")
    for trait, count in traits.most_common():
        print(f"{count:5} {trait}")
    print(*refused, sep="\n")


if __name__ == "__main__":
    main()
