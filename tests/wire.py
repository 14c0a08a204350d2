"""A client of the relay that says what it likes."""

from __future__ import annotations

import socket
from base64 import b64encode

from mailwake_local.ports import HOST
from tests.relaying import NAME, PASSWORD, Relay

LOGIN = b"AUTH PLAIN " + b64encode(f"\0{NAME}\0{PASSWORD}".encode())


class Wire:
    """A client that says what it likes."""

    def __init__(self, relay: Relay) -> None:
        self.socket = socket.create_connection((HOST, relay.settings.relay_port), timeout=20)
        self.reader = self.socket.makefile("rb")
        assert self.reader.readline().startswith(b"220 ")

    def say(self, *lines: bytes) -> None:
        """Sends lines, all at once."""
        self.socket.sendall(b"".join(line + b"\r\n" for line in lines))

    def answer(self) -> bytes:
        """The next answer, all its lines."""
        lines = [self.reader.readline()]
        while lines[-1][3:4] == b"-":
            lines.append(self.reader.readline())
        return b"".join(lines)

    def ask(self, line: bytes) -> bytes:
        """A command's answer."""
        self.say(line)
        return self.answer()

    def log_in(self) -> None:
        """Greets and logs in."""
        assert self.ask(b"EHLO client.example").startswith(b"250-")
        assert self.ask(LOGIN).startswith(b"235 ")

    def begin(self, *recipients: bytes) -> None:
        """Comes as far as the mail itself."""
        assert self.ask(b"MAIL FROM:<ben@example.com>").startswith(b"250 2.1.0 ")
        for each in recipients or (b"anna@example.org",):
            assert self.ask(b"RCPT TO:<" + each + b">").startswith(b"250 2.1.5 ")
        assert self.ask(b"DATA").startswith(b"354 ")

    def close(self) -> None:
        """Hangs up."""
        self.reader.close()
        self.socket.close()
