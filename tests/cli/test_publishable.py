"""`record tag`, `claim new` and `release assemble` say what may not be published, knowing what the mirror has."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support.crates.archives import honest_crate
from tests.support.worlds.ceremony import PASSPHRASE
from tests.support.worlds.claims import NAME, World, facts, person
from tests.support.worlds.release import key, make_repository

from carnet.errors import CarnetError, ConfigError, Unpublishable
from carnet_cli.commands.maintain import claim, proposal_folders, record, release
from carnet_cli.config import home
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.view import View

MANIFEST = '[package]\nname = "demo-lib"\nversion = "{}"\nedition = "2021"\ndescription = "a demo"\nlicense = "MIT"\n'


class Desk:
    """A maintainer's machine that trusts a registry, which it looks at without a network."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, registry: str) -> None:
        self.path, self.world = path, World.make(path)
        published = [honest_crate(str(NAME), "0.4.0+b.5")] if registry == "crates-io" else []
        self.world.add(honest_crate("other_crate", "1.0.0"), *published)
        owners = facts()
        self.world.claim(who=type(owners)(owners.owners, owners.releasers, registry))
        view = View(self.world.fresh(), ReadFetcher(self.world.store.read), "http://localhost/")
        monkeypatch.setattr(proposal_folders, "looking", lambda _: nullcontext(view))
        monkeypatch.setattr(home, "now", lambda: self.world.now)
        monkeypatch.setattr(home, "trusted_ids", lambda: ["one"])
        (path / "keys").mkdir(mode=0o700)
        key("alice").store(path / "keys")
        (path / "passphrase").write_bytes(PASSPHRASE + b"\n")
        (path / "passphrase").chmod(0o600)

    def tag(self, version: str, *more: str, manifest: str = "") -> Result:
        source = self.path / f"source {len(list(self.path.glob('source *')))}"
        text = MANIFEST.format(version) + manifest
        make_repository(source, {"Cargo.toml": text.encode(), "src/lib.rs": b""})
        sign = ["--key", str(self.path / "keys/functionary alice"), "--passphrase-file", str(self.path / "passphrase")]
        return CliRunner().invoke(record.tag, ["--source", str(source), "-o", str(self.path / "links"), *sign, *more])


def refused(done: Result, kind: type[CarnetError], said: str) -> CarnetError:
    assert isinstance(done.exception, kind), (done.output, done.exception)
    assert said in str(done.exception)
    assert done.exception.exit_code == 2
    assert done.exception.hint
    return done.exception


@pytest.mark.cargo
def test_the_tag_knows_what_the_mirror_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path, monkeypatch, "crates-io")
    refused(desk.tag("0.4.0"), Unpublishable, "differs from 0.4.0+b.5")
    refused(desk.tag("0.5.0", manifest='publish = ["corp"]\n'), Unpublishable, "allows corp only")
    refused(desk.tag("0.5.0", "--registry", "corp"), ConfigError, "is claimed for the registry crates-io, not corp")
    assert not (tmp_path / "links").exists(), "nobody signed anything"
    again = desk.tag("0.4.0+b.5")
    assert again.exit_code == 0, again.output
    assert "demo-lib@0.4.0+b.5 is published already: a version never changes" in again.output
    offline = desk.tag("0.4.0", "--offline")
    assert offline.exit_code == 0, "nobody can be asked: whoever assembles it will be told"


@pytest.mark.cargo
def test_a_crate_of_another_registry_goes_where_its_claim_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path, monkeypatch, "corp")
    done = desk.tag("0.5.0", manifest='publish = ["corp"]\n')
    assert done.exit_code == 0, done.output
    refused(desk.tag("0.5.0", manifest='publish = ["crates-io"]\n'), Unpublishable, "for the registry corp")
    by_name = desk.tag("0.6.0", "--offline", "--registry", "corp", manifest='publish = ["corp"]\n')
    assert by_name.exit_code == 0, by_name.output
    refused(
        desk.tag("0.7.0", "--offline", manifest='publish = ["corp"]\n'), Unpublishable, "--registry" and "corp only"
    )


def test_a_claim_is_made_under_the_published_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path, monkeypatch, "crates-io")
    people = []
    for option, name in (("--owner", "alice"), ("--release-key", "rita")):
        person(name).store(tmp_path / "keys")
        people += [option, f"{name}={tmp_path / 'keys' / f'person {name}.pub'}"]

    def new(name: str) -> Result:
        folder = str(tmp_path / "claim" / name)
        thresholds = ["--owners-threshold", "1", "--release-threshold", "1", "--evidence", "it is ours"]
        return CliRunner().invoke(claim.new, [name, "-o", folder, *people, *thresholds])

    for name in ("other-crate", "Other_Crate", "OTHER-crate"):
        error = refused(new(name), ConfigError, f"the registry publishes other_crate, and {name} is another spelling")
        assert error.hint == "type other_crate"
    refused(new("std"), Unpublishable, "the name std is reserved")
    assert not (tmp_path / "claim").exists()
    assert desk.world.fresh().claim(NAME) is not None


def test_what_may_not_be_published_is_not_assembled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Desk(tmp_path, monkeypatch, "crates-io")
    for number, (version, extra) in enumerate((("0.4.0", ""), ("0.5.0", "publish = false\n"), ("0.3.0", ""))):
        tarball = tmp_path / f"demo-lib-{version}.crate"
        tarball.write_bytes(honest_crate(str(NAME), version, extra=extra))
        folder = tmp_path / f"release-{number}"
        done = CliRunner().invoke(release.assemble, [str(tarball), "-o", str(folder)])
        if version == "0.3.0":
            assert done.exit_code == 0, done.output
            assert "warning: version 0.3.0 is older than 0.4.0+b.5" in done.output
        else:
            refused(done, Unpublishable, "package.publish is false" if extra else "differs from 0.4.0+b.5")
            assert not folder.exists()
