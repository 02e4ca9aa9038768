"""The in-memory repository that users' tests get: honest, of a mirror's form, and refused as soon as it is changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from carnet.cargo.index_file import IndexLine
from carnet.cargo.names import CrateId, CrateName
from carnet.errors import ArchiveRefused, ExpiredMetadata, MetadataError, NotFound, ThresholdNotMet, TransportError
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Targets as OurTargets
from carnet.tuf.structure import check_structure
from carnet_verifier.admit import admit_one, admit_tarball
from carnet_verifier.outcomes import Wanted
from carnet_verifier.policy.policy import Policy
from carnet_verifier.testing import InMemoryRepository
from carnet_verifier.tuf.refresh import read_repository

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
SERDE = CrateId.parse("serde@1.0.219")


@pytest.fixture
def registry() -> InMemoryRepository:
    made = InMemoryRepository(now=NOW)
    made.add("serde@1.0.219")
    made.publish()
    return made


def test_the_verifier_takes_it(registry: InMemoryRepository) -> None:
    view = read_repository(registry.root, registry, now=NOW)
    admission = admit_one(view, Wanted(SERDE), Policy(), None, now=NOW)
    assert admission.sha256 in registry.lock().decode()
    assert registry.requests[:3] == ["metadata/2.root.json", "metadata/timestamp.json", "metadata/1.snapshot.json"]


def test_every_role_has_the_structure_that_a_mirrors_has(registry: InMemoryRepository) -> None:
    view = read_repository(registry.root, registry, now=NOW)
    roles = view.trusted.snapshot.signed.meta
    assert len(roles) == 3 + 256 + 16
    for role in roles:
        check_structure(role, view.role(role).signed)
        parse_role(registry.files[f"metadata/1.{role}.json"], OurTargets)


def test_a_crate_that_is_not_in_it_is_proven_not_to_be(registry: InMemoryRepository) -> None:
    view = read_repository(registry.root, registry, now=NOW)
    with pytest.raises(NotFound):
        admit_one(view, Wanted(CrateId.parse("syn@2.0.0")), Policy(), None, now=NOW)
    assert view.claim(CrateName("syn")) is None


def test_python_tufs_client_takes_it_as_well(registry: InMemoryRepository, tmp_path: Path) -> None:
    class Fetching(FetcherInterface):
        def _fetch(self, url: str) -> Iterator[bytes]:
            try:
                yield registry.get(url.removeprefix(registry.url), max_bytes=1_000_000)
            except TransportError as error:
                raise DownloadHTTPError(str(error), error.status or 500) from None

    updater = Updater(
        str(tmp_path),
        registry.url + "metadata/",
        target_base_url=registry.url + "targets/",
        fetcher=Fetching(),
        bootstrap=registry.root,
    )
    updater._trusted_set.reference_time = NOW
    found = updater.get_targetinfo(paths.index_path(SERDE.name))
    assert found is not None
    downloaded = Path(updater.download_target(found, str(tmp_path / "serde"))).read_bytes()
    assert b'"vers":"1.0.219"' in downloaded


def test_a_later_publication_follows_the_one_before(registry: InMemoryRepository) -> None:
    later = NOW + timedelta(days=30)
    with pytest.raises(ExpiredMetadata):
        read_repository(registry.root, registry, now=later)
    registry.add("serde@1.0.219", yanked=True)
    registry.add("serde@1.0.220")
    registry.publish(now=later)
    view = read_repository(registry.root, registry, now=later)
    assert view.trusted.snapshot.signed.version == 2
    assert admit_one(view, Wanted(SERDE), Policy(), None, now=later).line.yanked
    assert admit_one(view, Wanted(CrateId.parse("serde@1.0.220")), Policy(), None, now=later)


def test_what_was_not_published_is_not_seen(registry: InMemoryRepository) -> None:
    registry.add("syn@2.0.0")
    view = read_repository(registry.root, registry, now=NOW)
    with pytest.raises(NotFound):
        admit_one(view, Wanted(CrateId.parse("syn@2.0.0")), Policy(), None, now=NOW)


def test_a_line_of_ones_own_is_published_as_it_is(registry: InMemoryRepository) -> None:
    text = f'{{"name":"syn","vers":"2.0.0","deps":[],"cksum":"{"ab" * 32}","features":{{"a":[]}},"yanked":false}}'
    line = IndexLine.from_bytes(text.encode())
    registry.add_line(line)
    registry.publish()
    view = read_repository(registry.root, registry, now=NOW)
    assert admit_one(view, Wanted(line.id, "ab" * 32), Policy(), None, now=NOW).line == line


def test_a_tarball_is_served_under_the_name_that_clients_ask_for(registry: InMemoryRepository) -> None:
    registry.add("plus@1.0.0+build", b"no tarball")
    registry.publish()
    view = read_repository(registry.root, registry, now=NOW)
    crate = CrateId.parse("plus@1.0.0+build")
    with pytest.raises(ArchiveRefused, match="not gzip"):  # it came, and is read
        admit_tarball(view, Wanted(crate), Policy(), None, now=NOW)
    assert registry.requests[-1] == "api/v1/crates/plus/1.0.0+build/download"


@pytest.mark.parametrize("role", ["1.targets", "1.claims", "1.index", "timestamp", "1.snapshot", "1.claims-8b"])
def test_a_changed_file_is_refused(registry: InMemoryRepository, role: str) -> None:
    path = f"metadata/{role}.json"
    changed = registry.files[path].replace(b'"1.0.31"', b'"1.0.32"')
    assert changed != registry.files[path]
    registry.files[path] = changed
    with pytest.raises(MetadataError):
        admit_one(read_repository(registry.root, registry, now=NOW), Wanted(SERDE), Policy(), None, now=NOW)


def test_another_repositorys_root_does_not_open_it(registry: InMemoryRepository) -> None:
    with pytest.raises(ThresholdNotMet):
        read_repository(InMemoryRepository(now=NOW).root, registry, now=NOW)


def test_what_is_not_there_and_what_is_too_large_are_errors_of_transport(registry: InMemoryRepository) -> None:
    absent, large = registry.get_many([("metadata/9.root.json", 10), ("metadata/1.root.json", 10)])
    assert isinstance(absent, TransportError)
    assert absent.absent
    assert isinstance(large, TransportError)
    assert not large.absent
