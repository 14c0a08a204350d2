"""Reports on the real engine."""

from __future__ import annotations

import csv
import io

from msgspec.structs import replace
from pyarrow import parquet

from mailwake_api.clients import CLIENT, client_of
from mailwake_api.export import FORMULA
from tests.mailbox import DAY, HOUR, MINUTE, Asking, Mailbox, rows

NAMES = ("overview", "links", "times", "clients")


async def test_the_overview(mailbox: Mailbox, ben: Asking) -> None:
    one = mailbox.send(1, "anna", tag="spring")
    two = mailbox.send(2, "bob", tag="spring")
    mailbox.send(40, "bob", "anna", tag="summer")
    mailbox.happen(
        one,
        mailbox.event(one, "open", MINUTE),
        mailbox.event(one, "open", DAY),
        mailbox.event(one, "click", 3 * MINUTE),
        mailbox.event(one, "open", 1000, "scanner"),
        mailbox.event(one, "open", 1000, repeat=True),
    )
    mailbox.happen(
        two,
        mailbox.event(two, "open", 3 * MINUTE),
        mailbox.event(two, "open", 3 * DAY, forward=True),
        mailbox.event(two, "click", 1000, "scanner"),
    )
    mailbox.send(3, "carol", tag="-nothing")  # no track of it has come yet
    found = await rows(ben, "overview", by="tag")
    nothing = dict.fromkeys(found[0], 0)
    assert found == [
        nothing | {"group": "-nothing", "mails": 1, "open_after_s": None, "click_after_s": None},
        {
            "group": "spring",
            "mails": 2,
            "opened": 2,
            "clicked": 1,
            "opens": 3,
            "clicks": 1,
            "machine_opens": 1,
            "machine_clicks": 1,
            "forwards": 1,
            "withheld": 0,
            "open_after_s": found[1]["open_after_s"],
            "click_after_s": 180,
        },
        nothing | {"group": "summer", "mails": 1, "open_after_s": None, "click_after_s": None},
    ]
    assert found[1]["open_after_s"] in (60, 180)
    (whole,) = await rows(ben, "overview")
    assert (whole["group"], whole["mails"], whole["opens"]) == ("", 4, 3)
    days = await rows(ben, "overview", by="day")
    assert [(each["group"], each["mails"]) for each in days] == [
        ("2026-01-01", 3),
        ("2026-01-02", 1),
    ]
    hours = await rows(ben, "overview", by="hour", zone="Asia/Kolkata")
    assert [each["group"] for each in hours] == [
        "2026-01-01T06:00+05:30",
        "2026-01-01T07:00+05:30",
        "2026-01-01T08:00+05:30",
        "2026-01-02T21:00+05:30",
    ]
    days = await rows(ben, "overview", by="day", zone="Pacific/Honolulu")
    assert [each["group"] for each in days] == ["2025-12-31", "2026-01-02"]
    (only,) = await rows(ben, "overview", tag="spring", since=one.sent_at, until=two.sent_at)
    assert (only["mails"], only["opens"]) == (1, 2)
    assert await rows(ben, "overview", tag="autumn") == []


async def test_links(mailbox: Mailbox, ben: Asking) -> None:
    one, two = mailbox.send(1, "anna", tag="spring"), mailbox.send(2, "bob", tag="spring")
    terms = {"link": 1, "target": one.links[1]}
    events = [
        mailbox.event(one, "click", HOUR),
        mailbox.event(one, "click", 2 * HOUR),
        mailbox.event(one, "click", 1000, "scanner"),
        mailbox.event(one, "click", HOUR, repeat=True),
        mailbox.event(one, "click", 1000, "scanner", **terms),
        mailbox.event(one, "open", HOUR),
    ]
    mailbox.happen(one, *events)
    mailbox.happen(two, mailbox.event(two, "click", HOUR))
    mailbox.happen(one, *events)
    assert await rows(ben, "links", by="tag") == [
        {
            "group": "spring",
            "target": one.links[0],
            "mails": 2,
            "clicks": 3,
            "machine_clicks": 1,
            "first_at": one.sent_at + HOUR,
            "last_at": one.sent_at + 2 * HOUR,
        },
        {
            "group": "spring",
            "target": one.links[1],
            "mails": 0,
            "clicks": 0,
            "machine_clicks": 1,
            "first_at": None,
            "last_at": None,
        },
    ]
    found = await ben.json("/v1/reports/links", limit=1)
    assert (len(found["rows"]), found["more"]) == (1, True)


async def test_times_and_clients(mailbox: Mailbox, ben: Asking) -> None:
    send = mailbox.send(0, "anna", tag="spring")  # at midnight of a Thursday, UTC
    gmail = {"reasons": ["gmail_proxy"], "agent": "Mozilla/5.0 (via ggpht.com GoogleImageProxy)"}
    mailbox.happen(
        send,
        mailbox.event(send, "open", 90 * MINUTE, "proxy", **gmail),
        mailbox.event(send, "open", 100 * MINUTE),
        mailbox.event(send, "click", 100 * MINUTE),
        mailbox.event(send, "open", DAY, forward=True),
        mailbox.event(send, "open", 100 * MINUTE, "scanner", agent="curl/8"),
    )
    (hour,) = [each for each in await rows(ben, "times") if each["opens"]]
    assert hour == {"group": "", "weekday": 4, "hour": 1, "opens": 2, "clicks": 1}
    found = await rows(ben, "times", zone="America/New_York", by="day")
    (hour,) = [each for each in found if each["opens"]]
    assert (hour["group"], hour["weekday"], hour["hour"]) == ("2025-12-31", 3, 20)
    assert await rows(ben, "times", since=send.sent_at + 2 * DAY) == []
    assert await rows(ben, "clients", by="tag") == [
        {
            "group": "spring",
            "client": "Thunderbird",
            "mails": 1,
            "opens": 1,
            "clicks": 1,
            "machines": 0,
        },
        {"group": "spring", "client": "Gmail", "mails": 1, "opens": 1, "clicks": 0, "machines": 0},
        {"group": "spring", "client": "other", "mails": 0, "opens": 0, "clicks": 0, "machines": 1},
    ]


async def test_the_two_tables_of_clients_are_one(mailbox: Mailbox) -> None:
    agents = [
        "",
        "Mozilla/5.0",
        "curl/8",
        "Outlook-iOS/2.0",
        "Microsoft Office/16.0 (Microsoft Outlook 16)",
        "Mozilla/5.0 (X11) Gecko/20100101 Thunderbird/140.0",
        "Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0",
        "Mozilla/5.0 (Linux; Android 15; wv) Version/4.0 Chrome/140.0",
        "Mozilla/5.0 (iPhone) AppleWebKit/605.1.15 (KHTML, like Gecko)",
        "MOZILLA/5.0 FIREFOX/140",
        "Évolution/3",
    ]
    for reasons in ([], ["gmail_proxy"], ["soon_after_send", "outlook_proxy"], ["yahoo_network"]):
        got = mailbox.client.query(
            f"SELECT agent, {CLIENT} FROM (SELECT arrayJoin(%(agents)s) AS agent,"
            " CAST(%(reasons)s, 'Array(String)') AS reasons)",
            {"agents": agents, "reasons": reasons},
        )
        assert sorted(got) == sorted((agent, client_of(agent, reasons)) for agent in agents)


async def test_a_table_for_spreadsheets(mailbox: Mailbox, ben: Asking) -> None:
    for number, tag in enumerate(("=1+1", "+2", "-3", "@x", "plain", '"quoted", and more')):
        send = mailbox.send(number, "anna", tag=tag, links=["https://shop.example/?a=1,2"])
        mailbox.happen(send, mailbox.event(send, "click", HOUR))
    for name in NAMES:
        by_accept = await ben.get(
            f"/v1/reports/{name}", params={"by": "tag"}, headers={"Accept": "text/csv"}
        )
        by_name = await ben.get(f"/v1/reports/{name}", params={"by": "tag", "format": "csv"})
        assert by_accept.content == by_name.content
        assert by_name.headers["content-type"].startswith("text/csv; charset=utf-8")
        assert f"mailwake-{name}.csv" in by_name.headers["content-disposition"]
        assert by_name.headers["vary"] == "Accept"
        assert by_name.headers["mailwake-more"] == "false"
        some = await ben.get(
            f"/v1/reports/{name}", params={"by": "tag", "format": "csv", "limit": 2}
        )
        assert some.headers["mailwake-more"] == "true"
        assert some.text.count("\r\n") == 3
        header, *read = csv.reader(io.StringIO(by_name.text, newline=""))
        wanted = await rows(ben, name, by="tag")
        assert header == list(wanted[0])
        assert len(read) == len(wanted) == 6
        assert not any(cell.startswith(FORMULA) for line in read for cell in line)
        groups = {line[0].removeprefix("'") for line in read}
        assert groups == {each["group"] for each in wanted}


async def test_a_table_for_notebooks(mailbox: Mailbox, ben: Asking) -> None:
    for number, tag in enumerate(("=1+1", "plain", "")):
        send = mailbox.send(number, "anna", tag=tag or None)
        mailbox.happen(send, mailbox.event(send, "open", HOUR), mailbox.event(send, "click", DAY))
    scanned = mailbox.send(9, "anna", tag="scanned", links=["https://shop.example/x"])
    mailbox.happen(scanned, mailbox.event(scanned, "click", 1, "scanner"))
    for name in NAMES:
        by_accept = await ben.get(
            f"/v1/reports/{name}",
            params={"by": "tag"},
            headers={"Accept": "application/vnd.apache.parquet"},
        )
        asked = {"by": "tag", "format": "parquet"}
        by_name = await ben.get(f"/v1/reports/{name}", params=asked)
        assert by_accept.content == by_name.content
        assert by_name.headers["content-type"] == "application/vnd.apache.parquet"
        assert f"mailwake-{name}.parquet" in by_name.headers["content-disposition"]
        assert by_name.headers["mailwake-more"] == "false"
        again = await ben.get(
            f"/v1/reports/{name}",
            params=asked,
            headers={"If-None-Match": by_name.headers["etag"]},
        )
        assert again.status_code == 304
        table = parquet.read_table(io.BytesIO(by_name.content))
        wanted = await rows(ben, name, by="tag")
        assert table.schema.names == list(wanted[0])
        read = table.to_pylist()
        for row in read:
            for column in set(row) & {"first_at", "last_at"}:
                at = row[column]
                row[column] = at and round(at.timestamp() * 1000)
        assert read == wanted
        types = {field.name: (str(field.type), field.nullable) for field in table.schema}
        assert types["group"] == ("string", False)
        for column, kind in (
            ("mails", ("int64", False)),
            ("open_after_s", ("double", True)),
            ("first_at", ("timestamp[ms, tz=UTC]", True)),
            ("hour", ("int64", False)),
        ):
            assert types.get(column, kind) == kind
    empty = await ben.get("/v1/reports/links", params={"tag": "none", "format": "parquet"})
    assert parquet.read_table(io.BytesIO(empty.content)).num_rows == 0


async def test_a_format_that_there_is_not_is_refused(ben: Asking) -> None:
    refused = await ben.json("/v1/reports/overview", 422, format="xlsx")
    assert refused["code"] == "query"


async def test_counts_agree_after_duplicates_and_revisions(mailbox: Mailbox, ben: Asking) -> None:
    """The list, the view and the reports tell the same, in whichever order rows arrive."""
    sends = [mailbox.send(number, "anna", tag=f"t{number % 3}") for number in range(1, 13)]
    for number, send in enumerate(sends):
        first = [
            mailbox.event(send, "open", n * HOUR, "scanner" if n % 3 == 2 else "human")
            for n in range(number % 4)
        ] + [mailbox.event(send, "click", n * HOUR) for n in range(number % 2)]
        last = [
            replace(each, revision=2, verdict="scanner") if n == 0 else each
            for n, each in enumerate(first)
        ]
        stages = [(first, 1), (last, 2), (last, 2)]
        for events, revision in stages[::-1] if number % 2 else stages:
            mailbox.happen(send, *events, revision=revision)
    listed = (await ben.json("/v1/messages"))["messages"]
    sums = {"opens": 0, "clicks": 0, "machine_opens": 0, "machine_clicks": 0}
    for mail in listed:
        view = await ben.json(f"/v1/messages/{mail['message_id']}")
        assert view["message"] == mail
        for kind, of in (("open", "opens"), ("click", "clicks")):
            told = [each for each in view["events"] if each["kind"] == kind]
            persons = sum(each["person"] for each in told)
            assert (mail[of]["count"], mail[of]["machines"]) == (persons, len(told) - persons)
            sums[of] += persons
            sums[f"machine_{of}"] += len(told) - persons
        assert sum(each["clicks"] for each in view["links"]) == mail["clicks"]["count"]
    (whole,) = await rows(ben, "overview")
    assert {name: whole[name] for name in sums} == sums
    by_tag = await rows(ben, "overview", by="tag")
    assert sum(each["opens"] for each in by_tag) == sums["opens"]
    times = await rows(ben, "times")
    assert sum(each["opens"] for each in times) == sums["opens"]
    assert sum(each["clicks"] for each in times) == sums["clicks"]
    links = await rows(ben, "links")
    assert sum(each["clicks"] for each in links) == sums["clicks"]
    assert sum(each["machine_clicks"] for each in links) == sums["machine_clicks"]
    used = await rows(ben, "clients")
    assert sum(each["opens"] + each["clicks"] for each in used) == sums["opens"] + sums["clicks"]
