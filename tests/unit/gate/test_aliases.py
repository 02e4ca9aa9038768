"""Where aliases stand, and whose word counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from carnet.errors import ConfigError
from carnet_gate.commands.aliases import Aliases


def write(folder: Path, text: str, name: str = ".cargo/config.toml") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "above/project"
    folder.mkdir(parents=True)
    return folder


def aliases(project: Path, **environment: str) -> Aliases:
    return Aliases(project, project.parents[1] / "home", environment)


def test_nobody_says_anything(project: Path) -> None:
    assert aliases(project)("ci", ()) is None
    write(project, "alias = 3")
    assert aliases(project)("ci", ()) is None


def test_whose_word_counts(project: Path) -> None:
    """As in cargo: `--config`, the environment, the nearest file, what it includes, the files above, CARGO_HOME."""
    home = project.parents[1] / "home"
    write(home, 'alias.ci = "of the home"', "config.toml")
    assert aliases(project)("ci", ()) == ("of", "the", "home")
    write(project.parent, 'alias.ci = "above"')
    assert aliases(project)("ci", ()) == ("above",)
    write(project, 'include = ["first.toml", "second.toml"]')
    write(project, 'alias.ci = "first"', ".cargo/first.toml")
    assert aliases(project)("ci", ()) == ("first",)
    write(project, 'alias.ci = "second"', ".cargo/second.toml")
    assert aliases(project)("ci", ()) == ("second",)
    write(project, 'include = "first.toml"\n[alias]\nci = " nearest\\tof all "')
    assert aliases(project)("ci", ()) == ("nearest", "of", "all")
    write(project, 'alias.ci = "with no ending"', ".cargo/config")
    assert aliases(project)("ci", ()) == ("with", "no", "ending")
    said = aliases(project, CARGO_ALIAS_CI="by variable", CARGO_ALIAS_MY_CI="another")
    assert said("ci", ()) == ("by", "variable")
    assert said("my-ci", ()) == ("another",)
    named = write(project, 'alias.ci = "by file"', "named.toml")
    assert said("ci", ("build.jobs=1", str(named))) == ("by", "file")
    assert said("ci", (str(named), "alias.ci='by flag'")) == ("by", "flag")


def test_a_list(project: Path) -> None:
    write(project, '[alias]\nci = ["test", "one word"]')
    assert aliases(project)("ci", ()) == ("test", "one word")
    write(project.parent, '[alias]\nci = ["--locked"]')
    with pytest.raises(ConfigError, match=r"is a list in .*, and stands in"):
        aliases(project)("ci", ())


def test_a_home_on_the_way_up_counts_once(tmp_path: Path) -> None:
    home = tmp_path / ".cargo"
    write(tmp_path, 'alias.ci = ["test"]')
    assert Aliases(tmp_path, home, {})("ci", ()) == ("test",)


@pytest.mark.parametrize("text", ["alias.ci = 3", 'alias.ci = ["test", 3]', 'alias.ci.more = "x"'])
def test_what_is_no_alias(project: Path, text: str) -> None:
    write(project, text)
    with pytest.raises(ConfigError, match="neither a string nor a list"):
        aliases(project)("ci", ())


def test_a_file_that_cannot_be_read(project: Path) -> None:
    write(project, "alias.ci = ")
    with pytest.raises(ConfigError):
        aliases(project)("ci", ())
