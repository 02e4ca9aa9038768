"""What a mirror will have after a sync: its own versions, and those of the upstream that may stand beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from carnet.cargo.index_line import IndexLine
from carnet.cargo.let_in import LetIn
from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateId, CrateName
from carnet.claims.history import History
from carnet.errors import VerificationError
from carnet.publishable.checks import Destination, remarks_on
from carnet_mirror.state.files import blob_path
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.records import StoredVersion
from carnet_mirror.state.store import Store
from carnet_mirror.sync.claimed import CLAIMED, ClaimedCrates, check_adopted_line
from carnet_mirror.sync.outcome import KeptVersion, Refused, SyncNote, SyncReport, WaitingVersion
from carnet_mirror.upstream.packages import Listing
from carnet_signer.metadata.publish import PublishResult


@dataclass(frozen=True, slots=True)
class Examined:
    """A tarball and its index line that passed every check that needs no state, or that an operator lets in.

    Without a tarball, the version is listed only.
    """

    line: IndexLine
    tarball: Path | None
    length: int
    let_in: LetIn | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Missed:
    """A locked package that the upstream did not give whole.

    Attributes:
        package: The package.
        reason: What is missing, in words.
        has_none: Whether the upstream said that it does not have it.
        heard: Whether the upstream answered properly.
    """

    package: LockedPackage
    reason: str
    has_none: bool
    heard: bool


class Merge:
    """The versions of the crates that a sync touches, as they will be.

    Args:
        store: The mirror, inside a change.
        upstream: How it remembers where they come from.
        now: The time, as `pubtime` is written.
    """

    def __init__(self, store: Store, upstream: str, now: str) -> None:
        self._store = store
        self._upstream = upstream
        self._now = now
        self._view = UnverifiedView(store)
        self._crates: dict[str, dict[str, StoredVersion]] = {}
        self._kept: dict[CrateId, KeptVersion] = {}
        self._compared: set[CrateId] = set()
        self.names: dict[str, CrateName] = {}
        self.tarballs: dict[str, Path] = {}
        self.comes = 0  # bytes of these tarballs
        self.added: set[CrateId] = set()
        self.updated: set[CrateId] = set()
        self.locked: set[CrateId] = set()
        self.refused: list[Refused] = []
        self.waiting: list[WaitingVersion] = []
        self.findings: list[SyncNote] = []
        self.histories: dict[CrateName, History] = {}
        self.appeared: set[CrateId] = set()

    @property
    def kept(self) -> tuple[KeptVersion, ...]:
        """What stays as it was although the upstream says less."""
        return tuple(self._kept[crate] for crate in sorted(self._kept))

    def take(self, examined: Sequence[Examined]) -> None:
        """Add each version, or refuse it and leave what is there as it is."""
        claimed = self._claimed(item.line.id for item in examined)
        for item in examined:
            crate = item.line.id
            try:
                self._take(crate, item, claimed)
                self._compared.add(crate)
                self.locked.add(crate)
            except VerificationError as error:
                self.refused.append(Refused(crate, str(error)))

    def _take(self, crate: CrateId, item: Examined, claimed: ClaimedCrates) -> None:
        versions = self._versions(crate, claimed)
        known = versions.get(str(crate.version))
        adopted = claimed.adopted(crate) if crate.name in claimed else None
        if adopted is not None:
            check_adopted_line(adopted, item.line)
        if known is None:
            new = self._new(item)
            if adopted is not None:
                new = replace(new, line=new.line.with_(yanked=adopted.yanked))
            versions[str(crate.version)] = new
            self.added.add(crate)
            if item.tarball is None:
                return
            self.tarballs[item.line.cksum] = item.tarball
            self.comes += item.length
            here = Destination(published=tuple(one.id for one in versions.values()))
            self.findings += [SyncNote(crate, text) for text in remarks_on(crate, here)]
            return
        if known.line.cksum != item.line.cksum:
            raise VerificationError(
                f"the upstream now has a tarball with sha256 {item.line.cksum} for it, "
                f"this mirror keeps {known.line.cksum}"
            )
        if adopted is None:
            self._update(known, item.line)
        if item.tarball is not None and not known.is_here:
            versions[str(crate.version)] = replace(versions[str(crate.version)], length=item.length)
            self.tarballs[item.line.cksum] = item.tarball
            self.comes += item.length
            self.added.add(crate)

    def miss(self, missed: Sequence[Missed]) -> None:
        """Keep of these what the mirror has; the others wait, unless the upstream said that it does not have them."""
        claimed = self._claimed(one.package.id for one in missed)
        for one in missed:
            crate = one.package.id
            try:
                known = self._versions(crate, claimed).get(str(crate.version))
                if known is not None and one.package.checksum not in (None, known.line.cksum):
                    raise VerificationError(
                        f"this mirror keeps a tarball with sha256 {known.line.cksum}, the lock demands another; "
                        f"{one.reason}"
                    )
                if known is not None and not known.is_here:
                    known = None  # it is only listed
                if known is None and one.has_none:
                    raise VerificationError(one.reason)
            except VerificationError as error:
                self.refused.append(Refused(crate, str(error)))
                continue
            if known is None:
                self.waiting.append(WaitingVersion(crate, one.reason))
            else:
                self.locked.add(crate)
                self._keep(crate, one.reason, heard=one.heard)

    def hear(self, index: Mapping[CrateName, tuple[bytes, ...]]) -> None:
        """Note which versions the upstream lists of these crates, claimed or not; those of others that are here."""
        claimed = ClaimedCrates(self._store, index)
        for name, chunks in index.items():
            here = self._crates.get(name.canonical) or {
                str(one.id.version): one for one in self._store.crates.versions(name)
            }
            spelling = self._store.crates.spelling(name) or (str(self.names[name.canonical]) if here else None)
            if spelling != str(name):
                continue
            before = self._view.history(name)
            now = (History(name, {}) if before is None else before).heard(chunks)
            if now != before and (before is not None or any(str(version) not in here for version in now.versions)):
                self.histories[name] = now
            if name in claimed:
                signed = claimed.releases(name).versions
                self.appeared |= {one.id for one in now if one.id.version not in signed}

    def follow_upstream(self, index: Mapping[CrateName, tuple[bytes, ...]]) -> None:
        """Take the yank states of every version that the mirror has of these crates, locked or not.

        Of claimed crates those are the maintainers'.
        """
        refused = {item.crate for item in self.refused}
        claimed = ClaimedCrates(self._store, index)
        for name, chunks in index.items():
            if name in claimed:
                continue
            versions = self._crates.get(name.canonical, {})
            others = {text for text, one in versions.items() if one.id not in self._compared | refused}
            if self.names.get(name.canonical) != name or not others:
                continue
            listing = Listing(chunks, name, others)
            if not listing.heard:
                continue  # said of those that are locked
            for text in others:
                self._follow(versions[text], listing)

    def _follow(self, known: StoredVersion, listing: Listing) -> None:
        line = listing.lines.get(str(known.id.version))
        if line is None:
            self._keep(known.id, listing.missing(str(known.id.version)))
        elif line.cksum != known.line.cksum:
            self._keep(known.id, f"the upstream's index now says sha256 {line.cksum} of it")
        else:
            try:
                self._update(known, line)
            except VerificationError as error:
                self._keep(known.id, str(error))

    def changed(self, also: Iterable[CrateId]) -> list[tuple[CrateName, list[StoredVersion]]]:
        """The crates that have something new, and those of which something new is said, with all their versions."""
        said = {crate.name.canonical for crate in also if crate in self.locked}
        touched = said | {crate.name.canonical for crate in self.added | self.updated}
        return [(self.names[key], list(self._crates[key].values())) for key in sorted(touched)]

    def report(
        self,
        here: int,
        refused: Sequence[Refused],
        findings: Sequence[SyncNote] = (),
        published: PublishResult | None = None,
    ) -> SyncReport:
        """What came of all of it.

        Args:
            here: How many packages of claimed crates were asked for and are here.
            refused: What was not taken before it came here.
            findings: What a person should know of what was.
            published: What the publish did, if there was one.
        """
        return SyncReport(
            added=tuple(sorted(self.added)),
            updated=tuple(sorted(self.updated)),
            unchanged=here + len(self.locked - self.added - self.updated),
            refused=tuple(sorted([*refused, *self.refused], key=lambda item: item.crate)),
            kept=self.kept,
            waiting=tuple(sorted(self.waiting, key=lambda item: item.crate)),
            findings=(*findings, *self.findings),
            published=published,
            appeared=tuple(sorted(self.appeared)),
        )

    # --- what the mirror has ---

    def _claimed(self, crates: Iterable[CrateId]) -> ClaimedCrates:
        return ClaimedCrates(self._store, {crate.name for crate in crates})

    def _versions(self, crate: CrateId, claimed: ClaimedCrates) -> dict[str, StoredVersion]:
        name = crate.name
        if name in claimed and claimed.adopted(crate) is None:
            raise VerificationError(CLAIMED)
        spelling = self._store.crates.spelling(name) or str(self.names.get(name.canonical, name))
        if spelling != str(name):
            raise VerificationError(f"this mirror has the crate as {spelling}, which is another spelling of its name")
        if name.canonical not in self._crates:
            self.names[name.canonical] = name
            self._crates[name.canonical] = {str(one.id.version): one for one in self._store.crates.versions(name)}
        return self._crates[name.canonical]

    def _new(self, item: Examined) -> StoredVersion:
        known = item.line.pubtime is not None
        line = item.line if known else item.line.with_(pubtime=self._now)
        origin = item.origin or self._upstream
        return StoredVersion(line, item.length, blob_path(line.cksum), origin, known, self._now)

    def _keep(self, crate: CrateId, reason: str, *, heard: bool = True) -> None:
        """Tell that a version stays as it was; the first reason is the one that counts."""
        self._kept.setdefault(crate, KeptVersion(crate, reason, heard))

    def _update(self, known: StoredVersion, line: IndexLine) -> None:
        """Take from an upstream's line what may change of a version. A field that it lacks changes nothing."""
        if known.line.identity() != line.identity():
            raise VerificationError(
                "the upstream changed its index line: dependencies or features differ from the mirror's"
            )
        new = known
        if line.raw.get("yanked") is None:
            if known.line.yanked:
                self._keep(known.id, "the upstream no longer says whether it is yanked: it stays yanked")
        elif known.line.yanked != line.yanked:
            new = replace(new, line=new.line.with_(yanked=line.yanked))
        if line.pubtime is None:
            if known.pubtime_is_upstreams:
                self._keep(known.id, "the upstream no longer says when it was published")
        elif not known.pubtime_is_upstreams:
            new = replace(new, line=new.line.with_(pubtime=line.pubtime), pubtime_is_upstreams=True)
        elif line.pubtime != known.line.pubtime:
            self.findings.append(
                SyncNote(
                    known.id, f"the upstream now says {line.pubtime} for its publication, {known.line.pubtime} before"
                )
            )
        if new != known:
            self._crates[known.id.name.canonical][str(known.id.version)] = new
            self.updated.add(known.id)
