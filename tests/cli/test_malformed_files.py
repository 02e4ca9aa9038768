"""A malformed file of the user's is exit status 2 wherever one is read, says which, and changes nothing.

The same bytes from a mirror are refused with exit status 1 (`tests/cli/test_verify.py`, `test_trust_status`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tests.support.crates.locks import locked
from tests.support.registries.signed import SignedRegistry

from carnet_cli import main

GARBAGE = b"\x00\xff{"

READS: dict[str, tuple[str, ...]] = {
    # "BAD" is a malformed file, "BAD.x" one with that ending, "DIR" a folder that holds malformed files
    "key export": ("key", "export", "BAD.pub", "new.pub"),
    "key show": ("key", "show", "BAD.pub"),
    "key import": ("key", "import", "BAD", "new", "--passphrase-file", "pass"),
    "root init --holder": ("root", "init", "new", "--threshold", "1", "--holder", "BAD.pub", "--online", "o.pub"),
    "root init --online": ("root", "init", "new", "--threshold", "1", "--holder", "o.pub", "--online", "BAD.pub"),
    "root add": ("root", "add", "ceremony", "BAD"),
    "root add DIR": ("root", "add", "DIR", "BAD"),
    "root merge": ("root", "merge", "ceremony", "DIR"),
    "root rotate --holder": ("root", "rotate", "ceremony", "--holder", "BAD.pub"),
    "root rotate --online": ("root", "rotate", "ceremony", "--online", "BAD.pub"),
    "root rotate DIR": ("root", "rotate", "DIR"),
    "root sign DIR": ("root", "sign", "DIR", "--key", "o", "--passphrase-file", "pass"),
    "root sign --key": ("root", "sign", "ceremony", "--key", "BAD", "--passphrase-file", "pass"),
    "root sign --view": ("root", "sign", "ceremony", "--key", "o", "--passphrase-file", "pass", "--view", "BAD"),
    "root sign --root": (
        *("root", "sign", "ceremony", "--key", "o", "--passphrase-file", "pass", "--view", "BAD", "--root", "BAD"),
    ),
    "root status": ("root", "status", "DIR"),
    "root update": ("root", "update", "DIR", "http://127.0.0.1:9/"),
    "claim new --layout": (
        *("claim", "new", "leaf", "--owner", "a=o.pub", "--owners-threshold", "1", "--release-key", "a=o.pub"),
        *("--release-threshold", "1", "--layout", "BAD", "-o", "new"),
    ),
    **{
        f"{group} {name}": (group, name, "DIR", *more)
        for group in ("claim", "release")
        for name, more in (
            ("review", ()),
            ("sign", ("--key", "o", "--passphrase-file", "pass")),
            ("status", ()),
            ("submit", ()),
            ("merge", ("DIR",)),
        )
    },
    "claim propose": ("claim", "propose", "DIR"),
    "claim renew": ("claim", "renew", "DIR"),
    "layout lint": ("layout", "lint", "BAD.toml"),
    "layout lint json": ("layout", "lint", "BAD.json"),
    "layout show": ("layout", "show", "BAD.toml"),
    "layout sign": ("layout", "sign", "BAD.toml", "--key", "o", "--passphrase-file", "pass", "-o", "new.json"),
    "layout sign json": ("layout", "sign", "BAD.json", "--key", "o", "--passphrase-file", "pass", "-o", "new.json"),
    **{
        f"record {step} --tag": ("record", step, "--key", "o", "--passphrase-file", "pass", "--tag", "BAD")
        for step in ("review", "package", "rebuild")
    },
    "record review --links": ("record", "review", "--key", "o", "--passphrase-file", "pass", "--links", "DIR"),
    "trust login --token-file": ("trust", "login", "https://m.example/", "--token-file", "BAD"),
    "trust login --client-certificate": ("trust", "login", "https://m.example/", "--client-certificate", "BAD"),
    "trust login --client-key": (
        *("trust", "login", "https://m.example/", "--client-certificate", "BAD", "--client-key", "BAD.pub"),
    ),
    "mirror init": (
        "mirror",
        "init",
        "new",
        "--ceremony",
        "DIR",
        "--online-key",
        "o",
        "--memory",
        "memory",
        "--passphrase-file",
        "pass",
    ),
    "trust add": ("trust", "add", "http://127.0.0.1:9/", "--root", "BAD", "--offline"),
    "verify": ("verify", "BAD"),
    "verify DIR": ("verify", "DIR"),
    "vendor --config": ("vendor", "out", "--config", "BAD"),
    "verify --config": ("verify", "--config", "BAD"),
    "verify --no-less-than": ("verify", "locked", "--no-less-than", "BAD"),
    "explain --config": ("explain", "leaf@1.0.0", "--config", "BAD"),
    "policy explain --config": ("policy", "explain", "leaf@1.0.0", "--config", "BAD"),
    "proxy --config": ("proxy", "--config", "BAD"),
}
OTHERWISE = {
    "key export file": "it is written",
    "layout new place": "it is written",
    "layout sign place": "it is written",
    "trust export file": "it is written",
    "mirror serve access_log": "it is written",
    "mirror fsck root_file": "there has to be a mirror: test_rebuild.py",
    "record package cargo": "a program",
    "record rebuild cargo": "a program",
    "record tag cargo": "a program",
    "record test tag_file": "read as that of `record review` is",
    "release assemble tarball": "what it is asked about: an archive that breaks a rule is refused (1)",
    "release assemble layout": "it has to be the file in force, byte for byte, whatever it holds",
    "mirror sync let_in_file": "tried in tests/cli/test_mirror.py",
    "mirror sync workspace": "tried in tests/unit/mirror/test_manifests.py",
    "mirror sync upstream_root": "tried in tests/unit/mirror/test_upstreams.py",
    "mirror sync lockfile": "tried in tests/cli/test_mirror.py",
    "claim handover layout": "read as that of `claim new` is",
    "claim review view": "read as that of `root sign` is",
    "claim review root": "read as that of `root sign` is",
    "claim sign view": "read as that of `root sign` is",
    "claim sign root": "read as that of `root sign` is",
    "release review view": "read as that of `root sign` is",
    "release review root": "read as that of `root sign` is",
    "release sign view": "read as that of `root sign` is",
    "release sign root": "read as that of `root sign` is",
}
"""Options of a file that are not in `READS`, and why."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a key `o`, a ceremony, and malformed files."""
    folder = tmp_path_factory.mktemp("malformed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CARNET_HOME", str(folder / "home"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "xdg"))
        (folder / "pass").write_bytes(b"seventeen zebras walk by\n")
        (folder / "pass").chmod(0o600)
        for key in ("o", "online"):
            assert main.run(main.cli, ["key", "generate", key, "--passphrase-file", "pass"], "carnet") == 0
        plan = ("--threshold", "1", "--holder", "o.pub", "--online", "online.pub", "--bins", "2")
        assert main.run(main.cli, ["root", "init", "ceremony", *plan], "carnet") == 0
        registry = SignedRegistry()
        (folder / "root.json").write_bytes(registry.root)
        trust = ["trust", "add", "http://127.0.0.1:9/", "--root", "root.json", "--offline"]
        assert main.run(main.cli, trust, "carnet") == 0
        (folder / "DIR").mkdir()
        (folder / "locked").mkdir()
        (folder / "locked/Cargo.lock").write_text(locked())
        for name in ("BAD", "BAD.pub", "BAD.toml", "BAD.json", "BAD.terms.json"):
            (folder / name).write_bytes(GARBAGE)
            (folder / name).chmod(0o600)
        for name in ("1.root.json", "request.json", "Cargo.lock", "demo-1.0.0.tag.0123abcd.link"):
            (folder / "DIR" / name).write_bytes(GARBAGE)
        yield folder


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "lock"
    }


@pytest.mark.parametrize("command", READS.values(), ids=READS)
def test_a_malformed_file_is_the_users_to_mend(
    place: Path, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(place)
    status = main.run(main.cli, command, "carnet")
    said = capsys.readouterr()
    assert status == 2, said.err
    (error,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert "BAD" in error or "DIR" in error, "it says which file"
    assert said.out == ""
    assert files_below(place) == before


@pytest.mark.parametrize(
    "command",
    [
        ("layout", "lint", "/dev/null"),
        ("root", "sign", "ceremony", "--key", "o", "--passphrase-file", "pass", "--view", "/dev/null"),
        ("verify", "/dev/null"),
    ],
)
def test_what_is_no_file_at_all_is_the_users_too(place: Path, command: tuple[str, ...]) -> None:
    assert main.run(main.cli, command, "carnet") == 2


def file_options(command: click.Command, path: str = "") -> Iterator[str]:
    """Every option and argument of every command that names a file, apart from passphrases."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from file_options(inner, f"{path} {name}".strip())
        return
    for option in command.params:
        is_file = isinstance(option.type, click.Path) and option.type.file_okay and not option.type.dir_okay
        if is_file and option.name is not None:
            yield f"{path} {option.name}"


FLAGS = {
    "client_certificate": "--client-certificate",
    "client_key": "--client-key",
    "token_file": "--token-file",
    "config_file": "--config",
    "tag_file": "--tag",
    "root_file": "--root",
    "no_less_than": "--no-less-than",
}


def test_every_option_that_names_a_file_is_tried() -> None:
    for option in file_options(main.cli):
        path, _, name = option.rpartition(" ")
        flag = FLAGS.get(name, f"--{name}")
        tries = [command for command in READS.values() if " ".join(command).startswith(f"{path} ")]
        is_tried = any(flag in command for command in tries) or (name in ("file", "files") and tries)
        assert is_tried or option in OTHERWISE, f"{option} reads a file: try a malformed one"
