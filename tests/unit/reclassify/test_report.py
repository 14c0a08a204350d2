"""What the commands print: the confusion table, progress, and how the work is cut."""

from __future__ import annotations

import io

import pytest

from mailwake.contracts import Event, Hit
from mailwake.errors import ConfigError
from mailwake_enricher import archive
from mailwake_enricher.archive import CHUNK_HITS, CHUNK_MAILS, Outline, chunks
from mailwake_enricher.confusion import Comparison
from mailwake_enricher.progress import Progress, spoken
from mailwake_enricher.reclassify import millis_of
from mailwake_enricher.rejudge import Mail, rejudge
from tests.unit.enricher.values import NOW, RULES, hit, send
from tests.unit.reclassify.values import STRONGER, live, mail

PROXY = "Mozilla/5.0 (Windows) (via ggpht.com GoogleImageProxy)"
THUNDERBIRD = "Mozilla/5.0 (X11) Gecko/20100101 Thunderbird/140.0"


def compared(*mails: Mail) -> Comparison:
    comparison = Comparison()
    for each in mails:
        comparison.add(rejudge(each, STRONGER), len(each.hits), len(each.events))
    return comparison


def test_the_table_counts_each_event_once_by_its_old_and_new_verdict() -> None:
    hits = [
        hit(agent=THUNDERBIRD),
        hit(at=NOW + 1000, agent=THUNDERBIRD),  # a repeat
        hit(at=NOW + 3_600_000),
        hit(at=NOW + 7_200_000, agent=PROXY),
    ]
    gone = [hit(agent=THUNDERBIRD), hit(at=NOW + 3_600_000)]
    track, events = live(send(), hits)
    lost_track, lost_events = live(send(), gone)
    comparison = compared(
        mail(send(), hits, track, events), mail(send(), gone[1:], lost_track, lost_events)
    )
    assert comparison.verdicts == {
        ("human", "scanner"): 1,
        ("human", "human"): 1,
        ("proxy", "prefetch"): 1,
    }
    assert (comparison.hits, comparison.mails, comparison.changed_mails) == (5, 2, 1)
    assert comparison.firsts == {True: 1, False: 1}
    assert (comparison.left["no_hits"], comparison.gone, comparison.beside) == (1, 1, 2)
    lines = list(comparison.lines())
    assert lines[0].split() == [
        *("old", "verdict", "→", "human", "→", "proxy", "→", "prefetch", "→", "scanner", "all")
    ]
    assert lines[1].split() == ["human", "1", "·", "·", "1", "2"]
    assert lines[2].split() == ["50.0%", "50.0%"]
    said = "\n".join(lines)
    assert "2 of 3 verdicts turn (66.7%)" in said
    assert "first opens and clicks: 1 more, 1 no more" in said
    assert "1 mails with 2 events, for the hits of 1 of these are no longer kept" in said


def test_implied_opens_that_come_and_go_are_told() -> None:
    come = [hit(agent=THUNDERBIRD), hit(at=NOW + 3_600_000, link=0)]
    gone = [hit(link=0, agent=THUNDERBIRD)]
    comparison = compared(*(mail(send(), hits, *live(send(), hits)) for hits in (come, gone)))
    assert comparison.implied == {True: 1, False: 1}
    assert comparison.removed["no_machine_sign"] == 0
    assert ("human", "scanner") in comparison.verdicts


def test_where_nothing_changes_the_report_says_so() -> None:
    hits = [hit()]
    comparison = Comparison()
    judged = rejudge(mail(send(), hits, *live(send(), hits)), RULES)
    comparison.add(judged, 1, 1)
    said = "\n".join(comparison.lines())
    assert "0 of 1 verdicts turn (0.0%)" in said
    assert "0 events of 0 mails change" in said
    assert next(iter(Comparison().lines())) == "no events to compare"


def test_mails_are_cut_into_lots_by_number_and_by_hits() -> None:
    small = [Outline("t", "u", f"{number:032x}", 1, 1, ()) for number in range(CHUNK_MAILS + 1)]
    large = Outline("t", "u", "f" * 32, 1, CHUNK_HITS * 3, ())
    assert [len(chunk) for chunk in chunks(small)] == [CHUNK_MAILS, 1]
    assert [len(chunk) for chunk in chunks([small[0], large, small[1]])] == [1, 1, 1]
    assert list(chunks([])) == []


def test_rows_are_read_in_the_order_of_the_fields() -> None:
    assert Hit.__struct_fields__[: len(archive._HIT)] == archive._HIT
    assert Event.__struct_fields__[: len(archive._EVENT)] == archive._EVENT


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere() -> None:
    for stream, bar in ((Screen(), True), (io.StringIO(), False)):
        now = [0.0]
        progress = Progress(200, "mails", "hits", stream, lambda now=now: now[0])  # type: ignore[misc]
        progress.add(10, 30)
        assert stream.getvalue() == ""
        now[0] = 20.0
        progress.add(40, 170)
        progress.say("waiting")
        said = stream.getvalue()
        assert ("[#######.......................]" in said) == bar
        assert ("\r" in said) == bar
        assert " 25%  50 of 200 mails, 200 hits, 10 hits/s, 1 min 0 s left" in said
        assert said.endswith("waiting\n")


def test_times_are_spoken_and_read() -> None:
    assert [spoken(each) for each in (4.4, 200, 7500)] == ["4 s", "3 min 20 s", "2 h 5 min"]
    assert millis_of(None, "--since") is None
    assert millis_of("2026-09-01", "--since") == 1_788_220_800_000
    assert millis_of("2026-09-01T02:00+02:00", "--since") == 1_788_220_800_000
    with pytest.raises(ConfigError, match="--since 'yesterday' is no time; write it as 2026-09-01"):
        millis_of("yesterday", "--since")
