"""Status lines, one a part: updated in place on a terminal, printed as each ends elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TextIO

State = Literal["waits", "works", "good", "bad", "left"]

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAME_S = 0.08
_MARKS: dict[State, str] = {"waits": "·", "works": "…", "good": "✓", "bad": "✗", "left": "–"}
_PLAIN_MARKS: dict[State, str] = {
    "waits": ".", "works": ".", "good": "ok", "bad": "!!", "left": "--"
}  # fmt: skip
_COLOURS: dict[State, int] = {"waits": 2, "works": 36, "good": 32, "bad": 31, "left": 2}
_NAME_WIDTH = 12
_TEXT_WIDTH = 44


@dataclass
class _Row:
    name: str
    state: State = "waits"
    text: str = ""
    since: float = field(default_factory=time.monotonic)
    took: float | None = None
    told: bool = False


class Pen:
    """Writes to a stream as it can take it: colour, Unicode marks, or neither.

    A stream that is gone (a closed terminal or pipe) is written to no more and ends nothing.

    Attributes:
        lively: it is a terminal that lines can be updated in; never with NO_COLOR
            (https://no-color.org) or TERM=dumb.
    """

    def __init__(
        self, stream: TextIO | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._stream = stream or sys.stdout
        environ = os.environ if environ is None else environ
        self.lively = (
            self._stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        )
        encoding = (getattr(self._stream, "encoding", None) or "ascii").lower()
        self.unicode = encoding.startswith("utf")

    def line(self, text: str = "") -> None:
        """Writes a line."""
        self.raw(text + "\n")

    def raw(self, text: str) -> None:
        """Writes as it stands, and at once."""
        if not self.unicode:
            text = text.replace("·", "-").replace("→", "->").replace("…", "...")
            text = text.encode("ascii", "replace").decode("ascii")
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()

    def mark(self, state: State) -> str:
        """The coloured mark of a state, one column wide (two without Unicode)."""
        return self.paint((_MARKS if self.unicode else _PLAIN_MARKS)[state], _COLOURS[state])

    def spinner(self) -> str:
        """The mark of what is at work just now."""
        if not self.unicode:
            return self.mark("works")
        frame = _FRAMES[int(time.monotonic() / _FRAME_S) % len(_FRAMES)]
        return self.paint(frame, _COLOURS["works"])

    def paint(self, text: str, code: int) -> str:
        """The text in a colour or style (SGR code), where colours are."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.lively else text


class Board:
    """The rows of some parts. Call `shown` around the time they change in.

    Parts are known by name. A row's time runs from `works` to `good` or `bad`. Where rows cannot be
    updated, one is printed as it ends, and the first thing it says before that (a long download).
    """

    def __init__(self, pen: Pen, names: list[str]) -> None:
        self._pen = pen
        self._rows = {name: _Row(name) for name in names}
        self._drawn = 0

    def works(self, name: str, text: str) -> None:
        """It is at work; a further call changes the text alone."""
        row = self._rows[name]
        if row.state != "works":
            row.state, row.since = "works", time.monotonic()
        elif not row.told and not self._pen.lively:
            row.told = True
            self._pen.line(f"  {self._pen.mark('works')} {name:{_NAME_WIDTH}} {text}")
        row.text = text

    def good(self, name: str, text: str) -> None:
        """It is done well."""
        self._close(name, "good", text)

    def bad(self, name: str, text: str) -> None:
        """It went wrong."""
        self._close(name, "bad", text)

    def leave_unfinished(self) -> None:
        """What is not done by now is not waited for."""
        for row in self._rows.values():
            if row.state == "works":
                row.state, row.text = "left", "not waited for"
            elif row.state == "waits":
                row.state, row.text = "left", "not started"

    def _close(self, name: str, state: State, text: str) -> None:
        row = self._rows[name]
        took = time.monotonic() - row.since if row.state == "works" else None
        row.state, row.text, row.took = state, text, took
        if not self._pen.lively:
            self._pen.line(self._shape(row))

    def _shape(self, row: _Row) -> str:
        mark = self._pen.spinner() if row.state == "works" else self._pen.mark(row.state)
        took = row.took
        if took is None and row.state == "works":
            took = time.monotonic() - row.since
        seconds = "" if took is None else f"{took:6.1f} s"
        # A line that wraps cannot be updated in place.
        room = max(shutil.get_terminal_size().columns - _NAME_WIDTH - len(seconds) - 8, 10)
        text = f"{row.text:{min(_TEXT_WIDTH, room)}}"
        if self._pen.lively and len(text) > room:
            text = text[: room - 1] + "…"
        if row.state in ("waits", "left"):
            text = self._pen.paint(text, 2)
        return f"  {mark} {row.name:{_NAME_WIDTH}} {text} {self._pen.paint(seconds, 2)}".rstrip()

    def _draw(self) -> None:
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        lines = [f"\x1b[2K{self._shape(row)}\n" for row in self._rows.values()]
        self._pen.raw(up + "".join(lines))
        self._drawn = len(lines)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the rows while inside; they stand as they are after it. Wants a running loop."""
        if not self._pen.lively:
            yield
            return
        drawing = asyncio.get_running_loop().create_task(self._keep_drawing())
        self._pen.raw("\x1b[?25l")  # hides the cursor
        try:
            yield
        finally:
            drawing.cancel()
            self._draw()
            self._pen.raw("\x1b[?25h")

    async def _keep_drawing(self) -> None:
        while True:
            self._draw()
            await asyncio.sleep(_FRAME_S)
