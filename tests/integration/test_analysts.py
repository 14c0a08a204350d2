"""What an analyst may read, on the real engine.

chDB keeps no users that SQL made, so that they can sign in is tried on a server alone. What bounds
them is tried with the engine all the same: a second process opens the data with a configuration in
which its one user has the role's grants and the analyst's policy.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from mailwake.analysts import add, add_statements, remove, remove_statements, role_statements
from mailwake.clickhouse import ClickHouse, ClickHouseError
from mailwake.errors import ConfigError
from mailwake_local.clickhouse import LocalClickHouse
from tests.analysts import fill
from tests.mailbox import Mailbox

PASSWORD = "correct horse battery"
ACCESS_DENIED, READONLY = 497, 164
DATABASE = "mw"
VIEWS = (
    *("v_clicks", "v_clients", "v_days", "v_events", "v_link_performance", "v_messages"),
    *("v_opens", "v_past_days", "v_time_to_open", "v_verdicts"),
)
TABLES = ("sends", "displays", "hits", "events", "tracks", "consent_proofs", "sent_days")
_RUN = """
import json, re, sys
import chdb.state.sqlitelike as chdb
connection = chdb.Connection(sys.argv[1])
for sql in json.load(sys.stdin):
    try:
        lines = connection.query(sql, "JSONCompactEachRow").bytes().decode().splitlines()
        print(json.dumps([json.loads(line) for line in lines]))
    except Exception as error:
        print(re.search(r"Code: (\\d+)", str(error))[1])
"""
_USERS = """<clickhouse>
<profiles><default/><analyst><readonly>2</readonly></analyst></profiles><quotas><default/></quotas>
<users>
<default><password/><networks><ip>::/0</ip></networks><quota>default</quota>{default}</default>
<owner><password/><networks><ip>::/0</ip></networks><quota>default</quota></owner>
</users></clickhouse>"""

Ask = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def analyst(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Asks as an analyst of tenant acme, where acme and other have mails."""
    folder = tmp_path_factory.mktemp("analysts")
    with LocalClickHouse(folder / "data") as local:
        mailbox = Mailbox(local.url, DATABASE)
        fill(mailbox)
        for tenant in ("acme", "other"):
            mailbox.client.execute(
                "INSERT INTO sent_days (tenant, user, day, retention_days, mails)"
                " SELECT %(tenant)s, 'ben', '2020-01-01', 180, 7",
                {"tenant": tenant},
            )
        mailbox.client.close()

    def ask(rights: str, *statements: str) -> list[Any]:
        (folder / "users.xml").write_text(_USERS.format(default=rights))
        (folder / "config.xml").write_text(
            f"<clickhouse><users_config>{folder}/users.xml</users_config></clickhouse>"
        )
        done = subprocess.run(
            [sys.executable, "-c", _RUN, f"{folder}/data?config-file={folder}/config.xml"],
            input=json.dumps(statements),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    # On a server who migrates is another user than the analyst; here both are `default`.
    owned = [
        f"ALTER TABLE {DATABASE}.{view} MODIFY DEFINER = owner SQL SECURITY DEFINER"
        for view in (*VIEWS, "withheld_mails")
    ]
    everything = "<access_management>1</access_management><profile>default</profile>"
    assert ask(everything, *owned) == [[]] * len(owned)
    grants = "".join(
        f"<query>{each.partition(' TO ')[0]}</query>"
        for each in role_statements(DATABASE, VIEWS)
        if each.startswith("GRANT")
    )
    (bound,) = (
        each.partition(" USING ")[2].rpartition(" TO ")[0]
        for each in add_statements(DATABASE, "eva", "acme", PASSWORD)
        if each.startswith("CREATE ROW POLICY")
    )
    rights = (
        f"<profile>analyst</profile><grants>{grants}</grants><databases><{DATABASE}>"
        f'<table name=""><filter>{bound}</filter></table></{DATABASE}></databases>'
    )
    return lambda *statements: ask(rights, *statements)


def test_an_analyst_sees_one_tenant_in_every_view(analyst: Ask) -> None:
    asked = [f"SELECT DISTINCT tenant FROM {DATABASE}.{view}" for view in VIEWS]
    told = dict(zip(VIEWS, analyst(*asked), strict=True))
    assert told == {view: [["acme"]] for view in VIEWS}


def test_a_question_cannot_look_past_the_policy(analyst: Ask) -> None:
    """Conditions of one's own are not asked of other tenants' rows, where they could fail."""
    assert analyst(
        f"SELECT count() > 0 FROM {DATABASE}.v_events WHERE throwIf(tenant != 'acme') = 0",
        f"SELECT count() FROM {DATABASE}.v_messages WHERE tenant = 'other' OR 1 = 1"
        " HAVING countIf(tenant != 'acme') > 0",
        f"SELECT count() FROM {DATABASE}.v_days AS a JOIN {DATABASE}.v_days AS b"
        " ON a.day = b.day WHERE b.tenant != 'acme' OR a.tenant != 'acme'",
    ) == [[[1]], [], [[0]]]


def test_an_analyst_reads_no_table_and_writes_nothing(analyst: Ask) -> None:
    denied = [
        *(
            f"SELECT count() FROM {DATABASE}.{table}"
            for table in (
                "sends",
                "displays",
                "hits",
                "events",
                "tracks",
                "consent_proofs",
                "sent_days",
            )
        ),
        f"SELECT count() FROM {DATABASE}.consented_events(tenant = 'acme', user = 'ben')",
        f"SELECT count() FROM {DATABASE}.withheld_mails",
        f"INSERT INTO {DATABASE}.events (tenant) VALUES ('acme')",
        f"DROP VIEW {DATABASE}.v_events",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
    ]
    assert analyst(*denied) == [ACCESS_DENIED] * len(denied)
    assert analyst("SET readonly = 0") == [READONLY]


def test_the_statements_are_such_that_clickhouse_reads(clickhouse: str) -> None:
    client = ClickHouse(clickhouse)
    for statement in (
        *role_statements("m`w", ["v_days"]),
        *add_statements("m`w", "eva-1", "acme", PASSWORD),
        *remove_statements("m`w", "eva-1"),
    ):
        assert client.query(f"EXPLAIN AST {statement}")
    client.close()


def keeps_users(client: ClickHouse) -> bool:
    sql = "SELECT count() FROM system.user_directories WHERE type != 'users_xml'"
    return bool(client.query(sql)[0][0])


def test_where_no_users_are_kept_it_is_said(clickhouse: str) -> None:
    mailbox = Mailbox(clickhouse)
    if keeps_users(mailbox.client):
        pytest.skip("this ClickHouse keeps users")
    with pytest.raises(ConfigError, match="the local one, chDB, keeps none"):
        add(mailbox.client, "eva", "acme", PASSWORD)
    with pytest.raises(ConfigError, match="the local one, chDB, keeps none"):
        remove(mailbox.client, "eva")
    mailbox.client.close()


def test_signing_in(clickhouse: str) -> None:
    mailbox = Mailbox(clickhouse)
    if not keeps_users(mailbox.client):
        mailbox.client.close()
        pytest.skip("chDB keeps no users; run against a server (CLICKHOUSE_URL, or docker)")
    fill(mailbox, 12)
    name = f"eva-{uuid.uuid4().hex[:8]}"
    add(mailbox.client, name, "acme", PASSWORD)
    address = mailbox.url.partition("@")[2] or mailbox.url.partition("//")[2]
    eva = ClickHouse(f"clickhouse://{name}:{PASSWORD.replace(' ', '%20')}@{address}")
    assert eva.query("SELECT DISTINCT tenant FROM v_messages") == [("acme",)]
    for sql in ("SELECT count() FROM events", "INSERT INTO events (tenant) SELECT 'acme'"):
        with pytest.raises(ClickHouseError) as caught:
            eva.query(sql)
        assert caught.value.code in (ACCESS_DENIED, READONLY)
    assert len(mailbox.client.query("SELECT DISTINCT tenant FROM v_messages")) == 2
    with pytest.raises(ConfigError, match="already"):
        add(mailbox.client, name, "acme", PASSWORD)
    remove(mailbox.client, name)
    eva.close()
    with pytest.raises(ClickHouseError):
        eva.query("SELECT 1")
    with pytest.raises(ConfigError, match="no analyst"):
        remove(mailbox.client, name)
    mailbox.client.close()
