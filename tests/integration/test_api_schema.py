"""Requests made of the API's own description, good and bad: no fault, and answers as described."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.core.result import Ok

from tests.api import Api, api_settings
from tests.mailbox import Mailbox
from tests.openapi import DOCUMENT
from tests.running import Service, running

OPERATIONS = {
    f"{made.method.upper()} {made.path}": made
    for found in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
    if isinstance(found, Ok) and (made := found.ok()).path != "/v1/alerts/stream"  # it does not end
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("schema")


@pytest.fixture(scope="module")
def api(kafka: str, clickhouse: str, folder: Path) -> Iterator[Api]:
    mailbox = Mailbox(clickhouse)
    made = asyncio.run(api_settings(kafka, folder, partitions=1, clickhouse_url=mailbox.url))
    api = Api(made, folder)
    with running(
        Service("loader", made, folder / "loader.log"),
        Service("enricher", made, folder / "enricher.log"),
        api,
    ):
        yield api
    mailbox.client.close()


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        pytest.param(name, mode, id=f"{name} {mode.value}")
        for name, made in OPERATIONS.items()
        for mode in GenerationMode
        # A page takes any address, and what takes no parameter nothing that is wrong.
        if mode is GenerationMode.POSITIVE or made.path.startswith("/v1/")
    ],
)
def test_what_is_asked_is_answered_as_described(api: Api, name: str, mode: GenerationMode) -> None:
    headers = {"Authorization": f"Bearer {api.token('ada', 'admin')}"}

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=OPERATIONS[name].as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        case.call_and_validate(base_url=api.url, headers=headers, checks=CHECKS, timeout=30)

    ask()
