"""The memory of seen hits: exact deduplication in bounded space (docs/decisions/0005-seen-hits.md).

A hit_id is a stream (one run of one edge process) and a number in it. A track keeps of each stream
`[floor, last, number, …]`: numbers up to `floor` count as seen, the numbers behind are the most
recent ones, sorted, and `last` is the time of the stream's newest hit in seconds since the epoch.
"""

from __future__ import annotations

from bisect import bisect_left

from mailwake.ids import split_hit_id

WINDOW = 16
"""Most numbers of one stream that are kept one by one: hits of one message and stream may come in
any order within so many."""

NUMBERS = 32
"""Most numbers of all streams of a track together."""

FORGET_MS = 14 * 86_400_000
"""A stream is forgotten so long after its last hit. No copy of a hit can come later: `hits` keeps
a record for 7 days (schemas/topics/hits.yaml), and the edge's spool is drained within days."""

FLOOR, LAST, _NUMBERS = 0, 1, 2
_REPLAYED = "r"

Seen = dict[str, list[int]]


def see(seen: Seen, hit_id: str, at: int, *, replayed: bool = False) -> bool:
    """Notes a hit in `seen`, in place; False when it was there already.

    `at` is the hit's time in milliseconds. Hits that are replayed from `hits.unmatched` come out of
    the order of their stream, so they are remembered under a name of their own; an original whose
    replay was noted counts as seen.
    """
    stream, number = split_hit_id(hit_id)
    if replayed:
        name = _REPLAYED + stream
    else:
        name = stream
        twin = seen.get(_REPLAYED + stream)
        if twin and number in twin[_NUMBERS:]:
            return False
    entry = seen.get(name)
    if entry is None:
        _forget(seen, at)
        seen[name] = [0, at // 1000, number]
    else:
        place = bisect_left(entry, number, _NUMBERS)
        if number <= entry[FLOOR] or (place < len(entry) and entry[place] == number):
            return False
        entry.insert(place, number)
        entry[LAST] = max(entry[LAST], at // 1000)
        if len(entry) - _NUMBERS > WINDOW:
            _fold(entry)
    if len(seen) > 2 and sum(map(len, seen.values())) - _NUMBERS * len(seen) > NUMBERS:
        full = (kept for kept in seen.values() if len(kept) > _NUMBERS)
        _fold(min(full, key=lambda kept: kept[LAST]))
    return True


def _fold(entry: list[int]) -> None:
    """Lets the smallest number be told by the floor."""
    entry[FLOOR] = entry.pop(_NUMBERS)


def _forget(seen: Seen, now: int) -> None:
    for name in [name for name, entry in seen.items() if _newest(name, entry) < now - FORGET_MS]:
        del seen[name]


def _newest(name: str, entry: list[int]) -> int:
    """The later of a stream's start, which its name tells (`mailwake.ids`), and its last hit."""
    return max(int(name.removeprefix(_REPLAYED), 16) >> 20, entry[LAST] * 1000)
