"""`mailwake instrument` and `mailwake restore`: a mail from standard input to standard output.

mailwake instrument --tenant acme --user ben < mail.eml > tracked.eml
mailwake restore < tracked.eml > mail.eml
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from mailwake import contracts
from mailwake.contracts import LawfulBasis, Mode
from mailwake.errors import MailwakeError
from mailwake.keyring import read_keyring
from mailwake.report import Report
from mailwake.settings import read_settings
from mailwake.tracker import Tracker


def instrument_command(argv: list[str]) -> int:
    """Instruments the mail on standard input. Raises MailwakeError; nothing is written then."""
    parser = _parser(
        "instrument",
        "Reads a mail from standard input and writes it to standard output with its links tracked "
        "and a pixel in it. What was done is told on standard error.",
    )
    parser.add_argument("--tenant", required=True, metavar="NAME", help="whose mail it is")
    parser.add_argument("--user", required=True, metavar="NAME", help="who sends it; no address")
    parser.add_argument("--no-opens", action="store_true", help="put in no pixel")
    parser.add_argument("--no-clicks", action="store_true", help="leave the links")
    parser.add_argument(
        "--mode",
        choices=get_args(Mode),
        default="identified",
        help="anonymous keeps no recipient, network and agent (default: identified)",
    )
    parser.add_argument("--tag", metavar="TEXT", help="what reports group by, such as a campaign")
    parser.add_argument(
        "--recipient",
        action="append",
        metavar="ADDRESS",
        help="whom this body goes to, once for each (default: those of To, Cc and Bcc)",
    )
    parser.add_argument("--message-id", metavar="ID", help="32 hex digits (default: a fresh one)")
    parser.add_argument(
        "--basis", choices=get_args(LawfulBasis), help="what makes the tracking lawful"
    )
    parser.add_argument(
        "--footer",
        metavar="SENTENCE",
        help="put in as a link to the page where the recipient withdraws",
    )
    parser.add_argument(
        "--send", type=Path, metavar="FILE", help="write the send there, as JSON for `sends`"
    )
    parser.add_argument(
        "--display",
        type=Path,
        metavar="FILE",
        help="write the display there, as JSON for `displays`",
    )
    given = parser.parse_args(argv)
    done = _tracker(given).instrument(
        sys.stdin.buffer.read(),
        tenant=given.tenant,
        user=given.user,
        opens=not given.no_opens,
        clicks=not given.no_clicks,
        recipients=given.recipient,
        mode=given.mode,
        tag=given.tag,
        message_id=given.message_id,
        basis=given.basis,
        footer=given.footer,
    )
    # The files first: who has the mail has its send.
    if given.send is not None:
        _write(given.send, contracts.SEND.encode(done.send))
    if given.display is not None:
        _write(given.display, contracts.DISPLAY.encode(done.display))
    sys.stdout.buffer.write(done.message)
    for line in told(done.report):
        print(f"mailwake: {line}", file=sys.stderr)
    return 0


def restore_command(argv: list[str]) -> int:
    """Restores the mail on standard input. Raises MailwakeError; nothing is written then."""
    parser = _parser(
        "restore",
        "Reads a mail from standard input and writes it to standard output without any tracking "
        "that the keys open: byte for byte as it was before.",
    )
    given = parser.parse_args(argv)
    sys.stdout.buffer.write(_tracker(given).restore(sys.stdin.buffer.read()))
    return 0


def told(report: Report) -> list[str]:
    """What a report says, as lines for people; no link and no address stands in them."""
    done = [f"{report.links} links tracked"]
    done += ["a pixel put in"] if report.pixel else []
    done += ["a footer put in"] if report.footer else []
    lines = [f"{', '.join(done)}; {report.size_before:,} bytes became {report.size_after:,}"]
    if report.left:
        reasons = _counted(link.reason for link in report.left)
        lines.append(f"{len(report.left)} links left: {reasons}")
    if report.parts:
        parts = _counted(f"{part.content_type} {part.reason}" for part in report.parts)
        lines.append(f"{len(report.parts)} parts left: {parts}")
    return [*lines, *(f"warning: {warning}" for warning in report.warnings)]


def _counted(reasons: Iterable[str]) -> str:
    return ", ".join(f"{reason} ({count})" for reason, count in Counter(reasons).items())


def _parser(name: str, about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"mailwake {name}", description=about)
    parser.add_argument(
        "--keyring", type=Path, metavar="FILE", help="the key file (default: MAILWAKE_KEYRING)"
    )
    parser.add_argument(
        "--tracking-url",
        metavar="URL",
        help="the public address of the edge (default: MAILWAKE_TRACKING_URL)",
    )
    parser.add_argument(
        "--withdrawal-url",
        metavar="URL",
        help="where the withdrawal pages stand (default: MAILWAKE_WITHDRAWAL_URL)",
    )
    return parser


def _tracker(given: argparse.Namespace) -> Tracker:
    settings = read_settings()
    return Tracker(
        read_keyring(given.keyring or settings.keyring),
        given.tracking_url or settings.tracking_url,
        withdrawal_url=given.withdrawal_url or settings.withdrawal_url,
        domains={}
        if given.tracking_url
        else {each.tenant: each.url for each in settings.tracking_domains},
    )


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data + b"\n")
    except OSError as error:
        raise MailwakeError(f"{path}: cannot be written: {error.strerror}") from None
