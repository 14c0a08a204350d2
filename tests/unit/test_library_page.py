"""The examples of docs/library.md do what the page says; its reasons are those of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from mailwake.mime import PartReason
from mailwake.report import LinkReason

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text("utf-8")


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(examples) == 3
    for example in examples:
        exec(example, names)  # noqa: S102
    assert names["text"].report.links == 1


def test_every_reason_is_told() -> None:
    told = set(re.findall(r"`([a-z_]+)`", PAGE))
    assert told >= {*get_args(LinkReason), *get_args(PartReason)}
