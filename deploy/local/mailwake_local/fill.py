"""`mailwake up --demo`: fills the mailbox by really sending, and by readers who really ask.

Every mail goes through the relay and ends in the local sink; what readers ask for is what stands in
the mail that came out. Nothing is written past the system.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from mailwake.errors import MailwakeError, UnavailableError
from mailwake.settings import Settings
from mailwake_local.board import Pen
from mailwake_local.home import Home
from mailwake_local.letters import PEOPLE, Letter, letters, written
from mailwake_local.mail_program import fetch, references
from mailwake_local.outbox import Outbox
from mailwake_local.readers import AGENTS, Look, looks

ROUND_S = 2.5
"""Between one round of readers and the next, so that a click comes after its open."""
_WIDTH = 28
_AT_ONCE = 8


class Filler:
    """One run."""

    def __init__(self, settings: Settings, home: Home, pen: Pen) -> None:
        self._settings = settings
        self._outbox = Outbox(settings, home)
        self._pen = pen
        self._steps = self._done = 0

    async def run(self) -> None:
        """Sends, and lets readers read. Raises MailwakeError."""
        wanted = list(letters())
        plans = [looks(letter.habit, place + 1) for place, letter in enumerate(wanted)]
        self._steps = len(wanted) + sum(len(plan) for plan in plans)
        began = time.monotonic()
        self._show("recipients agree to tracking")
        await asyncio.to_thread(self._outbox.consent, *(address for _, address in PEOPLE))
        mails = await self._send(wanted)
        await self._read(mails, plans)
        self._pen.raw("\r\x1b[2K" if self._pen.lively else "")
        took = f"{time.monotonic() - began:.0f} s"
        requests = self._steps - len(wanted)
        self._pen.line(f"  {len(wanted)} mails sent, {requests} requests of readers, in {took}")

    async def _send(self, wanted: Sequence[Letter]) -> list[bytes]:
        mails: list[bytes] = []
        for letter in wanted:
            message_id, mail = written(letter)
            mails.append(await self._outbox.send_as(message_id, mail))
            self._step(f"sent: {letter.subject}")
        return mails

    async def _read(self, mails: Sequence[bytes], plans: Sequence[Sequence[Look]]) -> None:
        base = self._settings.tracking_url
        room = asyncio.Semaphore(_AT_ONCE)

        async def look(each: Look, url: str) -> None:
            async with room:
                await asyncio.to_thread(_ask, each, url)
            self._step("readers open mail and follow links")

        for number in range(1 + max(each.round for plan in plans for each in plan)):
            if number:
                await asyncio.sleep(ROUND_S)
            async with asyncio.TaskGroup() as group:
                for mail, plan in zip(mails, plans, strict=True):
                    images, links = references(mail)
                    pixels = [url for url in images if url.startswith(f"{base}/o/")]
                    links = [url for url in links if url.startswith(f"{base}/c/")]
                    for each in plan:
                        found = pixels[:1] if each.link is None else links[each.link :][:1]
                        if each.round == number and found:
                            group.create_task(look(each, found[0]))
                        elif each.round == number:
                            self._step("")

    def _step(self, text: str) -> None:
        self._done += 1
        self._show(text)

    def _show(self, text: str) -> None:
        if not self._pen.lively:
            return
        share = self._done / self._steps
        full = round(_WIDTH * share)
        bar = "█" * full + "░" * (_WIDTH - full) if self._pen.unicode else "#" * full
        self._pen.raw(f"\r\x1b[2K  {self._pen.paint(bar, 36)} {share:4.0%}  {text[:44]}")


def _ask(look: Look, url: str) -> None:
    """One request, as the reader makes it. Raises MailwakeError."""
    headers = {"User-Agent": AGENTS[look.agent], "X-Forwarded-For": look.address, **look.headers}
    try:
        answer = fetch(url, look.method, headers)
    except OSError as error:
        raise UnavailableError(f"the edge does not answer ({error})") from None
    if answer.status >= 400:
        raise MailwakeError(f"the edge answered {answer.status} to a reader")
