"""Fixtures that tests of several services share."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from mailwake.keyring import Keyring, new_keyring


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """Kept in `keys.json` of the test's folder."""
    made = new_keyring()
    made.write(tmp_path / "keys.json")
    return made


@pytest.fixture
def tenant() -> str:
    """One that no other test knows."""
    return f"t-{uuid.uuid4().hex[:10]}"
