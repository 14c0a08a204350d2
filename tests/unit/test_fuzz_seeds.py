"""Every input that ever started or broke a fuzzing run still keeps the laws."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailwake.tokens import Token
from tests.fuzz.__main__ import NAMES
from tests.fuzz.targets import KEYRING, TARGETS

SEEDS = Path(__file__).parents[1] / "fuzz" / "seeds"


@pytest.mark.parametrize(
    ("name", "seed"),
    [(name, file.name) for name in NAMES for file in sorted((SEEDS / name).iterdir())],
)
def test_a_seed_keeps_the_laws(name: str, seed: str) -> None:
    TARGETS[name]((SEEDS / name / seed).read_bytes())


def test_every_target_is_run() -> None:
    assert tuple(TARGETS) == NAMES


def test_a_law_that_is_broken_is_seen() -> None:
    """A token that opens, though the target does not know it."""
    other = KEYRING.seal(Token("open", "acme", "ab" * 16, 1, "anonymous"))
    with pytest.raises(AssertionError, match="nobody sealed it"):
        TARGETS["token"](b"\0" + other.encode())
