"""What a command prints: results on stdout, `error:` and `hint:` lines and progress on stderr.

click is imported where it is used: what most builds run needs neither its parser nor a progress bar.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TextIO, TypeVar

from carnet.errors import CarnetError, FormatError, StorageError

_COLOURS = {"error": 31, "warning": 33, "hint": 36}
"""Of labels, as ECMA-48 numbers them."""

_Report = TypeVar("_Report")
_BETWEEN_LINES = 10.0
_BEFORE_A_BAR = 2.0
"""Seconds."""
MessageFormat = Literal["human", "json"]


def message_format(command: Any) -> Any:
    """Decorate a command with `--message-format human|json`, cargo's own flag for the same purpose."""
    import click

    return click.option(
        "--message-format",
        type=click.Choice(["human", "json"]),
        default="human",
        show_default=True,
        help="How results are written to stdout.",
    )(command)


def echo(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Write a line to stdout, or to stderr, at once.

    Raises:
        BrokenPipeError: Nobody reads the results any more.
        StorageError: They cannot be written, such as to a disk that is full. What goes to stderr is dropped then.
    """
    stream = sys.stderr if err else sys.stdout
    try:
        try:
            stream.write(text + end)
        except UnicodeEncodeError:  # a path that is not UTF-8, or a terminal that is not: shown as escapes
            codec = stream.encoding or "ascii"
            stream.write(text.encode(codec, "backslashreplace").decode(codec) + end)
        stream.flush()
    except OSError as error:
        _give_up(stream)
        if err:
            return
        if isinstance(error, BrokenPipeError):
            raise
        raise StorageError(f"the results cannot be written: {(error.strerror or 'failed').lower()}") from None


def _give_up(stream: TextIO) -> None:
    """Let what is still in a stream's buffer go nowhere: it would fail again when the program ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def emit_json(value: Any) -> None:
    """Write one result as a line of JSON on stdout; what would steer a terminal in it is escaped as JSON escapes it."""
    from carnet import strictjson

    try:
        text = strictjson.encode(value).decode()
    except FormatError:  # with a path in it that is not UTF-8
        text = strictjson.encode(_showable(value)).decode()
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _escaped(char) for char in text)
    echo(text)


def _showable(value: Any) -> Any:
    """The same value, with escapes for what is not UTF-8 in its texts."""
    if isinstance(value, dict):
        return {_showable(key): _showable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_showable(item) for item in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _escaped(char: str) -> str:
    """A character as JSON escapes it: past U+FFFF in two halves."""
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def show(
    report: _Report,
    message_format: MessageFormat,
    as_text: Callable[[_Report], None],
    as_json: Callable[[_Report], Iterable[Any]],
) -> None:
    """Hand a report to one of its renderers.

    Args:
        report: What a command found or did.
        message_format: For whom.
        as_text: Writes it for people: results to stdout, what they should know beside them to stderr.
        as_json: Turns it into objects, which are written as they come, one a line.
    """
    if message_format == "json":
        for item in as_json(report):
            emit_json(item)
    else:
        as_text(report)


def plain(text: str) -> str:
    """Text that others wrote, safe for a terminal: control characters and what nobody sees are shown as escapes."""
    if text.isascii() and text.isprintable():
        return text
    from carnet.people import INVISIBLE  # with the first odd letter: start-up time counts

    shown = (char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)
    return INVISIBLE.sub(lambda found: ascii(found[0])[1:-1], "".join(shown))


def _colours() -> bool:
    return "NO_COLOR" not in os.environ and sys.stderr.isatty()


def _say(label: str, text: str) -> None:
    head = f"\x1b[{_COLOURS[label]};1m{label}:\x1b[0m" if _colours() else f"{label}:"
    echo(f"{head} {plain(text)}", err=True)


def report(error: CarnetError) -> None:
    """Print an error, and its hint when it has one."""
    _say("error", str(error))
    if error.hint:
        _say("hint", error.hint)


def error(text: str) -> None:
    """Print one of several things that are wrong, which no single error is about."""
    _say("error", text)


def warn(text: str, hint: str = "") -> None:
    """Print something that a person should know and that stops nothing."""
    _say("warning", text)
    if hint:
        _say("hint", hint)


def hint(text: str) -> None:
    """Print what to do about something that another program said."""
    _say("hint", text)


def warn_all(remarks: Iterable[str]) -> None:
    """Print several things that a person should know."""
    for remark in remarks:
        warn(remark)


def note(text: str) -> None:
    """Print what was done, for people only; results that machines read go to stdout."""
    echo(plain(text), err=True)


class Progress(Protocol):
    """Counts the units of a long piece of work."""

    def update(self, n_steps: int) -> None:
        """Say that `n_steps` more are done."""


class _Lines:
    """Says every ten seconds how far it is, where there is no terminal to draw on: in the log of a build, for one."""

    def __init__(self, label: str, length: int) -> None:
        self._label, self._length = label, length
        self._done = 0
        self._begun = self._said = time.monotonic()

    def update(self, n_steps: int) -> None:
        self._done += n_steps
        now = time.monotonic()
        if now - self._said >= _BETWEEN_LINES:
            self._said = now
            pace = pace_words(self._done, self._length, now - self._begun)
            echo(f"{self._label}: {self._done} of {self._length}{pace}", err=True)


def pace_words(done: int, length: int, seconds: float) -> str:
    """How fast work went so far, and how long the rest takes at that pace; empty before anything is done."""
    if done <= 0 or seconds <= 0 or done >= length:
        return ""
    rate = done / seconds
    left = (length - done) / rate
    each = f"{rate:,.0f} a second" if rate >= 2 else f"{rate * 60:,.0f} a minute"
    hours, minutes = divmod(round(left / 60), 60)
    rest = f"{hours} h {minutes} min" if hours else f"{minutes} min" if left >= 90 else f"{left:.0f} s"
    return f", {each}, {rest} left"


class _Bar:
    """A bar on a terminal, once the work has taken so long that somebody wonders."""

    def __init__(self, label: str, length: int) -> None:
        self._label, self._length = label, length
        self._done = 0
        self._begun = time.monotonic()
        self._bar: Any = None

    def update(self, n_steps: int) -> None:
        self._done += n_steps
        if self._bar is not None:
            self._bar.update(n_steps, pace_words(self._done, self._length, time.monotonic() - self._begun))
        elif time.monotonic() - self._begun >= _BEFORE_A_BAR:
            import click

            self._bar = click.progressbar(
                length=self._length,
                label=self._label,
                file=sys.stderr,
                show_pos=True,
                show_eta=False,
                item_show_func=lambda pace: (pace or "").removeprefix(", "),
            )
            self._bar.__enter__()
            self._bar.update(self._done)

    def end(self) -> None:
        """Leave the line that was drawn on, if any was."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)


@contextmanager
def progress(label: str, length: int) -> Iterator[Progress]:
    """A progress bar on stderr when that is a terminal, a line every ten seconds otherwise; for short work neither.

    Args:
        label: What is being done, such as `checking`.
        length: How many units there are.
    """
    if length == 0 or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield _Lines(label, length)
        return
    bar = _Bar(label, length)
    try:
        yield bar
    finally:
        bar.end()


@contextmanager
def counting(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """A progress bar, as the function that moves it on: what the rooms ask for, which know no terminal."""
    with progress(label, length) as bar:
        yield bar.update
