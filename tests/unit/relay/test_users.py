"""The file of users, the command that writes it, and the check of passwords."""

from __future__ import annotations

import asyncio
import io
import json
import stat
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from mailwake.errors import ConfigError
from mailwake_relay import logins
from mailwake_relay.logins import Logins
from mailwake_relay.users import Login, new_login, read_users, users_command, write_users


def run(monkeypatch: pytest.MonkeyPatch, *argv: str, password: str = "") -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(password))
    return users_command(list(argv))


def test_the_command_sets_lists_and_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "users.json")
    given = ["set", path, "ben@example.com", "--tenant", "acme", "--user", "ben"]
    assert run(monkeypatch, *given, password="pass word\n") == 0
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    text = Path(path).read_text()
    assert "pass word" not in text
    assert read_users(Path(path))["ben@example.com"].fits(b"pass word")
    assert run(monkeypatch, "set", path, "a", "--tenant", "acme", "--user", "a", password="x") == 0
    assert run(monkeypatch, *given, password="other") == 0
    users = read_users(Path(path))
    assert users["ben@example.com"].fits(b"other")
    assert not users["ben@example.com"].fits(b"pass word")
    capsys.readouterr()
    assert run(monkeypatch, "list", path) == 0
    assert capsys.readouterr().out == "a  acme/a\nben@example.com  acme/ben\n"
    assert run(monkeypatch, "remove", path, "a") == 0
    assert list(read_users(Path(path))) == ["ben@example.com"]
    with pytest.raises(ConfigError, match="there is no user a"):
        run(monkeypatch, "remove", path, "a")


@pytest.mark.parametrize(
    ("name", "tenant", "user", "password"),
    [
        ("ben", "acme", "ben", ""),
        ("ben", "acme", "ben", "x" * 1025),
        ("ben", "Acme!", "ben", "x"),
        ("ben", "acme", "ben@example.com", "x"),
        ("b n", "acme", "ben", "x"),
        ("", "acme", "ben", "x"),
    ],
)
def test_what_cannot_be_set_is_refused_and_nothing_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    tenant: str,
    user: str,
    password: str,
) -> None:
    path = tmp_path / "users.json"
    with pytest.raises(ConfigError):
        run(
            monkeypatch,
            *["set", str(path), name, "--tenant", tenant, "--user", user],
            password=password,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "No"},
        {"hash": "AAAA"},
        {"n": 3},
        {"n": 1 << 20, "r": 32},
        {"extra": 1},
        {"salt": 5},
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "users.json"
    write_users(path, {"ben": new_login("acme", "ben", b"x")})
    data = json.loads(path.read_text())
    data["users"]["ben"] |= change
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=r"not a file of users \(") as caught:
        read_users(path)
    assert "\n" not in str(caught.value)


def test_a_login_that_sends_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "users.json"
    given = ["set", str(path), "mailbox", "--tenant", "acme", "--user", "mailbox", "--on-behalf"]
    run(monkeypatch, *given, password="x\n")
    run(monkeypatch, "list", str(path))
    assert "mailbox  acme/mailbox  on behalf\n" in capsys.readouterr().out
    users = read_users(path)
    acting = users["mailbox"].acting("mailbox", "other/anna")
    assert acting is not None
    assert (acting.tenant, acting.user, acting.on_behalf) == ("other", "anna", True)


@pytest.mark.parametrize(
    ("whom", "may", "on_behalf"),
    [
        ("", True, True),
        ("ben@example.com", True, True),
        ("acme/ben", True, True),
        ("acme/otto", False, True),
        ("other/ben", False, True),
        ("acme", False, False),
        ("Acme/ben", False, False),
        ("acme/otto@example.com", False, False),
        ("acme/o/tto", False, False),
    ],
)
def test_for_whom_a_login_may_act(whom: str, may: bool, on_behalf: bool) -> None:
    ben = new_login("acme", "ben", b"x")
    assert (ben.acting("ben@example.com", whom) is not None) is may
    trusted = replace(ben, on_behalf=True)
    assert (trusted.acting("ben@example.com", whom) is not None) is on_behalf


def test_a_login_shows_no_hash() -> None:
    assert repr(new_login("acme", "ben", b"x")) == "Login(tenant='acme', user='ben')"


async def check(made: Logins, name: str, password: str) -> Login | None:
    return await made.check(name.encode(), password.encode())


async def test_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "WRONG_S", 0.01)
    path = tmp_path / "users.json"
    ben, otto = new_login("acme", "ben", b"one"), new_login("acme", "otto", b"two")
    write_users(path, {"ben": ben, "otto": otto})
    made = Logins(path)
    assert await check(made, "ben", "one") == ben
    assert await check(made, "otto", "two") == otto
    for name, password in (("ben", "two"), ("otto", "one"), ("no", "one"), ("ben", "x" * 5000)):
        assert await check(made, name, password) is None
    assert await made.check(b"\xff", b"one") is None
    started = time.process_time()
    for _ in range(100):
        assert await check(made, "ben", "one") == ben
    assert time.process_time() - started < 1
    # Another name and password whose bytes run together are not the same.
    assert await check(made, "benone", "") is None
    write_users(path, {"ben": new_login("acme", "ben", b"three")})
    assert await check(made, "ben", "one") is None
    assert await check(made, "ben", "three") is not None
    path.unlink()
    assert await check(made, "ben", "three") is not None
    made.close()


async def test_a_wrong_password_takes_as_long_as_a_wrong_name_and_longer_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    path = tmp_path / "users.json"
    write_users(path, {"ben": new_login("acme", "ben", b"one")})
    made = Logins(path)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    for name in ("ben", "nobody"):
        for _ in range(10):
            assert await check(made, name, "wrong") is None
    assert slept[:10] == slept[10:] == [1, 2, 3, 4, 5, 6, 7, 8, 8, 8]
    made.close()
