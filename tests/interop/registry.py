"""A registry with everything that carnet's format has, made by its own commands, at two times of its life.

* `ember` and `sumac`, of one shard, are claimed; `thorn`, of another, was claimed and given up; `birch` nobody claimed.
* One owner has a name beyond ASCII, and two people have P-256 keys: everybody's canonical JSON and ECDSA are used.
* Between the two times `ember` got a second version, and holders rotated the root with another online key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.crates.archives import honest_crate
from tests.support.registries.live import LiveRegistry, live_registry
from tests.support.registries.mirror_process import MirrorDirectory, now_in_seconds, serving
from tests.support.worlds.ceremony import DirectOnlineSigner, TestKey, make_key

from carnet.cargo.names import CrateId, CrateName
from carnet.tuf import paths
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.refresh import read_repository

OWNERS, RELEASERS = {"Ólga": "olga", "Omar": "omar"}, {"Rita": "rita", "Sven": "sven"}
HOLDERS = ("holder-0", "holder-1")
TARBALLS = {
    CrateId.of(name, version): honest_crate(name, version)
    for name, version in (
        *(("birch", "1.0.0"), ("birch", "1.1.0"), ("ember", "0.9.0"), ("ember", "1.0.0"), ("ember", "1.1.0")),
        *(("sumac", "2.0.0"), ("thorn", "0.1.0")),
    )
}
FIRST = ("birch@1.0.0", "ember@0.9.0", "sumac@2.0.0", "thorn@0.1.0")


def target_of(spec: str) -> str:
    """Where a claimed crate's tarball is among the targets, from `name@version`."""
    return paths.crate_path(CrateId.of(*spec.split("@")))


@dataclass(frozen=True)
class Moment:
    """What the registry said at one time.

    Attributes:
        timestamp: Its `timestamp.json`; all that it names is served for ever.
        root: The version of its newest root.
        targets: Target path to sha256, or None for what is signed not to be there, as carnet's own client reads them.
    """

    timestamp: bytes
    root: int
    targets: Mapping[str, str | None]


@dataclass(frozen=True)
class History:
    """The registry and what it was.

    Attributes:
        directory: Its mirror, with the holders' keys.
        online: The key that signs now.
        before: Its first time.
        after: Its second, which is what is served now.
        url: Where it is served now.
    """

    directory: MirrorDirectory
    online: TestKey
    before: Moment
    after: Moment
    url: str

    def read(self, path: str) -> bytes:
        """A file that is published now."""
        with self.directory.open() as store:
            data = store.read(path)
        assert data is not None, path
        return data


@contextmanager
def history(folder: Path) -> Iterator[History]:
    """Let the registry live; it is served, at its second time, while the block runs."""
    first = [data for crate, data in TARBALLS.items() if f"{crate.name}@{crate.version}" in FIRST]
    with live_registry(folder, first) as registry:
        directory = registry.mirror.directory
        registry.add_people([*OWNERS.values(), *RELEASERS.values()], p256=("olga", "rita"))
        for name in ("ember", "sumac", "thorn"):
            _claim(registry, name)
        registry.run("claim", "give-up", "thorn", "-o", "given-up", "--evidence", "nobody maintains it")
        _sign_and_submit(registry, "claim", "given-up", HOLDERS)
        _release(registry, "ember@1.0.0")
        before = _look(directory, 1)
        _release(registry, "ember@1.1.0")
        ceremony = registry.folder / "ceremony"
        ceremony.mkdir()
        for role, data in directory.ceremony.files.items():
            (ceremony / paths.metadata_name(role, 1)).write_bytes(data)
        registry.run("root", "update", "ceremony", registry.url)
        online = make_key("online-2")
        online.store(registry.folder)
        registry.run("root", "rotate", "ceremony", "--online", "online-2.pub")
        for holder in HOLDERS:
            registry.run("root", "sign", "ceremony", "--key", holder)
        registry.mirror.stop()
        secret = ("--passphrase-file", str(registry.folder / "passphrase"))
        mirror = str(directory.path)
        registry.run("mirror", "refresh", mirror, "--ceremony", "ceremony", "--next-online-key", "online-2", *secret)
        directory.signer = DirectOnlineSigner(online)
        directory.add(TARBALLS[CrateId.of("birch", "1.1.0")])
        after = _look(directory, 2)
        with serving(directory) as mirror_now:
            yield History(directory, online, before, after, f"{mirror_now.url}/")


def _claim(registry: LiveRegistry, name: str) -> None:
    people = [f"--owner={person}=person {key}.pub" for person, key in OWNERS.items()]
    people += [f"--release-key={person}=person {key}.pub" for person, key in RELEASERS.items()]
    people += ["--owners-threshold", "2", "--release-threshold", "2"]
    registry.run("claim", "new", name, "-o", f"claim-{name}", *people, "--evidence", "they wrote it")
    keys = [f"person {key}" for key in (*OWNERS.values(), *RELEASERS.values())]
    _sign_and_submit(registry, "claim", f"claim-{name}", (*keys, *HOLDERS))


def _release(registry: LiveRegistry, spec: str) -> None:
    tarball = registry.folder / f"{spec}.crate"
    tarball.write_bytes(TARBALLS[CrateId.of(*spec.split("@"))])
    registry.run("release", "assemble", tarball.name, "-o", f"release-{spec}")
    _sign_and_submit(registry, "release", f"release-{spec}", [f"person {key}" for key in RELEASERS.values()])


def _sign_and_submit(registry: LiveRegistry, kind: str, folder: str, keys: Iterable[str]) -> None:
    for key in keys:
        registry.run(kind, "sign", folder, "--key", key)
    registry.run(kind, "submit", folder)


def _look(directory: MirrorDirectory, root: int) -> Moment:
    """What carnet's own client, without a memory, reads."""
    index = [paths.index_path(CrateName(name)) for name in ("birch", "ember", "sumac", "thorn", "nobody")]
    wanted = [*index, *map(paths.crate_path, TARBALLS)]
    with directory.open() as store:
        timestamp = store.read("metadata/timestamp.json")
        view = read_repository(directory.root, ReadFetcher(store.read), now=now_in_seconds())
        found = view.find_targets(wanted)
    assert timestamp is not None
    return Moment(
        timestamp, root, {path: None if target is None else target.hashes["sha256"] for path, target in found.items()}
    )
