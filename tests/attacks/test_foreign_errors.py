"""Input that provokes an error of the language's own where an error of carnet's belongs.

A traceback decides nothing, and takes along whatever was judged in the same run: one hostile file, and a whole lock is
unjudged. What each reader raises is fuzzed in `tests/fuzz`; here are the kinds that were found, each by its door.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from carnet import durable, strictjson
from carnet.cargo.names import CrateName
from carnet.errors import CarnetError, ConfigError, FormatError, SigningError, TransportError
from carnet_mirror.upstream.download import redirected
from carnet_mirror.upstream.sparse import SparseUpstream, _download_template
from carnet_signer.keys.file import _check_rounds
from carnet_signer.online.client import OnlineClient
from carnet_signer.proposals.proposal import Proposal, Request
from carnet_signer.proposals.review import _evidence
from carnet_verifier.memory.trust import TrustDirectory

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("asked", ["9999-12-31T23:59:59Z", "9999-12-25T00:00:00Z"])
def test_a_request_at_the_end_of_the_calendar_is_shown(asked: str) -> None:
    proposal = Proposal(Request("claim", CrateName("foo"), asked), {}, {}, {}, {})
    assert f"asked on {asked}: nobody vouches for that" in " ".join(_evidence(proposal).lines)


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800"])
def test_a_path_that_cannot_be_one_is_an_error_of_ours(text: str, tmp_path: Path) -> None:
    for call in (
        lambda: durable.read_file(tmp_path / text, "the file", max_bytes=10),
        lambda: durable.read_named_file(tmp_path / text, "the file", max_bytes=10),
        lambda: durable.write_file(tmp_path / text, b""),
    ):
        with pytest.raises(ConfigError, match="is no path"):
            call()


@pytest.mark.parametrize("said", ["A", "AAAAA"])
def test_a_key_file_that_is_no_base64_is_an_error_of_ours(said: str) -> None:
    with pytest.raises(SigningError, match="not a private key"):
        _check_rounds(f"-----BEGIN\n{said}\n-----END\n".encode(), Path("a.key"))


@pytest.mark.parametrize("url", ["https://[", "https://[::1", "https://host:port", "https://[x]/"])
def test_an_upstream_whose_url_is_none(url: str) -> None:
    with pytest.raises(ConfigError):
        SparseUpstream(f"sparse+{url}/index/")
    with pytest.raises(FormatError, match="no usable"):
        _download_template(strictjson.encode({"dl": f"{url}/{{crate}}"}))
    with pytest.raises(TransportError, match="redirects to"):
        redirected("https://index.example/x", url)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"signatures": None},
        {"signatures": {}},
        {"signatures": {"snapshot": 5}},
        {"signatures": {"snapshot": [{"keyid": "a"}]}},
        {"signatures": {"snapshot": [{"keyid": "a", "sig": "xyz"}]}},
        {"signatures": {"snapshot": [{"keyid": "a", "sig": 5}]}},
    ],
)
def test_an_online_signer_that_answers_nonsense(answer: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    signer = OnlineClient.__new__(OnlineClient)
    monkeypatch.setattr(signer, "_ask", lambda request: answer, raising=False)
    with pytest.raises(SigningError, match="makes no sense"):
        signer.sign({"snapshot": b"{}"})


@pytest.mark.parametrize("refreshed", ["2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "x" * 5_000, "9999-12-31"])
def test_a_memory_with_a_time_that_is_none(refreshed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust = TrustDirectory.__new__(TrustDirectory)
    monkeypatch.setattr(trust, "_seen_file", tmp_path / "seen.json", raising=False)
    monkeypatch.setattr(trust, "_seen", lambda: {"refreshed": refreshed}, raising=False)
    with pytest.raises(CarnetError, match="is damaged"):
        trust.last_refresh()


def test_a_memory_as_earlier_versions_wrote_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    trust = TrustDirectory.__new__(TrustDirectory)
    monkeypatch.setattr(trust, "_seen", lambda: {"refreshed": "2026-01-01T00:00:00+00:00"}, raising=False)
    assert trust.last_refresh() == NOW
