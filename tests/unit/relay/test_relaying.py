"""The law of the relay, whatever the next host and Kafka do: who has the mail, and what is told.

The real thing, but for its two ends: a next host that follows a script, and a Kafka that does.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.contracts import Display, Policy, Send
from mailwake.keyring import new_keyring
from mailwake.register import Register
from mailwake.settings import Settings, read_settings
from mailwake_relay.delivered import Delivered
from mailwake_relay.next_host import Reply
from mailwake_relay.relaying import Answer, Envelope, Relaying
from mailwake_relay.users import Login

Outcome = Literal["taken", "later", "never", "lost", "lost_taken"]
REPLIES: dict[Outcome, Reply] = {
    "taken": Reply(250, "2.0.0 queued"),
    "later": Reply(451, "4.7.1 later"),
    "never": Reply(550, "5.7.1 never"),
    "lost": Reply(451, "4.4.2 gone", lost=True, unknown=True),
    "lost_taken": Reply(451, "4.4.2 gone", lost=True, unknown=True),
}
SENDER = "ben@example.com"
LOGIN = Login("acme", "ben", b"x" * 16, b"x" * 32)
KEYRING = new_keyring()
EVERYONE = ["a@example.org", "b@example.org", "c@example.org"]


class Ends:
    """The next host and Kafka."""

    def __init__(self, script: dict[str, list[Outcome]], kafka: list[bool]) -> None:
        self.script = script
        self.kafka = kafka
        self.published: set[str] = set()
        self.had: Counter[str] = Counter()  # with what it has taken without a word
        self.said: Counter[str] = Counter()
        self.notices: list[bytes] = []
        self.bodies: list[bytes] = []
        self.ready = True

    async def publish(self, sends: Sequence[Send], displays: Sequence[Display]) -> bool:
        if self.kafka and not self.kafka.pop():
            return False
        self.published |= {send.message_id for send in sends}
        return True

    async def deliver(
        self, sender: str, recipients: Sequence[str], message: bytes, **_: Any
    ) -> dict[str, Reply]:
        for token in re.findall(rb"https://t\.example\.com/[oc]/([A-Za-z0-9_-]+)", message):
            assert KEYRING.open(token.decode()).message_id in self.published
        await asyncio.sleep(0)
        replies: dict[str, Reply] = {}
        for address in recipients:
            outcomes = self.script.get(address)
            outcome = outcomes.pop() if outcomes else "taken"
            if outcome == "never":
                self.script[address] = ["never"]
            replies[address] = REPLIES[outcome]
            if outcome in ("taken", "lost_taken"):
                if sender:
                    self.had[address] += 1
                    self.said[address] += outcome == "taken"
                    self.bodies.append(message)
                else:
                    self.notices.append(message)
        return replies


class Known(Register):
    """A register that has been read, and holds one policy."""

    known = True

    def policy(self, tenant: str) -> Policy:
        return Policy(tenant, at=1, basis="legitimate_interests")


def relaying(ends: Ends, folder: Path, **more: object) -> Relaying:
    settings: Settings = read_settings({}, tracking_url="https://t.example.com", **more)
    host: Any = ends
    return Relaying(
        settings, KEYRING, Known(settings), host, host, Delivered(folder), "relay.example"
    )


def mail(split: bool) -> bytes:
    more = b"X-Mailwake-Split: yes\r\n" if split else b""
    return (
        b"From: ben@example.com\r\nMessage-ID: <1@x>\r\n" + more + b"Content-Type: text/html\r\n"
        b'\r\n<a href="https://example.com/">a</a>\r\n'
    )


async def send(made: Relaying, split: bool, recipients: Sequence[str] = EVERYONE) -> Answer:
    envelope = Envelope(LOGIN, SENDER, False, list(recipients))
    return await asyncio.wait_for(made.relay(envelope, mail(split)), 10)


OUTCOMES = st.lists(st.sampled_from(list(REPLIES)), max_size=3)


@given(
    st.tuples(OUTCOMES, OUTCOMES, OUTCOMES),
    st.lists(st.booleans(), max_size=3),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.booleans(),
    st.sampled_from(["untracked", "refuse"]),
)
def test_nobody_is_left_out_and_nobody_gets_it_twice(
    tmp_path_factory: pytest.TempPathFactory,
    outcomes: tuple[list[Outcome], list[Outcome], list[Outcome]],
    kafka: list[bool],
    heard: list[bool],
    split: bool,
    choice: str,
) -> None:
    """A client sends until it hears that it need not; sometimes it does not hear.

    The next host says of each recipient once that it has taken the mail, and of those who are
    missing then the sender is told.
    """
    script = {address: list(each) for address, each in zip(EVERYONE, outcomes, strict=True) if each}
    ends = Ends(script, kafka)
    folder = tmp_path_factory.mktemp("state")

    async def run() -> Answer:
        made = relaying(ends, folder, relay_without_kafka=choice)
        for attempt in range(40):
            if attempt % 3 == 2:  # the relay is started anew
                made._delivered.close()
                made = relaying(ends, folder, relay_without_kafka=choice)
            answer = await send(made, split)
            if answer.reply.code < 400 and heard and not heard.pop():
                continue
            if not 400 <= answer.reply.code < 500:
                made.confirm(answer.delivered)
                assert len(made._delivered) == 0 or answer.reply.permanent
                made._delivered.close()
                return answer
        raise AssertionError("no answer for good")

    answer = asyncio.run(run())
    told = b"".join(ends.notices)
    said = [ends.said[address] for address in EVERYONE]
    if answer.reply.good:
        informed = [address.encode() in told for address in EVERYONE]
        assert all(times == 1 or known for times, known in zip(said, informed, strict=True))
    else:  # a "no" for all is said when the next host has said yes for nobody
        assert answer.reply.permanent
        assert said == [0, 0, 0]
    assert max(said) <= 1


async def test_two_attempts_at_once_are_one(tmp_path: Path) -> None:
    ends = Ends({}, [])
    made = relaying(ends, tmp_path)
    answers = await asyncio.gather(*(send(made, False) for _ in range(5)))
    assert {answer.reply.code for answer in answers} == {250}
    assert ends.had == dict.fromkeys(EVERYONE, 1)


async def test_another_user_and_another_body_are_other_mails(tmp_path: Path) -> None:
    ends = Ends({}, [])
    made = relaying(ends, tmp_path)
    for login in (LOGIN, Login("acme", "otto", LOGIN.salt, LOGIN.hash)):
        for body in (b"a\r\n", b"b\r\n"):
            envelope = Envelope(login, SENDER, False, EVERYONE[:1])
            data = b"From: a\r\nMessage-ID: <1@x>\r\n\r\n" + body
            assert (await made.relay(envelope, data)).reply.code == 250
    assert ends.had[EVERYONE[0]] == 4


async def test_a_fault_of_ours_is_no_answer_for_good(tmp_path: Path) -> None:
    ends = Ends({}, [])
    made = relaying(ends, tmp_path)

    async def fails(*_: object, **__: object) -> bool:
        raise RuntimeError("a fault")

    ends.publish = fails  # type: ignore[method-assign]
    answer = await send(made, False)
    assert (answer.reply.code, answer.reply.permanent) == (451, False)
    assert ends.had == {}


async def test_a_bounce_that_is_not_taken_is_tried_again(tmp_path: Path) -> None:
    ends = Ends({EVERYONE[0]: ["never"], SENDER: ["later"]}, [])
    made = relaying(ends, tmp_path)
    assert (await send(made, True)).reply.code == 451
    assert ends.notices == []
    assert (await send(made, True)).reply.code == 250
    assert len(ends.notices) == 1
    assert (await send(made, True)).reply.code == 250  # the client had not heard
    assert len(ends.notices) == 1
    assert ends.had == dict.fromkeys(EVERYONE[1:], 1)


async def test_all_attempts_have_the_same_bytes(tmp_path: Path) -> None:
    ends = Ends({address: ["lost_taken"] for address in EVERYONE}, [])
    made = relaying(ends, tmp_path)
    assert (await send(made, False)).reply.code == 451
    assert (await send(made, False)).reply.code == 250
    assert len(set(ends.bodies)) == 1
    assert len(ends.published) == 1
