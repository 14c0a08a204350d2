"""Targets that webhooks may have and may not have, as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_ALL: dict[str, Any] = json.loads(Path(__file__).with_name("targets.json").read_text("utf-8"))
REFUSED: dict[str, str] = _ALL["refused as they are written"]
NOT_PUBLIC: dict[str, list[str]] = _ALL["refused when the name is looked up"]
TAKEN: list[str] = _ALL["taken"]


def written(url: str, port: int = 8443) -> str:
    """A target with the port of the listener that must not hear of it."""
    return url.replace("{port}", str(port)).replace("{long}", "a" * 2048)
