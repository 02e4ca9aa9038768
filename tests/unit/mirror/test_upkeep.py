"""A mirror's life between two syncs: what was interrupted is completed by the command that is typed again."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from tests.support.worlds.ceremony import NOW, make_ceremony, make_key
from tests.support.worlds.changes import new_online_key, signed_of

from carnet.errors import ThresholdNotMet
from carnet_mirror import upkeep
from carnet_mirror.schedule import bin_count
from carnet_mirror.state.store import Store
from carnet_mirror.upkeep import sign_again
from carnet_mirror.writing import publish, writing
from carnet_signer.metadata import publish as publishing
from carnet_signer.metadata import role_files
from carnet_signer.metadata.due import missed_bins
from carnet_signer.metadata.publish import Change, refresh_due
from carnet_signer.metadata.published_state import read_published_state


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


def test_what_an_absence_left_is_signed_some_at_a_time_until_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen of 256 bins were signed in a run, whose exit status said that all was well."""
    ceremony, left = make_ceremony(bit_length=3), list[int]()
    monkeypatch.setattr(publishing, "MOST_BINS", 2)
    monkeypatch.setattr(upkeep, "refresh_due", partial(refresh_due, most=2))
    back = NOW + timedelta(days=80)
    with Store.create(tmp_path / "mirror") as store:
        online = ceremony.signer()
        with writing(store, online, now=NOW):
            publish(store, online, Change(roles=ceremony.files), now=NOW)
        recent = signed_of(ceremony.files["index"]) | {
            "version": 2,
            "expires": role_files.at(back + timedelta(days=90)),
        }
        roles = {"index": ceremony.sign(recent)}  # whoever brings a ceremony back gets all of it signed as well
        done = sign_again(store, online, now=back, roles=roles, progress=left.append)
        assert missed_bins(read_published_state(store), back) == []
        assert bin_count(store) == 8
    assert left == [6, 4, 2], "all of them have their turn at once after so long, and two are signed in one publish"
    assert len({role for role in done.roles if role.startswith("index-")}) == 8
    assert done.left == ()
