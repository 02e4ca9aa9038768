"""A repository of a few kilobytes whose commits cost whoever reads them as much as they can: it is refused, and soon.

`make hostile` measures the same kinds; here each is read as a signer reads a source, and as the gate reads a checkout.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.hostile import git_objects
from tests.support.hostile.git_objects import Pack

from carnet.errors import CarnetError, FormatError
from carnet.git.limits import GitLimits
from carnet.git.objects import GitObjects, tree_entries
from carnet_signer.steps.gitsource import read_commit
from carnet_verifier.cargo.checkouts import Checkout
from carnet_verifier.cargo.localregistry import MARKER

Build = Callable[[Pack, int], str]


def written(tmp_path: Path, build: Build, size: int = 50_000) -> tuple[Path, str]:
    pack = Pack()
    revision = build(pack, size)
    return pack.write(tmp_path / "r", revision), revision


def honest(pack: Pack, _: int) -> str:
    """The same file and the same folder in several places, as real repositories have them."""
    file = pack.add(b"blob", b"pub fn f() {}\n")
    folder = pack.add_tree([("100644", b"lib.rs", file), ("100755", b"run", file)])
    return pack.add_commit(pack.add_tree(("40000", b"%04d" % number, folder) for number in range(1000)))


def test_positive_control_an_honest_commit_is_read(tmp_path: Path) -> None:
    repository, commit = written(tmp_path, honest)
    assert len(read_commit(repository, commit).files) == 2000


REFUSED: dict[str, tuple[Build, str]] = {
    "folders that repeat themselves": (git_objects.repeated, "entries"),
    "one wide folder": (lambda pack, _: git_objects.wide(pack, 600_000), "bytes: that is no source"),
    "long names in every place": (git_objects.same_in_every_place, "entries"),
    "zeros": (lambda pack, _: git_objects.zeros(pack, 500_000), "bytes: that is no source"),
    "a commit with an endless header": (git_objects.endless_commit, "bytes: that is no source"),
    "tags of very many tags": (lambda pack, _: git_objects.tags(pack, 200_000), "more than 100 tags"),
    "a file in each of very many folders": (
        lambda pack, _: pack.add_commit(
            pack.add_tree(
                ("40000", b"%d" % number, pack.add_tree([("100644", b"%d" % number, pack.add(b"blob", b"x"))]))
                for number in range(2500)
            )
        ),
        "entries",
    ),
    "links that lead far around": (git_objects.links_far_around, "entries"),
    "links to links to links": (lambda pack, _: git_objects.links_to_links(pack, 200_000), "links have more than"),
    "a small file upon very much": (git_objects.upon_very_much, "is a difference to one of 30000000 bytes"),
    "large files upon one another": (
        lambda pack, _: git_objects.upon_one_another(pack, 3_500_000, 40),
        "would have to unpack [0-9]{9} bytes",
    ),
    "a folder upon a thousand others": (
        lambda pack, _: git_objects.upon_one_another(pack, 60, 400, b"tree"),
        "more than 300 versions",
    ),
    "a name that has no end": (
        lambda pack, _: pack.add_commit(pack.add_tree([("160000", b"n" * 5000, "0" * 40)])),
        "which no system takes",
    ),
    "a large folder in every place": (
        lambda pack, _: pack.add_commit(
            pack.add_tree(
                ("40000", b"%d" % number, large)
                for large in [pack.add_tree(("160000", b"%0900d" % n, "0" * 40) for n in range(100))]
                for number in range(200)
            )
        ),
        "bytes, in a repository of few|entries",
    ),
}


def test_positive_control_what_stands_upon_a_few_others_is_read(tmp_path: Path) -> None:
    repository, commit = written(tmp_path, lambda pack, _: git_objects.upon_one_another(pack, 1_000_000, 50))
    assert len(read_commit(repository, commit).files["f"].data) == 1_000_000


def test_git_has_no_more_memory_than_it_may(tmp_path: Path) -> None:
    """Should what it is asked for not be found out before: the system refuses git the rest."""
    repository, commit = written(tmp_path, lambda pack, _: git_objects.upon_one_another(pack, 5_000_000, 3))
    allowed = GitLimits.of(10**6)
    for memory in (10**9, 10**6):
        limits = GitLimits(**{name: getattr(allowed, name) for name in GitLimits.__annotations__} | {"memory": memory})
        with GitObjects(repository, limits=limits) as objects:
            tree = objects.get(commit, b"commit").split()[1].decode()
            (file,) = [oid for _, _, oid in tree_entries(objects.get(tree, b"tree"), 20)]
            if memory == 10**9:
                assert len(objects.get(file, b"blob")) == 5_000_000
            else:
                with pytest.raises(CarnetError):
                    objects.get(file, b"blob")


@pytest.mark.parametrize(("build", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused_by_whoever_reads_a_source(tmp_path: Path, build: Build, reason: str) -> None:
    repository, commit = written(tmp_path, build)
    with pytest.raises(CarnetError, match=reason):
        read_commit(repository, commit)


@pytest.mark.parametrize("name", ["folders that repeat themselves", "one wide folder", "a name that has no end"])
def test_refused_by_whoever_compares_a_checkout(tmp_path: Path, name: str) -> None:
    build, reason = REFUSED[name]
    repository, commit = written(tmp_path, build)
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    repository.rename(checkout / ".git")
    (checkout / MARKER).write_text("")
    with pytest.raises(FormatError, match=reason):
        Checkout(checkout, commit).read(commit, "")


def test_tags_of_tags_end_at_the_commit_or_at_the_time(tmp_path: Path) -> None:
    repository, tag = written(tmp_path, git_objects.tags, 5_000)
    assert list(read_commit(repository, tag).files) == ["f"]


@pytest.mark.parametrize(
    "limits", [GitLimits(10**6, 10**6, 10**8, 10**5, 10, 0.0), GitLimits(10**6, 10**6, 10**8, 10**5, 0, 60.0)]
)
def test_git_is_ended_when_its_time_is_over(tmp_path: Path, limits: GitLimits) -> None:
    repository, commit = written(tmp_path, honest)

    def read_for_ever(objects: GitObjects) -> None:
        while True:
            objects.get(commit, b"commit")
            objects._kept.clear()

    started = time.monotonic()
    with GitObjects(repository, limits=limits) as objects, pytest.raises(FormatError, match="git took too long"):
        read_for_ever(objects)
    assert time.monotonic() - started < 60


def test_what_is_allowed_grows_with_what_a_repository_weighs(tmp_path: Path) -> None:
    small, large = GitLimits.of(0), GitLimits.of(10**8)
    assert (small.entries, large.entries) == (3_000, 200_000)
    assert small.blob < large.blob == 2**30
    repository, _ = written(tmp_path, git_objects.repeated, 2 * 10**6)
    borrowing = tmp_path / "borrowing"
    (borrowing / "objects/info").mkdir(parents=True)
    (borrowing / "objects/info/alternates").write_text(f"{repository / 'objects'}\n")
    own = GitLimits.of_repository(repository)
    assert own.entries > 10_000
    assert GitLimits.of_repository(borrowing).entries == own.entries
    (borrowing / "objects/info/alternates").write_text(f"{borrowing / 'objects'}\n")  # it borrows from itself
    assert GitLimits.of_repository(borrowing).entries == 3_000
