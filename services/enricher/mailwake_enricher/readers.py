"""How many people read a mail: what its opens tell, and what they do not.

A reader is a network and a family of agents. One person may be several (a telephone and a desktop,
at home and at work), so two readers are surely two people only if neither network nor family is the
same; each person after the first is one who shares neither with anybody known. Behind an image
proxy nobody can be told from another: all of it together is one reader, and no proof of a person
besides those who are known.

The readers known of a mail are a text, five characters each: three for the network and one for the
family (digests), one for who it is. At most `KEPT` are kept, the smallest: where there are
more, their number is estimated from how close together the smallest stand, the way of k minimum
values (Bar-Yossef et al., Counting Distinct Elements in a Data Stream, 2002).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

KEPT = 24
"""Most readers that a track keeps; the error of the estimate is about 1/√22, 21%."""

RECIPIENT, FORWARD, PROXY = "r", "f", "p"
"""Who a reader is: one of as many people as there are recipients, one more, or a proxy."""

_DIGITS = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
"""In the order of ASCII, so that codes as texts are sorted as the numbers they write."""

_CODE, _ENTRY = 4, 5


@lru_cache(maxsize=8192)
def code_of(network: str, family: str) -> str:
    """A reader's code: four characters for a network and a family of agents."""
    first = blake2b(network.encode(), digest_size=3).digest()
    second = blake2b(family.encode(), digest_size=1).digest()
    value = int.from_bytes(first, "big") >> 6 << 6 | second[0] & 63
    return "".join(_DIGITS[value >> shift & 63] for shift in (18, 12, 6, 0))


def who_is(known: str, code: str) -> str:
    """Who the reader with a code is; empty when not known."""
    at = known.find(code)
    while at >= 0 and at % _ENTRY:
        at = known.find(code, at + 1)
    return "" if at < 0 else known[at + _CODE]


def meet(known: str, people: int, code: str, recipients: int, *, proxy: bool) -> tuple[str, int]:
    """Takes a new reader among the known; who is known then, and how many people that are."""
    entries = _entries(known)
    if proxy:
        who = PROXY
    else:
        alike = {
            entry[_CODE]
            for entry in entries
            if entry[_CODE] != PROXY and (entry[:3] == code[:3] or entry[3] == code[3])
        }
        if alike or len(entries) >= KEPT:
            who = FORWARD if alike == {FORWARD} else RECIPIENT
        else:
            people += 1
            who = RECIPIENT if people <= recipients else FORWARD
    return "".join(sorted([*entries, code + who])[:KEPT]), people


def about(known: str) -> int:
    """How many readers there are, by estimate."""
    count = len(known) // _ENTRY
    if count < KEPT:
        return count
    largest = 0
    for character in known[-_ENTRY:-1]:
        largest = largest << 6 | _DIGITS.index(character)
    return max(KEPT, round((KEPT - 1) * (1 << 24) / (largest + 1)))


def least(known: str, people: int) -> int:
    """How many people there are at the least."""
    return max(people, 1 if known else 0)


def _entries(known: str) -> list[str]:
    return [known[at : at + _ENTRY] for at in range(0, len(known), _ENTRY)]
