"""Real crates, fetched by the user's own cargo into a scratch home, with the index lines that cargo keeps there."""

from __future__ import annotations

import os
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from carnet.cargo.crate import DEFAULT_LIMITS, CrateFile, read_crate
from carnet.cargo.index_line import IndexFile, IndexLine, compare_line, line_from_crate
from carnet.cargo.names import CrateName
from carnet.errors import CarnetError

_CACHE_HEADER = 5  # cargo's own: a byte and a u32, then NUL-terminated: index version, and version and line by turns


def fetch(home: Path, folder: Path, dependencies: Sequence[str]) -> list[str]:
    """Lock and download everything that some dependencies need.

    Dependencies that cannot be resolved together are tried apart; one that cannot be resolved alone is left out.

    Args:
        home: The cargo home that receives them.
        folder: Where the project is written.
        dependencies: Lines of a `[dependencies]` table.

    Returns:
        The lines that were left out.
    """
    (folder / "src").mkdir(parents=True, exist_ok=True)
    (folder / "src/lib.rs").touch()
    manifest = '[package]\nname = "corpus"\nversion = "0.0.0"\nedition = "2015"\n[dependencies]\n'
    (folder / "Cargo.toml").write_text(manifest + "\n".join(dependencies) + "\n")
    (folder / "Cargo.lock").unlink(missing_ok=True)
    environment = os.environ | {"CARGO_HOME": str(home), "CARGO_TERM_COLOR": "never"}
    done = subprocess.run(
        ["cargo", "fetch"], cwd=folder, env=environment, capture_output=True, check=False, timeout=1200
    )
    if done.returncode == 0:
        return []
    if len(dependencies) == 1:
        return list(dependencies)
    half = len(dependencies) // 2
    return fetch(home, folder / "a", dependencies[:half]) + fetch(home, folder / "b", dependencies[half:])


@dataclass(frozen=True)
class Weight:
    """What a tarball weighs, and what it brings.

    Attributes:
        id: Which crate.
        packed: Bytes of the tarball.
        unpacked: Bytes of the files in it, padded as in a tar archive, with their headers.
        entries: Files and folders.
    """

    id: str
    packed: int
    unpacked: int
    entries: int

    @classmethod
    def of(cls, crate: CrateFile) -> Weight:
        """What one crate weighs."""
        unpacked = sum(512 + -(-len(entry.data) // 512) * 512 for entry in crate.entries)
        folders = {str(above) for entry in crate.entries for above in PurePosixPath(entry.path).parents} - {"."}
        return cls(str(crate.id), crate.length, unpacked, len(crate.entries) + len(folders))

    def __str__(self) -> str:
        return f"{self.id}: {self.packed} bytes, {self.unpacked} unpacked, {self.entries} files and folders"

    def unpacked_share(self) -> float:
        """Of what it may unpack to, how much it does."""
        return self.unpacked / DEFAULT_LIMITS.allowance(self.packed).unpacked

    def entries_share(self) -> float:
        """Of the files and folders that it may have, how many it has."""
        return self.entries / DEFAULT_LIMITS.allowance(self.packed).entries


@dataclass
class Findings:
    """What the readers had to say about a corpus.

    Attributes:
        counts: How many tarballs, files, index files, index lines, and lines that `line_from_crate` gives to the byte.
        notes: Crates by what was said about them: refusals begin with `refused`, all else was warned of.
        weights: What each tarball weighs.
    """

    counts: Counter[str] = field(default_factory=Counter)
    notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    weights: list[Weight] = field(default_factory=list)

    @property
    def refused(self) -> dict[str, list[str]]:
        """Refusals only."""
        return {note: crates for note, crates in self.notes.items() if note.startswith("refused")}


def examine(home: Path) -> Findings:
    """Read every tarball of a cargo home, and its index line, as a verifier does, one crate after the other."""
    findings = Findings()
    tarballs: dict[str, list[Path]] = defaultdict(list)
    for tarball in sorted((home / "registry/cache").glob("*/*.crate")):
        findings.counts["tarballs"] += 1
        tarballs[tarball.stem].append(tarball)
    for name, data in _index_files(home):
        findings.counts["index files"] += 1
        try:
            file = IndexFile.from_bytes(data, name)
            lines = file.readable
        except CarnetError as refusal:
            findings.notes[f"refused index file: {refusal}"].append(str(name))
            continue
        findings.counts["index lines"] += len(lines)
        if len(lines) != data.count(b"\n"):
            findings.notes["a line of its index file does not parse"].append(str(name))
        for line in lines:
            for tarball in tarballs.pop(line.id.stem, ()):
                _examine_tarball(tarball, line, findings)
    for stem in tarballs:
        findings.notes["refused: its index line is missing or does not parse"].append(stem)
    return findings


def _examine_tarball(tarball: Path, line: IndexLine, findings: Findings) -> None:
    def note(words: str) -> None:
        findings.notes[words.replace(str(line.id), "").replace(line.id.stem, "").strip(" :")].append(str(line.id))

    try:
        crate: CrateFile = read_crate(tarball.read_bytes(), line.id)
    except CarnetError as refusal:
        note(f"refused by the reader: {refusal}")
        return
    findings.counts["files"] += len(crate.entries)
    findings.weights.append(Weight.of(crate))
    for warning in crate.warnings:
        note(warning)
    try:
        for warning in compare_line(line, crate):
            note(warning)
    except CarnetError as refusal:
        note(f"refused by the comparison: {refusal}")
    ours = line_from_crate(crate, pubtime=line.pubtime, yanked=line.yanked)
    findings.counts["identical lines"] += ours.identity() == line.identity()


def _index_files(home: Path) -> Iterator[tuple[CrateName, bytes]]:
    for path in sorted((home / "registry/index").glob("*/.cache/**/*")):
        if path.is_file():
            yield CrateName(path.name), cached_index_file(path)


def cached_index_file(path: Path) -> bytes:
    """An index file, as the registry sent it, out of cargo's cache of it."""
    parts = path.read_bytes()[_CACHE_HEADER:].split(b"\0")
    return b"".join(line + b"\n" for line in parts[2::2])
