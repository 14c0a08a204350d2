"""Every form of a link is tracked or left as it should be, in any encoding, and is given back."""

from __future__ import annotations

import pytest

from mailwake.keyring import new_keyring
from mailwake.tracker import Tracker
from tests.hrefs import LEFT, TRACKED, mail_of

TRACKER = Tracker(new_keyring(), "https://t.example.com")


@pytest.mark.parametrize("encoding", ["8bit", "quoted-printable", "base64"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize(("tags", "tracked"), [(TRACKED, True), (LEFT, False)], ids=["yes", "no"])
def test_a_link_is_tracked_or_left_and_given_back(
    tags: list[str], tracked: bool, newline: bytes, encoding: str
) -> None:
    for tag in tags:
        message = mail_of([tag], encoding).replace(b"\r\n", b"\n").replace(b"\n", newline)
        done = TRACKER.instrument(message, tenant="acme", user="ben")
        assert done.report.links == tracked, tag
        assert TRACKER.restore(done.message) == message, tag
