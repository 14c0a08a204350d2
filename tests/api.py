"""The API's own processes on a real Kafka, and those who call them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from mailwake.keyring import new_keyring
from mailwake.settings import Settings
from mailwake_api.bearer import Caller, Role
from mailwake_api.commands import keys_command, new_token
from mailwake_api.keys import read_keys
from mailwake_local.ports import free_port
from tests.installation import own_topics
from tests.running import Service, running


def new_keys(folder: Path) -> dict[str, Path]:
    """A keyring and the API's keys in a folder; the settings that name them."""
    made = {"keyring": folder / "keys.json", "api_keys": folder / "api-keys.json"}
    new_keyring().write(made["keyring"])
    keys_command(["new", str(made["api_keys"])])
    return made


async def api_settings(kafka: str, folder: Path, **more: Any) -> Settings:
    """Settings of an API whose keys, in a folder, and topics are made."""
    return await own_topics(kafka, **new_keys(folder) | more)


class Api(Service):
    """One API process; its port is chosen here, unless it is given."""

    def __init__(
        self, settings: Settings, folder: Path, name: str = "api", *, port: int | None = None
    ) -> None:
        self.settings = replace(settings, api_port=port or free_port())
        super().__init__("api", self.settings, folder / f"{name}.log")
        self.url = f"http://127.0.0.1:{self.settings.api_port}"

    def token(self, sub: str, role: Role = "user", tenant: str = "acme") -> str:
        """A bearer token that the API takes."""
        key = read_keys(self.settings.api_keys)[-1]
        return new_token(self.settings, key, Caller(tenant, sub, role), 600)

    def client(self, sub: str, role: Role = "user", tenant: str = "acme") -> httpx.Client:
        """Calls as somebody."""
        headers = {"Authorization": f"Bearer {self.token(sub, role, tenant)}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)


@contextlib.contextmanager
def two_apis(settings: Settings, folder: Path) -> Iterator[list[Api]]:
    """Two processes of one installation; asserts that neither's log has a traceback."""
    both = [Api(settings, folder, name) for name in ("one", "two")]
    with running(*both):
        yield both
    for each in both:
        assert "Traceback" not in each.log.read_text()


def json(response: httpx.Response, status: int = 200) -> Any:
    """The body of an answer that must have this status."""
    assert response.status_code == status, response.text
    return response.json()
