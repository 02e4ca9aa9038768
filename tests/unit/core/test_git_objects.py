"""What git is asked for, and what of its answers is no object: ended, damaged, of another kind, too much, too late."""

from __future__ import annotations

import hashlib
import io
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.hostile.git_objects import Pack

from carnet.errors import FormatError, StorageError
from carnet.git.deltas import Deltas
from carnet.git.limits import GitLimits
from carnet.git.objects import _SMALL, GitObjects

SMALL, LARGE = b"x", b"y" * (_SMALL + 1)


class Repository:
    """A small one, and limits to read it with."""

    def __init__(self, folder: Path) -> None:
        pack = Pack()
        self.file = pack.add(b"blob", SMALL)
        self.folder = pack.add_tree([("100644", b"f", self.file)])
        entries = [("100644", b"%04d" % number, self.file) for number in range(_SMALL // 25)]
        self.wide = pack.add_tree(entries)
        self.commit = pack.add_commit(self.folder)
        self.nothing = pack.add(b"tag", b"object nothing\n")
        self.path = pack.write(folder / "r", self.commit)
        self.limits = GitLimits.of_repository(self.path)

    def reading(self, **limits: int) -> GitObjects:
        return GitObjects(self.path, limits=replace(self.limits, **limits))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("git"))


def test_positive_control_objects_are_read_once_and_again(repository: Repository) -> None:
    with repository.reading() as objects:
        assert list(objects.get_all([repository.file] * 3, b"blob")) == [SMALL] * 3
        assert objects.get(repository.file, b"blob") == SMALL
        assert len({objects.get(repository.wide, b"tree") for _ in range(2)}) == 1
        assert objects.commit_at(repository.commit) == repository.commit


@pytest.mark.parametrize("name", ["folder", "wide"])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_folder_counts_as_often_as_it_stands_somewhere(repository: Repository, name: str, at_once: bool) -> None:
    """Whether it is read again, kept from before, or stands twice in one question."""
    oid = getattr(repository, name)
    with repository.reading() as objects:
        size = len(objects.get(oid, b"tree"))
    with repository.reading(objects=3 * size) as objects:
        times = [oid] * 4
        with pytest.raises(FormatError, match="the commit's folders come to more than"):
            _ = list(objects.get_all(times, b"tree")) if at_once else [objects.get(one, b"tree") for one in times]


def test_what_is_kept_is_no_object_of_another_kind(repository: Repository) -> None:
    with repository.reading() as objects:
        objects.get(repository.file, b"blob")
        with pytest.raises(StorageError, match="is no tree"):
            objects.get(repository.file, b"tree")


def test_a_tag_that_names_nothing(repository: Repository) -> None:
    with repository.reading() as objects, pytest.raises(StorageError, match="a tag names no object"):
        objects.commit_at(repository.nothing)


def test_time_that_is_over_ends_it_whatever_git_still_says(repository: Repository) -> None:
    with repository.reading() as objects:
        objects._until = time.monotonic() - 1
        with pytest.raises(FormatError, match="git took too long"):
            objects.get(repository.folder, b"tree")


HEAD = b"%b blob 4\n" % (b"0" * 40)


class Broken(io.BytesIO):
    def flush(self) -> None:
        raise BrokenPipeError


@pytest.mark.parametrize("ended", [-signal.SIGXCPU, -signal.SIGKILL])
@pytest.mark.parametrize(
    ("asking", "answer"),
    [(Broken(), b""), (io.BytesIO(), b""), (io.BytesIO(), HEAD + b"xx")],
    ids=["ask", "no", "half"],
)
def test_git_that_was_ended_for_what_it_took_is_told_as_that(
    repository: Repository, asking: io.BytesIO, answer: bytes, ended: int
) -> None:
    objects = repository.reading()
    made: Any = SimpleNamespace(stdin=asking, stdout=io.BytesIO(answer), wait=lambda timeout: ended)
    objects._process = made
    objects._deltas = SimpleNamespace(check=lambda oids: None)  # type: ignore[assignment]
    with pytest.raises(FormatError, match="git took too long"):
        objects.get("0" * 40, b"blob")
    made.wait, made.stdin, made.stdout = lambda timeout: 1, io.BytesIO(), io.BytesIO(HEAD + b"xx")
    with pytest.raises(StorageError, match="does not hash to its id"):
        objects.get("0" * 40, b"blob")


def test_an_object_that_is_a_difference_to_itself(repository: Repository) -> None:
    one, other = (hashlib.sha1(name, usedforsecurity=False).hexdigest() for name in (b"one", b"other"))

    def answers() -> Iterator[bytes]:
        for base in (other, one):
            yield b"10 %b\n" % base.encode()

    deltas = Deltas(io.BytesIO(), io.BytesIO(b"".join(answers())), repository.limits)
    with pytest.raises(FormatError, match="is a difference to itself"):
        deltas.check([one])
