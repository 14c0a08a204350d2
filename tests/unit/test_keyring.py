"""The key file: made once, rotated, revoked, never shown."""

from __future__ import annotations

import base64
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailwake.errors import ConfigError
from mailwake.keyring import keys_command, new_keyring, read_keyring
from mailwake.tokens import Token, TokenError

TOKEN = Token("open", "acme", "01" * 16, 1, "identified")
MADE = "2026-01-05T10:00:00Z"


def of_bytes(count: int) -> str:
    return base64.b64encode(bytes(count)).decode()


def key_of(number: int = 1, size: int = 64, **fields: Any) -> dict[str, Any]:
    return {"id": number, "made": MADE, "key": of_bytes(size), **fields}


def changed(path: Path, **fields: Any) -> Path:
    document = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in document.items() if value != ...}))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    new_keyring().write(path)
    return path


def test_a_file_gives_the_same_keyring_again(tmp_path: Path) -> None:
    keyring = new_keyring()
    path = tmp_path / "keys.json"
    keyring.write(path)
    again = read_keyring(path)
    assert again.open(keyring.seal(TOKEN)) == TOKEN
    assert again.seal(TOKEN) == keyring.seal(TOKEN)
    assert again.recipient_id("acme", "a@example.org") == keyring.recipient_id(
        "acme", "a@example.org"
    )
    assert again.current == 1


def test_the_file_is_as_its_contract_says(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert lines[:3] == ["{", '  "version": 1,', '  "current": 1,']
    assert lines[-1] == "}"
    read_keyring(changed(file, revoked=...))  # a file without revoked keys need not say so


def test_a_key_tells_when_it_was_made_and_revoked() -> None:
    before = datetime.now(UTC)
    keyring = new_keyring().rotate().revoke(1)
    for moment in (keyring.keys[0].made, keyring.revoked[0].revoked):
        assert moment.utcoffset() == timedelta(0)
        assert moment.microsecond == 0  # the file says seconds
        assert timedelta(0) <= moment - before.replace(microsecond=0) < timedelta(minutes=10)


def test_the_file_is_for_its_owner_alone_and_no_rest_lies_beside_it(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    read_keyring(file).rotate().write(file, replace=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == ["keys.json"]


def test_a_file_is_not_overwritten(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="not overwritten"):
        new_keyring().write(file)
    assert file.read_bytes() == before
    assert [entry.name for entry in file.parent.iterdir()] == ["keys.json"]


def test_a_symbolic_link_stays_one(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(file)
    read_keyring(link).rotate().write(link, replace=True)
    assert link.is_symlink()
    assert read_keyring(file).current == 2


@pytest.mark.fault(25)
def test_rotation_keeps_the_old_tokens_open_and_revocation_ends_them() -> None:
    first = new_keyring()
    old = first.seal(TOKEN)
    second = first.rotate()
    new = second.seal(TOKEN)
    assert second.current == 2
    assert old != new
    assert second.open(old) == second.open(new) == TOKEN
    with pytest.raises(TokenError) as unknown:
        first.open(new)
    assert unknown.value.reason == "unknown_key"
    third = second.revoke(1)
    assert third.open(new) == TOKEN
    with pytest.raises(TokenError) as revoked:
        third.open(old)
    assert revoked.value.reason == "unknown_key"
    assert first.open(old) == TOKEN, "a keyring never changes"


def test_the_id_of_a_revoked_key_is_never_given_again(tmp_path: Path) -> None:
    keyring = new_keyring().rotate().rotate().revoke(2)
    keyring.write(tmp_path / "keys.json")
    again = read_keyring(tmp_path / "keys.json")
    assert [key.id for key in again.rotate().keys] == [1, 3, 4]
    assert [key.id for key in again.revoked] == [2]


def test_the_current_key_and_unknown_keys_cannot_be_revoked() -> None:
    keyring = new_keyring().rotate()
    with pytest.raises(ConfigError, match="key 2 is the current one; rotate first"):
        keyring.revoke(2)
    with pytest.raises(ConfigError, match="no key 7; the file has 1, 2"):
        keyring.revoke(7)


def test_there_are_255_ids_and_no_more() -> None:
    keyring = new_keyring()
    for _ in range(254):
        keyring = keyring.rotate()
    assert keyring.open(keyring.seal(TOKEN)) == TOKEN
    with pytest.raises(ConfigError, match="255 keys"):
        keyring.rotate()


def test_recipients_are_hashed_by_tenant_and_outlive_rotation() -> None:
    keyring = new_keyring()
    anna = keyring.recipient_id("acme", "Anna@Example.org")
    assert len(anna) == 32
    assert keyring.rotate().recipient_id("acme", " anna@example.org") == anna
    assert keyring.recipient_id("other", "anna@example.org") != anna
    assert new_keyring().recipient_id("acme", "anna@example.org") != anna


def test_no_key_is_ever_shown(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(file.read_text())
    secrets = [document["recipients"], document["keys"][0]["key"]]
    keyring = read_keyring(file)
    assert keys_command(["show", str(file)]) == 0
    shown = repr(keyring) + str(keyring) + repr(keyring.keys) + capsys.readouterr().out
    assert not any(secret in shown for secret in secrets)
    assert "Key(id=1" in shown
    assert "made 20" in shown


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"version": 2}, "version"),
        ({"current": 9}, "current is 9, but the ids of `keys` are"),
        ({"keys": []}, "current is 1"),
        ({"keys": ...}, "missing required field `keys`"),
        ({"recipients": of_bytes(31)}, "length >= 32 - at `$.recipients`"),
        ({"recipients": of_bytes(33)}, "length <= 32 - at `$.recipients`"),
        ({"recipients": "!"}, "recipients"),
        ({"keys": [key_of(size=63)]}, "length >= 64 - at `$.keys[0].key`"),
        ({"keys": [key_of(size=65)]}, "length <= 64 - at `$.keys[0].key`"),
        ({"keys": [key_of(0)]}, "`int` >= 1 - at `$.keys[0].id`"),
        ({"keys": [key_of(256)]}, "`int` <= 255 - at `$.keys[0].id`"),
        ({"keys": [key_of(), key_of()]}, "an id stands twice"),
        ({"revoked": [{"id": 1, "revoked": MADE}]}, "an id stands twice"),
        ({"purpose": "?"}, "unknown field `purpose`"),
        ({"keys": [key_of(use="?")]}, "unknown field `use`"),
        ({"revoked": [{"id": 2, "revoked": MADE, "why": "?"}]}, "unknown field `why`"),
    ],
)
def test_a_wrong_file_is_one_clear_line(file: Path, fields: dict[str, Any], told: str) -> None:
    secret = json.loads(file.read_text())["keys"][0]["key"]
    with pytest.raises(ConfigError) as caught:
        read_keyring(changed(file, **fields))
    text = str(caught.value)
    assert text.startswith(f"{file}: not a key file (")
    assert told in text
    assert "\n" not in text
    assert secret not in text


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[]", b'"' * 3, b"[" * 100_000])
def test_no_json_is_one_clear_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="not a key file"):
        read_keyring(path)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    with pytest.raises(ConfigError, match=r"no key file; `mailwake keys new .*none\.json`"):
        read_keyring(path)
    with pytest.raises(ConfigError, match="cannot read the key file"):
        read_keyring(tmp_path)
    with pytest.raises(ConfigError, match="cannot write the key file"):
        new_keyring().write(tmp_path / "no" / "folder" / "keys.json")


def test_the_command_makes_rotates_revokes_and_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys.json"
    assert keys_command(["new", str(path)]) == 0
    old = read_keyring(path).seal(TOKEN)
    assert keys_command(["rotate", str(path)]) == 0
    assert read_keyring(path).open(old) == TOKEN
    with pytest.raises(ConfigError, match="rotate first"):
        keys_command(["revoke", str(path), "2"])
    assert keys_command(["revoke", str(path), "1"]) == 0
    with pytest.raises(TokenError):
        read_keyring(path).open(old)
    capsys.readouterr()
    assert keys_command(["show", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("  2  made")
    assert lines[0].endswith("current")
    assert lines[1].startswith("  1  revoked")
    with pytest.raises(ConfigError, match="not overwritten"):
        keys_command(["new", str(path)])
    with pytest.raises(SystemExit):
        keys_command(["revoke", str(path), "one"])
