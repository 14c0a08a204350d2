"""Instrumenting HTML, beside pytracking on the same HTML.

pytracking with lxml is the fastest public Python library that does the same job: it puts in a
pixel and has every link lead over a tracking address that says where it led. It can seal what it
puts into an address, as ours always does; without that it is at its fastest. They take turns;
medians.

Only pages count of which both track the opening and at least one link: pytracking reads no page
that has no body, and so on. It writes the HTML anew and rewrites opted-out and unsubscribe links as
well; the figures do not show that.
"""

from __future__ import annotations

import importlib
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet

from bench.row import Row
from mailwake.errors import UnavailableError
from mailwake.keyring import new_keyring
from mailwake.mime import codec_of, read_mail
from mailwake.tracker import Tracker
from mailwake.transfer import body_of

CORPUS = Path(__file__).parents[1] / "tests" / "corpus"
URL = "https://t.example.com"
ROUNDS = 15
AIM_US = 5_000
"""Of a page of 100 KB with 200 links, in µs on a machine of two cores."""

Instrument = Callable[[str], str]


def measure() -> list[Row]:
    """The corpus and a large page beside pytracking, and a large mail beside the aim."""
    ours, sealed, plain = mailwake(), pytracking(Fernet.generate_key()), pytracking(None)
    pages = [page for page in corpus() if both_can(page, ours, sealed)]
    large = large_page()
    rows = []
    for stage, measured in (("corpus", pages), ("100 KB, 200 links", [large])):
        taken = side_by_side(measured, ours, sealed, plain)
        for seconds, how in zip(taken[1:], ("sealed by Fernet", "open for anyone"), strict=True):
            rows.append(
                Row(
                    stage=f"instrument: {stage}",
                    figure=len(measured) / taken[0],
                    beside=len(measured) / seconds,
                    unit="pages/s",
                    beside_what=f"pytracking with lxml, its addresses {how}",
                    aim=1.0,
                )
            )
    mail = (
        "From: ben@example.com\r\nTo: anna@example.org\r\nContent-Type: text/html; charset=utf-8"
        f"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{large}"
    ).encode()
    tracker = Tracker(new_keyring(), URL)
    whole = [
        timed(lambda: tracker.instrument(mail, tenant="acme", user="ben")) for _ in range(ROUNDS)
    ]
    rows.append(
        Row(
            stage="instrument: mail of 100 KB",
            figure=statistics.median(whole) * 1e6,
            beside=AIM_US,
            unit="µs",
            beside_what="the aim, 5 ms a mail",
            aim=1.0,
            less=True,
        )
    )
    return rows


def mailwake() -> Instrument:
    """Ours: a text in, a text out, as theirs."""
    tracker = Tracker(new_keyring(), URL)

    def instrument(page: str) -> str:
        done = tracker.instrument_html(
            page, tenant="acme", user="ben", recipients=["anna@example.org"]
        )
        return done.text

    return instrument


def pytracking(key: bytes | None) -> Instrument:
    """Theirs, its addresses encrypted when there is a key. Raises UnavailableError without it."""
    try:
        library = importlib.import_module("pytracking")
        pages = importlib.import_module("pytracking.html")
    except ImportError as error:
        raise UnavailableError(
            f"the library measured beside ours is not installed ({error}); it comes with the "
            "dependency group dev"
        ) from None
    configuration = library.Configuration(
        base_open_tracking_url=f"{URL}/o/",
        base_click_tracking_url=f"{URL}/c/",
        encryption_bytestring_key=key,
    )
    metadata = {"tenant": "acme", "message": "0192f3c1a7b87c3e9d1f2a4b5c6d7e8f", "recipient": 1}

    def instrument(page: str) -> str:
        done: str = pages.adapt_html(page, extra_metadata=metadata, configuration=configuration)
        return done

    return instrument


def corpus() -> list[str]:
    """The HTML of the project's own mails."""
    pages: list[str] = []
    for path in sorted(CORPUS.glob("*.eml")):
        message = path.read_bytes()
        for part in read_mail(message).parts:
            if part.content_type == "text/html" and part.reason is None:
                body = body_of(message[part.start : part.end], part.encoding, b"\n")
                codec = codec_of(part.charset or "utf-8")
                if body is not None and codec is not None:
                    pages.append(body.decoded.decode(codec, "replace"))
    return pages


def both_can(page: str, *instruments: Instrument) -> bool:
    """Whether each puts a pixel in and has at least one link lead over the tracking address."""
    for instrument in instruments:
        try:
            done = instrument(page)
        except (ValueError, AttributeError):  # lxml's, of a page that it cannot read
            return False
        if not re.search(rf"{URL}/o/", done) or not re.search(rf"{URL}/c/", done):
            return False
    return True


def large_page() -> str:
    """100 KB of HTML with 200 links, as newsletters are written."""
    row = (
        '<tr><td style="padding:12px 24px;font-family:Arial,sans-serif;font-size:15px;color:#222">'
        "<b>Offer {0}</b><br>{1}<br>"
        '<a href="https://shop.example/offers/{0}?utm_source=letter&amp;utm_campaign=autumn" '
        'style="color:#06c">Read more</a></td></tr>\n'
    )
    head = "<html><body><table>\n"
    tail = "</table></body></html>\n"
    text = "Warm socks and a lamp. "
    length = (100_000 - len(head) - len(tail)) // 200 - len(row.format(100, ""))
    rows = (row.format(n, (text * 20)[:length]) for n in range(100, 300))
    return head + "".join(rows) + tail


def side_by_side(pages: list[str], *instruments: Instrument) -> list[float]:
    """The median seconds that each takes for all pages; they take turns."""
    times: list[list[float]] = [[] for _ in instruments]
    for _ in range(ROUNDS):
        for taken, instrument in zip(times, instruments, strict=True):
            taken.append(timed(lambda: [instrument(page) for page in pages]))  # noqa: B023
    return [statistics.median(taken) for taken in times]


def timed(run: Callable[[], object]) -> float:
    """The seconds that something takes."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


if __name__ == "__main__":
    for row in measure():
        print(row.as_dict())
