"""The mail of `mailwake up --demo`, and its readers."""

from __future__ import annotations

import email
import email.policy
from collections import Counter
from typing import get_args

from mailwake.networks import cut
from mailwake_local.letters import PEOPLE, letters, written
from mailwake_local.mail_program import references
from mailwake_local.readers import AGENTS, Habit, looks


def test_there_are_some_dozens_and_everything_happens() -> None:
    found = list(letters())
    assert 30 <= len(found) <= 60
    assert {letter.habit for letter in found} == set(get_args(Habit))
    assert {place for letter in found for place in letter.to} == set(range(len(PEOPLE)))


def test_every_letter_is_a_mail_with_its_links() -> None:
    for letter in letters():
        message_id, data = written(letter)
        parsed = email.message_from_bytes(data, policy=email.policy.default)
        assert parsed["Message-ID"] == message_id
        assert len(parsed["To"].addresses) == len(letter.to)
        assert references(data)[1] == [url for _, url in letter.links]


def test_readers_are_told_apart_and_only_scanners_make_bursts() -> None:
    homes: Counter[str] = Counter()
    for number, letter in enumerate(letters(), 1):
        plan = looks(letter.habit, number)
        assert {look.agent for look in plan} <= AGENTS.keys()
        assert all(look.link is None or look.link < len(letter.links) for look in plan)
        networks = {cut(look.address) for look in plan}
        assert "" not in networks
        if "scan" not in letter.habit:
            assert len(plan) < 5
            assert len(networks) < 3
        homes.update(network for network in networks if ":" in network)
    assert set(homes.values()) <= {1}
