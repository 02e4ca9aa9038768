"""Holders and the online signer keep their keys in tokens: the ceremony, the mirror, a client, real processes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.command import done, refused
from tests.support.machines.softhsm import PIN, SoftHsm, needs_softhsm, restart, softhsm
from tests.support.registries.mirror_process import MirrorDirectory, Tarballs, now_in_seconds, quiet, serving
from tests.support.worlds.ceremony import make_ceremony, make_key

from carnet_cli.commands.registry.online_signer import OnlineSettings, online
from carnet_cli.terminal.passphrase import PassphraseSource
from carnet_mirror.state.store import Store
from carnet_mirror.sync.sync import sync

PAGE = Path(__file__).parents[2] / "docs/mirror.md"
SECRET = ("--passphrase-file", "pin")
BOB = "pkcs11:token=desk;object=bob"
ONLINE = "pkcs11:token=mirror;object=online"

pytestmark = needs_softhsm


@pytest.fixture
def hsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoftHsm]:
    for name in ("alice", "carol"):
        make_key(name).store(tmp_path)
    for name, secret in (("pin", PIN), ("secret", "correct horse battery staple")):
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CARNET_HOME", str(tmp_path / "home"))
    with softhsm(tmp_path / "softhsm") as hsm:
        hsm.add_token("desk")
        hsm.add_token("mirror")
        yield hsm


def hold_ceremony() -> None:
    for name, key in (("bob", BOB), ("online", ONLINE)):
        keyid = done("key", "generate", "--scheme", "ecdsa", key, *SECRET).out
        assert done("key", "export", key, f"{name}.pub").out == keyid
        assert keyid.strip() in done("key", "show", key).out
        assert done("key", "show", key).out == done("key", "show", f"{name}.pub").out
    holders = [argument for name in ("alice", "bob", "carol") for argument in ("--holder", f"{name}.pub")]
    done("root", "init", "cer", *holders, "--threshold", "2", "--online", "online.pub", "--bins", "4")
    done("root", "sign", "cer", "--key", "alice", "--passphrase-file", "secret", "--yes")
    assert done("root", "status", "cer", "--message-format", "json").json["final"] is False
    assert "as bob" in done("root", "sign", "cer", "--key", BOB, *SECRET, "--yes").err
    assert done("root", "status", "cer", "--message-format", "json").json["final"] is True


def page_command() -> list[str]:
    """The page's command for an online key in a token, with the folders of this test."""
    found = re.search(
        r"^carnet (mirror init DIR .*) --online-key '(pkcs11:[^']*)' (.*)$", PAGE.read_text(), re.MULTILINE
    )
    assert found is not None
    words = [*found[1].split(), "--online-key", found[2], *found[3].split()]
    places = {"DIR": "site", "FOLDER": "cer", "/var/lib/carnet-online": "memory"}
    return [places.get(word, word) for word in words]


def test_a_holder_and_the_online_signer_sign_with_tokens_and_a_client_verifies(hsm: SoftHsm) -> None:
    hold_ceremony()
    refused(2, "where the signer remembers", "mirror", "init", "site", "--ceremony", "cer", "--online-key", ONLINE)
    done(*page_command(), *SECRET)
    done("mirror", "refresh", "site", *SECRET)
    upstream = Tarballs([honest_crate("demo", "1.0.0")])
    with Store.open(Path("site"), write=True) as store:
        settings = OnlineSettings.of(store)
        assert settings.key == ONLINE
        with online(Path("site"), settings, PassphraseSource(Path("pin"))) as signer:
            sync(store, signer, upstream, upstream.packages, now=now_in_seconds(), progress=quiet)
    assert "no problem" in done("mirror", "fsck", "site").out
    nobody = make_ceremony()  # whose keys are not used: `serving` wants to know a mirror that tests made
    with serving(MirrorDirectory(Path("site"), nobody, nobody.signer()), "--passphrase-file", "pin") as mirror:
        done("trust", "add", mirror.url, "--root", "cer/1.root.json")
        assert "demo" in done("verify", "demo@1.0.0").out


def test_the_online_signer_says_in_one_line_what_its_token_lacks(hsm: SoftHsm) -> None:
    hold_ceremony()
    start = ["mirror", "init", "site", "--ceremony", "cer", "--memory", "memory", "--online-key"]
    refused(3, "does not open with this PIN", *start, ONLINE, "--passphrase-file", "secret")
    refused(3, "there is no key nobody in token mirror", *start, "pkcs11:token=mirror;object=nobody", *SECRET)
    refused(2, "pin-value is not taken from a URI", "root", "sign", "cer", "--key", f"{BOB}?pin-value={PIN}", "--yes")
    done(*start, ONLINE, *SECRET)
    hsm.remove_tokens()
    refused(3, "there is no token mirror", "mirror", "refresh", "site", *SECRET)


def test_a_token_that_was_lost_is_replaced_by_a_file(hsm: SoftHsm) -> None:
    hold_ceremony()
    done(*page_command(), *SECRET)
    make_key("online-2").store(Path())
    done("root", "rotate", "cer", "--online", "online-2.pub")
    unserved = "--insecure-base-from-folder"  # nobody serves this mirror: there is nothing to compare with
    for name in ("alice", "carol"):
        done("root", "sign", "cer", "--key", name, "--passphrase-file", "secret", "--yes", unserved)
    hsm.remove_tokens()
    restart()  # the commands below run in this process, which saw the token
    next_key = ("--next-online-key", "online-2", "--passphrase-file", "secret")
    refresh = ("mirror", "refresh", "site", "--ceremony", "cer", *next_key)
    assert "is it plugged in" in refused(3, "there is no token mirror", *refresh).err
    assert "refused for a moment" in done(*refresh, "--online-key-lost").err
    done("mirror", "refresh", "site", "--passphrase-file", "secret")
    assert "no problem" in done("mirror", "fsck", "site").out


def test_what_is_for_files_is_said_of_tokens(hsm: SoftHsm) -> None:
    refused(2, "no key is imported to", "key", "import", "alice", BOB, *SECRET)
    refused(2, "--insecure-no-passphrase is for key files", "key", "generate", BOB, "--insecure-no-passphrase")
    made = done("key", "generate", "--scheme", "ecdsa", BOB, *SECRET)
    assert "carnet key export" in made.err
    refused(2, "already", "key", "generate", "--scheme", "ecdsa", BOB, *SECRET)
    done("key", "export", BOB, "bob.pub")
    refused(2, "exists already", "key", "export", BOB, "bob.pub")
