"""ClickHouse over TLS, and the password from a file: by the settings, against the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailwake.clickhouse import ClickHouse, ClickHouseError, secured_url
from mailwake.errors import ConfigError, DeniedError, MailwakeError, UnavailableError
from mailwake.grants import NEEDS, render
from mailwake.migrate import migrate
from mailwake.settings import Settings, read_settings
from mailwake_local.certificate import make_certificate
from mailwake_local.clickhouse import LocalClickHouse
from tests.running import Service

PASSWORD = "p@ss/w: %rd"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def local(folder: Path) -> Iterator[LocalClickHouse]:
    made = LocalClickHouse(
        folder / "clickhouse", password=PASSWORD, certificate=make_certificate(folder)
    )
    with made:
        yield made


@pytest.fixture
def settings(local: LocalClickHouse, folder: Path, tmp_path: Path) -> Settings:
    """Those of a person: no password in the environment, the certificate by its file."""
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    return read_settings(
        {
            "CLICKHOUSE_URL": f"clickhouses://default@127.0.0.1:{local.port}/default",
            "CLICKHOUSE_CA": str(folder / "chain.pem"),
            "CLICKHOUSE_PASSWORD_FILE": str(password),
        }
    )


def test_all_calls_go_over_tls(settings: Settings) -> None:
    url = secured_url(settings)
    assert migrate(url)
    store = ClickHouse(url)
    try:
        assert store.query("SELECT count() FROM migrations") == [(len(migrate_files()),)]
        rows = [[n] for n in range(3)]
        store.execute("CREATE TABLE wide (n UInt32, s String) ENGINE = MergeTree ORDER BY n")
        many = 20_000
        columns: list[list[Any]] = [list(range(many)), ["ä" * 20] * many]
        assert store.insert("wide", ("n", "s"), columns, token="one") == many
        assert store.query("SELECT count(), uniq(s) FROM wide") == [(many, 1)]
        assert store.query("SELECT n FROM wide ORDER BY n LIMIT 3") == [tuple(row) for row in rows]
    finally:
        store.close()


def migrate_files() -> list[Path]:
    from mailwake.schemas import schemas_root

    return sorted((schemas_root() / "clickhouse").glob("*.sql"))


def asked(settings: Settings) -> MailwakeError:
    """What a query ends with."""
    store = ClickHouse(secured_url(settings), timeout_s=5)
    try:
        with pytest.raises(MailwakeError) as caught:
            store.query("SELECT 1")
        return caught.value
    finally:
        store.close()


def test_a_certificate_of_another_is_told(settings: Settings, tmp_path: Path) -> None:
    other, _ = make_certificate(tmp_path)
    for wrong in (replace(settings, clickhouse_ca=other), replace(settings, clickhouse_ca=None)):
        error = asked(wrong)
        assert isinstance(error, DeniedError)
        assert "that is not vouched for" in str(error)
        assert "CLICKHOUSE_CA" in str(error)
        assert "\n" not in str(error)


def test_a_wrong_password_is_told_and_not_shown(settings: Settings, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong secret\n")
    error = asked(replace(settings, clickhouse_password_file=wrong))
    assert isinstance(error, ClickHouseError)
    assert "CLICKHOUSE_PASSWORD_FILE" in str(error)
    assert "wrong secret" not in str(error)


def test_without_tls_it_does_not_answer(settings: Settings) -> None:
    plain = settings.clickhouse_url.replace("clickhouses:", "clickhouse:")
    error = asked(replace(settings, clickhouse_url=plain, clickhouse_ca=None))
    assert isinstance(error, UnavailableError)


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("clickhouse_password_file", "/no/such: cannot read the password of ClickHouse's user"),
        ("clickhouse_ca", "CLICKHOUSE_CA /no/such must hold certificates (PEM): No such file"),
    ],
)
def test_a_file_that_cannot_be_read_ends_a_service(
    settings: Settings, kafka: str, tmp_path: Path, field: str, told: str
) -> None:
    changed: dict[str, Any] = {field: Path("/no/such")}
    wrong = replace(settings, kafka_bootstrap=kafka, **changed)
    with pytest.raises(ConfigError) as caught:
        secured_url(wrong)
    assert told in str(caught.value)
    loader = Service("loader", wrong, tmp_path / "loader.log")
    try:
        loader.start(wait=False)
        assert loader.process is not None
        assert loader.process.wait(60) == ConfigError.exit_code
        assert told in loader.log.read_text().splitlines()[-1]
    finally:
        loader.kill()


def test_a_ca_without_tls_is_a_contradiction(settings: Settings) -> None:
    plain = settings.clickhouse_url.replace("clickhouses:", "clickhouse:")
    with pytest.raises(ConfigError, match="CLICKHOUSE_CA wants TLS"):
        secured_url(replace(settings, clickhouse_url=plain))


def test_the_engine_can_read_the_grants(settings: Settings, tmp_path: Path) -> None:
    """Whether ClickHouse carries them out cannot be tried here, for the local one keeps no users;
    whether it can read them can."""
    for need in NEEDS:
        (tmp_path / need.service).write_text("a password\n")
    store = ClickHouse(secured_url(settings))
    try:
        for printed in (render("mailwake"), render("mailwake", passwords=tmp_path)):
            lines = [line for line in printed.splitlines() if line and not line.startswith("--")]
            for line in lines:
                statement = line.removesuffix(";")
                ((read,),) = store.query("SELECT formatQuery(%(sql)s)", {"sql": statement})
                assert read
        with pytest.raises(ClickHouseError, match="Syntax error"):
            store.query("SELECT formatQuery('GRANT EVERYTHING AT ALL ON x')")
    finally:
        store.close()
