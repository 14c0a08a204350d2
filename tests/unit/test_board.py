"""Status lines on a terminal and elsewhere."""

import asyncio
import io

import pytest

from mailwake_local.board import Board, Pen


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Pipe(io.StringIO):
    encoding = "utf-8"


class AsciiPipe(io.StringIO):
    encoding = "ascii"


def seen(stream: io.StringIO) -> list[str]:
    """What a terminal shows of it: escapes for cursor up and erase are obeyed, colours left out."""
    import re

    lines, row = [""], 0
    for token in re.findall(r"\x1b\[[?0-9;]*[a-zA-Z]|\n|[^\x1b\n]+", stream.getvalue()):
        if token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token.startswith("\x1b") and token.endswith("F"):
            row -= int(token[2:-1])
        elif token == "\x1b[2K":
            lines[row] = ""
        elif not token.startswith("\x1b"):
            lines[row] += token
    return [line.rstrip() for line in lines if line.strip()]


async def test_elsewhere_a_line_is_printed_when_a_part_ends() -> None:
    out = Pipe()
    board = Board(Pen(out, {}), ["kafka", "edge", "loader"])
    with board.shown():
        board.works("kafka", "starting")
        board.works("edge", "starting")
        board.works("edge", "fetching 1 of 3")
        board.works("edge", "fetching 2 of 3")
        board.good("edge", "http://127.0.0.1:8025")
        board.bad("kafka", "ended with status 3")
        board.leave_unfinished()
    lines = out.getvalue().splitlines()
    assert lines.pop(0).split() == ["…", "edge", "fetching", "1", "of", "3"]
    assert [line.split()[:2] for line in lines] == [["✓", "edge"], ["✗", "kafka"]]
    assert all(line.endswith("0.0 s") for line in lines)
    assert "\x1b" not in out.getvalue()


async def test_a_terminal_shows_a_line_for_each_part_and_updates_it_in_place() -> None:
    out = Terminal()
    board = Board(Pen(out, {}), ["kafka", "edge", "loader"])
    with board.shown():
        await asyncio.sleep(0.1)
        board.works("kafka", "starting")
        await asyncio.sleep(0.2)
        assert "starting" in seen(out)[0]
        board.good("kafka", "127.0.0.1:9092")
        board.works("edge", "starting")
        board.leave_unfinished()
    assert [line.split()[:3] for line in seen(out)] == [
        ["✓", "kafka", "127.0.0.1:9092"],
        ["–", "edge", "not"],
        ["–", "loader", "not"],
    ]
    assert out.getvalue().endswith("\x1b[?25h")  # the cursor is back


async def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    out = Terminal()
    board = Board(Pen(out, {}), ["kafka"])
    with board.shown():
        board.works("kafka", "fetching " * 20)
    assert max(map(len, seen(out))) <= 50


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_none_is_wanted(environ: dict[str, str]) -> None:
    pen = Pen(Terminal(), environ)
    assert not pen.lively
    assert pen.mark("good") == "✓"
    assert pen.paint("text", 31) == "text"


def test_ascii_alone_where_the_stream_takes_no_more() -> None:
    out = AsciiPipe()
    pen = Pen(out, {})
    pen.line(f"{pen.mark('good')} a · b → c…")
    assert out.getvalue() == "ok a - b -> c...\n"


def test_a_stream_that_is_gone_ends_nothing() -> None:
    out = Pipe()
    pen = Pen(out, {})
    out.close()
    pen.line("nobody hears it")
