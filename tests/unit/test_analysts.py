"""The statements that make and remove an analyst."""

from __future__ import annotations

import hashlib
import re

import pytest

from mailwake.analysts import add_statements, remove_statements, role_statements
from mailwake.errors import ConfigError

PASSWORD = "correct horse battery"


def test_the_role_reads_views_and_nothing_else() -> None:
    assert list(role_statements("mw", ["v_days", "v_opens"])) == [
        "CREATE ROLE IF NOT EXISTS `mw_analyst`",
        "ALTER ROLE `mw_analyst` SETTINGS readonly = 2, max_execution_time = 60 MIN 1 MAX 60,"
        " max_memory_usage = 4294967296 MIN 1 MAX 4294967296",
        "CREATE QUOTA OR REPLACE `mw_analyst` KEYED BY user_name FOR INTERVAL 1 hour"
        " MAX queries = 2000, execution_time = 1800 TO `mw_analyst`",
        "CREATE ROW POLICY OR REPLACE `not_analysts` ON `mw`.* FOR SELECT USING 1"
        " TO ALL EXCEPT `mw_analyst`",
        "GRANT SELECT ON `mw`.`v_days` TO `mw_analyst`",
        "GRANT SELECT ON `mw`.`v_opens` TO `mw_analyst`",
    ]


def test_an_analyst_is_bounded_before_it_has_rights() -> None:
    user, bound, right = add_statements("mw", "eva", "acme", PASSWORD)
    assert user.startswith("CREATE USER `eva` IDENTIFIED WITH sha256_hash BY '")
    assert user.endswith(" DEFAULT DATABASE `mw`")
    assert bound == (
        "CREATE ROW POLICY OR REPLACE `analyst_eva` ON `mw`.* FOR SELECT USING tenant = 'acme'"
        " TO `eva`"
    )
    assert right == "GRANT `mw_analyst` TO `eva`"


def test_the_password_travels_as_a_salted_hash() -> None:
    seen = set()
    for _ in range(2):
        statements = list(add_statements("mw", "eva", "acme", PASSWORD))
        assert not any(PASSWORD in each for each in statements)
        found = re.search(r"BY '([0-9a-f]{64})' SALT '([0-9a-f]{32})'", statements[0])
        assert found is not None
        digest, salt = found.groups()
        assert hashlib.sha256((PASSWORD + salt).encode()).hexdigest() == digest
        seen.add(salt)
    assert len(seen) == 2


def test_the_user_goes_before_what_bounds_it() -> None:
    assert list(remove_statements("mw", "eva")) == [
        "DROP USER IF EXISTS `eva`",
        "DROP ROW POLICY IF EXISTS `analyst_eva` ON `mw`.*",
    ]


@pytest.mark.parametrize("name", ["", "Eva", "e`a", "e'a", "9a", "-a", "a b", "a\n", "a" * 61])
def test_names_that_will_not_do(name: str) -> None:
    with pytest.raises(ConfigError, match="not a name for an analyst"):
        list(add_statements("mw", name, "acme", PASSWORD))
    with pytest.raises(ConfigError, match="not a name for an analyst"):
        list(remove_statements("mw", name))


@pytest.mark.parametrize("tenant", ["", "a' OR 1 --", "ACME", "a\n"])
def test_tenants_that_are_none(tenant: str) -> None:
    with pytest.raises(ConfigError, match="not the name of a tenant"):
        list(add_statements("mw", "eva", tenant, PASSWORD))


def test_a_short_password_is_refused() -> None:
    with pytest.raises(ConfigError, match="fewer than 12"):
        list(add_statements("mw", "eva", "acme", "secret"))


def test_a_database_of_any_name_is_quoted() -> None:
    (*_, grant) = role_statements("m`w", ["v_days"])
    assert grant == "GRANT SELECT ON `m\\`w`.`v_days` TO `m\\`w_analyst`"
