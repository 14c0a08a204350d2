"""The pages of docs/ and README.md: links and anchors hold, and what they show is what there is."""

from __future__ import annotations

import ast
import functools
import importlib
import io
import re
import textwrap
import unicodedata
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest

from mailwake.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "schemas/README.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
_INDENTED = re.compile(r"^ {4,}(mailwake [a-z-]+.*)$", re.M)
_SAYS = re.compile(r"mailwake [a-z-]+: ")  # what a command says, not how it is called
_INLINE = re.compile(r"`(mailwake [a-z-]+[^`]*)`")


def prose(text: str) -> str:
    """A text without its code."""
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))


@functools.cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page, as code hosts and the site both make them of headings."""
    found = re.findall(r"^#{1,6} (.+?)\s*$", _FENCE.sub("", page.read_text("utf-8")), re.M)
    return {_slug(heading) for heading in found}


def _slug(heading: str) -> str:
    text = unicodedata.normalize("NFKD", heading.replace("`", "").lower())
    return re.sub(r"[\s]", "-", re.sub(r"[^\w\s-]", "", text).strip())


def broken(page: Path, text: str) -> list[str]:
    """The links of a page within the repository that lead nowhere."""
    found = []
    for target, anchor in re.findall(r"\]\(([^)\s#]*)(?:#([^)\s]*))?\)", prose(text)):
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            found.append(f"{target}#{anchor}" if anchor else target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page, page.read_text("utf-8")) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    page = ROOT / "docs" / "api.md"
    text = "[a](nowhere.md) [b](library.md) [c](#tokens) [d](#nothing) [e](../README.md#run-it)"
    assert broken(page, text) == ["nowhere.md", "#nothing", "../README.md#run-it"]


def code(page: Path, *languages: str) -> list[str]:
    """The blocks of a page in one of these languages."""
    found = _FENCE.findall(page.read_text("utf-8"))
    return [textwrap.dedent(block) for _, language, block in found if language in languages]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_of_python_are_python(page: Path) -> None:
    for block in code(page, "python"):
        ast.parse(block)


def commands(page: Path) -> list[str]:
    """The calls of our command line that a page shows."""
    text = page.read_text("utf-8")
    shell = re.sub(r"\\\n\s*", "", "\n".join(code(page, "sh", "")))
    found = re.findall(r"(?:^|[|&(;] *|\$\()(mailwake [a-z-]+[^|&;)\n]*)", shell, re.M)
    found += _INDENTED.findall(text) + _INLINE.findall(_FENCE.sub("", text))
    return [line for line in found if not _SAYS.match(line)]


@functools.cache
def help_of(*words: str) -> str:
    """What `--help` says of a command, or of a command's command."""
    (command,) = (each for each in COMMANDS if each.name == words[0])
    module, _, function = command.does.partition(":")
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out), suppress(SystemExit, Exception):
        getattr(importlib.import_module(module), function)([*words[1:], "--help"])
    return out.getvalue()


PLAIN = {"help", "COMMAND", "--version"}
"""What stands for no command of the list."""


def wrong(line: str) -> str | None:
    """What is wrong with a call: a command or an option that there is not."""
    words = line.partition(" #")[0].split()[1:]
    names = {command.name for command in COMMANDS} | PLAIN
    if words[0] not in names:
        return f"no command {words[0]}"
    if words[0] in PLAIN:
        return None
    told = help_of(words[0])
    if len(words) > 1 and re.fullmatch(r"[a-z]+", words[1]) and f"{words[1]}" in told:
        told += help_of(*words[:2])
    options = {option for word in words if (option := re.match(r"\[?(--[a-z-]+)", word))}
    for option in options:
        if option[1] not in told and option[1] != "--help":
            return f"{words[0]} has no {option[1]}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_ones_that_there_are(page: Path) -> None:
    for line in commands(page):
        assert wrong(line) is None, line


def test_a_command_that_there_is_not_is_found() -> None:
    assert wrong("mailwake topic apply") == "no command topic"
    assert wrong("mailwake replay loader --from 2026-01-01") == "replay has no --from"
    assert wrong("mailwake users set users.json ben --tenant acme --user ben") is None
    assert wrong("mailwake topics render --strimzi mailwake") is None
