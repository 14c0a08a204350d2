"""The order of an upgrade: readers before writers, as the topics' files name them."""

from __future__ import annotations

import pytest

from mailwake.topics import Topic, registry
from tests.fleet import READERS_FIRST
from tests.unit.packages import ROOT

PAGE = (ROOT / "docs" / "operations" / "upgrade.md").read_text("utf-8")


def test_the_page_has_the_order_that_the_drill_keeps() -> None:
    assert f"for each in {' '.join(READERS_FIRST)}; do" in PAGE


@pytest.mark.parametrize("topic", registry().values(), ids=lambda topic: topic.name)
def test_readers_come_before_writers(topic: Topic) -> None:
    """But for the API, which writes what all others read."""
    place = {name: number for number, name in enumerate(READERS_FIRST)}
    for reader in {*topic.readers} & {*place} - {"api"}:
        for writer in {*topic.writers} & {*place} - {reader}:
            assert place[reader] < place[writer], f"{reader} reads what {writer} writes"


def test_who_reads_tables_comes_before_who_fills_them() -> None:
    assert READERS_FIRST.index("digest") < READERS_FIRST.index("loader")
