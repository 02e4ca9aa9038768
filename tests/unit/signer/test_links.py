"""The folder of links: the tag's link is found in it, and nothing passes for one that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from carnet.errors import ConfigError
from carnet.intoto.dsse import Envelope
from carnet.intoto.values import Link
from carnet_signer.steps.links import find_tag, read_links, read_tag


def link(folder: Path, name: str, step: str = "tag") -> Path:
    place = folder / name
    place.write_bytes(Envelope(Link(step, {}, {}).to_payload()).to_bytes())
    return place


def test_the_one_tag_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no tag's link in"):
        find_tag(tmp_path / "absent")
    link(tmp_path, "demo-1.0.0.test.0123.link", "test")
    with pytest.raises(ConfigError, match="there is no tag's link in"):
        find_tag(tmp_path)
    place = link(tmp_path, "demo-1.0.0.tag.0123.link")
    assert find_tag(tmp_path) == place
    link(tmp_path, "demo-1.0.0.tag.4567.link")
    with pytest.raises(ConfigError, match="there are 2 tag links"):
        find_tag(tmp_path)


def test_another_steps_link_is_no_tag(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is the link of the step test, not of a tag"):
        read_tag(link(tmp_path, "a.link", "test"))
    with pytest.raises(ConfigError, match="there is no link"):
        read_tag(tmp_path / "absent.link")


def test_every_link_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        read_links(tmp_path / "absent")
    with pytest.raises(ConfigError, match="there is no link in"):
        read_links(tmp_path)
    (tmp_path / "below").mkdir()
    link(tmp_path, "b.link")
    link(tmp_path / "below", "a.link", "review")
    (tmp_path / "notes.txt").write_text("not a link")
    assert [Link.from_payload(one.envelope.payload).name for one in read_links(tmp_path)] == ["tag", "review"]
