"""The runbooks in docs/operations, and the commands that stand in them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs" / "operations"
RUNBOOKS = (
    *("backup", "disaster", "erasure", "evolution", "keys", "replay", "tracking-domain"),
    "upgrade",
)
HEADINGS = ("When.", "Before you start", "See that it worked", "Go back")
"""What each runbook has, be it as a heading or as the beginning of a paragraph."""


def page(name: str) -> str:
    """The text of a page."""
    return (FOLDER / f"{name}.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, in their order, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.M | re.S)
    return [textwrap.dedent(block) for _, block in found]


def kubectl_lines(text: str) -> list[str]:
    """Each call of kubectl on a page, with what is continued on the next line; without pipes."""
    text = re.sub(r"\\\n\s*", "", text)
    indented = re.findall(r"^ {4,}(.*kubectl .*)$", text, re.M)
    inline = re.findall(r"`(kubectl -n mailwake [^`]*)`", text)
    found = []
    for line in [*indented, *inline]:
        for part in re.split(r"[|;]", line.partition(" #")[0]):
            if (at := part.find("kubectl ")) >= 0:
                found.append(part[at:].strip().strip("`"))
    return found
