"""A mirror's life between two syncs: what was interrupted is completed by the command that is typed again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.worlds.ceremony import NOW, make_ceremony, make_key
from tests.support.worlds.changes import new_online_key

from carnet.errors import ThresholdNotMet
from carnet_mirror.state.store import Store
from carnet_mirror.upkeep import sign_again
from carnet_mirror.writing import publish, writing
from carnet_signer.metadata.publish import Change


class Killed(BaseException):
    """Ends a publish as kill -9 does: nothing that comes after it is done."""


def test_a_root_that_replaces_a_lost_online_key_is_published_though_the_first_try_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timestamp was signed by the new key, which the published root does not know: every later writer saw that."""
    ceremony, key = make_ceremony(bit_length=1), make_key("online-2")
    change = new_online_key(ceremony, key, ceremony.holders[1:])
    with Store.create(tmp_path / "mirror") as store:
        online = ceremony.signer()
        with writing(store, online, now=NOW):
            publish(store, online, Change(roles=ceremony.files), now=NOW)
        online.key = key  # the old one is lost

        def killed(*_: object, **__: object) -> None:
            raise Killed

        with monkeypatch.context() as crash:
            crash.setattr(store, "reveal", killed)
            with pytest.raises(Killed):
                sign_again(store, online, now=NOW, roles=change.roles)
        assert store.sealed() == online.named_snapshot()
        with pytest.raises(ThresholdNotMet) as refused:
            sign_again(store, online, now=NOW)
        assert "publish the ceremony with the new root again" in refused.value.hint
        sign_again(store, online, now=NOW, roles=change.roles)
        sign_again(store, online, now=NOW)
        assert store.sealed() is None
        assert store.read("metadata/2.root.json") == change.roles["root"]
