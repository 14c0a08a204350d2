"""Every query of the dashboard, filled as Grafana fills it, on the real engine with mails."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.analysts import Ledger, fill
from tests.mailbox import AT, DAY, Mailbox

FOLDER = Path(__file__).parents[3] / "deploy" / "grafana"
BOARD: dict[str, Any] = json.loads((FOLDER / "tracking.json").read_text())
PANELS: dict[str, dict[str, Any]] = {panel["title"]: panel for panel in BOARD["panels"]}
SINCE, UNTIL = AT // 1000, (AT + 40 * DAY) // 1000

# As the plugin's documentation has them (grafana-clickhouse-datasource, "Macros").
MACROS = {
    "timeFilter": f"{{0}} >= toDateTime({SINCE}) AND {{0}} <= toDateTime({UNTIL})",
    "dateFilter": f"{{0}} >= toDate({SINCE}) AND {{0}} <= toDate({UNTIL})",
    "timeInterval": "toStartOfInterval(toDateTime({0}), INTERVAL 7200 second)",
}


@pytest.fixture(scope="module")
def filled(clickhouse: str) -> Iterator[tuple[Mailbox, Ledger]]:
    mailbox = Mailbox(clickhouse)
    yield mailbox, fill(mailbox)
    mailbox.client.close()


def asked(sql: str) -> str:
    """The query with its macros and variables filled in."""
    sql = re.sub(r"\$__(\w+)\((\w+)\)", lambda found: MACROS[found[1]].format(found[2]), sql)
    sql = sql.replace("${tenant:singlequote}", "'acme'")
    assert "$" not in sql
    return sql


@pytest.mark.parametrize("title", PANELS)
def test_no_panel_is_empty(filled: tuple[Mailbox, Ledger], title: str) -> None:
    mailbox, _ = filled
    panel = PANELS[title]
    (target,) = panel["targets"]
    rows, columns = mailbox.client.query_with_types(asked(target["rawSql"]))
    assert rows
    assert any(cell for row in rows for cell in row[-1:]), "its last column says nothing"
    names = [name for name, _ in columns]
    assert len(set(names)) == len(names)
    if target["queryType"] == "timeseries":
        assert columns[0] == ("time", "DateTime") or columns[0][1].startswith("DateTime(")
        assert len(rows) > 5
    if "xField" in panel["options"]:
        assert panel["options"]["xField"] in names
    assert panel["description"].endswith(".")


def test_the_tenants_can_be_chosen(filled: tuple[Mailbox, Ledger]) -> None:
    mailbox, _ = filled
    (variable,) = BOARD["templating"]["list"]
    assert variable["name"] == "tenant"
    assert mailbox.client.query(variable["query"]) == [("acme",), ("other",)]


def test_the_panels_tell_what_the_ledger_says(filled: tuple[Mailbox, Ledger]) -> None:
    mailbox, ledger = filled
    mails = [mail for mail in ledger.mails if mail.send.tenant == "acme"]

    def told(title: str) -> Any:
        return mailbox.client.query(asked(PANELS[title]["targets"][0]["rawSql"]))

    assert told("Mails sent") == [(len(mails),)]
    of = sum("open" not in mail.hidden for mail in mails)
    assert told("Opened by a person") == [(sum(bool(mail.acts("open")) for mail in mails) / of,)]
    acts = sum(len(mail.acts("open")) + len(mail.acts("click")) for mail in mails)
    assert sum(sum(row[1:]) for row in told("When persons open and click")) == acts
    assert sum(row[1] for row in told("Campaigns")) == len(mails)


def test_panels_do_not_lie_over_each_other_and_have_their_source() -> None:
    places: set[tuple[int, int]] = set()
    for panel in PANELS.values():
        at = panel["gridPos"]
        own = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not own & places
        assert at["x"] + at["w"] <= 24
        places |= own
    (source,) = yaml.safe_load((FOLDER / "provisioning/datasources/mailwake.yaml").read_text())[
        "datasources"
    ]
    used = {json.dumps(each["datasource"]) for each in BOARD["panels"]}
    assert used == {json.dumps({"type": source["type"], "uid": source["uid"]})}
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
