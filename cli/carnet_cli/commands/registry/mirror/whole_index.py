"""`carnet mirror sync --whole-index`: list every crate of an index that lies in a folder."""

from __future__ import annotations

from pathlib import Path

from carnet.cargo.index_line import IndexLine
from carnet.cargo.names import CrateName
from carnet_cli.commands.registry.online_signer import OnlineSettings, online
from carnet_cli.config import home
from carnet_cli.config.mirror_file import FILE_NAME, read_mirror_file
from carnet_cli.report.registry.synced import ListedReport, listed_as_json, listed_as_text
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource
from carnet_mirror.state.store import Store
from carnet_mirror.sync.whole_index import list_whole_index
from carnet_mirror.upstream.index_folder import IndexFolder
from carnet_mirror.upstream.routed import covers


def list_index(
    directory: Path, folder: Path, passphrase: PassphraseSource, message_format: output.MessageFormat
) -> int:
    """Do it, and say what came of it; returns the exit status.

    Raises:
        CarnetError: As `carnet_mirror.sync.whole_index.list_whole_index`.
    """
    said, now = read_mirror_file(directory), home.now()
    pull = said.pull
    if pull is None:
        output.warn(
            "what is listed has no tarball, and nothing says that clients may have it brought",
            f"write a table [pull] in {directory / FILE_NAME}; `carnet mirror sync` brings tarballs without",
        )

    def why_not(line: IndexLine) -> str:
        return "" if pull is None else pull.rules.signed_off().why_no_version(line, now)

    def elsewhere(name: CrateName) -> bool:
        return any(covers(one.crates, name) for one in said.upstreams)

    with Store.open(directory, write=True) as store:
        index = IndexFolder(folder, directory)
        with online(directory, OnlineSettings.of(store), passphrase) as signer:
            listed = list_whole_index(
                store, signer, index, now=now, progress=output.counting, elsewhere=elsewhere, why_not=why_not
            )
        crates, versions = store.crates.count()
    output.show(ListedReport(listed, crates, versions), message_format, listed_as_text, listed_as_json)
    return 1 if listed.refused else 0
