"""`mailwake instrument` and `mailwake restore`, as a shell calls them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from mailwake.cli import main
from mailwake.contracts import DISPLAY, SEND
from mailwake.keyring import new_keyring

MAIL = (
    b"From: ben@example.org\r\nTo: Anna <anna@example.org>\r\nSubject: Hello\r\n"
    b"Content-Type: text/html\r\n\r\n<p><a href='https://example.org/'>x</a> "
    b"<a href='mailto:a@x.org'>y</a></p>\r\n"
)


class Stream:
    def __init__(self, data: bytes = b"") -> None:
        self.buffer = io.BytesIO(data)

    def flush(self) -> None:
        pass


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys.json"
    new_keyring().write(path)
    monkeypatch.setenv("MAILWAKE_KEYRING", str(path))
    monkeypatch.setenv("MAILWAKE_TRACKING_URL", "https://t.example.com")
    monkeypatch.setenv("MAILWAKE_WITHDRAWAL_URL", "https://t.example.com")
    return path


def call(monkeypatch: pytest.MonkeyPatch, message: bytes, *argv: str) -> tuple[int, bytes]:
    out = Stream()
    monkeypatch.setattr(sys, "stdin", Stream(message))
    monkeypatch.setattr(sys, "stdout", out)
    return main(argv), out.buffer.getvalue()


def test_a_mail_goes_through_and_comes_back(
    keyring: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    send_file, display_file = tmp_path / "send.json", tmp_path / "display.json"
    status, tracked = call(
        monkeypatch,
        MAIL,
        *("instrument", "--tenant", "acme", "--user", "ben", "--tag", "October"),
        *("--send", str(send_file), "--display", str(display_file)),
        *("--recipient", "carl@example.org", "--footer", "No more of this"),
    )
    assert status == 0
    assert tracked.count(b"https://t.example.com/") == 3
    send = SEND.decode(send_file.read_bytes())
    assert (send.tenant, send.user, send.tag) == ("acme", "ben", "October")
    assert send.links == ["https://example.org/"]
    display = DISPLAY.decode(display_file.read_bytes())
    assert [party.address for party in display.recipients] == ["carl@example.org"]
    told = capsys.readouterr().err
    assert told.splitlines() == [
        f"mailwake: 1 links tracked, a pixel put in, a footer put in; {len(MAIL)} bytes became "
        f"{len(tracked)}",
        "mailwake: 1 links left: scheme (1)",
    ]
    assert call(monkeypatch, tracked, "restore") == (0, MAIL)


def test_what_is_not_wanted_is_left(keyring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    basics = ("instrument", "--tenant", "acme", "--user", "ben")
    _, tracked = call(monkeypatch, MAIL, *basics, "--no-opens", "--mode", "anonymous")
    assert (tracked.count(b"/c/"), tracked.count(b"/o/")) == (1, 0)
    _, tracked = call(monkeypatch, MAIL, *basics, "--no-clicks")
    assert (tracked.count(b"/c/"), tracked.count(b"/o/")) == (0, 1)
    assert call(monkeypatch, MAIL, *basics, "--no-clicks", "--no-opens") == (0, MAIL)


def test_the_options_stand_above_the_settings(
    keyring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.json"
    new_keyring().write(other)
    where = ("--keyring", str(other), "--tracking-url", "https://u.example.com")
    _, tracked = call(monkeypatch, MAIL, "instrument", "--tenant", "acme", "--user", "ben", *where)
    assert b"https://u.example.com/c/" in tracked
    assert call(monkeypatch, tracked, "restore") == (0, tracked), "these are not our keys"
    assert call(monkeypatch, tracked, "restore", *where) == (0, MAIL)


@pytest.mark.parametrize(
    ("message", "argv", "told"),
    [
        (b"no mail", ("--tenant", "acme", "--user", "ben"), "no e-mail"),
        (MAIL, ("--tenant", "ACME", "--user", "ben"), "a tenant is"),
        (MAIL, ("--tenant", "acme", "--user", "ben", "--recipient", "x"), "recipient 1"),
        (MAIL, ("--tenant", "acme", "--user", "ben", "--keyring", "/no/keys"), "no key file"),
        (MAIL, ("--tenant", "acme", "--user", "ben", "--send", "/no/send"), "cannot be written"),
        (MAIL, ("--tenant", "acme", "--user", "ben", "--message-id", "x"), "message_id"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_comes_out(
    keyring: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    message: bytes,
    argv: tuple[str, ...],
    told: str,
) -> None:
    status, out = call(monkeypatch, message, "instrument", *argv)
    assert status in (1, 2)
    assert out == b""
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
