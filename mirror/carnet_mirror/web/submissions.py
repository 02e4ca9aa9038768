"""HTTP: taking submissions, `POST /api/v1/carnet/submissions`."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp

from carnet.claims.submission import MAX_SUBMISSION, URL_PATH
from carnet.strictjson import Json, JsonObject
from carnet_mirror.intake import Receipt
from carnet_mirror.state.disk import Disk
from carnet_mirror.web.posted import Bounds, Posted
from carnet_mirror.web.tally import Tally

BOUNDS = Bounds(size=MAX_SUBMISSION)


class Submissions(Posted):
    """Takes submissions, and leaves every other request to the application behind it.

    Args:
        app: Answers everything else.
        take: Judges a body; runs in a thread, never twice at a time. None on a mirror that publishes nothing.
        bounds: What a body may cost.
        sender_header: The header in which a proxy before this server says who asks; None when there is no proxy.
        tally: Counts what is refused.
        disk: As for `carnet_mirror.web.posted.Posted`.
    """

    def __init__(
        self,
        app: ASGIApp,
        take: Callable[[bytes], Receipt] | None,
        bounds: Bounds = BOUNDS,
        *,
        sender_header: str | None = None,
        tally: Tally | None = None,
        disk: Disk | None = None,
    ) -> None:
        judged = None if take is None else lambda body, _: _answer(take(body))
        super().__init__(
            app,
            path=URL_PATH,
            what="submission",
            take=judged,
            bounds=bounds,
            sender_header=sender_header,
            tally=tally,
            disk=disk,
        )


def _answer(receipt: Receipt) -> JsonObject:
    said: JsonObject = {
        "crate": receipt.crate,
        "added": list[Json](receipt.added),
        "yanked": list[Json](receipt.yanked),
        "unyanked": list[Json](receipt.unyanked),
        "roles": dict[str, Json](receipt.roles),
        "snapshot": receipt.snapshot,
        "takeover": receipt.takeover,
    }
    return {"detail": receipt.words, "receipt": said}
