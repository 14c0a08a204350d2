"""A user who looks at the pages, and what a form of theirs needs."""

from __future__ import annotations

import re

import httpx

from mailwake_api.bearer import Caller

HERE = {"Origin": "http://127.0.0.1:8026"}
DANA = Caller("acme", "dana")


async def token(client: httpx.AsyncClient) -> str:
    """What the forms of whoever is signed in carry."""
    page = await client.get("/preferences")
    assert page.status_code == 200, page.text
    found: set[str] = set(re.findall(r'name="token" value="([0-9a-f]+)"', page.text))
    assert len(found) == 1
    return found.pop()
