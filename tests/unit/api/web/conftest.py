"""The pages, asked without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from mailwake_api.app import make_app
from mailwake_api.endpoints import ENDPOINTS
from mailwake_api.web.pages import PAGES
from mailwake_api.web.sessions import Sessions
from mailwake_api.web.site import Site
from tests.unit.api.memory import Memory
from tests.unit.api.web.signed_in import DANA, HERE


@pytest.fixture
async def client(memory: Memory) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app(ENDPOINTS, memory.parts, Site(PAGES, memory.parts).routes())
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url=HERE["Origin"]) as client:
        yield client


@pytest.fixture
async def dana(memory: Memory, client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A browser that is signed in."""
    link = Sessions(memory.keyring).link(DANA)
    answer = await client.post(f"/signin/{link}", headers=HERE, data={"next": ""})
    assert (answer.status_code, answer.headers["location"]) == (303, "/mail")
    return client
