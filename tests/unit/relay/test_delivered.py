"""What was delivered and is not known of is kept, also over the end of the process."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.errors import ConfigError
from mailwake_relay import delivered
from mailwake_relay.delivered import Delivered, delivery_key

KEYS = [delivery_key("mail", str(number)) for number in range(5)]


def test_kept_and_forgotten(tmp_path: Path) -> None:
    made = Delivered(tmp_path / "state")
    made.add(KEYS[:3])
    made.forget(KEYS[1:2])
    made.close()
    again = Delivered(tmp_path / "state")
    assert [key in again for key in KEYS] == [True, False, True, False, False]
    again.close()


def test_one_process_a_folder(tmp_path: Path) -> None:
    made = Delivered(tmp_path)
    with pytest.raises(ConfigError, match="another relay"):
        Delivered(tmp_path)
    made.close()
    Delivered(tmp_path).close()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot keep deliveries here"):
        Delivered(tmp_path / "file")


def test_a_line_that_was_cut_off_costs_no_other(tmp_path: Path) -> None:
    made = Delivered(tmp_path)
    made.add(KEYS[:2])
    made.close()
    path = tmp_path / "delivered"
    path.write_bytes(path.read_bytes()[:-20] + b"")
    again = Delivered(tmp_path)
    assert [key in again for key in KEYS[:2]] == [True, False]
    again.close()


def test_old_ones_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Delivered(tmp_path)
    made.add(KEYS[:1])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + delivered.KEPT_S + 1)
    assert KEYS[0] not in made
    made.close()
    again = Delivered(tmp_path)
    assert len(again) == 0
    again.close()


def test_the_file_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivered, "_LINES_MOST", 10)
    made = Delivered(tmp_path)
    made.add(KEYS[:1])
    for _ in range(100):
        made.add(KEYS[1:3])
        made.forget(KEYS[1:3])
    assert (tmp_path / "delivered").read_text().count("\n") < 20
    made.close()
    again = Delivered(tmp_path)
    assert [key in again for key in KEYS] == [True, False, False, False, False]
    again.close()


def test_a_full_disk_costs_the_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    made = Delivered(tmp_path)
    monkeypatch.setattr(os, "write", full)
    made.add(KEYS[:1])
    assert KEYS[0] in made
    made.close()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4))))
def test_the_file_says_what_memory_says(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[bool, int]]
) -> None:
    folder = tmp_path_factory.mktemp("state")
    made = Delivered(folder)
    for add, number in changes:
        (made.add if add else made.forget)([KEYS[number]])
    expected = [key in made for key in KEYS]
    made.close()
    again = Delivered(folder)
    assert [key in again for key in KEYS] == expected
    again.close()


def test_keys_do_not_run_together() -> None:
    assert delivery_key("ab", "c") != delivery_key("a", "bc")
    assert delivery_key("ab", "c") == delivery_key(b"ab", b"c")
