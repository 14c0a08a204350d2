"""Fixtures that tests of several services share."""

from __future__ import annotations

import uuid

import pytest


@pytest.fixture
def tenant() -> str:
    """One that no other test knows."""
    return f"t-{uuid.uuid4().hex[:10]}"
