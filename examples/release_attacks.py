"""The attacks on a release: forged evidence, a weak layout, too few signatures.

The honest version 0.2.0 is ready to be submitted. Each attack changes one thing of it, and signs it with the keys that
were stolen; as thieves do, it goes around `carnet release assemble`, which would have refused too. The mirror judges it
with the code that clients use.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

from carnet.cargo.crate import read_crate
from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.intoto.bundle import Bundle
from carnet.intoto.dsse import Envelope
from carnet.intoto.steps import ArtifactNames
from carnet.intoto.values import Link
from carnet_signer.keys.public import read_public_key
from carnet_signer.keys.signer import Signer
from carnet_signer.proposals import release
from carnet_signer.proposals.ownership import PublishedClaim, read_published
from carnet_signer.proposals.proposal import Proposal, save
from carnet_signer.steps.record import sign_link
from carnet_verifier.net.fetch import HttpFetcher
from carnet_verifier.tuf.refresh import read_repository
from examples import releases
from examples.releases import CRATE, UNLOCK
from examples.stage import DemoError, Stage
from examples.thief import Online, instead, open_key
from examples.wire import Wire

VERSION = "0.2.0"
ID = CrateId.of(CRATE, VERSION)
Links = Mapping[str, tuple[Envelope, ...]]
"""Step -> what is handed in for it."""


def play(stage: Stage, network: Wire) -> str:
    """Prepare an honest next version, and try every forgery of it.

    Returns:
        The folder of the honest release, signed.
    """
    stage.say(f"first the honest evidence of version {VERSION}; each attack then changes one thing of it")
    source = stage.folder / "library" / "src" / "lib.rs"
    source.write_text(source.read_text().replace("greetings from", "greetings once more from"))
    releases.commit(stage, VERSION)
    releases.record(stage, VERSION)
    folder = releases.assemble(stage, VERSION)
    releases.sign(stage, folder, "rita")
    forger = Forger(stage, network, folder)
    forger.one_signature()
    releases.sign(stage, folder, "sven")
    forger.another_tarball()
    forger.dropped_file()
    forger.renamed_link()
    forger.link_of_another_version()
    forger.half_a_review()
    forger.tagger_reviews()
    forger.failed_test()
    forger.sublayout()
    forger.weak_layout()
    return folder


@dataclass(frozen=True)
class Forger:
    """Somebody who stole the release keys of Rita and Sven, and here and there another one.

    Attributes:
        stage: Where the commands run.
        network: On the way to the mirror.
        folder: The honest release.
    """

    stage: Stage
    network: Wire
    folder: str

    # --- the attacks ---

    def one_signature(self) -> None:
        """Submit with one release key, from a folder that was made to say that one is enough."""
        name = "a release with one signature"
        self.stage.attack(
            name, "Rita alone edits her copy of the owners' role until it asks for one signature, and submits"
        )
        copy = self.stage.folder / "lone"
        shutil.copytree(self.stage.folder / self.folder, copy)
        for role in copy.glob("base/owner.*.json"):
            file = json.loads(role.read_bytes())
            file["signed"]["delegations"]["roles"][0]["threshold"] = 1
            role.write_text(json.dumps(file))
        self.stage.run("carnet release status lone")
        self.stage.refuses(name, "carnet release submit lone", r"signed by 1 of its 3 keys, 2 are needed")

    def another_tarball(self) -> None:
        """Package something else than was tagged, with the packager's key."""
        name = "a tarball that is not the tagged source"
        self.stage.attack(name, "with the packager's key too: a line is added to src/lib.rs while packaging")
        path = f"{ID.stem}/src/lib.rs"
        tarball = self._repack(lambda files: files | {path: files[path] + b"pub fn innocent() {}\n"})
        self._submit(name, r"src/lib.rs", links=self._packaged(tarball), tarball=tarball)

    def dropped_file(self) -> None:
        """Leave a file out of the tarball, with the packager's key."""
        name = "a dropped file"
        self.stage.attack(name, "with the packager's key too: README.md is left out of the tarball")
        tarball = self._repack(lambda files: {path: data for path, data in files.items() if "README" not in path})
        self._submit(name, r"README.md", links=self._packaged(tarball), tarball=tarball)

    def renamed_link(self) -> None:
        """File a link under another step, which its key may carry out as well."""
        name = "a link renamed to another step"
        self.stage.attack(
            name, "nobody tested: the CI's own signed link of its rebuild is handed in as its link of `test`"
        )
        rebuilt = next(one for one in self._honest["rebuild"] if self._signed_by(one, "ci"))
        self._submit(name, r"is for the step rebuild", links={"test": (rebuilt,)})

    def link_of_another_version(self) -> None:
        """Hand in the reviews of the version before."""
        name = "a link of another version"
        self.stage.attack(name, f"nobody reviewed {VERSION}: the two reviews of 0.1.0 are handed in")
        older = self._read_links(releases.links_folder("0.1.0"))
        self._submit(name, r"step review: .*carnet-demo-lib-0\.2\.0", links={"review": older["review"]})

    def half_a_review(self) -> None:
        """Review everything but one file."""
        name = "a review of half the files"
        self.stage.attack(name, "both reviews leave src/lib.rs out; everything that they do cover is as tagged")
        whole = self._link("review", "sven")
        half = {path: value for path, value in whole.materials.items() if not path.endswith("src/lib.rs")}
        forged = tuple(sign_link(replace(whole, materials=half), self._key(key)) for key in ("sven", "tara"))
        self._submit(name, r"covers \d+ of \d+ tagged artifacts", links={"review": forged})

    def tagger_reviews(self) -> None:
        """Let the tagger review what she tagged."""
        name = "tagger and reviewer one person"
        self.stage.attack(
            name, "Tara did not review: Rita, who tagged and may review other people's tags, did it herself"
        )
        mine = sign_link(self._link("review", "sven"), self._key("rita"))
        others = tuple(one for one in self._honest["review"] if self._signed_by(one, "sven"))
        self._submit(name, r"rita did tag as well", links={"review": (mine, *others)})

    def failed_test(self) -> None:
        """Hand in the link of tests that failed."""
        name = "a failed test"
        self.stage.attack(name, "the CI tests with the feature that does not work yet, and signs that the tests failed")
        self.stage.run(
            f"carnet record test --key ci --source library -o links-failed {UNLOCK} --tag {self._tag_file} "
            "-- cargo test --quiet --locked --features unfinished",
            ok=False,
        )
        failed = self._read_links("links-failed")
        self._submit(name, r"reports exit status \d+, which is no success", links={"test": failed["test"]})

    def sublayout(self) -> None:
        """Sign a layout with a command of its own where a link belongs."""
        name = "a sublayout that brings a command"
        self.stage.attack(name, "with the packager's key: in place of its link, a layout whose inspection runs `touch`")
        mark = self.stage.folder / "the-command-ran"
        run = {"_type": "inspection", "name": "boom", "run": ["touch", str(mark)]}
        inspection = run | {"expected_materials": [], "expected_products": []}
        layout = {"_type": "layout", "steps": [], "inspect": [inspection], "keys": {}, "readme": ""}
        envelope = Envelope(json.dumps(layout | {"expires": "2030-01-01T00:00:00Z"}).encode())
        signed = envelope.with_signature(self._key("packager").sign(envelope.message))
        proposal = self._submit(name, r"sublayouts are not accepted", links={"package": (signed,)})
        name = "the same release, served past the mirror with stolen online keys"
        self.stage.attack(name, "the thief has the mirror's online key as well, and serves it past the mirror")
        with self.network.tampering(instead(Online(self.stage.folder, self.network).release(proposal))):
            reason = r"sublayouts are not accepted"
            self.stage.refuses(name, f"carnet verify {ID}", reason, more=self.stage.victim())
        if mark.exists():
            raise DemoError(f"{name}: the command ran")
        self.stage.say(f"and the command did not run, on the mirror or here: there is no file {mark.name}")

    def weak_layout(self) -> None:
        """Release under a layout that asks for little, signed by release keys."""
        name = "a layout weakened with release keys"
        self.stage.attack(
            name, "Rita and Sven sign a layout of their own, without reviews and tests, and release under it"
        )
        may = "--may tag rita=rita.pub --may package sven=sven.pub"
        self.stage.run(f"carnet layout new --template minimal {may} -o weak.toml")
        self.stage.run(f"carnet layout sign weak.toml --key rita {UNLOCK}")
        package = sign_link(self._link("package", "packager"), self._key("sven"))
        links = {"tag": self._honest["tag"], "package": (package,)}
        bundle = Bundle((self.stage.folder / "weak.json").read_bytes(), links)
        self._submit(name, r"under a layout that the owners have not signed", bundle=bundle)

    # --- the forger's tools ---

    def _submit(
        self,
        name: str,
        reason: str,
        *,
        links: Links | None = None,
        tarball: bytes | None = None,
        bundle: Bundle | None = None,
    ) -> Proposal:
        """Make a release out of something forged, sign it with both stolen release keys, and hand it in."""
        if bundle is None:
            bundle = Bundle((self.stage.folder / "layout.json").read_bytes(), {**self._honest, **(links or {})})
        crate = read_crate(tarball or self._tarball, strict=True)
        assembled = release.assemble_release(self._published, ID.name, crate, bundle)
        proposal = release.propose(self._published, assembled, now=datetime.now(UTC))
        for key in ("rita", "sven"):
            proposal, _ = proposal.sign(self._key(key))
        folder = f"forged-{re.sub('[^a-z]+', '-', name)}"
        save(proposal, self.stage.folder / folder)
        self.stage.refuses(name, f"carnet release submit {folder}", reason)
        return proposal

    @cached_property
    def _published(self) -> PublishedClaim:
        root = (self.stage.folder / "ceremony" / "1.root.json").read_bytes()
        with HttpFetcher(self.network.url) as fetcher:
            return read_published(read_repository(root, fetcher, now=datetime.now(UTC)), ID.name)

    @cached_property
    def _tarball(self) -> bytes:
        return (self.stage.folder / releases.links_folder(VERSION) / f"{ID.stem}.crate").read_bytes()

    @cached_property
    def _honest(self) -> Links:
        return self._read_links(releases.links_folder(VERSION))

    @cached_property
    def _keys(self) -> dict[str, Signer]:
        return {}

    def _key(self, name: str) -> Signer:
        if name not in self._keys:
            self._keys[name] = open_key(self.stage.folder, name)
        return self._keys[name]

    @property
    def _tag_file(self) -> str:
        folder = releases.links_folder(VERSION)
        return next(f"{folder}/{place.name}" for place in (self.stage.folder / folder).glob("*.tag.*.link"))

    def _read_links(self, folder: str) -> dict[str, tuple[Envelope, ...]]:
        found: dict[str, tuple[Envelope, ...]] = {}
        for place in sorted((self.stage.folder / folder).glob("*.link")):
            envelope = Envelope.from_bytes(place.read_bytes())
            step = Link.from_payload(envelope.payload).name
            found[step] = (*found.get(step, ()), envelope)
        return found

    def _signed_by(self, envelope: Envelope, name: str) -> bool:
        keyid = read_public_key(self.stage.folder / f"{name}.pub").keyid
        return any(signature.keyid == keyid for signature in envelope.signatures)

    def _link(self, step: str, name: str) -> Link:
        """The honest link that somebody signed."""
        return Link.from_payload(next(one for one in self._honest[step] if self._signed_by(one, name)).payload)

    def _packaged(self, tarball: bytes) -> Links:
        """The packager's link about another tarball; nobody has rebuilt that."""
        link = replace(self._link("package", "packager"), products={ArtifactNames(ID).tarball: sha256_hex(tarball)})
        return {"package": (sign_link(link, self._key("packager")),), "rebuild": ()}

    def _repack(self, edit: Callable[[dict[str, bytes]], dict[str, bytes]]) -> bytes:
        """The honest tarball with other files."""
        with tarfile.open(fileobj=io.BytesIO(self._tarball)) as archive:
            members = {member.name: member for member in archive}
            opened = {name: archive.extractfile(member) for name, member in members.items()}
            files = {name: file.read() for name, file in opened.items() if file is not None}
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, data in edit(files).items():
                members[name].size = len(data)
                archive.addfile(members[name], io.BytesIO(data))
        return gzip.compress(out.getvalue(), mtime=0)
