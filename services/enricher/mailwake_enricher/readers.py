"""How many people read a mail: what its opens tell, and what they do not.

A reader is a network and a family of agents. One person may be several (a telephone and a desktop,
at home and at work), so two readers are surely two people only if neither network nor family is the
same; each person after the first is one who shares neither with anybody known. Behind an image
proxy nobody can be told from another: all of it together is one reader, and no proof of a person
besides those who are known.

Readers are written as a text, five characters each: three for the network and one for the family
(digests, base 64), one for who it is. At most `KEPT` are kept, the smallest: where more are known
their number is estimated from how close together the smallest stand, the way of k minimum values
(Bar-Yossef et al., Counting Distinct Elements in a Data Stream, 2002).
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import blake2b

KEPT = 32
"""Most readers that a track keeps; the error of the estimate is about 1/√30, 18%."""

RECIPIENT, FORWARD, PROXY = "r", "f", "p"
"""Who a reader is: among as many people as there are recipients, one more, or a proxy."""

_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_LENGTH = 5


class Readers:
    """The readers of one mail as they become known, in the order of time."""

    def __init__(self, known: str, people: int, recipients: int) -> None:
        """`known` as `text` gave it, `people` so far."""
        self._who = {
            known[at : at + _LENGTH - 1]: known[at + _LENGTH - 1]
            for at in range(0, len(known), _LENGTH)
        }
        self.people = people
        self._recipients = recipients

    def add(self, network: str, family: str, *, proxy: bool) -> bool:
        """Notes that a reader opened the mail; whether it is one more than there are recipients."""
        code = reader_code("" if proxy else network, family)
        who = self._who.get(code)
        if who is None:
            who = PROXY if proxy else self._meet(code)
            self._who[code] = who
            if len(self._who) > KEPT:
                del self._who[max(self._who)]
        return who == FORWARD

    def _meet(self, code: str) -> str:
        """Who a new reader is."""
        alike = {
            who
            for other, who in self._who.items()
            if who != PROXY and (other[:3] == code[:3] or other[3] == code[3])
        }
        if alike or len(self._who) >= KEPT:
            return FORWARD if alike == {FORWARD} else RECIPIENT
        self.people += 1
        return RECIPIENT if self.people <= self._recipients else FORWARD

    @property
    def text(self) -> str:
        """The readers for the track."""
        return "".join(code + self._who[code] for code in sorted(self._who))

    @property
    def about(self) -> int:
        """How many readers there are, by estimate."""
        if len(self._who) < KEPT:
            return len(self._who)
        largest = max(map(_value, self._who))
        return max(KEPT, round((KEPT - 1) * (1 << 24) / (largest + 1)))

    @property
    def least(self) -> int:
        """How many people there are at the least."""
        return max(self.people, min(1, len(self._who)))


@lru_cache(maxsize=8192)
def reader_code(network: str, family: str) -> str:
    """Four characters for a network and a family of agents."""
    first = blake2b(network.encode(), digest_size=3).digest()
    second = blake2b(family.encode(), digest_size=1).digest()
    return urlsafe_b64encode(first).decode()[:3] + _DIGITS[second[0] & 63]


def _value(code: str) -> int:
    value = 0
    for character in code:
        value = value << 6 | _DIGITS.index(character)
    return value
