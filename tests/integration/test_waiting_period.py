"""The waiting period as people meet it: a served mirror, the command line, the page, and days that do not pass."""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.crates.archives import honest_crate
from tests.support.registries.live import live_registry

from carnet import strictjson
from carnet.claims.receipt import ClaimReceipt, SignedReceipt, message
from carnet.claims.waiting import Waiting

NEW = (
    *("claim", "new", "demo", "-o", "claim", "--owner", "alice=person alice.pub", "--owners-threshold", "1"),
    *("--release-key", "<b>rita</b>=person rita.pub", "--release-threshold", "1", "--evidence", "alice wrote it"),
)


def test_a_claim_is_public_before_anybody_signs_for_the_registry(tmp_path: Path) -> None:
    with live_registry(tmp_path, [honest_crate("demo", "0.9.0")], waits=Waiting(claim=1, takeover=2)) as registry:
        registry.add_people(("alice", "rita"))
        assert "carnet claim propose claim" in registry.run(*NEW).stderr
        assert "nothing waits" in registry.run("watch").stdout
        early = registry.run("claim", "sign", "claim", "--key", "holder-0", status=1)
        assert "there is no receipt for this claim" in early.stderr
        assert "carnet claim propose" in early.stderr

        told = registry.json("claim", "propose", "claim")
        assert (told["crate"], told["kind"]) == ("demo", "claim")
        again = registry.json("claim", "propose", "claim")
        assert again == told
        assert "claim propose" not in registry.run("claim", "status", "claim", status=1).stdout

        watched = registry.run("watch", "demo", status=1)
        assert told["digest"] in watched.stdout
        assert "alice" in watched.stdout
        assert registry.json("watch", "demo", status=1)["digest"] == told["digest"]
        assert "nothing waits" in registry.run("watch", "serde").stdout
        assert "cannot be reached" in registry.run("watch", "--mirror", "http://127.0.0.1:9", status=3).stderr

        with urllib.request.urlopen(f"{registry.url}/pending") as answer:
            page = answer.read().decode()
            assert answer.headers["content-security-policy"] == "default-src 'none'"
        assert "&lt;b&gt;rita&lt;/b&gt;" in page
        assert "<b>" not in page

        for key in ("person alice", "person rita"):
            registry.run("claim", "sign", "claim", "--key", key)
        for root in ((), ("--root", "root.json")):
            refused = registry.run("claim", "sign", "claim", "--key", "holder-0", *root, status=1)
            assert "has to be until" in refused.stderr
            assert "NOT TO BE SIGNED YET" in refused.stderr

        # A thief of the online key deceives holders who do not look at the list; the mirror keeps to its own.
        receipt = registry.folder / "claim" / "receipt.json"
        given = ClaimReceipt.from_payload(SignedReceipt.from_bytes(receipt.read_bytes()).payload)
        old = ClaimReceipt(given.proposed, datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)).payload
        online = registry.mirror.directory.ceremony.online
        receipt.write_bytes(SignedReceipt(old, (online.sign(message(old)),)).to_bytes())
        for key in ("holder-0", "holder-1"):
            assert "look at `carnet watch demo` as well" in registry.run("claim", "sign", "claim", "--key", key).stderr
        assert "has to be until" in registry.run("claim", "submit", "claim", status=1).stderr

        # The folder's own words about time are nobody's.
        request = registry.folder / "claim" / "request.json"
        value = json.loads(request.read_bytes())
        request.write_bytes(strictjson.encode({**value, "asked": "2020-01-01T00:00:00Z"}))
        review = registry.run("claim", "review", "claim", "--root", "root.json").stdout
        assert "asked on 2020-01-01T00:00:00Z: nobody vouches for that" in review
        assert "the waiting period" in review
