"""What a mirror tells its operator: lines on stderr, as text or as JSON, by the standard `logging`.

Text is one line for a message and one for its hint: `error: ...`, `hint: ...`. Strangers choose a part of what is told:
what would begin another line or steer a terminal is shown as an escape.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from carnet import strictjson, times
from carnet.errors import CarnetError
from carnet.strictjson import Json, JsonObject

LogFormat = Literal["text", "json"]
LOG = logging.getLogger("carnet.mirror")
"""For whoever embeds a mirror: handlers and levels are set as of any other logger."""
_WORDS = {logging.CRITICAL: "alarm", logging.ERROR: "error", logging.WARNING: "warning", logging.INFO: "note"}
_FACTS, _HINT = "carnet_facts", "carnet_hint"


def alarm(text: str) -> None:
    """Somebody may be attacking, or a library errs: a person looks at once."""
    _tell(logging.CRITICAL, text)


def error(text: str | CarnetError) -> None:
    """Something failed that the operator has to mend; an error brings its own hint."""
    _tell(logging.ERROR, str(text), hint=text.hint if isinstance(text, CarnetError) else "")


def warn(text: str, hint: str = "") -> None:
    """Something that the operator should know and that stops nothing."""
    _tell(logging.WARNING, text, hint=hint)


def note(text: str, **facts: Json) -> None:
    """Something that was done; it is written where lines are JSON, with its facts as fields of their own."""
    _tell(logging.INFO, text, facts=facts)


def write_as(log_format: LogFormat) -> None:
    """Choose how lines are written from now on; JSON has a line for everything that is done, too."""
    _HANDLER.setFormatter(_JsonLines() if log_format == "json" else _TextLines())
    LOG.setLevel(logging.INFO if log_format == "json" else logging.WARNING)


def visible(text: str) -> str:
    """Text of strangers on one line: control characters and what nobody sees are shown as escapes."""
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def json_line(event: str, when: datetime, fields: JsonObject) -> str:
    """One line of a log for machines: ASCII, with escapes for all that is none."""
    said = {key: _utf8(value) if isinstance(value, str) else value for key, value in fields.items()}
    text = strictjson.encode({"time": times.written(when), "event": event} | said).decode()
    return text if text.isascii() else "".join(char if char.isascii() else _escaped(char) for char in text)


def _utf8(text: str) -> str:
    """A text without what is no character at all: JSON has no place for it, and few handlers do."""
    return text.encode("utf-8", "backslashreplace").decode()


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _tell(level: int, text: str, *, hint: str = "", facts: JsonObject | None = None) -> None:
    LOG.log(level, "%s", _utf8(text), extra={_HINT: _utf8(hint), _FACTS: facts or {}})


class _TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        hint: str = getattr(record, _HINT, "")
        line = f"{_WORDS.get(record.levelno, 'note')}: {visible(record.getMessage())}"
        return f"{line}\nhint: {visible(hint)}" if hint else line


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        hint: str = getattr(record, _HINT, "")
        facts: JsonObject = getattr(record, _FACTS, {})
        said: JsonObject = {"level": _WORDS.get(record.levelno, "note"), "message": record.getMessage()}
        said |= {"hint": hint} if hint else {}
        return json_line("message", datetime.now(UTC), said | facts)


class _Stderr(logging.Handler):
    """Writes to what `sys.stderr` is at the time; a log that nobody can read stops no mirror."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except (OSError, ValueError):
            return


_HANDLER = _Stderr()
LOG.addHandler(_HANDLER)
LOG.propagate = False
write_as("text")
