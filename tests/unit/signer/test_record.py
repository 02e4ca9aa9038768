"""A step is carried out, then signed: nobody signs what no step came to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.worlds.release import MANIFEST, key, make_repository

from carnet.cargo.crate import read_crate
from carnet.intoto.values import Link
from carnet_signer.steps.packaging import find_toolchain
from carnet_signer.steps.record import Recorded, SignedLink, record_package, record_step, record_tag

LIBRARY = {
    "Cargo.toml": MANIFEST.partition(b"[dependencies]")[0],
    "src/lib.rs": b"pub fn hello() {}\n",
    "README.md": b"# demo\n",
}


@pytest.mark.cargo
def test_what_was_recorded_is_what_is_signed(tmp_path: Path) -> None:
    toolchain, signer = find_toolchain(None, None), key("alice")
    repository = make_repository(tmp_path / "r", LIBRARY)
    tagged = record_tag(repository, "v1", "", toolchain)
    signed = record_step(tagged, signer)
    assert signed.link == tagged.link == Link.from_payload(signed.envelope.payload)
    assert [one.keyid for one in signed.envelope.signatures] == [signer.public_key.keyid]
    assert SignedLink.from_bytes(signed.to_bytes()) == signed

    packaged = record_package(repository, signed.link, tagged.crate, toolchain)
    assert packaged.tarball == read_crate(packaged.files["demo-lib-0.1.0.crate"])
    assert tagged.tarball is None
    with pytest.raises(TypeError, match="only what carries out a step"):
        replace(tagged, link=packaged.link)
    with pytest.raises(TypeError, match="only what carries out a step"):
        Recorded(tagged.crate, packaged.link)
