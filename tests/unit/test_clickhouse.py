"""The ClickHouse client before it has a connection."""

from __future__ import annotations

import pytest

from mailwake.clickhouse import ClickHouse, ClickHouseError
from mailwake.errors import ConfigError

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "address", "database"),
    [
        (f"clickhouse://u:{SECRET}@db:9001/mail", "db:9001", "mail"),
        (f"clickhouse://u:{SECRET}@db", "db:9000", "default"),
        (f"clickhouses://u:{SECRET}@db/mail?connect_timeout=2", "db:9440", "mail"),
    ],
)
def test_a_url_gives_address_and_database_and_hides_the_password(
    url: str, address: str, database: str
) -> None:
    client = ClickHouse(url)
    assert (client.address, client.database) == (address, database)
    assert SECRET not in repr(client)


def test_a_given_database_stands_above_that_of_the_url() -> None:
    assert ClickHouse("clickhouse://db/mail", database="other").database == "other"


def test_a_wrong_option_is_told_without_the_password() -> None:
    with pytest.raises(ConfigError, match="option after") as caught:
        ClickHouse(f"clickhouse://u:{SECRET}@db/mail?connect_timeout=soon")
    assert SECRET not in str(caught.value)


def test_errors_say_what_to_do_where_that_is_known() -> None:
    assert "mailwake migrate" in str(ClickHouseError(60, "Unknown table"))
    assert "CLICKHOUSE_URL" in str(ClickHouseError(516, "Authentication failed"))
    assert str(ClickHouseError(1, "Oh")) == "ClickHouse says: Oh (code 1)"
