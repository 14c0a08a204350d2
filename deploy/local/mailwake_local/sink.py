"""An SMTP host that takes every mail and keeps it in a folder: where mail ends on one machine.

`0001-….eml` and so on, each with the envelope in a field at its top (`X-Envelope-From`, a
`X-Envelope-To` for each recipient). Nothing is sent anywhere.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from mailwake.errors import MailwakeError, UnavailableError
from mailwake_local.ports import HOST

MAX_BYTES = 100_000_000
_NUMBERED = re.compile(r"(\d{4,})-.*\.eml")
_SUBJECT = re.compile(rb"^subject:[ \t]*([^\r\n]*)", re.I | re.M)


class _Smtp(SMTP):
    line_length_limit = 1024 * 1024  # as mail is, not as it should be


class Sink:
    """Keeps mails; a handler for aiosmtpd."""

    def __init__(self, folder: Path) -> None:
        """Raises UnavailableError when the folder cannot be used."""
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            found = [_NUMBERED.fullmatch(path.name) for path in folder.iterdir()]
        except OSError as error:
            raise UnavailableError(f"cannot keep mail in {folder}: {error.strerror}") from None
        self._last = max((int(match[1]) for match in found if match), default=0)

    async def handle_RCPT(
        self, _: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Anybody will do."""
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _: SMTP, session: Session, envelope: Envelope) -> str:
        """Writes a mail, whole or not at all."""
        self._last += 1
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        path = self._folder / f"{self._last:04}-{_name(content)}.eml"
        told = [f"X-Envelope-From: {envelope.mail_from}"]
        told += [f"X-Envelope-To: {address}" for address in envelope.rcpt_tos]
        head = "".join(f"{line}\r\n" for line in told).encode("utf-8", "replace")
        fresh = path.with_suffix(".new")
        fresh.write_bytes(head + content)
        fresh.replace(path)
        return f"250 2.0.0 kept as {path.name}"


def _name(content: bytes) -> str:
    """What a file is called: the subject, as far as it can stand in a name."""
    found = _SUBJECT.search(content.partition(b"\r\n\r\n")[0] + b"\r\n")
    words = re.findall(r"[A-Za-z0-9]+", found[1].decode("ascii", "ignore")) if found else []
    return "-".join(words).lower()[:40] or "mail"


async def serve(port: int, folder: Path) -> None:
    """Takes mail until SIGTERM or SIGINT. Raises UnavailableError for a port that is in use."""
    sink = Sink(folder)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)

    def session() -> SMTP:
        return _Smtp(
            sink, hostname="sink", data_size_limit=MAX_BYTES, enable_SMTPUTF8=True, loop=loop
        )

    try:
        server = await loop.create_server(session, HOST, port)
    except OSError as error:
        raise UnavailableError(
            f"port {port} on {HOST} is in use, so mail cannot be taken there ({error.strerror})"
        ) from None
    print(f"ready {HOST}:{server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    server.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the sink in the foreground until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m mailwake_local.sink", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (the default): a free one")
    parser.add_argument("--folder", type=Path, required=True, help="where the mails are kept")
    arguments = parser.parse_args(argv)
    os.umask(0o077)
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # it would log every address
    try:
        asyncio.run(serve(arguments.port, arguments.folder))
    except MailwakeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
