"""What cannot be fetched decides nothing: no crate is admitted, and none is called wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.admissions import attributed_of
from tests.support.worlds.altered import altered
from tests.support.worlds.claims import with_dependency

from carnet.cargo.crate import CrateLimits
from carnet.cargo.names import CrateId, CrateName
from carnet.errors import (
    CarnetError,
    ExpiredMetadata,
    FormatError,
    MetadataError,
    MetadataMismatch,
    NotFound,
    StorageError,
    TransportError,
)
from carnet.tuf import paths
from carnet_verifier.admit import Wanted, admit_all, admit_tarball
from carnet_verifier.claims.owners import Claim
from carnet_verifier.line import attribute
from carnet_verifier.memory.metadata_store import MemoryStore
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.wire import Clock, Wire
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rules.young import LEAST_AGE
from carnet_verifier.tarballs import verify_tarball
from carnet_verifier.testing import InMemoryRepository
from carnet_verifier.tuf.refresh import CLOCK_SLACK, EARLIEST, MAX_NEW_ROOTS, read_repository, refresh
from carnet_verifier.tuf.repository import MAX_TARGET, TrustedRepository
from carnet_verifier.tuf.workflow import TrustedRoles

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
SERDE, ANYHOW, MISSING = (CrateId.parse(name) for name in ("serde@1.0.219", "anyhow@1.0.98", "missing@1.0.0"))


@pytest.fixture
def registry() -> InMemoryRepository:
    made = InMemoryRepository(now=NOW)
    made.add(str(SERDE))
    made.add(str(ANYHOW))
    made.publish()
    return made


def opened(registry: InMemoryRepository) -> TrustedRepository:
    return read_repository(registry.root, registry, now=NOW)


def lose(registry: InMemoryRepository, word: str) -> None:
    for path in [path for path in registry.files if word in path]:
        del registry.files[path]


def outcomes(registry: InMemoryRepository, *crates: CrateId) -> list[CarnetError | None]:
    repository = opened(registry)
    return [one.error for one in admit_all(repository, [Wanted(crate) for crate in crates], Policy(), None, now=NOW)]


def test_a_crate_that_nobody_lists_is_one_refusal_among_others(registry: InMemoryRepository) -> None:
    serde, missing, anyhow = outcomes(registry, SERDE, MISSING, ANYHOW)
    assert (serde, anyhow) == (None, None)
    assert isinstance(missing, NotFound)
    assert "missing" in str(missing)


@pytest.mark.parametrize("word", ["serde", "index-"])
def test_a_file_of_the_index_that_is_lost_decides_nothing(registry: InMemoryRepository, word: str) -> None:
    assert outcomes(registry, SERDE, ANYHOW) == [None, None]
    lose(registry, word)
    with pytest.raises(TransportError):
        outcomes(registry, SERDE, ANYHOW)


def test_a_tarball_that_is_lost_decides_nothing(registry: InMemoryRepository) -> None:
    lose(registry, "/download")
    with pytest.raises(TransportError):
        admit_tarball(opened(registry), Wanted(SERDE), Policy(), None, now=NOW)
    with pytest.raises(TransportError):
        opened(registry).download_unlisted([paths.download_path(SERDE)], max_bytes=CrateLimits().compressed)


def test_no_target_is_larger_than_any_may_be(registry: InMemoryRepository) -> None:
    """Online keys sign index files: a stolen one could ask for all memory."""
    repository = opened(registry)
    target = repository.find_target("index/se/rd/serde")
    with pytest.raises(MetadataMismatch, match="were signed"):
        repository.download(altered(target, length=target.length + 1))
    asked = len(registry.requests)
    with pytest.raises(MetadataMismatch, match="no target is larger than"):
        repository.download(altered(target, length=MAX_TARGET + 1))
    assert len(registry.requests) == asked


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "", "a\\b", "a\0b", "a b"])
def test_no_target_lies_elsewhere(registry: InMemoryRepository, path: str) -> None:
    repository = opened(registry)
    target = repository.find_target("index/se/rd/serde")
    asked = len(registry.requests)
    for ask in (lambda: repository.find_targets([path]), lambda: repository.download(altered(target, path=path))):
        with pytest.raises(FormatError):
            ask()
    assert len(registry.requests) == asked


def test_a_target_without_sha256_has_none_to_give(registry: InMemoryRepository) -> None:
    target = opened(registry).find_target("index/se/rd/serde")
    assert len(target.sha256) == 64
    with pytest.raises(MetadataMismatch, match="is listed without sha256"):
        _ = altered(target, hashes={"sha512": "0" * 128}).sha256


@pytest.mark.parametrize("days", [-1, 3651])
def test_an_age_is_a_number_of_days(days: int) -> None:
    assert LEAST_AGE.read(0) == timedelta(0)
    assert LEAST_AGE.read(3650) == timedelta(days=3650)
    with pytest.raises(FormatError, match="it is not a number of days from 0 to 3650"):
        LEAST_AGE.read(days)


# --- refreshing ---


@pytest.fixture
def trust(registry: InMemoryRepository, tmp_path: Path) -> TrustDirectory:
    return TrustDirectory.create(tmp_path / "trust", registry.root, registry.url)


@pytest.mark.parametrize("now", [NOW.replace(year=1970), EARLIEST - timedelta(seconds=1)])
def test_a_clock_from_before_carnet_is_told(trust: TrustDirectory, registry: InMemoryRepository, now: datetime) -> None:
    """It would call files fresh that expired long ago."""
    with pytest.raises(ExpiredMetadata, match="before carnet existed"):
        refresh(trust, registry, now=now)
    assert registry.requests == []
    refresh(trust, registry, now=EARLIEST)


def test_a_clock_that_went_back_is_told(trust: TrustDirectory, registry: InMemoryRepository) -> None:
    """A little at a time as well: what counts is the latest time that was seen."""
    refresh(trust, registry, now=NOW)
    for hours in (12, 24):
        refresh(trust, registry, now=NOW - timedelta(hours=hours))
    assert trust.last_refresh() == NOW
    with pytest.raises(ExpiredMetadata, match="and the last refresh was at 2027-03-01 12:00"):
        refresh(trust, registry, now=NOW - CLOCK_SLACK - timedelta(seconds=1))


def test_a_root_that_cannot_be_asked_for_decides_nothing(registry: InMemoryRepository) -> None:
    """Only that there is no newer one ends the walk; silence could hold a newer one back."""

    def silent(path: str, *, max_bytes: int) -> bytes:
        raise TransportError("gave up")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "get", silent)
        with pytest.raises(TransportError, match="gave up"):
            opened(registry)


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_what_was_trusted_last_and_is_damaged_is_told(
    trust: TrustDirectory, registry: InMemoryRepository, role: str
) -> None:
    """To go on as if nothing had been seen would let the repository go back."""
    refresh(trust, registry, now=NOW)
    (trust.path / "metadata" / f"{role}.json").write_bytes(b"{}")
    with pytest.raises(StorageError, match="what was trusted last is damaged"):
        refresh(TrustDirectory.open(trust.path), registry, now=NOW)


def test_roots_without_end_decide_nothing(registry: InMemoryRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bytes] = []
    monkeypatch.setattr(TrustedRoles, "next_root", lambda self, data: taken.append(data))
    monkeypatch.setattr(MemoryStore, "keep", lambda self, role, data: None)
    registry.files["metadata/2.root.json"] = registry.root
    with pytest.raises(MetadataError, match=f"more than {MAX_NEW_ROOTS} new roots at once: nothing was decided"):
        opened(registry)
    assert len(taken) == MAX_NEW_ROOTS


# --- what does not belong together ---


def test_a_claim_of_another_crate_says_nothing_of_this_one() -> None:
    attributed = attributed_of(honest_crate("plain", "1.0.0"))
    for name in ("other", "plainer", "plai"):
        claim = cast(Claim, SimpleNamespace(name=CrateName(name)))
        with pytest.raises(MetadataMismatch, match=f"the claim of {name} was offered for plain@1.0.0"):
            attribute(attributed.vouched, claim, released=False)


def test_a_connection_that_is_not_open_is_not_read() -> None:
    wire = Wire(Clock(1, 1, 1))
    for use in (wire.receive, lambda: wire.send(b"x")):
        with pytest.raises(TransportError, match="the connection is closed"):
            use()


def test_a_tarball_holds_what_its_line_says() -> None:
    """Resolution used the line; what is compiled is the tarball."""
    tarball = honest_crate("plain", "1.0.0")
    assert verify_tarball(attributed_of(tarball), tarball).data == tarball
    lied = attributed_of(tarball, with_dependency)
    with pytest.raises(CarnetError, match="evil"):
        verify_tarball(lied, tarball)
    with pytest.raises(MetadataMismatch, match="admitted was"):
        verify_tarball(attributed_of(tarball), honest_crate("plain", "1.0.1"))
