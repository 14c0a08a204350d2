"""What has to be known of a statement's text before the engine gets it.

The engine parses SQL; here only the two things are found in which a listener differs from an
engine in the same process: an INSERT whose rows come as blocks, and a FORMAT clause, which a
native client's results do not obey.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<space>\s+ | --[^\n]* | \#!?[^\n]* | /\*.*?\*/)
    | (?P<quoted>'(?:[^'\\]|\\.|'')*' | `(?:[^`\\]|\\.|``)*` | "(?:[^"\\]|\\.|"")*")
    | (?P<word>\w+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_MAY_TAKE_BLOCKS = re.compile(r"\b(?:VALUES|FORMAT\s+\w+)\s*;?\s*\Z", re.IGNORECASE)
_MAY_HAVE_FORMAT = re.compile(r"\bFORMAT\b", re.IGNORECASE)
_TAIL = 200


@dataclass(frozen=True)
class BlockInsert:
    """An INSERT whose rows follow as blocks.

    Attributes:
        target: the table, or ``FUNCTION`` and a table function, as written.
        columns: the list of columns with its brackets, as written, or nothing.
        settings: what stands after SETTINGS, or nothing.
    """

    target: str
    columns: str
    settings: str

    @property
    def sample(self) -> str:
        """The query whose columns are those the blocks must have."""
        source = re.sub(r"\AFUNCTION\s+", "", self.target, flags=re.IGNORECASE)
        return f"SELECT {self.columns[1:-1] or '*'} FROM {source}"  # noqa: S608

    def reading(self, source: str, extra_settings: str) -> str:
        """The same INSERT with its rows selected from `source`."""
        settings = ", ".join(filter(None, (self.settings, extra_settings)))
        into = f"{self.target} {self.columns}".strip()
        return f"INSERT INTO {into} SETTINGS {settings} SELECT * FROM {source}"  # noqa: S608


@dataclass(frozen=True)
class _Token:
    text: str
    start: int
    end: int
    depth: int

    @property
    def upper(self) -> str:
        return self.text.upper()


def _tokens(sql: str) -> list[_Token]:
    tokens, depth = [], 0
    for match in _TOKEN.finditer(sql):
        if match["space"]:
            continue
        depth -= match[0] == ")"
        tokens.append(_Token(match[0], match.start(), match.end(), depth))
        depth += match[0] == "("
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    return tokens


def block_insert(sql: str) -> BlockInsert | None:
    """Recognise ``INSERT INTO t (a, b) [SETTINGS …] VALUES`` (or FORMAT) that ends there."""
    if not _MAY_TAKE_BLOCKS.search(sql[-_TAIL:]):
        return None
    tokens = _tokens(sql)
    words = [token.upper for token in tokens]
    if words[:2] != ["INSERT", "INTO"]:
        return None
    first = 3 if words[2:3] == ["TABLE"] else 2
    last = len(tokens) - (1 if words[-1] == "VALUES" else 2)
    head = tokens[first:last]
    if not head or any(token.upper in ("SELECT", "WITH") and not token.depth for token in head):
        return None
    settings = ""
    for index, token in enumerate(head):
        if token.upper == "SETTINGS" and not token.depth:
            settings = sql[token.end : head[-1].end].strip()
            head = head[:index]
            break
    # A table function has brackets of its own; the columns are in the last outermost pair.
    opening = [i for i, token in enumerate(head) if token.text == "(" and not token.depth]
    if head[0].upper == "FUNCTION":
        opening = opening[1:]
    cut = opening[-1] if opening and head[-1].text == ")" else len(head)
    if not cut:
        return None
    columns = sql[head[cut].start : head[-1].end] if cut < len(head) else ""
    return BlockInsert(sql[head[0].start : head[cut - 1].end], columns, settings)


def without_format(sql: str, formats: frozenset[str]) -> str:
    """Take a final FORMAT clause out of a query: a native client always gets blocks.

    Args:
        sql: one statement.
        formats: the names of the engine's formats, in upper case.
    """
    if not _MAY_HAVE_FORMAT.search(sql):
        return sql
    tokens = _tokens(sql)
    if not tokens or tokens[0].upper == "INSERT":
        return sql
    for token, name, after in zip(tokens, tokens[1:], [*tokens[2:], None], strict=False):
        last = after is None or after.upper == "SETTINGS"
        if token.upper == "FORMAT" and not token.depth and name.upper in formats and last:
            return sql[: token.start] + sql[name.end :]
    return sql
