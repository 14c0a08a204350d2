"""Mutes followed on a real Kafka: known to every process as soon as they are written."""

from __future__ import annotations

from mailwake.contracts import MUTE, Mute, mute_key
from mailwake.ids import now_ms
from mailwake.mutes import Mutes
from tests.following import put
from tests.installation import own_topics

MAIL = "0d0c8f2e2b7d4f7f9b6d3a5c1e0f9a8b"
KEY = mute_key("acme", "ben", MAIL)


async def test_what_was_muted_before_the_call_is_known(kafka: str) -> None:
    settings = await own_topics(kafka)
    mute = MUTE.encode(Mute("acme", "ben", MAIL, now_ms()))
    await put(settings, "mutes", [(KEY, mute)])
    early, late = Mutes(settings), Mutes(settings)
    early.start()
    try:
        await early.current()
        assert early.known
        assert early.muted("acme", "ben", MAIL)
        assert not early.muted("acme", "eve", MAIL)
        late.start()
        for muted in (False, True, False):
            await put(settings, "mutes", [(KEY, mute if muted else None)])
            for mutes in (early, late):
                await mutes.current()
                assert mutes.muted("acme", "ben", MAIL) is muted
    finally:
        await early.stop()
        await late.stop()
