"""What an erasure leaves of a track, and what comes after it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailwake.contracts import HIT, REMOVAL, SEND, Removal
from mailwake.track import TRACK, Reclassified, Track
from mailwake_enricher.decide import is_due, is_over, take_removal
from mailwake_enricher.loader_sources import read_track
from mailwake_enricher.taken_over import take_over
from mailwake_enricher.telling import Outcome
from tests.unit.enricher.table import Table
from tests.unit.enricher.values import MESSAGE, NOW, RECIPIENT, RULES, copy, hit, run, send
from tests.unit.loader.values import record

DAY_MS = 86_400_000


def removal(*recipients: int, tenant: str = "acme", at: int = NOW) -> Removal:
    return Removal(MESSAGE, tenant, "e" * 32, at, list(recipients))


VALUES = st.permutations([send(), hit(), hit(link=0), hit(at=NOW + 70_000), hit(link=1)])


@given(VALUES, st.integers(0, 5), st.lists(st.booleans(), max_size=2))
def test_of_a_mail_for_one_nothing_is_left_whatever_came_and_comes(
    values: list[object], before: int, again: list[bool]
) -> None:
    track = Track(revision=1)
    run(track, *values[:before])  # type: ignore[arg-type]
    assert take_removal(track, removal())
    for _ in again:
        assert not take_removal(track, removal(at=NOW + 1))
    outcome = run(track, *values[before:], *values)  # type: ignore[arg-type]
    assert track == Track(revision=1, erased=NOW)
    assert not outcome.events
    assert set(outcome.drops) == {"erased"}


def test_a_track_of_several_stays_and_takes_nothing_more() -> None:
    track = Track(revision=1)
    several = send(recipient_count=2, recipients=[RECIPIENT, "bb" * 16])
    run(track, several, hit(recipient=0))
    before = copy(track)
    assert take_removal(track, removal(1))
    assert not take_removal(track, removal(2, at=NOW + 1))
    assert run(track, several, hit(recipient=0, link=1)).drops == ["erased"]
    before.erased = NOW
    assert track == before
    # Until nobody is left of them.
    assert take_removal(track, removal())
    assert track == Track(revision=1, erased=NOW)


def test_another_tenant_erases_nothing() -> None:
    track = Track(revision=1)
    run(track, send(), hit())
    before = copy(track)
    assert not take_removal(track, removal(tenant="beta"))
    assert track == before


def test_what_is_judged_anew_of_an_erased_mail_is_outdated() -> None:
    track = Track(revision=1)
    run(track, send(), hit())
    judged = copy(track)
    take_removal(track, removal())
    outcome = Outcome()
    anew = Reclassified(MESSAGE, "acme", 1, 2, [], judged)
    assert take_over(track, anew, outcome) == "outdated"
    assert track == Track(revision=1, erased=NOW)


def test_what_says_that_a_mail_was_erased_lives_as_long_as_a_track() -> None:
    track = Track(revision=1, erased=NOW)
    assert not is_due(track, NOW + 300 * DAY_MS, RULES)
    assert not is_over(track, NOW + 179 * DAY_MS, RULES)
    assert is_over(track, NOW + 180 * DAY_MS, RULES)


def test_a_record_of_removals_writes_the_track_once() -> None:
    table = Table()
    table.take("sends", SEND.encode(send()))
    table.take("hits", HIT.encode(hit()))
    result = table.take("removals", REMOVAL.encode(removal()))
    assert result.read == 1
    assert not result.outputs
    assert table.track() == Track(revision=3, erased=NOW)
    ((key, row),) = result.rows
    assert row is not None
    assert RECIPIENT.encode() not in row
    # The loader takes it for a tombstone.
    assert read_track(record("tracks", row, key)).erased == MESSAGE
    assert not table.take("removals", REMOVAL.encode(removal())).rows
    late = table.take("hits", HIT.encode(hit(link=1)))
    assert (late.rows, late.outputs, late.drops) == ([], [], {"erased": 1})
    assert not table.take("sends", SEND.encode(send())).rows
    assert TRACK.decode(table.rows[MESSAGE.encode()]).revision == 3


def test_a_removal_that_cannot_be_read_is_counted_and_passed_over() -> None:
    result = Table().take("removals", b"{}")
    assert (result.rows, result.outputs) == ([], [])
    assert result.rejects == {("removals", "contract"): 1}
