"""`carnet root`: a ceremony from its first file to a rotation, as its holders type it."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.support.machines.command import carnet, done, refused
from tests.support.worlds.ceremony import PASSPHRASE, DirectOnlineSigner, make_key, sign_role
from tests.support.worlds.changes import signed_of
from tests.support.worlds.claims import NAME, facts, person
from tests.support.worlds.claims import sign as signed_by
from tests.support.worlds.publication import FolderPublication

from carnet.tuf import paths
from carnet.tuf.example_keys import EXAMPLE_MATERIAL
from carnet_signer.ceremony.folder import finished
from carnet_signer.keys.public import read_public_key
from carnet_signer.metadata.publish import Change, publish
from carnet_signer.metadata.role_files import at
from carnet_signer.proposals import ownership
from carnet_signer.proposals.proposal import Request
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.refresh import read_repository

PEOPLE = ("alice", "bob", "carol")
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PEOPLE, "dave", "online", "online-2"):
        make_key(name).store(tmp_path)
    secret = tmp_path / "secret"
    secret.write_bytes(PASSPHRASE)
    secret.chmod(0o600)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CARNET_HOME", str(tmp_path / "home"))


def init(*more: str, people: tuple[str, ...] = PEOPLE, folder: str = "cer") -> tuple[str, ...]:
    holders = [argument for name in people for argument in ("--holder", f"{name}.pub")]
    return ("root", "init", folder, *holders, "--threshold", "2", "--online", "online.pub", *more)


def sign(name: str, folder: str = "cer", *more: str) -> tuple[str, ...]:
    return ("root", "sign", folder, "--key", name, "--passphrase-file", "secret", *more, "--yes")


UNPUBLISHED = ("cer", "--insecure-base-from-folder")
"""For next versions that nobody has published: tests/attacks/test_forged_ceremony.py has those of a real repository."""


def status(folder: str = "cer") -> dict[str, object]:
    value: dict[str, object] = done("root", "status", folder, "--message-format", "json").json
    return value


def test_a_ceremony_from_hand_to_hand() -> None:
    made = done(*init("--bins", "16"))
    assert "2 of 3: alice, bob, carol" in made.out
    assert "next: carnet root sign cer --key alice" in made.err
    assert len(list(Path("cer").iterdir())) == 260
    assert status()["next"] == "carnet root sign cer --key alice"
    signed = done(*sign("alice"))
    assert "you are about to sign these 260 files as alice" in signed.err
    assert "16 bins of index files" in signed.out
    shown = done("root", "status", "cer")
    assert "the holders: 1 of 2, alice; missing: bob, carol" in shown.out
    assert "nothing in cer waits for your signature" in done(*sign("alice")).err
    assert status()["final"] is False
    assert "every signature is there" in done(*sign("carol")).err
    assert status()["final"] is True
    lines = done("root", "status", "cer").out.splitlines()
    assert [line[:4] for line in lines] == ["done"] * 5
    assert len({line.index("  version 1, until ") for line in lines}) == 1, "in one column"


def test_a_question_that_nobody_answers_ends_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    done(*init())
    monkeypatch.setattr("sys.stdin", io.StringIO())
    ran = carnet(*(one for one in sign("alice") if one != "--yes"))
    assert ran.status == 3
    assert ran.err.splitlines()[-3:] == [
        "sign them? [y/N]: ",
        "error: nothing was signed",
        "hint: answer y, or give --yes",
    ]


def test_copies_are_signed_at_the_same_time_and_merged() -> None:
    done(*init())
    shutil.copytree("cer", "copy")
    done(*sign("alice"))
    done(*sign("bob", "copy"))
    assert "took 260 files over from copy" in done("root", "merge", "cer", "copy").err
    assert status()["final"] is True


def test_a_copy_of_another_ceremony_is_not_merged() -> None:
    done(*init())
    done(*init(people=("alice", "bob", "dave"), folder="other"))
    before = {path.name: path.read_bytes() for path in Path("cer").iterdir()}
    refused(3, "different files of version 1 of root", "root", "merge", "cer", "other")
    assert {path.name: path.read_bytes() for path in Path("cer").iterdir()} == before


def test_holders_are_replaced_by_the_old_ones_and_the_new() -> None:
    done(*init())
    done(*sign("alice"))
    done(*sign("bob"))
    people = [argument for name in ("alice", "carol", "dave") for argument in ("--holder", f"{name}.pub")]
    made = done("root", "rotate", "cer", *people, "--online", "online-2.pub")
    assert "change     root: dave joins" in made.out
    assert "change     timestamp: online-2 joins" in made.out
    done(*sign("dave", *UNPUBLISHED))
    done(*sign("carol", *UNPUBLISHED))
    assert "the holders before: 1 of 2, carol; missing: alice, bob" in done("root", "status", "cer").out
    done(*sign("alice", *UNPUBLISHED))
    assert status()["final"] is True
    renewed = done("root", "rotate", "cer")
    assert "made the next version of 259 files" in renewed.err
    assert "none but the expiry" in renewed.out


def test_a_wrong_key_a_wrong_passphrase_and_a_no_sign_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    done(*init())
    before = {path.name: path.read_bytes() for path in Path("cer").iterdir()}
    wrong = refused(3, "is not one of the holders' keys", *sign("dave"))
    assert "alice, bob, carol" in wrong.err
    Path("secret").write_text("wrong horse battery staple")
    refused(3, "does not open with this passphrase", *sign("alice"))
    Path("secret").write_bytes(PASSPHRASE)
    for answer in ("n\n", ""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        refused(3, "nothing was signed", *sign("alice")[:-1])
    assert {path.name: path.read_bytes() for path in Path("cer").iterdir()} == before
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    done(*sign("alice")[:-1])


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--bins", "100"), "100 is not a power of two"),
        (("--holder", "alice.pub"), "the same key is given twice"),
        (("--online", "bob.pub"), "the same key is given twice"),
        (("--holder", "none.pub"), "there is no public key file none.pub"),
        (("--holder", "dave"), "dave is a private key"),
        (("--threshold", "7"), "a threshold of 7 cannot be met by 3 holders"),
    ],
)
def test_a_plan_that_cannot_work_makes_no_folder(more: tuple[str, ...], reason: str) -> None:
    refused(2, reason, *init(*more))
    assert not Path("cer").exists()


def test_an_existing_folder_is_left_alone() -> None:
    Path("cer").mkdir()
    Path("cer/file").write_text("mine")
    refused(2, "cer exists already", *init())
    assert [path.name for path in Path("cer").iterdir()] == ["file"]


def test_a_hostile_folder_is_refused_before_a_key_is_opened() -> None:
    done(*init())
    file = Path("cer/1.targets.json")
    text = json.loads(file.read_text())
    text["signed"]["expires"] = "2099-01-01T00:00:00Z"
    file.write_text(json.dumps(text))
    Path("alice").unlink()
    refused(3, "longer than 90 days", *sign("alice"))
    assert "longer than 90 days" in done("root", "status", "cer").err
    file.write_text("{")
    refused(2, "1.targets.json is not JSON", *sign("alice"))
    refused(2, "there is no folder none", *sign("alice", "none"))


def test_text_from_a_ceremony_cannot_move_the_cursor() -> None:
    done(*init())
    file = Path("cer/1.root.json")
    text = json.loads(file.read_text())
    people = text["signed"]["carnet"]["people"]
    people[next(iter(people))] = "\x1b[2Jmallory"
    file.write_text(json.dumps(text))
    shown = done("root", "status", "cer")
    assert "\x1b" not in shown.out + shown.err
    assert "unnamed-" in shown.out


def test_example_keys_are_refused_unless_someone_insists(tmp_path: Path) -> None:
    examples = REPOSITORY / "keys-example"
    found = {read_public_key(path).material for path in examples.glob("*.pub")}
    assert found == EXAMPLE_MATERIAL
    holders = [argument for name in PEOPLE for argument in ("--holder", examples / f"{name}.pub")]
    make = ("root", "init", "cer", *holders, "--threshold", "2", "--online", examples / "online.pub")
    refused(3, "is an example key", *make)
    done(*make, "--insecure-example-keys")
    Path("secret").write_text("these keys are examples")
    with_key = ("root", "sign", "cer", "--key", examples / "alice", "--passphrase-file", "secret", "--yes")
    refused(3, "is an example key", *with_key)
    done(*with_key, "--insecure-example-keys")
    # And as a stranger's files: nobody signs next to an example key by mistake.
    done(*init(folder="mine"))
    refused(3, "example key", "root", "sign", "cer", "--key", "alice", "--passphrase-file", "secret", "--yes")


def test_a_folder_catches_up_with_what_was_published() -> None:
    done(*init())
    done(*sign("alice"))
    done(*sign("bob"))
    shutil.copytree("cer", "published/metadata")
    publication = FolderPublication(Path("published"))
    now = datetime.now(UTC).replace(microsecond=0)
    online = DirectOnlineSigner(make_key("online"))
    publish(publication, online, Change(roles=finished(Path("cer"))), now=now)
    shard = "claims-a2"
    part = signed_of(Path(f"cer/1.{shard}.json").read_bytes()) | {"version": 2, "x-note": "claimed meanwhile"}
    newer = sign_role(part, [make_key("bob"), make_key("carol")])
    publish(publication, online, Change(roles={shard: newer}), now=now)
    with serving(Path("published")) as url:
        done("root", "rotate", "cer")  # too early: it would forget the claim
        assert "took 1 files over" in done("root", "update", "cer", url).err
        assert Path(f"cer/2.{shard}.json").read_bytes() == newer
        done("root", "rotate", "cer")
        assert signed_of(Path(f"cer/3.{shard}.json").read_bytes())["x-note"] == "claimed meanwhile"
        done(*sign("alice", *UNPUBLISHED))
        Path(f"cer/2.{shard}.json").write_bytes(sign_role(part | {"x-note": "other"}, [make_key("bob")]))
        refused(3, "was published with other content", "root", "update", "cer", url)
    refused(3, "", "root", "update", "cer", url)


def test_a_ceremony_is_brought_the_owners_files_and_refuses_without_them() -> None:
    done(*init())
    done(*sign("alice"))
    done(*sign("bob"))
    shutil.copytree("cer", "published/metadata")
    publication, now = FolderPublication(Path("published")), datetime.now(UTC).replace(microsecond=0)
    online = DirectOnlineSigner(make_key("online"))
    publish(publication, online, Change(roles=finished(Path("cer"))), now=now)
    view = read_repository(Path("cer/1.root.json").read_bytes(), ReadFetcher(publication.read), now=now)
    claim = ownership.new_claim(
        ownership.read_published(view, NAME, neighbours=True),
        Request("claim", NAME, at(now)),
        facts(),
        adopted=None,
        layout=None,
        now=now,
    )
    claim = signed_by(claim, [*map(person, ("alice", "bob", "rita", "sven")), make_key("alice"), make_key("bob")])
    publish(publication, online, Change(parsed=claim.drafts, about=NAME), now=now)
    shard, owner = paths.claims_shard_role(NAME.shard), paths.owner_role(NAME)
    with serving(Path("published")) as url:
        assert "took 5 files over" in done("root", "update", "cer", url).err, "shard, owner, crate, snapshot, timestamp"
        assert "took 0 files over" in done("root", "update", "cer", url).err
    shutil.copytree("cer", "bare")
    Path("bare/timestamp.json").unlink()
    refused(3, "the owners' files of the claimed crates are not in the ceremony", "root", "rotate", "bare")
    assert not Path(f"bare/3.{shard}.json").exists()
    assert "made the next version of 3 files" in done("root", "rotate", "bare", "--keep-shards").err
    shutil.copytree("cer", "late")
    newer = signed_of(Path(f"cer/1.{owner}.json").read_bytes()) | {"version": 2}
    Path("handed.json").write_bytes(sign_role(newer, [person("alice")]))
    refused(1, f"the file of {owner}", "root", "add", "late", "handed.json")
    Path("handed.json").write_bytes(sign_role(newer, [person("alice"), person("bob")]))
    assert "took 1 files over" in done("root", "add", "late", "handed.json").err
    assert not Path(f"late/1.{owner}.json").exists(), "superseded"
    for folder, version in (("cer", 1), ("late", 2)):
        assert "made the next version of 259 files" in done("root", "rotate", folder).err
        least = signed_of(Path(f"{folder}/3.{shard}.json").read_bytes())["carnet"]["least"]
        assert least == {NAME.canonical: {"owner": version, "crate": 1}}
    shown = done(*sign("alice", *UNPUBLISHED))
    assert "compared with the owners' files that were published on" in shown.out
    Path(f"cer/1.{owner}.json").unlink()
    refused(3, f"the file of {owner} is missing", *sign("bob", *UNPUBLISHED))


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_every_command_explains_itself() -> None:
    for command in ("init", "sign", "merge", "update", "add", "status", "rotate"):
        assert "DIR" in done("root", command, "--help").out
