"""HTTP: taking submissions, `POST /api/v1/carnet/submissions`."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp

from carnet.claims.submission import MAX_SUBMISSION, URL_PATH
from carnet.strictjson import Json, JsonObject
from carnet_mirror.gathering import Gathering
from carnet_mirror.intake import Receipt
from carnet_mirror.state.disk import Disk
from carnet_mirror.web.posted import Bounds, Posted
from carnet_mirror.web.tally import Tally

BOUNDS = Bounds(size=MAX_SUBMISSION)


class Submissions(Posted):
    """Takes submissions, and leaves every other request to the application behind it.

    Args:
        app: Answers everything else.
        take: Judges a body; runs in a thread, never twice at a time. None on a mirror that publishes nothing. Where
            there is a `gathering` it looks at a body, and answers nothing to what is to be published.
        gathering: What publishes several together.
        bounds: What a body may cost.
        sender_header: The header in which a proxy before this server says who asks; None when there is no proxy.
        tally: Counts what is refused.
        disk: As for `carnet_mirror.web.posted.Posted`.
    """

    def __init__(
        self,
        app: ASGIApp,
        take: Callable[[bytes], Receipt | None] | None,
        bounds: Bounds = BOUNDS,
        *,
        sender_header: str | None = None,
        tally: Tally | None = None,
        disk: Disk | None = None,
        gathering: Gathering[Receipt] | None = None,
    ) -> None:
        def judge(body: bytes, _: str) -> JsonObject | None:
            receipt = None if take is None else take(body)
            return None if receipt is None else _answer(receipt)

        async def gather(read: Callable[[], bytes], size: int, network: str) -> JsonObject:
            assert gathering is not None  # noqa: S101  -- for the type checker; it is handed on below
            return _answer(await gathering.join(read, size, network))

        super().__init__(
            app,
            path=URL_PATH,
            what="submission",
            take=None if take is None else judge,
            gather=None if gathering is None else gather,
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
